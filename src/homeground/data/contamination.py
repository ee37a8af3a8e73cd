"""Training rows that give away what a model is measured on (after Brown et al. 2020, arXiv 2005.14165, appendix C).

A row is removed when it says the same as an evaluation example, asks the same question first, or shares a run of
thirteen words with one. An evaluation text of eight to twelve words is looked for as a whole; a shorter one is too
common to be looked for. As in the paper, a run of words in more than ten rows is a phrase of the data (a template, a
licence) and gives nothing away.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from homeground.data.duplicates import fingerprint
from homeground.tasks import ngrams, words
from homeground.training.formats import Example

LONGEST, SHORTEST = 13, 8
COMMON = 10


class Overlap(StrEnum):
    """What a training row shares with an evaluation example."""

    TEXT = "same text"
    QUESTION = "same question"
    WORDS = "run of words"


@dataclass(frozen=True)
class Measured:
    """What a model is measured on.

    Attributes:
        place: such as ``file:line``.
        texts: what is asked and answered.
        question: what is asked first.
        fingerprint: of an example as a whole.
    """

    place: str
    texts: Sequence[str]
    question: str = ""
    fingerprint: str | None = None

    @classmethod
    def of(cls, example: Example) -> Measured:
        """An evaluation example."""
        return cls(example.place, example.said(), example.question(), fingerprint(example))


@dataclass(frozen=True)
class Contaminated:
    """A row that was removed, the place of the evaluation example, and what they share."""

    place: str
    of: str
    overlap: Overlap
    shared: str = ""


@dataclass
class Clean:
    """Rows that give nothing away, and what was removed for it.

    Attributes:
        examples: in their order.
        removed: the other rows.
        common: shared runs of words that were let pass, because so many rows have them.
    """

    examples: list[Example] = field(default_factory=list)
    removed: list[Contaminated] = field(default_factory=list)
    common: int = 0


def decontaminate(examples: Sequence[Example], measured: Iterable[Measured]) -> Clean:
    """The examples without those that share text with what is measured."""
    known = _Known(measured)
    runs = [known.runs(example) for example in examples]
    frequent = {run for run, count in Counter(run for found in runs for run in found).items() if count > COMMON}
    clean = Clean(common=len(frequent))
    for example, found in zip(examples, runs, strict=True):
        hit = known.whole(example)
        if hit is None and (run := next((run for run in found if run not in frequent), None)) is not None:
            hit = Contaminated(example.place, known.places[run], Overlap.WORDS, run)
        if hit is None:
            clean.examples.append(example)
        else:
            clean.removed.append(hit)
    return clean


class _Known:
    """Where each whole text, question and run of words of the evaluation examples comes from."""

    def __init__(self, measured: Iterable[Measured]) -> None:
        self.places: dict[str, str] = {}
        self._widths: defaultdict[int, set[str]] = defaultdict(set)
        self._fingerprints: dict[str, str] = {}
        self._questions: dict[str, str] = {}
        for one in measured:
            if one.fingerprint is not None:
                self._fingerprints.setdefault(one.fingerprint, one.place)
            if asked := " ".join(words(one.question)):
                self._questions.setdefault(asked, one.place)
            for text in one.texts:
                told = words(text)
                width = min(LONGEST, len(told))
                if width >= SHORTEST:
                    for run in ngrams(told, width):
                        self.places.setdefault(run, one.place)
                        self._widths[width].add(run)

    def runs(self, example: Example) -> list[str]:
        """Runs of words of an example that an evaluation text has too, each once."""
        found: dict[str, None] = {}
        for text in example.said():
            told = words(text)
            for width, known in self._widths.items():
                found.update(dict.fromkeys(run for run in ngrams(told, width) if run in known))
        return list(found)

    def whole(self, example: Example) -> Contaminated | None:
        """The evaluation example that says or asks the same."""
        same = self._fingerprints.get(fingerprint(example))
        if same is not None:
            return Contaminated(example.place, same, Overlap.TEXT)
        asked = " ".join(words(example.question()))
        if asked in self._questions:
            return Contaminated(example.place, self._questions[asked], Overlap.QUESTION, asked)
        return None
