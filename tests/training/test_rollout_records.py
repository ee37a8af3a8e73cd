from dataclasses import dataclass

import pytest
import torch

from homeground.rollouts import Trajectory, TrajectoryGroup, Turn
from homeground.training.rollout_records import TEXT_KEPT, group_records, task_words

from ..policy import tiny

TOKENIZER = tiny.tokenizer()


def ids(text):
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def turn(prompt, wrote):
    return Turn(ids(prompt), ids(wrote), [-1.0] * len(ids(wrote)), "stop", 3)


def records(*turns, reward=0.5, advantage=0.0, error=None):
    trajectory = Trajectory("0-0-0", 0, turns, reward, {"form": 0.5, "odd": float("nan")}, error=error)
    groups = [TrajectoryGroup(7, {"question": "why?"}, [trajectory])]
    (group,) = group_records(TOKENIZER, groups, torch.tensor([[advantage, 0.0]]), 4)
    assert (group["step"], group["group"], group["task"]) == (4, 0, "why?")
    (rollout,) = group["rollouts"]
    return rollout


def test_a_turn_that_goes_on_shows_only_what_is_new():
    first = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    rollout = records(
        turn(first, "search<|im_end|>"),
        turn(f"{first}search<|im_end|>\n<|im_start|>user\nhits", "answer<|im_end|>"),
        turn("another prompt", "x"),
        advantage=-1.5,
    )
    assert [t["read"] for t in rollout["turns"]] == [first, "\n<|im_start|>user\nhits", "another prompt"]
    assert [t["wrote"] for t in rollout["turns"]] == ["search<|im_end|>", "answer<|im_end|>", "x"]
    assert [t["new_path"] for t in rollout["turns"]] == [False, False, True]
    assert rollout["turns"][0]["prompt_tokens"] == len(ids(first))
    assert rollout["turns"][0]["tokens"] == len(ids("search<|im_end|>"))
    assert (rollout["reward"], rollout["advantage"], rollout["parts"]) == (0.5, -1.5, {"form": 0.5})
    assert rollout["turns"][0]["weights_version"] == 3


def test_tool_calls_are_told_apart_from_text():
    call = '<tool_call>{"name": "add", "arguments": {"a": [1, 2]}}</tool_call>'
    rollout = records(turn("p", f"I add. {call}<|im_end|>"), turn("p", '{"name": "add", "arguments": {}}'))
    assert [t["tool_calls"] for t in rollout["turns"]] == [[{"name": "add", "arguments": '{"a": [1, 2]}'}], []]


def test_calls_that_were_cut_or_only_thought_of_are_none():
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    rollout = records(turn("p", call[:40]), turn("p <think>\n", call), turn("p", f"<think>{call}</think>no"))
    assert [t["tool_calls"] for t in rollout["turns"]] == [[], [], []]
    assert [t["malformed_calls"] for t in rollout["turns"]] == [1, 0, 0]


def test_a_failed_rollout_has_no_advantage():
    rollout = records(reward=None, error="ValueError: broke")
    assert (rollout["reward"], rollout["advantage"], rollout["error"]) == (None, None, "ValueError: broke")


def test_long_texts_keep_their_beginning_and_end():
    (kept,) = records(turn("a" + "b" * 3 * TEXT_KEPT + "c", "x"))["turns"]
    assert len(kept["read"]) < TEXT_KEPT + 100
    assert kept["read"].startswith("ab")
    assert kept["read"].endswith("bc")
    assert "characters are not kept" in kept["read"]


@dataclass(frozen=True, slots=True)
class Task:
    id: str
    question: str


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("a text", "a text"),
        ({"prompt": "p", "n": 1}, "p"),
        ({"n": 1}, "{'n': 1}"),
        (Task("1", "what?"), "what?"),
        (3, "3"),
    ],
)
def test_a_task_is_shown_by_its_question(task, words):
    assert task_words(task) == words
