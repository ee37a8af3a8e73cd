"""The work that both sides of ``make bench-grpo`` do: the same prompts, lengths, tool results and rewards.

Everything follows from the setting and the step, so that two processes agree without talking to each other. Prompts
and tool results are token ids cut from the running Python's standard library. A rollout samples exactly the number of
tokens drawn for it: no end token stops it, on either side.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from transformers import PreTrainedTokenizerBase

from homeground.corpus.roots import stdlib_root

MODEL = "smollm2-135m-instruct"
LORA_R = 16
LORA_ALPHA = 32
BETA = 0.04
LEARNING_RATE = 1e-5
TEXT_CHARACTERS = 400_000


class Delivery(StrEnum):
    """How the peer gets the rollouts of a step."""

    GENERATE = "its own generate"
    TOOL_LOOP = "its own tool loop, one row a rollout"
    ROW_A_TURN = "one row a turn"


@dataclass(frozen=True)
class Setting:
    """One line of the table.

    Attributes:
        name: as printed and as given to ``--settings``.
        prompt: tokens of the prompt (P).
        shortest, longest: sampled tokens of a turn are drawn from this range (R).
        turns: model calls of a rollout.
        result: tokens of a tool's result, between turns.
        group: rollouts of the prompt (G).
        delivery: see there.
        peer_batch: rows of one forward of the peer, the fastest of those that fit (see docs/benchmarks.md).
        peer_steps: measured steps of the peer, as many as half an hour for all settings allows.
        step, update, memory: the least ratio peer / ours that is a success; None where nothing was promised.
    """

    name: str
    prompt: int
    shortest: int
    longest: int
    turns: int = 1
    result: int = 0
    group: int = 8
    delivery: Delivery = Delivery.GENERATE
    peer_batch: int = 2
    peer_steps: int = 2
    step: float | None = None
    update: float | None = None
    memory: float | None = None

    @property
    def rolls_out(self) -> bool:
        """Whether the peer samples, so that whole steps can be compared."""
        return self.delivery is not Delivery.ROW_A_TURN

    @property
    def peer_rows(self) -> int:
        """Rows of a step on the peer's side."""
        return self.group * (self.turns if self.delivery is Delivery.ROW_A_TURN else 1)

    @property
    def forest_tokens(self) -> int:
        """Our budget of distinct tokens a forward; a larger group is one forest all the same."""
        sampled = self.turns * self.longest + (self.turns - 1) * self.result
        return min(2560, self.prompt + self.group * sampled)

    @property
    def ours(self) -> str:
        """Settings of one name here are the same work for us and measured once."""
        return self.name.split(" vs ")[0]


_AGENT = {"prompt": 512, "shortest": 48, "longest": 48, "turns": 3, "result": 256}
SETTINGS = (
    Setting("P512-R64", 512, 64, 64, step=4, update=5.5, memory=1 / 0.35),
    # TRL's own default, 8 rows a forward: slower here and several times larger, so it carries no target.
    Setting("P512-R64 vs batch 8", 512, 64, 64, peer_batch=8, peer_steps=1),
    Setting("P1536-R64", 1536, 64, 64, step=6, update=8, memory=4),
    Setting("P1536-R16..128", 1536, 16, 128, step=5, update=7, memory=4),
    Setting("agent vs tool loop", **_AGENT, delivery=Delivery.TOOL_LOOP, step=3, update=2.2, memory=2),  # type: ignore[arg-type]
    Setting("agent vs row a turn", **_AGENT, delivery=Delivery.ROW_A_TURN, peer_steps=1, update=5, memory=1 / 0.35),  # type: ignore[arg-type]
)


def setting_named(name: str) -> Setting:
    """The setting of that name.

    Raises:
        KeyError: there is none.
    """
    return {s.name: s for s in SETTINGS}[name]


@dataclass(frozen=True)
class Task:
    """What one step works on.

    Attributes:
        prompt: token ids, the same for the whole group.
        lengths: sampled tokens of each turn of each rollout, (G, turns).
        results: ids of the tool's answer after each turn but the last, (G, turns - 1).
        rewards: of the rollouts, (G,), never all equal.
    """

    prompt: list[int]
    lengths: list[list[int]]
    results: list[list[list[int]]]
    rewards: list[float]

    def rows(self, sampled: list[list[list[int]]]) -> list[list[tuple[list[int], list[int]]]]:
        """Prompt and response of every model call, (G, turns), given the sampled ids of each: history is re-sent."""
        calls: list[list[tuple[list[int], list[int]]]] = []
        for turns, results in zip(sampled, self.results, strict=True):
            added = [[*ids, *result] for ids, result in zip(turns, [*results, []], strict=True)]
            histories = accumulate(added[:-1], lambda left, right: left + right, initial=self.prompt)
            calls.append(list(zip(histories, turns, strict=True)))
        return calls


class Workload:
    """The tasks of one setting.

    Args:
        setting: of the benchmark.
        text: token ids that prompts and tool results are cut from.
    """

    def __init__(self, setting: Setting, text: Sequence[int]) -> None:
        self.setting = setting
        self._text = list(text)
        drawn = random.Random(f"lengths of {setting.ours}")
        self._lengths = [
            [drawn.randint(setting.shortest, setting.longest) for _ in range(setting.turns)]
            for _ in range(setting.group)
        ]

    def task(self, step: int) -> Task:
        """The task of a step; lengths are the same in every step, so that steps can be compared."""
        s = self.setting
        each = s.prompt + s.group * (s.turns - 1) * s.result
        at = step * each % (len(self._text) - each)
        prompt = self._text[at : at + s.prompt]
        found = self._text[at + s.prompt : at + each]
        pieces = [found[i : i + s.result] for i in range(0, len(found), s.result)] if s.result else []
        between = s.turns - 1
        results = [pieces[g * between : (g + 1) * between] for g in range(s.group)]
        rewarded = random.Random(f"rewards of step {step}")
        return Task(prompt, self._lengths, results, [rewarded.random() for _ in range(s.group)])

    def written(self, step: int) -> list[list[list[int]]]:
        """Ids to stand for sampled ones where sampling is not measured, (G, turns)."""
        drawn = random.Random(f"tokens of step {step}")
        return [[[drawn.choice(self._text) for _ in range(n)] for n in turns] for turns in self._lengths]


def standard_library_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The standard library's top-level modules in order of name, as one run of token ids."""
    text = ""
    for file in sorted(stdlib_root().glob("[a-z]*.py")):
        text += file.read_text(encoding="utf-8", errors="replace")
        if len(text) > TEXT_CHARACTERS:
            break
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]  # type: ignore[assignment]
    return ids
