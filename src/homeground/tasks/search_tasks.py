"""Search tasks of every kind from one index, all about files that nothing is trained on."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from homeground.base.errors import HomegroundError
from homeground.corpus import Chunk, below, digest, own_name
from homeground.corpus.ignore import Patterns
from homeground.index import Index
from homeground.tasks.config import TasksConfig
from homeground.tasks.headings import heading_tasks
from homeground.tasks.history import changelog_masks, commit_tasks, is_repository, newest
from homeground.tasks.lookup import build_lookup_tasks, heldout_files, indexed_sources
from homeground.tasks.own_questions import own_tasks
from homeground.tasks.queries import QueryKind, SearchTask, SearchTasks, answer_of
from homeground.tasks.task import LookupTask

_DEFINITIONS = ("function", "method", "class")
_LEAST_NAME = 4


def build_search_tasks(index: Index, config: TasksConfig = TasksConfig(), *, each: int, seed: int = 0) -> SearchTasks:
    """Tasks from the corpus itself: no labels, and every answer can be checked.

    A documentation comment asks for its definition, a heading for its section, what a commit says for what it changed,
    a name for its definition; the user's own questions come on top. The text that asks is taken out of the index, and
    so are changelogs where commits ask. Comments, headings and names are of the files that `build_lookup_tasks` holds
    out, which `homeground tune` does not train on; commits are the newest. Files of `tasks.exclude` give none.

    Args:
        index: the full index.
        config: lengths of questions, the share of files and of commits that is held out, and the file of own questions.
        each: most tasks of a kind.
        seed: seed of the split and of the draw.

    Raises:
        HomegroundError: the corpus gives no task of any kind, or the own questions are not right.
    """
    chunks = index.chunks()
    made = SearchTasks()
    own = own_tasks(Path(config.questions), chunks) if config.questions else []
    sources = indexed_sources(index, sorted({chunk.path for chunk in chunks}), Counter())
    files = heldout_files(sources, config, seed=seed)
    excluded = Patterns.of_ignore_file(config.exclude)
    held = [chunk for chunk in chunks if chunk.path in files and not excluded.covers(chunk.path)]
    try:
        asked = build_lookup_tasks(index, config.model_copy(update={"train": 0, "heldout": each}), seed=seed)
        made.tasks.extend(docstring_tasks(asked.heldout, chunks))
        made.masks.update(asked.masks)
    except HomegroundError as error:
        made.missing[QueryKind.DOCSTRING] = error.message
    sections = _drawn(heading_tasks(held), each, seed)
    for task, masks in sections:
        made.tasks.append(task)
        made.masks.update(masks)
    if not sections:
        made.missing[QueryKind.HEADING] = "no held-out section with a title of its own"
    repositories = [root for root in index.roots if is_repository(root)]
    changes = [
        task
        for root in repositories
        for task in newest(commit_tasks(root, chunks, below(index.base, root), made.removed), config.heldout_share)
    ]
    commits = _drawn(changes, each, seed)
    made.tasks.extend(commits)
    if commits:
        asked_for = {answer.path for task in own for answer in task.answers}
        made.masks.update(changelog_masks(chunk for chunk in chunks if chunk.path not in asked_for))
    if not commits:
        made.missing[QueryKind.COMMIT] = "no git history of the indexed folder that changed a few definitions"
    names = _drawn(identifier_tasks(chunks, held), each, seed)
    made.tasks.extend(names)
    if not names:
        made.missing[QueryKind.IDENTIFIER] = "no held-out definition whose name is its own"
    made.tasks.extend(own)
    if not made.tasks:
        raise HomegroundError(
            "nothing in this corpus asks for anything: " + "; ".join(made.missing.values()),
            where=", ".join(map(str, index.roots)),
            hint="index more files with documentation comments or headings, or ask your own: --questions FILE",
        )
    return made


def docstring_tasks(tasks: Sequence[LookupTask], chunks: Iterable[Chunk]) -> list[SearchTask]:
    """Look-up tasks as search tasks: the answer is the function's lines."""
    parts = _by_symbol(chunks)
    return [
        SearchTask(one.id, QueryKind.DOCSTRING, one.question, (answer_of(parts[where], *where),))
        for one in tasks
        if (where := (one.path, one.symbol)) in parts
    ]


def identifier_tasks(chunks: Iterable[Chunk], held: Iterable[Chunk]) -> list[SearchTask]:
    """A task for each definition whose bare name no other has: the name, as someone types it who has read it."""
    parts = _by_symbol(chunk for chunk in chunks if chunk.kind in _DEFINITIONS)
    times = Counter(own_name(symbol) for _, symbol in parts)
    asked = dict.fromkeys((chunk.path, chunk.symbol) for chunk in held)
    found: list[SearchTask] = []
    for path, symbol in asked:
        name = own_name(symbol)
        if (path, symbol) in parts and times[name] == 1 and len(name) >= _LEAST_NAME:
            answer = answer_of(parts[path, symbol], path, symbol)
            found.append(SearchTask(digest(QueryKind.IDENTIFIER, path, symbol), QueryKind.IDENTIFIER, name, (answer,)))
    return found


def _by_symbol(chunks: Iterable[Chunk]) -> dict[tuple[str, str], list[Chunk]]:
    parts: defaultdict[tuple[str, str], list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        parts[chunk.path, chunk.symbol].append(chunk)
    return dict(parts)


def _drawn[T](candidates: Sequence[T], most: int, seed: int) -> list[T]:
    """So many of them by chance, in the order they came."""
    if len(candidates) <= most:
        return list(candidates)
    return [candidates[at] for at in sorted(random.Random(seed).sample(range(len(candidates)), most))]
