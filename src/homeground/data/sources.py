"""Training rows from files, folders and data sets of a hub; each knows where it came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.base.files import encoding_of, read_text
from homeground.data.formats import Example, Format, Row, RowError, example_of

_SHOWN = 5


@dataclass(frozen=True)
class Rejected:
    """A row that teaches nothing: where it is (file:line, or file:row from 1) and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass
class Reading:
    """What a source holds.

    Attributes:
        source: as it was named.
        examples: in the order of the source.
        rejected: rows that fit no format.
    """

    source: str
    examples: list[Example] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many were read."""
        return len(self.examples) + len(self.rejected)

    @property
    def formats(self) -> dict[Format, int]:
        """Examples of each format, the most frequent first."""
        return dict(Counter(example.format for example in self.examples).most_common())

    def describe(self) -> str:
        """One line for people."""
        found = ", ".join(f"{count} {kind}" for kind, count in self.formats.items()) or "nothing"
        words = f"{self.source}: {found}"
        if self.rejected:
            words += f"; {len(self.rejected)} of {self.rows} rows rejected ({len(self.rejected) / self.rows:.1%})"
        return words


def read_examples(source: str, *, limit: int | None = None, strict: bool = False) -> Reading:
    """Read a source whole, or its first rows.

    Args:
        source: a file (.jsonl, .json, .parquet, .csv, .txt, .md), a folder of such files, or ``OWNER/NAME[:SPLIT]`` on
            the hub (needs a network or a filled cache).
        limit: rows to read at most.
        strict: a rejected row is an error.

    Raises:
        HomegroundError: the source cannot be read, holds nothing that can be trained, or ``strict`` and a row does not
            fit; names file, line and reason.
    """
    reading = Reading(source)
    for place, row in islice(_rows(source), limit):
        try:
            if isinstance(row, RowError):
                raise row
            reading.examples.append(replace(example_of(row), place=place))
        except RowError as error:
            if strict:
                raise HomegroundError(str(error), where=place, hint="mend the row, or leave out --strict") from error
            reading.rejected.append(Rejected(place, str(error)))
    if not reading.examples:
        told = "; ".join(map(str, reading.rejected[:_SHOWN]))
        raise HomegroundError(
            f"none of its {reading.rows} rows can be trained: {told}" if told else "it holds no rows",
            where=source,
            hint='one row a line, like {"messages": [{"role": "user", "content": "..."}, '
            '{"role": "assistant", "content": "..."}]}; see docs/data.md for the other formats',
        )
    return reading


type _Placed = tuple[str, Row | RowError]


def _rows(source: str) -> Iterator[_Placed]:
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _READERS and file.is_file())
        if not files:
            raise HomegroundError(f"no file of a known kind ({_known()}) is in it", where=source)
        for file in files:
            yield from _of_file(file)
    elif path.exists():
        yield from _of_file(path)
    elif source.count("/") == 1 and not path.suffix:
        yield from _of_hub(source)
    else:
        raise HomegroundError("there is no such file", where=source, hint=f"kinds of files: {_known()}; or OWNER/NAME")


def _of_file(path: Path) -> Iterator[_Placed]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise HomegroundError(f"files of this kind are not read; known are {_known()}", where=str(path))
    try:
        yield from reader(path)
    except (OSError, UnicodeError) as error:
        raise HomegroundError(f"it cannot be read: {error}", where=str(path)) from error


def _json_lines(path: Path) -> Iterator[_Placed]:
    with path.open(encoding=encoding_of(path), newline="\n") as file:
        # Lines of the file, not of the text: JSON leaves U+2028 and its like unescaped inside strings.
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f"{path}:{number}"
                try:
                    yield place, _row(json.loads(line))
                except ValueError as error:
                    yield place, RowError(f"no JSON: {error}")


def _json(path: Path) -> Iterator[_Placed]:
    try:
        document: Any = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise HomegroundError(
            f"no JSON: {error}", where=f"{path}:{error.lineno}", hint="name a file of JSON lines .jsonl"
        ) from error
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = lists[0] if len(lists) == 1 and "messages" not in document else [document]
    if not isinstance(document, list):
        raise HomegroundError("it holds neither a list of rows nor an object with one", where=str(path))
    for number, row in enumerate(document, start=1):
        yield f"{path}:{number}", _row(row)


def _text(path: Path) -> Iterator[_Placed]:
    yield f"{path}:1", {"text": read_text(path)}


def _table(kind: str) -> Callable[[Path], Iterator[_Placed]]:
    def read(path: Path) -> Iterator[_Placed]:
        yield from _streamed(str(path), kind, data_files=str(path), split="train")

    return read


def _of_hub(source: str) -> Iterator[_Placed]:
    name, _, split = source.partition(":")
    yield from _streamed(source, name, split=split or "train")


def _streamed(source: str, name: str, **options: Any) -> Iterator[_Placed]:
    from datasets import load_dataset
    from datasets.utils import logging as datasets_logging

    datasets_logging.disable_progress_bar()
    try:
        rows = load_dataset(name, streaming=True, **options)
        for number, row in enumerate(rows, start=1):
            yield f"{source}:{number}", _row(row)
    except Exception as error:  # datasets raises errors of every library that it reads with
        raise HomegroundError(
            f"it cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            where=source,
            hint="is it what its name says? A data set of the hub needs a network",
        ) from error


def _row(value: Any) -> Row | RowError:
    return value if isinstance(value, dict) else RowError("the row is no object with fields")


_READERS: dict[str, Callable[[Path], Iterator[_Placed]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".parquet": _table("parquet"),
    ".csv": _table("csv"),
    ".txt": _text,
    ".md": _text,
}


def _known() -> str:
    return ", ".join(_READERS)
