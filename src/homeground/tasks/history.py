"""Commit tasks: a commit's subject asks for the definitions that the commit changed.

The history is read by `homeground.corpus.git`, which runs nothing that a repository configures.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from homeground.corpus import Chunk, below, chunk_lines, digest, language_of, language_of_head
from homeground.corpus.git import Repository, git_installed
from homeground.corpus.languages import HEAD_BYTES
from homeground.tasks.queries import QueryKind, SearchTask, answer_of

_DEFINITIONS = ("function", "method", "class")
_MOST_CHANGED = 5
_LEAST_WORDS = 3
_COMMITS = 400
_LOG_SECONDS = 60
_NO_QUESTION = re.compile(r"(merge|revert|bump|release|fixup|squash|wip)\b", re.IGNORECASE)
_HUNK = re.compile(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@")


@dataclass
class _Commit:
    hash: str
    subject: str
    lines: defaultdict[str, list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[int, int]]](list)
    )
    """Changed lines of each file as the commit left it: first and last, by path below the root."""


def is_repository(root: Path) -> bool:
    """Whether git knows the folder's history."""
    return git_installed() and Repository.around(root) is not None


def commit_tasks(root: Path, chunks: Iterable[Chunk], before: str = "") -> list[SearchTask]:
    """A task for each of the newest commits that changed one to five definitions which the index still has.

    A subject of two commits asks for two things and is left out, and so is one of fewer than three words.

    Args:
        root: indexed folder, in a git repository.
        chunks: of the index.
        before: what stands before paths relative to `root` in those of the chunks.
    """
    known: defaultdict[tuple[str, str], list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        if chunk.kind in _DEFINITIONS:
            known[chunk.path, chunk.symbol].append(chunk)
    paths = {path for path, _ in known}
    repository = Repository.around(root)
    if repository is None:
        return []
    way = below(repository.top, root)
    commits = list(_commits(repository, way))
    times = Counter(commit.subject.lower() for commit in commits)
    found: list[SearchTask] = []
    for commit in commits:
        if times[commit.subject.lower()] > 1 or not _asks(commit.subject) or len(commit.lines) > _MOST_CHANGED:
            continue
        changed = {
            (before + path, symbol)
            for path, spans in commit.lines.items()
            if before + path in paths
            for symbol in _changed_symbols(repository, commit.hash, way + path, spans)
        }
        answers = [answer_of(known[one], *one) for one in sorted(changed) if one in known]
        if answers and len(changed) <= _MOST_CHANGED:
            name = digest(QueryKind.COMMIT, commit.hash)
            found.append(SearchTask(name, QueryKind.COMMIT, commit.subject, tuple(answers)))
    return found


def _asks(subject: str) -> bool:
    return len(subject.split()) >= _LEAST_WORDS and not _NO_QUESTION.match(subject)


def _commits(repository: Repository, way: str) -> Iterator[_Commit]:
    """The newest commits with the lines that they added or changed in a folder, whose path ends in "/"."""
    head = repository.head()
    if not head:
        return
    inside = [f"--relative={way}", head, "--", way] if way else [head, "--"]
    text = repository.read(
        "log", "--no-merges", f"--max-count={_COMMITS}", "--format=%x00%H%x00%s%x00", "--patch", "--unified=0",
        "--no-color", "--no-ext-diff", "--no-textconv", "--no-show-signature", "--no-renames", *inside,
        errors="replace", seconds=_LOG_SECONDS,
    )  # fmt: skip
    _, *parts = text.split("\0")
    for at in range(0, len(parts) - 2, 3):
        commit = _Commit(parts[at], parts[at + 1])
        path = ""
        for line in parts[at + 2].split("\n"):
            if line.startswith("+++ "):
                path = line.removeprefix("+++ ").removeprefix("b/").rstrip("\t")
            elif path and (hunk := _HUNK.match(line)):
                start, count = int(hunk[1]), int(hunk[2] or 1)
                commit.lines[path].append((start, start + max(count, 1) - 1))
        yield commit


def _changed_symbols(repository: Repository, commit: str, path: str, spans: Sequence[tuple[int, int]]) -> set[str]:
    source = repository.read("cat-file", "blob", f"{commit}:{path}", errors="replace")
    language = language_of(path) or language_of_head(source[:HEAD_BYTES].encode())
    if language is None or not source:
        return set()
    return {
        chunk.symbol
        for chunk in chunk_lines(path, source.split("\n"), language)
        if chunk.kind in _DEFINITIONS and any(chunk.start <= last and first <= chunk.end for first, last in spans)
    }
