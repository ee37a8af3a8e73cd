"""Heading tasks: a section's title asks for the section, whose chunks no longer have the title."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from homeground.corpus import Chunk, digest
from homeground.tasks.history import is_changelog
from homeground.tasks.queries import Answer, QueryKind, SearchTask, answer_of

_TRAIL = " > "
_LEAST_WORDS = 2
_LEAST_CHARS = 60
_MOST_TITLE = 100  # characters; a longer one stands on several lines
_NUMBERED = re.compile(r"(?:^| > )(?:cell|page) \d+$")
_VERSION = re.compile(r"\W*(version |release )?v?\d+(\.\d+)+|\W*\d{4}-\d\d", re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])|:[\w:+-]+:`([^`<]*?)(?: *<[^`]*>)?`")
_MARKS = re.compile(r"(?<!\\)</?[a-z][^<>]*>|[`*]|\{#[^{}]*\}|\\(?=\W)|^(?:\d+\.)+\d* +|^\d+\) +|\|")


def heading_tasks(chunks: Iterable[Chunk]) -> list[tuple[SearchTask, dict[str, Chunk]]]:
    """A task, with its masks, for each section without sections of its own whose title no other section has.

    A notebook's section is all cells below its title. Titles of one word, versions, changelogs and sections of less
    than a line of text are left out: nothing could find them.

    Args:
        chunks: of any files; only sections are used.
    """
    sections: defaultdict[tuple[str, str], list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        if chunk.kind == "section" and (symbol := _NUMBERED.sub("", chunk.symbol)):
            sections[chunk.path, symbol].append(chunk)
    times = Counter(_question(symbol).lower() for _, symbol in sections)
    inner = {(path, symbol.rpartition(_TRAIL)[0]) for path, symbol in sections}
    found: list[tuple[SearchTask, dict[str, Chunk]]] = []
    for (path, symbol), parts in sections.items():
        title = _question(symbol)
        if (path, symbol) in inner or times[title.lower()] > 1 or is_changelog(path) or not _asks(title):
            continue
        masks = {chunk.id: _untitled(chunk, symbol) for chunk in parts}
        if sum(len(chunk.text.strip()) for chunk in masks.values()) < _LEAST_CHARS:
            continue
        found.append((_task(answer_of(parts, path, symbol), _in_context(symbol)), masks))
    return found


def _title(symbol: str) -> str:
    return symbol.rpartition(_TRAIL)[2]


def _question(symbol: str) -> str:
    """The title as a reader sees it: without links, marks and its number."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1\2", _title(symbol))).split())


def _in_context(symbol: str) -> str:
    """The title; one of two words ("Setting up") says nothing without the title above it, which stays in the index."""
    title, outer = _question(symbol), _question(symbol.rpartition(_TRAIL)[0])
    return f"{outer}: {title}" if outer and len(title.split()) <= _LEAST_WORDS else title


def _asks(title: str) -> bool:
    words = sum(any(letter.isalpha() for letter in word) for word in title.split())
    return words >= _LEAST_WORDS and len(title) <= _MOST_TITLE and not _VERSION.match(title)


def _task(answer: Answer, title: str) -> SearchTask:
    return SearchTask(digest(QueryKind.HEADING, answer.path, answer.symbol), QueryKind.HEADING, title, (answer,))


def _untitled(chunk: Chunk, symbol: str) -> Chunk:
    """The chunk without its section's title, in the text and in the breadcrumb; its lines keep their numbers."""
    title, outer = _title(symbol), symbol.rpartition(_TRAIL)[0]
    lines = [
        "" if line.strip("#=*-~ \t").startswith(title.strip("#=*-~ ")) else line for line in chunk.text.split("\n")
    ]
    return replace(
        chunk,
        id=digest("untitled", chunk.id),
        # Without a symbol a search keeps it apart from the section around it.
        symbol="",
        header=chunk.header.replace(chunk.symbol, outer).replace(title, "").rstrip(),
        text="\n".join(lines),
    )
