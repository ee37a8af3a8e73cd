"""Rollouts that the policy did not just sample, mixed into its groups: an expert's traces, and its own successes.

LUFFY (Yan et al. 2025, arXiv 2504.14945): with on-policy rollouts ``o_i`` and off-policy traces ``tau_j`` of one task,
advantages are taken over both, ``A = (R - mean(G_on + G_off)) / std(G_on + G_off)``, and a step maximises ::

    sum_j sum_t f(r_jt) A_j  +  sum_i sum_t CLIP(r_it, A_i, eps),        r_jt = pi(tau_jt) / pi_expert(tau_jt)

with the policy shaping ``f(x) = x / (x + gamma)`` and no clip on the first sum: its gradient weighs a token by
``r f'(r) = gamma r / (r + gamma)^2``, so that likely tokens, which would dominate plain importance sampling, are
weighed down, and unlikely ones are learned. As in the paper ``pi_expert`` is taken to be 1: an expert's own
probabilities are seldom known, nor is its tokenizer ours. Its gamma is 0.1.

ExGRPO (Zhan et al. 2025, arXiv 2510.02245): the same sum with a past success of the policy itself in the expert's
place, ``r = pi / pi_past`` with the probabilities of when it was sampled; which one, says
:mod:`homeground.training.experience`.

What differs from both papers: traces join the G sampled rollouts, where the papers sample fewer beside them; the
normalisers are those of the run's loss and scale; and the KL term, where there is one, is over the policy's own tokens
(it estimates an expectation over them).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from homeground.base.errors import UsageError
from homeground.base.files import read_text
from homeground.policy import chat
from homeground.rollouts.trajectory import Trajectory, Turn


class Origin(StrEnum):
    """Who wrote a rollout."""

    SAMPLED = "sampled"
    EXPERT = "expert"
    REPLAYED = "replayed"


@dataclass(frozen=True)
class Guide:
    """A rollout that joins a group.

    Attributes:
        trajectory: with the log-probabilities of who wrote it; ``task`` is the group.
        origin: EXPERT or REPLAYED.
        gamma: of its policy shaping, above 0.
    """

    trajectory: Trajectory
    origin: Origin
    gamma: float


@dataclass(frozen=True)
class ExpertTrace:
    """How an expert did a task.

    Attributes:
        messages: ends with an assistant's; what assistants wrote is learned.
        reward: what the task's own reward says of it.
        tools: that were offered.
    """

    messages: Sequence[chat.Message]
    reward: float = 1.0
    tools: chat.Tools = field(default_factory=tuple)


type Experts = Callable[[Any], Sequence[ExpertTrace]]
"""The traces of a task, none where the expert has not done it."""


def shaped_ratio(logprobs: Tensor, behaviour: Tensor, gamma: Tensor) -> Tensor:
    """Policy shaping, ``f(r) = r / (r + gamma)`` of the ratio ``r = pi / pi_behaviour``.

    Args:
        logprobs: of the policy, (M,), differentiable.
        behaviour: log-probability of each token for who wrote it, (M,); 0 stands for "probability 1".
        gamma: above 0, (M,).

    Returns:
        In (0, 1), (M,). It is computed as a sigmoid, which no ratio overflows.
    """
    return torch.sigmoid(logprobs - behaviour - gamma.log())


def expert_guide(tokenizer: PreTrainedTokenizerBase, trace: ExpertTrace, group: int, name: str, gamma: float) -> Guide:
    """A trace as a rollout of a group, in the policy's own tokens.

    Raises:
        HomegroundError: the chat template cannot render it.
    """
    rendered = chat.render(tokenizer, trace.messages, tools=trace.tools)
    turns: list[Turn] = []
    start = 0
    trained = rendered.trained
    for place, token in enumerate(trained):
        if place + 1 == len(trained) or trained[place + 1] != token + 1:
            written = rendered.ids[trained[start] : token + 1]
            turns.append(Turn(rendered.ids[: trained[start]], written, [0.0] * len(written), "stop", 0))
            start = place + 1
    return Guide(Trajectory(name, group, turns, trace.reward), Origin.EXPERT, gamma)


def load_traces(file: Path, tasks: Sequence[Any]) -> Experts:
    """Traces of a file of JSON lines, ``{"task": TASK, "messages": [...], "reward": 1.0, "tools": [...]}``.

    Args:
        file: TASK is the task's ``id`` where it has one, else the task itself; ``reward`` (1) and ``tools`` (none) may
            be left out.
        tasks: those that are trained on; traces of others are not used.

    Raises:
        UsageError: the file is missing, a line of it is no trace, or none is of these tasks.
    """
    try:
        lines = read_text(file).split("\n")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the traces cannot be read: {error}", where=str(file), hint=_HINT) from None
    found: dict[str, list[ExpertTrace]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            task, trace = _parsed(line, f"{file}:{number}")
            found.setdefault(task, []).append(trace)
    if not found.keys() & {_named(task) for task in tasks}:
        raise UsageError(
            "none of these traces is of a task that is trained on" if found else "there are no traces",
            where=str(file),
            hint=f"the first one's task is {next(iter(found))!r}; name a task by its id, or give the whole task"
            if found
            else _HINT,
        )
    return lambda task: found.get(_named(task), [])


_HINT = 'write one JSON object a line: {"task": ID, "messages": [..., {"role": "assistant", ...}], "reward": 1.0}'


def _parsed(line: str, where: str) -> tuple[str, ExpertTrace]:
    wrong = UsageError("this line is no expert's trace", where=where, hint=_HINT)
    try:
        row = json.loads(line)
        trace = ExpertTrace(row["messages"], float(row.get("reward", 1.0)), row.get("tools", []))
        right = trace.messages[-1]["role"] == "assistant" and math.isfinite(trace.reward)
        task = _named(row["task"])
    except (ValueError, TypeError, LookupError, AttributeError):
        raise wrong from None
    if not right or not isinstance(trace.tools, list):
        raise wrong
    return task, trace


def _named(task: Any) -> str:
    """What names a task: its ``id`` where it has one, else what it says."""
    if isinstance(task, Mapping) and "id" in task:
        return str(cast("Mapping[str, Any]", task)["id"])
    name = getattr(task, "id", task)
    return name if isinstance(name, str) else json.dumps(name, sort_keys=True, ensure_ascii=False, default=str)
