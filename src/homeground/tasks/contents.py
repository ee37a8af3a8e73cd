"""Count what a corpus has that tasks can be made from, by language; no index is needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from homeground.corpus import LeftOutError, SourceFile, chunk_lines
from homeground.corpus.documentation import documentation
from homeground.corpus.encoding import decode
from homeground.corpus.ignore import Patterns
from homeground.corpus.reading import DOCUMENTS, split_lines
from homeground.tasks.config import TasksConfig
from homeground.tasks.questions import NOT_ASKED, refusal

PROSE = frozenset({"markdown", "rst", *DOCUMENTS})
"""Languages whose sections are counted."""


@dataclass
class Contents:
    """The files of one language.

    Attributes:
        files: their number.
        bytes: their size.
        tests: how many of them `tasks.exclude` matches; these count in nothing below.
        definitions: functions, methods, classes and other definitions.
        documented: those with a documentation comment that can be a question.
        sections: sections with a heading.
    """

    files: int = 0
    bytes: int = 0
    tests: int = 0
    definitions: int = 0
    documented: int = 0
    sections: int = 0

    def words(self) -> str:
        """The counts as text, such as `12 files (3 tests), 80 definitions, 31 with a usable comment`."""
        parts = [_counted(self.files, "file") + (f" ({self.tests} of them tests)" if self.tests else "")]
        if self.definitions:
            parts.append(f"{_counted(self.definitions, 'definition')}, {self.documented:,} with a usable comment")
        if self.sections:
            parts.append(_counted(self.sections, "section"))
        return ", ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def contents(sources: Iterable[SourceFile], config: TasksConfig, *, most: int | None = None) -> dict[str, Contents]:
    """Count files, definitions and sections by language, most bytes first.

    Args:
        sources: read one after the other.
        config: which comments can be questions, and which files are tests.
        most: bytes to parse at most; files after that count only as files.
    """
    excluded = Patterns.of_ignore_file(config.exclude)
    found: defaultdict[str, Contents] = defaultdict(Contents)
    parsed = 0
    for source in sources:
        count = found[source.language.name]
        count.files += 1
        count.bytes += len(source.data)
        if excluded.covers(source.path):
            count.tests += 1
        elif most is None or parsed + len(source.data) <= most:
            parsed += len(source.data)
            _count(source, config, count)
    return dict(sorted(found.items(), key=lambda item: -item[1].bytes))


def _count(source: SourceFile, config: TasksConfig, count: Contents) -> None:
    name = source.language.name
    if name == "pdf":  # slow to read
        return
    if name in PROSE:
        try:
            text, sections = (source.text, source.text.sections) if name in DOCUMENTS else (None, None)
        except LeftOutError:
            return
        lines = text.lines if text is not None else split_lines(decode(source.data))
        pieces = chunk_lines(source.path, lines, source.language, sections=sections)
        count.sections += len({piece.symbol for piece in pieces if piece.kind == "section"})
        return
    for one in documentation(split_lines(decode(source.data)), source.language):
        count.definitions += one.kind not in NOT_ASKED
        count.documented += one.kind not in NOT_ASKED and not refusal(one, config)
