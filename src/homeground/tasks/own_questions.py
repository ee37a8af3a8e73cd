"""Questions that a user wrote, with the places that answer them.

A file of JSON lines: `{"question": "...", "places": ["path", "path::Symbol", "path:12-30"]}`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from homeground.base.config import Config
from homeground.base.errors import HomegroundError
from homeground.base.files import read_text
from homeground.corpus import Chunk, digest, own_name
from homeground.tasks.queries import Answer, QueryKind, SearchTask, answer_of

_LINES = re.compile(r"(.+):(\d+)(?:-(\d+))?")
_SHAPE = '{"question": "...", "places": ["path", "path::Symbol", "path:12-30"]}'

_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _OwnQuestion(Config):
    question: _Words = Field(description="question as a user asks it")
    places: list[_Words] = Field(
        min_length=1, description="what answers it: each a file, a definition or section of a file, or lines of a file"
    )


def own_tasks(file: Path, chunks: Iterable[Chunk]) -> list[SearchTask]:
    """The tasks of a file of questions; empty lines are skipped.

    Args:
        file: JSON lines.
        chunks: of the index, which must have every place.

    Raises:
        HomegroundError: the file cannot be read, a line is no question, or the index lacks a place; `where` is
            FILE:LINE.
    """
    by_file: defaultdict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        by_file[chunk.path].append(chunk)
    try:
        lines = read_text(file).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise HomegroundError(
            f"the questions cannot be read: {error}", where=str(file), hint=f"a line is {_SHAPE}"
        ) from None
    found: dict[str, SearchTask] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            one = _OwnQuestion.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise HomegroundError(
                f"this line is no question: {key + ': ' if key else ''}{first['msg']}",
                where=where,
                hint=f"write {_SHAPE}",
            ) from None
        name = digest(QueryKind.OWN, one.question)
        if name in found:
            raise HomegroundError(
                "this question was asked on a line above", where=where, hint="name all its places on one line"
            )
        answers = tuple(_answer(place, by_file, where) for place in dict.fromkeys(one.places))
        found[name] = SearchTask(name, QueryKind.OWN, one.question, answers)
    if not found:
        raise HomegroundError("the file has no question", where=str(file), hint=f"a line is {_SHAPE}")
    return list(found.values())


def _answer(place: str, by_file: Mapping[str, Sequence[Chunk]], where: str) -> Answer:
    path, _, symbol = place.removeprefix("./").partition("::")
    if path in by_file:
        chunks = by_file[path]
        end = max(chunk.end for chunk in chunks)
        if not symbol:
            return Answer(path, "", ((1, end),))
        parts = [chunk for chunk in chunks if chunk.symbol == symbol]
        if not parts:
            # A part of a class or of a section is below it.
            parts = [chunk for chunk in chunks if chunk.symbol.startswith((f"{symbol}.", f"{symbol} > "))]
        if not parts:
            symbols = list(dict.fromkeys(chunk.symbol for chunk in chunks if chunk.symbol))
            same = [one for one in symbols if own_name(one) == own_name(symbol)]
            near = same or get_close_matches(symbol, symbols, 1, 0)
            raise _unknown(place, where, f"{path}::{near[0]}" if near else path)
        return answer_of(parts, path, symbol)
    if not symbol and (lines := _LINES.fullmatch(path)) and lines[1] in by_file:
        end = max(chunk.end for chunk in by_file[lines[1]])
        first, last = int(lines[2]), int(lines[3] or lines[2])
        if not 1 <= first <= last <= end:
            raise _unknown(place, where, f"{lines[1]}:1-{end}")
        return Answer(lines[1], "", ((first, last),))
    near = get_close_matches(path, by_file, 1, 0)
    raise _unknown(place, where, near[0] if near else "")


def _unknown(place: str, where: str, near: str) -> HomegroundError:
    return HomegroundError(
        f"the index does not have {place}",
        where=where,
        hint=f"nearest is {near}" if near else "index the files that the places name: homeground index",
    )
