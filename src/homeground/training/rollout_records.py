"""A step's rollouts as people read them: what each turn read and wrote, what it called, what the rollout was worth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from homeground.base.rolloutlog import Group
from homeground.policy.chat import end_token
from homeground.rollouts.tool_calls import begun_thinking, find_calls
from homeground.rollouts.trajectory import Trajectory, Turn
from homeground.training.off_policy import Guide, Origin

TEXT_KEPT = 8000
"""Characters of a turn's text that are kept, from its beginning and its end."""


def group_records(
    tokenizer: PreTrainedTokenizerBase,
    trajectories: Sequence[Trajectory],
    tasks: Sequence[Any],
    advantages: Mapping[str, float],
    step: int,
    guides: Sequence[Guide] = (),
) -> list[Group]:
    """Groups as :mod:`homeground.base.rolloutlog` keeps them.

    Args:
        tokenizer: of the policy.
        trajectories: of the step, failed ones included.
        tasks: of each group.
        advantages: of the rollouts that were trained, by their id; others have none.
        step: from 1.
        guides: rollouts that joined the groups.
    """
    everyone = [(t, Origin.SAMPLED) for t in trajectories] + [(g.trajectory, g.origin) for g in guides]
    return [
        {
            "step": step,
            "group": index,
            "task": _kept(task_words(task)),
            "rollouts": [
                _rollout(tokenizer, t, advantages.get(t.rollout_id), origin)
                for t, origin in everyone
                if t.task == index
            ],
        }
        for index, task in enumerate(tasks)
    ]


def task_words(task: Any) -> str:
    """A task in words: its question or prompt where it has one, else all of it."""
    for name in ("question", "prompt"):
        named = cast("Mapping[str, Any]", task).get(name) if isinstance(task, Mapping) else getattr(task, name, None)
        if named is not None:
            return str(named)
    return str(task)


def _rollout(
    tokenizer: PreTrainedTokenizerBase, trajectory: Trajectory, advantage: float | None, origin: Origin
) -> dict[str, Any]:
    turns: list[dict[str, Any]] = []
    before: list[int] = []
    for turn in trajectory.turns:
        turns.append(_turn(tokenizer, turn, before))
        before = [*turn.prompt_ids, *turn.ids]
    return {
        "id": trajectory.rollout_id,
        "origin": str(origin),
        "reward": trajectory.reward,
        "parts": {name: float(value) for name, value in trajectory.parts.items() if math.isfinite(value)},
        "advantage": advantage,
        "error": trajectory.error,
        "turns": turns,
    }


def _turn(tokenizer: PreTrainedTokenizerBase, turn: Turn, before: list[int]) -> dict[str, Any]:
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
