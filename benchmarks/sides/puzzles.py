"""Tasks of `reasoning-gym` as prompts with worked examples, scored by its own verifiers.

    python -m benchmarks.sides.puzzles --probe

samples the untrained model on every candidate and prints its mean reward: a task is of use when that is above zero
and siblings disagree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from homeground.base.errors import HomegroundError


@dataclass(frozen=True)
class PuzzleKind:
    """A generator and its settings.

    Attributes:
        name: reasoning-gym's.
        title: for people.
        settings: of the generator.
        shown: worked examples before the question.
        max_tokens: longest answer.
        short: cuts the generator's question to what matters.
    """

    name: str
    title: str
    settings: dict[str, Any] = field(default_factory=dict)
    shown: int = 4
    max_tokens: int = 12
    short: Callable[[str], str] = str.strip


@dataclass(frozen=True)
class Puzzle:
    """One question; ``score`` is the reward of a completion in [0, 1]."""

    prompt: str
    score: Callable[[str], float]


CANDIDATES = (
    PuzzleKind("chain_sum", "sums of two one-digit numbers",
               {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    PuzzleKind("chain_sum", "sums of two two-digit numbers",
               {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2}),
    PuzzleKind("number_sorting", "sorting three numbers", {"min_numbers": 3, "max_numbers": 3, "min_decimals": 0,
               "max_decimals": 0, "min_value": 0, "max_value": 99}, max_tokens=20),
    PuzzleKind("spell_backward", "spelling words backward", {"min_word_len": 3, "max_word_len": 4}),
    PuzzleKind("letter_counting", "counting letters", {"min_words": 3, "max_words": 5}),
    PuzzleKind("word_sorting", "sorting three words", {"min_words": 3, "max_words": 3, "min_word_length": 3,
               "max_word_length": 6}, max_tokens=24),
    PuzzleKind("gcd", "greatest common divisors", {"min_numbers": 2, "max_numbers": 2, "min_value": 1,
               "max_value": 30}),
    PuzzleKind("products", "products of one-digit numbers",
               {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    PuzzleKind("leg_counting", "counting legs", {"min_animals": 1, "max_animals": 2, "min_instances": 1,
               "max_instances": 3}),
    PuzzleKind("count_bits", "counting bits", {"min_n": 1, "max_n": 64}),
)  # fmt: skip
PUZZLE = CANDIDATES[0]


def make_puzzles(kind: PuzzleKind, count: int, seed: int) -> list[Puzzle]:
    """Different questions, each behind the same worked examples.

    Raises:
        HomegroundError: reasoning-gym is not installed.
    """
    try:
        import reasoning_gym
    except ImportError as cause:
        raise HomegroundError(
            "the tasks of this benchmark come from reasoning-gym, which is not installed",
            hint="run 'make bench-learning', or install '.[bench]'",
        ) from cause
    shown = reasoning_gym.create_dataset(kind.name, size=kind.shown, seed=10_000_019, **kind.settings)
    examples = "".join(f"Question: {kind.short(e['question'])}\nAnswer: {e['answer']}\n\n" for e in shown)
    puzzles: dict[str, Puzzle] = {}
    # Small generators repeat themselves: a question is asked once as long as there are others.
    dataset = reasoning_gym.create_dataset(kind.name, size=4 * count, seed=seed, **kind.settings)
    for entry in dataset:
        prompt = f"{examples}Question: {kind.short(entry['question'])}\nAnswer with the result alone."
        puzzles.setdefault(prompt, Puzzle(prompt, _scorer(dataset, entry)))
        if len(puzzles) == count:
            break
    return list(puzzles.values())


def _scorer(dataset: Any, entry: dict[str, Any]) -> Callable[[str], float]:
    def score(completion: str) -> float:
        answer = completion.strip().removeprefix("Answer:").strip()
        return float(dataset.score_answer(answer=answer, entry=entry))

    return score


def main() -> None:
    """Sample the untrained model on the candidates."""
    import torch

    from benchmarks.sides.ours import bench_policy
    from homeground.base.hardware import usable_cores
    from homeground.rollouts import DirectSource, Sampler

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", action="store_true", required=True)
    parser.add_argument("--tasks", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    policy = bench_policy()
    with Sampler(policy) as sampler:
        for kind in CANDIDATES:
            puzzles = {p.prompt: p for p in make_puzzles(kind, options.tasks, 0)}
            source = DirectSource(policy, sampler, lambda p, c: puzzles[p].score(c), max_tokens=kind.max_tokens)  # noqa: B023
            rollouts = source.collect(list(puzzles), 8, 0)
            rewards = torch.tensor([t.reward for t in rollouts]).view(-1, 8)
            mixed = float((rewards.std(1) > 0).float().mean())
            tokens = len(rollouts[0].turns[0].prompt_ids)
            print(
                f"{kind.title:32} reward {float(rewards.mean()):.3f}, groups with signal {mixed:.2f}, prompt {tokens}, "
                f"said {[t.outcome for t in rollouts[:4]]}"
            )


if __name__ == "__main__":
    main()
