"""Sources mixed to exact shares, the same for the same seed.

==============  =========================================================================================
mixing          rows of source i, which has n_i and is taken e_i times
==============  =========================================================================================
all             n_i * e_i
weights         N * w_i / sum(w)
temperature     N * n_i^(1/T) / sum(n^(1/T)) (Arivazhagan et al. 2019, arXiv 1907.05019): T = 1 keeps the
                sizes' shares, a larger T evens them out
==============  =========================================================================================

N is as large as no source needs more than n_i * e_i rows, or what was asked for. Shares are met exactly, up to the
rounding of a row: nothing is drawn by chance but which rows of a source are taken, and their order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from homeground.base.errors import HomegroundError
from homeground.training.formats import Example


class Mixing(StrEnum):
    """See the module's table."""

    ALL = "all"
    WEIGHTS = "weights"
    TEMPERATURE = "temperature"


@dataclass(frozen=True)
class Part:
    """A source of a mixture.

    Attributes:
        name: of the source.
        examples: what it has.
        weight: its share beside the other parts' (`Mixing.WEIGHTS`).
        epochs: how often each example is taken; at most, where shares decide.
        max_samples: examples drawn from it first.
    """

    name: str
    examples: Sequence[Example]
    weight: float = 1.0
    epochs: float = 1.0
    max_samples: int | None = None

    @property
    def size(self) -> int:
        """Examples that may be taken."""
        return min(len(self.examples), self.max_samples or len(self.examples))

    @property
    def most(self) -> float:
        """Examples that its epochs allow."""
        return self.size * self.epochs


def mix(
    parts: Sequence[Part],
    *,
    mixing: Mixing = Mixing.ALL,
    temperature: float = 1.0,
    rows: int | None = None,
    seed: int = 0,
) -> list[list[Example]]:
    """What is taken of each part; a part that is taken more than once repeats its examples evenly.

    Raises:
        HomegroundError: a share is asked of a part that has nothing, or more rows than its epochs allow.
    """
    counts = _counts(parts, mixing, temperature, rows)
    return [_taken(part, count, seed) for part, count in zip(parts, counts, strict=True)]


def shuffled(taken: Sequence[Sequence[Example]], seed: int) -> list[Example]:
    """The parts put together in an order that the seed decides."""
    examples = [example for part in taken for example in part]
    random.Random(f"{seed}:order").shuffle(examples)
    return examples


def _counts(parts: Sequence[Part], mixing: Mixing, temperature: float, rows: int | None) -> list[int]:
    if mixing is Mixing.ALL:
        return [round(part.most) for part in parts]
    if empty := [part.name for part in parts if not part.size]:
        raise HomegroundError(
            "no row of this source is left, so that no share of the mixture can come from it",
            where=empty[0],
            hint="leave it out of data.sources, or see in the run's data.json what was removed",
        )
    weights = [part.weight if mixing is Mixing.WEIGHTS else part.size ** (1 / temperature) for part in parts]
    shares = [weight / sum(weights) for weight in weights]
    most = math.floor(min(part.most / share for part, share in zip(parts, shares, strict=True)) + 1e-9)
    total = max(1, most) if rows is None else rows
    counts = _apportioned(total, shares)
    for part, count in zip(parts, counts, strict=True):
        if count > math.ceil(part.most):
            raise HomegroundError(
                f"the mixture of {total} rows needs {count} of this source, which has {part.size} "
                f"and allows {part.epochs:g} epochs of them",
                where=part.name,
                hint=f"give it epochs: {math.ceil(count / part.size * 100) / 100:g}, or ask for data.rows: {most}",
            )
    return counts


def _apportioned(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers of these shares that add up to the total: largest remainders get the rows left over."""
    exact = [total * share for share in shares]
    counts = [math.floor(one + 1e-9) for one in exact]
    order = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _taken(part: Part, count: int, seed: int) -> list[Example]:
    # Its own generator: what is taken of a source does not change with the others.
    rng = random.Random(f"{seed}:{part.name}")
    order = rng.sample(list(part.examples), part.size)
    return [order[at % part.size] for at in range(count)]
