import pytest

from homeground.base.errors import HomegroundError
from homeground.evaluate import general
from homeground.evaluate.general import (
    SHOWN,
    GeneralOutcome,
    compare_general,
    general_metrics,
    paragraphs,
    questions,
    run_general_probe,
    worse,
)
from homeground.pipeline.forgetting import general_line, general_warning, task_lines

from ..policy import tiny
from ..policy.conftest import _one_thread, llama

__all__ = ["_one_thread", "llama"]


def outcome(nats, bits, right):
    return GeneralOutcome([nats + i for i in range(20)], [100] * 20, [bits + i for i in range(20)], [right] * 20)


def result(before, after):
    stages = {"before": general_metrics(before), "after": general_metrics(after)}
    return {"stages": stages, "paired": {"after-before": compare_general(after, before)}}


def test_the_probe_is_what_its_description_says():
    assert len(paragraphs()) == 24
    kinds = [row["kind"] for row in questions()]
    assert (len(kinds), len(set(kinds))) == (64, 8)
    assert SHOWN == 3
    for row in questions():
        assert len({row["answer"], *row["wrong"]}) == 4


def test_a_policy_that_changed_scores_otherwise_and_one_that_did_not_does_not(llama, monkeypatch):
    texts, asked = paragraphs()[:3], questions()[:3]
    monkeypatch.setattr(general, "paragraphs", lambda: texts)
    monkeypatch.setattr(general, "questions", lambda: asked)
    policy = tiny.policy_of(llama)
    first = run_general_probe(policy)
    assert GeneralOutcome.from_json(first.to_json()) == first
    same = compare_general(first, first)
    assert all(interval["low"] == interval["high"] == 0 for interval in same.values())
    assert worse(same) == []
    other = run_general_probe(tiny.shake(policy, seed=2, std=0.5))
    assert compare_general(other, first)["text_bits_per_byte"]["value"] != 0


def test_what_got_worse_beyond_its_interval_is_said_in_words():
    told = result(outcome(50.0, 5.0, 1.0), outcome(60.0, 5.0, 0.0))
    assert worse(told["paired"]["after-before"]) == ["text_bits_per_byte", "answer_accuracy"]
    warning = general_warning(told)
    assert "plain text is predicted worse, fewer right answers" in warning
    assert "replay" in warning
    assert "chosen 100 -> 0 [-100, -100] %" in general_line(told)


def test_nothing_is_said_of_what_got_better():
    assert general_warning(result(outcome(60.0, 5.0, 0.0), outcome(50.0, 4.0, 1.0))) == ""


def test_tasks_of_the_harness_that_got_worse_are_named_by_their_own_direction():
    told = result(outcome(50.0, 5.0, 1.0), outcome(50.0, 5.0, 1.0))
    lower, higher = {"value": -0.2, "low": -0.3, "high": -0.1, "n": 9}, {"value": 0.2, "low": 0.1, "high": 0.3, "n": 9}
    told["paired"]["after-before"] |= {"a/acc": lower, "a/ppl": higher, "b/acc,strict": lower, "b/odd": lower}
    for stage in told["stages"].values():
        stage |= dict.fromkeys(("a/acc", "a/ppl", "b/acc,strict", "b/odd"), higher)
    told["lm_eval"] = {
        "tasks": {
            "a": {"higher_is_better": {"acc": True, "ppl": False}},
            "b": {"higher_is_better": {"acc": True, "odd": None}},
        }
    }
    assert "forgot something: a/acc is worse, a/ppl is worse, b/acc,strict is worse; mix" in general_warning(told)
    told["paired"]["after-before"] |= {"a/acc": higher, "a/ppl": lower, "b/acc,strict": higher}
    assert general_warning(told) == ""
    assert task_lines(told)[1].startswith("b: acc,strict 0.200 -> 0.200 [+0.100, +0.300], odd")


def test_outcomes_of_two_probes_do_not_compare():
    with pytest.raises(HomegroundError, match="same probe"):
        compare_general(outcome(1, 1, 1), GeneralOutcome([1.0], [2], [1.0], [1.0]))
