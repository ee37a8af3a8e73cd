"""What the figures of bench-forgetting rest on."""

import json
from pathlib import Path

import pytest

from benchmarks import forgetting as bench
from benchmarks.sides import forgetting
from homeground.evaluate import general
from homeground.evaluate.general import GeneralOutcome, paragraphs, questions
from homeground.pipeline import replay
from homeground.policy import TokenPath

from ..policy import tiny


def outcome(nats):
    """Twenty texts and questions."""
    return GeneralOutcome([100.0 + n + nats for n in range(20)], [100] * 20, [5.0] * 20, [1.0] * 20).to_json()


def runs(mix, heldout, nats):
    return {
        f"{mix}, seed {seed}": {"heldout": heldout + 0.01 * seed, "general": outcome(nats + seed)}
        for seed in bench.SEEDS
    }


BEFORE = {"before": {"heldout": 3.01, "general": outcome(0.0)}}
ALONE = runs("alone", 2.0, 9.0)


@pytest.mark.parametrize(("heldout", "nats", "met"), [
    (2.1, 4.0, [True, True]),
    (2.1, 9.5, [False, True]),
    (2.3, 4.0, [True, False]),
])  # fmt: skip
def test_replay_must_save_text_and_leave_most_of_the_gain(heldout, nats, met):
    text, answers, gain = bench.rows_of(BEFORE | ALONE | runs("third", heldout, nats))
    assert [text["met"], gain["met"]] == met
    assert answers["met"] is None
    # Ten nats a text of 100 bytes are lost alone.
    assert text["peer"] == pytest.approx(0.1 / 0.6931, abs=1e-3)
    assert gain["peer"] == pytest.approx(1.0)


def test_where_nothing_was_forgotten_nothing_is_claimed():
    rows = bench.rows_of(BEFORE | runs("alone", 2.0, -9.0) | runs("third", 2.0, -12.0))
    assert rows[0]["met"] is False


def test_a_saving_that_is_not_seen_in_most_texts_is_none():
    held = runs("third", 2.0, 9.0)
    for one in held.values():
        one["general"]["text_nats"][0] -= 50
    assert bench.rows_of(BEFORE | ALONE | held)[0]["met"] is False


def test_no_claim_before_every_seed_is_there():
    some = runs("third", 2.0, 4.0)
    del some["third, seed 1"]
    assert bench.rows_of(BEFORE | ALONE | some) == []
    assert bench.rows_of(ALONE | runs("third", 2.0, 4.0)) == []


def test_outcomes_are_printed_as_far_as_they_are_known(capsys):
    bench.print_outcomes({})
    assert capsys.readouterr().out == ""
    made = {"rows": 96, "seconds": 60.0, "tokens_per_s": 150.0, "unfinished": 30, "removed": {"short questions": 2}}
    bench.print_outcomes(BEFORE | ALONE | {"replay": made})
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["before", "alone", "replay"]
    assert "2 short questions" in told[2]


def test_replay_rows_are_sampled_once_and_only_for_who_needs_them():
    file = Path("rows.jsonl")
    everything = bench.plan(list(bench.MIXES), list(bench.SEEDS), file)
    assert [child.key for child in everything[:2]] == ["before", "replay"]
    assert everything[1].arguments == ("--sample", 192, "--file", file)
    assert len(everything) == 2 + 3 * 3
    assert [child.key for child in bench.plan(["alone"], [1], file)] == ["before", "alone, seed 1"]


def test_replay_makes_steps_larger_and_not_more(llama, monkeypatch):
    texts, asked = paragraphs()[:2], questions()[:1]
    monkeypatch.setattr(general, "paragraphs", lambda: texts)
    monkeypatch.setattr(general, "questions", lambda: asked)
    own = [TokenPath([n, 5, 6, 7], [2, 3]) for n in range(16)]
    extra = [TokenPath([n, 9, 8], [1, 2]) for n in range(8)]
    alone, mixed = (forgetting.trained(tiny.policy_of(llama), own, some, own[:2], seed=0) for some in ([], extra))
    assert len(alone["loss"]) == len(mixed["loss"]) == 16 / forgetting.OWN_A_STEP
    assert (alone["replay"], mixed["replay"]) == (0, 8)
    assert mixed["trained_tokens"] == {"own": 32, "replay": 16}
    untrained = forgetting.measured(tiny.policy_of(llama), own[:2])
    assert alone["heldout"] < untrained["heldout"]
    assert alone["general"]["text_nats"] != untrained["general"]["text_nats"]
    json.dumps([alone, mixed])


def test_sampled_rows_are_counted_and_can_be_trained_on(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "TRIES_A_ROW", 200)
    monkeypatch.setattr(replay, "ANSWER_TOKENS", 60)
    monkeypatch.setattr(replay, "QUESTION_TOKENS", 150)
    monkeypatch.setattr(replay, "_words", lambda tokenizer, one: f"its words {hash(tuple(one.ids)) % 10**6}")
    file = tmp_path / "rows.jsonl"
    found = forgetting.sampled(str(llama), 4, file, dtype="fp32")
    assert found["rows"] == 4
    assert 0 <= found["unfinished"] <= 4
    assert found["tokens_per_s"] > 0
    paths = forgetting.replay_rows(tiny.policy_of(llama), file, 3)
    assert len(paths) == 3
    assert all(path.trained for path in paths)
