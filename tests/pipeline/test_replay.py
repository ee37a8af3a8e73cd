import json

import pytest

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.pipeline import replay
from homeground.pipeline.workbench import Workbench
from homeground.recipe import load_recipe
from homeground.rollouts import Generation
from homeground.rollouts.engine import FinishReason
from homeground.runs.workspace import RunFolder, Workspace

from ..policy import tiny
from ..policy.conftest import llama

__all__ = ["llama"]


def workbench(folder, llama, batch=5):
    model = {"name": str(llama), "quantization": "none", "compute_dtype": "fp32", "lora": {"r": 4}}
    recipe = load_recipe(None, {"model": model, "eval": {"batch": batch}})
    return Workbench(recipe, Workspace(folder), RunFolder(folder), Progress(quiet=True))


@pytest.fixture
def bench(tmp_path, llama):
    with workbench(tmp_path, llama) as bench:
        yield bench


@pytest.fixture
def ends_by_chance(monkeypatch):
    """A model of random weights ends by chance, once in as many tokens as it knows; its words are not text."""
    monkeypatch.setattr(replay, "TRIES_A_ROW", 200)
    monkeypatch.setattr(replay, "ANSWER_TOKENS", 100)
    monkeypatch.setattr(replay, "QUESTION_TOKENS", 150)
    monkeypatch.setattr(replay, "_words", lambda tokenizer, one: f"its words {hash(tuple(one.ids)) % 10**6}")


def written(bench, file, rows):
    report = replay.write_replay(bench, file, rows)
    return report, [json.loads(line) for line in file.read_text().splitlines()]


def test_the_user_turn_is_opened_as_the_template_does():
    assert replay.user_opening(tiny.tokenizer()).endswith("<|im_start|>user\n")


def test_rows_are_conversations_and_an_answer_that_was_cut_off_is_said_to_be(bench, tmp_path, ends_by_chance):
    report, rows = written(bench, tmp_path / "rows", 12)
    assert [[message["role"] for message in row["messages"]] for row in rows] == [["user", "assistant"]] * 12
    assert report["train"] == 12
    assert report["removed"]["questions without an end"] > 0
    marked = [row.get("unfinished") for row in rows]
    assert set(marked) == {True, None}, "of this model's answers some end in time"


def test_only_an_answer_without_an_end_token_is_unfinished(bench, tmp_path, ends_by_chance, monkeypatch):
    ended = {}

    def words(tokenizer, one):
        text = f"its words {hash(tuple(one.ids)) % 10**6}"
        ended[text] = one.ids[-1] == tokenizer.eos_token_id
        return text

    monkeypatch.setattr(replay, "_words", words)
    _, rows = written(bench, tmp_path / "rows", 8)
    for row in rows:
        question, answer = (message["content"] for message in row["messages"])
        assert ended[question]
        assert ended[answer] is ("unfinished" not in row)


def test_equal_seeds_write_equal_files_whatever_was_sampled_before(bench, tmp_path, ends_by_chance):
    for name in ("a", "b"):
        written(bench, tmp_path / name, 6)
    first, second = ((tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second
    assert first.count(b"\n") == 6


def test_how_many_are_under_way_decides_nothing_and_a_shorter_file_is_the_longer_one_s_beginning(
    tmp_path, llama, ends_by_chance
):
    files = []
    for batch, rows in ((1, 7), (6, 7), (6, 4)):
        with workbench(tmp_path, llama, batch) as bench:
            files.append(written(bench, tmp_path / "rows", rows)[1])
    assert files[0] == files[1]
    assert files[2] == files[1][:4]


def test_as_many_as_fit_are_under_way_until_no_more_are_needed(bench, tmp_path, ends_by_chance, monkeypatch):
    submit, futures, under_way = bench.sampler.submit, [], []

    def counted(*args, **options):
        futures.append(submit(*args, **options))
        under_way.append(sum(not future.done() for future in futures))
        return futures[-1]

    monkeypatch.setattr(bench.sampler, "submit", counted)
    written(bench, tmp_path / "rows", 20)
    # The first one only starts the others. No conversation needs to wait for another before 15 of the 20 are there.
    assert under_way[:31] == [1, 1, 2, 3, 4, *[5] * 26]
    assert max(under_way) == 5


def test_what_goes_wrong_between_two_steps_reaches_the_caller(bench, tmp_path, monkeypatch):
    def broken(tokenizer, one):
        raise RuntimeError("no words")

    monkeypatch.setattr(replay, "_words", broken)
    with pytest.raises(RuntimeError, match="no words"):
        replay.write_replay(bench, tmp_path / "rows", 3)
    assert not (tmp_path / "rows").exists()


def test_a_letter_that_the_limit_cut_in_two_is_left_out():
    tokenizer = tiny.tokenizer()
    ids = tokenizer("a\N{EURO SIGN}")["input_ids"]
    cut = Generation([1], ids[:-1], [0.0] * (len(ids) - 1), FinishReason.LENGTH, 0)
    whole = Generation([1], ids, [0.0] * len(ids), FinishReason.STOP, 0)
    assert replay._words(tokenizer, cut) == "a"
    assert replay._words(tokenizer, whole) == "a\N{EURO SIGN}"


def test_a_model_that_never_ends_is_an_error(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "QUESTION_TOKENS", 1)
    monkeypatch.setattr(replay, "TRIES_A_ROW", 1)
    with pytest.raises(HomegroundError, match=r"only 0 of \d+ conversations"):
        replay.write_replay(bench, tmp_path / "rows", 1)
