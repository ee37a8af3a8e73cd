"""A step's rollouts as people read them: what each turn read and wrote, what it called, what the rollout was worth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from homeground.policy.chat import end_token
from homeground.rollouts.tool_calls import begun_thinking, find_calls
from homeground.rollouts.trajectory import Trajectory, TrajectoryGroup, Turn
from homeground.runs.rolloutlog import GroupRecord, RolloutRecord, TurnRecord

TEXT_KEPT = 8000
"""Characters of a turn's text that are kept, from its beginning and its end."""


def group_records(
    tokenizer: PreTrainedTokenizerBase, groups: Sequence[TrajectoryGroup], advantages_PG: Tensor, step: int
) -> list[GroupRecord]:
    """Groups as :mod:`homeground.runs.rolloutlog` keeps them.

    Args:
        tokenizer: of the policy.
        groups: of the step.
        advantages_PG: of their rollouts, (P groups, G rollouts at most).
        step: from 1.
    """
    return [
        {
            "step": step,
            "group": number,
            "task": _kept(task_words(group.task)),
            "rollouts": [
                _rollout(tokenizer, t, None if t.shortcoming else float(advantage))
                for t, advantage in zip(group.trajectories, advantages_G, strict=False)
            ],
        }
        for number, (group, advantages_G) in enumerate(zip(groups, advantages_PG, strict=True))
    ]


def task_words(task: Any) -> str:
    """A task in words: its question or prompt where it has one, else all of it."""
    for name in ("question", "prompt"):
        named = cast("Mapping[str, Any]", task).get(name) if isinstance(task, Mapping) else getattr(task, name, None)
        if named is not None:
            return str(named)
    return str(task)


def _rollout(tokenizer: PreTrainedTokenizerBase, trajectory: Trajectory, advantage: float | None) -> RolloutRecord:
    turns: list[TurnRecord] = []
    before: list[int] = []
    for turn in trajectory.turns:
        turns.append(_turn(tokenizer, turn, before))
        before = [*turn.prompt_ids, *turn.ids]
    return {
        "id": trajectory.rollout_id,
        "origin": trajectory.origin,
        "reward": trajectory.reward,
        "parts": {name: float(value) for name, value in trajectory.parts.items() if math.isfinite(value)},
        "advantage": advantage,
        "error": trajectory.error,
        "turns": turns,
    }


def _turn(tokenizer: PreTrainedTokenizerBase, turn: Turn, before: list[int]) -> TurnRecord:
    prompt = list(turn.prompt_ids)
    continues = prompt[: len(before)] == before
    ended = bool(turn.ids) and turn.ids[-1] == end_token(tokenizer)
    text, thinking = _text(tokenizer, turn.ids[:-1] if ended else turn.ids), begun_thinking(tokenizer, prompt)
    found = find_calls(text, None, thinking=thinking)
    return {
        "read": _kept(_text(tokenizer, prompt[len(before) :] if continues else prompt)),
        "wrote": _kept(_text(tokenizer, turn.ids)),
        # As OpenAI has them: arguments are a text.
        "tool_calls": [{"name": call.name, "arguments": json.dumps(call.arguments)} for call in found.calls],
        "malformed_calls": found.malformed,
        "prompt_tokens": len(prompt),
        "tokens": len(turn.ids),
        "finish_reason": turn.finish_reason,
        "weights_version": turn.weights_version,
        "new_path": bool(before) and not continues,
    }


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    text = tokenizer.decode(list(ids))
    assert isinstance(text, str)
    return text


def _kept(text: str) -> str:
    if len(text) <= TEXT_KEPT:
        return text
    half = TEXT_KEPT // 2
    return f"{text[:half]}\n[... {len(text) - TEXT_KEPT} characters are not kept ...]\n{text[-half:]}"
