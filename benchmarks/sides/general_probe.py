"""The questions of the general probe, made with `reasoning-gym`: `python -m benchmarks.sides.general_probe`.

They are kept as a file of the package, so that a probe is the same on every machine and needs no generator; run this
only to make another set. Each question gets three wrong answers of the same shape.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homeground.base.files import atomic_write_jsonl

FILE = Path(__file__).resolve().parents[2] / "src" / "homeground" / "evaluate" / "general" / "reasoning.jsonl"
SEED, EACH = 20_260, 11


def near(answer: str, rng: random.Random) -> list[str]:
    """Three other numbers close by."""
    steps = rng.sample([-10, -3, -2, -1, 1, 2, 3, 10], 8)
    return [str(int(answer) + step) for step in steps if int(answer) + step >= 0][:3]


def permuted(answer: str, rng: random.Random) -> list[str]:
    """The same words in three other orders."""
    words = answer.split(", ")
    found: list[str] = []
    while len(found) < 3:
        other = ", ".join(rng.sample(words, len(words)))
        if other not in (answer, *found):
            found.append(other)
    return found


KINDS: dict[str, tuple[dict[str, Any], Callable[[str, random.Random], list[str]]]] = {
    "chain_sum": ({"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}, near),
    "products": ({"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}, near),
    "gcd": ({"min_numbers": 2, "max_numbers": 2, "max_value": 60}, near),
    "letter_counting": ({"min_words": 3, "max_words": 6}, near),
    "number_sequence": ({}, near),
    "word_sorting": ({"min_words": 3, "max_words": 3, "min_word_length": 3, "max_word_length": 6}, permuted),
    "leg_counting": ({"min_animals": 1, "max_animals": 1, "min_instances": 1, "max_instances": 3}, near),
    "basic_arithmetic": ({"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}, near),
}


def rows() -> list[dict[str, Any]]:
    """Questions of every kind, in order."""
    import reasoning_gym

    rng = random.Random(SEED)
    made: list[dict[str, Any]] = []
    for kind, (settings, wrong) in KINDS.items():
        dataset = reasoning_gym.create_dataset(kind, size=8 * EACH, seed=SEED, **settings)
        asked: dict[str, dict[str, Any]] = {}
        for entry in dataset:
            question, answer = " ".join(str(entry["question"]).split()), str(entry["answer"])
            others = wrong(answer, rng) if answer.lstrip("-").isdigit() or wrong is not near else []
            if len(others) == 3 and len(asked) < EACH:
                asked.setdefault(question, {"kind": kind, "question": question, "answer": answer, "wrong": others})
        made += asked.values()
    return made


if __name__ == "__main__":
    atomic_write_jsonl(FILE, rows())
