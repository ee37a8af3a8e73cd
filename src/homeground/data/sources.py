"""Training rows from files, folders and data sets of a hub; each knows where it came from."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from homeground.base.errors import HomegroundError
from homeground.base.files import encoding_of
from homeground.training.formats import (
    Example,
    Format,
    Rejected,
    Row,
    RowError,
    example_of,
    first_of,
    format_of,
    unread_fields,
    without_nulls,
)
from homeground.training.turns import strict_json

_SHOWN = 5


@dataclass
class Reading:
    """Examples of a source, and what was rejected or not read.

    Attributes:
        source: as it was named.
        examples: in the order of the source.
        rejected: rows that fit no format.
        unread: number of examples for each field that was not read.
        other_files: number of unread files of a folder for each kind.
    """

    source: str
    examples: list[Example] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter[str])
    other_files: Counter[str] = field(default_factory=Counter[str])

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
        for what, counts in (("fields not read", self.unread), ("files not read", self.other_files)):
            if counts:
                listed = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
                names = [f"{name} ({count})" for name, count in listed]
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                words += f"; {what}: {', '.join(names[:_SHOWN])}{more}"
        return words


def read_examples(source: str, *, limit: int | None = None, strict: bool = False) -> Reading:
    """Read a source whole, or its first rows.

    Args:
        source: a file (.jsonl, .json, .parquet, .csv, .tsv, .txt, .md; all but Parquet also with .gz behind), a folder
            of such files, or ``OWNER/NAME[:SPLIT]`` on the hub (needs a network or a filled cache).
        limit: rows to read at most.
        strict: a rejected row is an error.

    Raises:
        HomegroundError: the source cannot be read, holds nothing that can be trained, or ``strict`` and a row does not
            fit; names file, line and reason.
    """
    reading = Reading(source)
    folder = Path(source).expanduser()
    if folder.is_dir():
        others = (file for file in folder.rglob("*") if file.is_file() and _kind(file) not in _READERS)
        reading.other_files.update(file.suffix or file.name for file in others)
    for place, row in islice(_rows(source), limit):
        try:
            if isinstance(row, RowError):
                raise row
            example = example_of(row)
            origin = row.get("source")
            reading.examples.append(replace(example, place=place, origin=origin if isinstance(origin, str) else ""))
            reading.unread.update(unread_fields(row, example.format))
        except RowError as error:
            if strict:
                raise HomegroundError(str(error), where=place, hint="mend the row, or leave out --strict") from error
            reading.rejected.append(Rejected(place, str(error)))
    if not reading.examples:
        told = first_of(reading.rejected)
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
        files = sorted(file for file in path.rglob("*") if _kind(file) in _READERS and file.is_file())
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


def _kind(path: Path) -> str:
    packed = path.suffix.lower() == ".gz"
    kind = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    return "" if packed and kind == ".parquet" else kind


def _of_file(path: Path) -> Iterator[_Placed]:
    reader = _READERS.get(_kind(path))
    if reader is None:
        raise HomegroundError(f"files of this kind are not read; known are {_known()}", where=str(path))
    try:
        yield from reader(path)
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise HomegroundError(f"it cannot be read: {error}", where=str(path)) from error


def _opened(path: Path) -> IO[bytes]:
    """Open a file as decompressed UTF-8 bytes."""
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path))
    encoding = encoding_of(path)
    return path.open("rb") if encoding == "utf-8-sig" else io.BytesIO(path.read_text(encoding).encode())


def _json_lines(path: Path) -> Iterator[_Placed]:
    with _opened(path) as file:
        # Lines of the file, not of the text: JSON leaves U+2028 and its like unescaped inside strings.
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path}:{number}", _parsed(line, _row)


def _parsed(content: bytes, made: Callable[[Any], Any]) -> Any:
    """Build a value from a JSON document; return a RowError if it is not JSON."""
    try:
        return made(strict_json(content.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        return RowError(f"it cannot be read as UTF-8: {error}")
    except ValueError as error:
        return RowError(f"no JSON: {error}")


def _json(path: Path) -> Iterator[_Placed]:
    with _opened(path) as file:
        found: list[Any] | RowError = _parsed(file.read(), _listed)
    if isinstance(found, RowError):
        yield f"{path}:1", RowError(f"{found} (a file of JSON lines ends in .jsonl)")
        return
    for number, row in enumerate(found, start=1):
        yield f"{path}:{number}", _row(row)


def _listed(document: Any) -> Any:
    if isinstance(document, dict):
        fields = cast("dict[str, Any]", document)
        lists = [value for value in fields.values() if isinstance(value, list)]
        document = lists[0] if len(lists) == 1 and format_of(fields) is None else [document]
    return (
        document if isinstance(document, list) else RowError("it holds neither a list of rows nor an object with one")
    )


def _text(path: Path) -> Iterator[_Placed]:
    with _opened(path) as file:
        try:
            yield f"{path}:1", {"text": file.read().decode("utf-8-sig")}
        except UnicodeDecodeError as error:
            yield f"{path}:1", RowError(f"it cannot be read as UTF-8: {error}")


def _cells(delimiter: str) -> Callable[[Path], Iterator[_Placed]]:
    """Rows of a table of text: cells are kept as they are, and an empty one is no value."""

    def read(path: Path) -> Iterator[_Placed]:
        csv.field_size_limit((1 << 31) - 1)
        with _opened(path) as file:
            reader = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), delimiter=delimiter, strict=True)
            names: list[str] = []
            line = 1
            try:
                for cells in reader:
                    if names and cells:
                        yield f"{path}:{line}", _of_cells(names, cells)
                    names, line = names or cells, reader.line_num + 1
                    if len(set(names)) < len(names):
                        raise csv.Error("two columns have one name")
            except csv.Error as error:
                raise HomegroundError(
                    f"it cannot be read from here on: {error}", where=f"{path}:{line}", hint="mend its quotes"
                ) from error

    return read


def _of_cells(names: list[str], cells: list[str]) -> Row | RowError:
    if len(cells) != len(names):
        return RowError(f"it has {len(cells)} cells, where the header has {len(names)}")
    return {name: cell for name, cell in zip(names, cells, strict=True) if cell}


def _parquet(path: Path) -> Iterator[_Placed]:
    yield from _streamed(str(path), "parquet", data_files=str(path), split="train")


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
            yield f"{source}:{number}", without_nulls(_row(row))
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
    ".parquet": _parquet,
    ".csv": _cells(","),
    ".tsv": _cells("\t"),
    ".txt": _text,
    ".md": _text,
}


def _known() -> str:
    return ", ".join(_READERS)
