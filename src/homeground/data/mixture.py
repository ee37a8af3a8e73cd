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

from homeground.base.errors import HomegroundError
from homeground.data.config import DataConfig, Mixing, SourceConfig
from homeground.training.formats import Example


@dataclass(frozen=True)
class Part:
    """A source of a mixture.

    Attributes:
        config: its name, weight, epochs (an upper bound where shares decide), and examples drawn from it first.
        examples: all that it has.
    """

    config: SourceConfig
    examples: Sequence[Example]

    @property
    def size(self) -> int:
        """Examples that may be taken."""
        return min(len(self.examples), self.config.max_samples or len(self.examples))

    @property
    def most(self) -> float:
        """Examples that its epochs allow."""
        return self.size * self.config.epochs


def mix(parts: Sequence[Part], config: DataConfig = DataConfig(), *, seed: int = 0) -> list[list[Example]]:
    """What is taken of each part; a part that is taken more than once repeats its examples evenly.

    Raises:
        HomegroundError: a share is asked of a part that has nothing, or more rows than its epochs allow.
    """
    counts = _counts(parts, config)
    return [_taken(part, count, seed) for part, count in zip(parts, counts, strict=True)]


def shuffled(taken: Sequence[Sequence[Example]], seed: int) -> list[Example]:
    """The parts put together in an order that the seed decides."""
    examples = [example for part in taken for example in part]
    random.Random(f"{seed}:order").shuffle(examples)
    return examples


def _counts(parts: Sequence[Part], config: DataConfig) -> list[int]:
    if config.mixing is Mixing.ALL:
        return [round(part.most) for part in parts]
    if empty := [part.config.source for part in parts if not part.size]:
        raise HomegroundError(
            "no row of this source is left, so that no share of the mixture can come from it",
            where=empty[0],
            hint="leave it out of data.sources, or see in the run's data.json what was removed",
        )
    if config.mixing is Mixing.WEIGHTS:
        weights = [part.config.weight for part in parts]
    else:
        weights = [part.size ** (1 / config.temperature) for part in parts]
    shares = [weight / sum(weights) for weight in weights]
    most = math.floor(min(part.most / share for part, share in zip(parts, shares, strict=True)) + 1e-9)
    total = max(1, most) if config.rows is None else config.rows
    counts = _apportioned(total, shares)
    for part, count in zip(parts, counts, strict=True):
        if count > math.ceil(part.most):
            raise HomegroundError(
                f"the mixture of {total} rows needs {count} of this source, which has {part.size} "
                f"and allows {part.config.epochs:g} epochs of them",
                where=part.config.source,
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
    rng = random.Random(f"{seed}:{part.config.source}")
    order = rng.sample(list(part.examples), part.size)
    return [order[at % part.size] for at in range(count)]
