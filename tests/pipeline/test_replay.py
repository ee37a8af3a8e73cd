import json

import pytest

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.base.recipe import load_recipe
from homeground.base.workspace import RunFolder, Workspace
from homeground.pipeline import replay
from homeground.pipeline.workbench import Workbench

from ..policy import tiny
from ..policy.conftest import llama

__all__ = ["llama"]


@pytest.fixture
def bench(tmp_path, llama):
    model = {"name": str(llama), "quantization": "none", "compute_dtype": "fp32", "lora": {"r": 4}}
    with Workbench(
        load_recipe(None, {"model": model}), Workspace(tmp_path), RunFolder(tmp_path), Progress(quiet=True)
    ) as bench:
        yield bench


def test_the_user_turn_is_opened_as_the_template_does():
    assert replay.user_opening(tiny.tokenizer()).endswith("<|im_start|>user\n")


def test_rows_are_conversations_that_came_to_an_end_and_equal_seeds_write_them_again(bench, tmp_path, monkeypatch):
    # A model of random weights ends by chance, once in as many tokens as it knows.
    monkeypatch.setattr(replay, "TRIES_A_ROW", 200)
    monkeypatch.setattr(replay, "ANSWER_TOKENS", 150)
    monkeypatch.setattr(replay, "QUESTION_TOKENS", 150)
    monkeypatch.setattr(replay, "_words", lambda tokenizer, one: f"its words {len(one.ids)}")
    for name in ("a", "b"):
        report = replay.write_replay(bench, tmp_path / name, 3)
    first, second = ((tmp_path / name).read_text() for name in ("a", "b"))
    assert first == second
    said = [json.loads(line)["messages"] for line in first.splitlines()]
    assert [[message["role"] for message in one] for one in said] == [["user", "assistant"]] * 3
    assert report["train"] == 3
    assert report["removed"]["unfinished"] > 0


def test_a_model_that_never_ends_is_an_error(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "QUESTION_TOKENS", 1)
    monkeypatch.setattr(replay, "TRIES_A_ROW", 1)
    with pytest.raises(HomegroundError, match=r"only 0 of \d+ conversations"):
        replay.write_replay(bench, tmp_path / "rows", 1)
