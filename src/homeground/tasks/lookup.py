"""Look-up tasks: "which function does this?", asked with a docstring's first paragraph.

No labels and no judge: the gold answer is the symbol whose docstring it is. For the tasks, that docstring is taken out
of the indexed text (`TaskSet.masks`), so a question can only be answered by what the code does. Held-out tasks come
from other files than the train tasks, and train questions that nearly repeat a held-out one are dropped and counted.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from homeground.base.errors import HomegroundError
from homeground.corpus import Chunk, SourceFile, digest, language_of, language_of_head, own_name
from homeground.corpus.encoding import unreadable
from homeground.corpus.languages import HEAD_BYTES
from homeground.corpus.reading import DOCUMENTS
from homeground.index import Index
from homeground.tasks.config import TasksConfig
from homeground.tasks.decontaminate import near_duplicates
from homeground.tasks.docstrings import Docstring, docstrings
from homeground.tasks.mask import mask
from homeground.tasks.task import LookupTask, Split
from homeground.tasks.taskset import TaskSet

MOST_A_FILE = 12
"""Tasks drawn from one file: without a limit a tenth of the standard library's would ask about tkinter."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    path: str
    docstring: Docstring
    question: str


def build_lookup_tasks(index: Index, config: TasksConfig = TasksConfig(), *, seed: int = 0) -> TaskSet:
    """Tasks from the docstrings of an index's Python files; the same index, arguments and seed give the same tasks.

    A question that two functions share is dropped (it has no one answer), and so is one that says the function's own
    name. Of one file at most `MOST_A_FILE` tasks are drawn.

    Args:
        index: the full index; its chunks are what gets masked.
        config: how many tasks, of which questions; `findable` is for `keep_findable`.
        seed: seed of the split and of the draw.

    Raises:
        HomegroundError: there are too few files with docstrings to hold any out.
    """
    removed: Counter[str] = Counter()
    by_file: defaultdict[str, list[Chunk]] = defaultdict(list)
    for chunk in index.chunks():
        if chunk.language == "python":
            by_file[chunk.path].append(chunk)
    sources = indexed_sources(index, sorted(by_file), removed)
    candidates = _distinct(_candidates(sources, config, removed), removed)
    rng = random.Random(seed)
    files = {one.path for one in candidates}
    held = _held(files, config.heldout_share, rng)
    if len(files) - len(held) < 1:
        raise HomegroundError(
            f"only {len(files)} of the indexed files have functions with a usable docstring; two are needed",
            where=", ".join(map(str, index.roots)),
            hint=f"index more Python files with docstrings of {config.min_chars} to {config.max_chars} characters",
        )
    rng.shuffle(candidates)
    candidates = _few_of_each_file(candidates)
    chosen = [one for one in candidates if one.path in held][: config.heldout]
    rest = [one for one in candidates if one.path not in held]
    repeats = set(
        near_duplicates([one.question for one in rest], [one.question for one in chosen], config.near_duplicate)
    )
    learned = [one for at, one in enumerate(rest) if at not in repeats][: config.train]
    masks: dict[str, Chunk] = {}
    for one in (*learned, *chosen):
        masks |= _masks(by_file[one.path], one.docstring, masks)
    return TaskSet(
        train=[_task(one, Split.TRAIN) for one in learned],
        heldout=[_task(one, Split.HELDOUT) for one in chosen],
        removed_near_duplicates=len(repeats),
        removed=dict(sorted(removed.items())),
        masks=masks,
    )


def heldout_files(sources: Iterable[SourceFile], config: TasksConfig, *, seed: int) -> frozenset[str]:
    """Paths of the files that `build_lookup_tasks` holds out, of an index of the same files with the same arguments.

    A file that gives no task is in neither of its splits; such files are held out by a hash of their path, in the same
    share.
    """
    sources = list(sources)
    removed: Counter[str] = Counter()
    asked = {one.path for one in _distinct(_candidates(sources, config, removed), removed)}
    silent = {source.path for source in sources} - asked
    held = _held(asked, config.heldout_share, random.Random(seed)) if asked else set[str]()
    return frozenset(held | {path for path in silent if _by_hash(path, seed) < config.heldout_share})


def _by_hash(path: str, seed: int) -> float:
    """A number from 0 to 1 that is a file's own, whatever other files there are."""
    return int(digest(str(seed), path)[:8], 16) / 2**32


def _held(files: set[str], share: float, rng: random.Random) -> set[str]:
    shuffled = sorted(files)
    rng.shuffle(shuffled)
    return set(shuffled[: max(1, round(share * len(shuffled)))])


def indexed_sources(index: Index, paths: Sequence[str], removed: Counter[str]) -> Iterator[SourceFile]:
    """The indexed files as they are on disk now; those that are gone are counted."""
    for path in paths:
        file = index.resolve(path)
        try:
            data = file.read_bytes()
        except OSError:
            removed["file is gone"] += 1
            continue
        language = language_of(path) or language_of_head(data[:HEAD_BYTES])
        if language is None:  # read because the recipe includes it; it holds no docstrings
            continue
        if language.name in DOCUMENTS or unreadable(data) is None:
            yield SourceFile(file.parent, path, language, data)
        else:
            removed["file is no text any more"] += 1


def _candidates(sources: Iterable[SourceFile], config: TasksConfig, removed: Counter[str]) -> list[_Candidate]:
    found: list[_Candidate] = []
    for source in sources:
        if source.language.name != "python":
            continue
        for docstring in docstrings("\n".join(source.lines())):
            question = docstring.first_paragraph
            if not config.min_chars <= len(question) <= config.max_chars:
                removed["too short or too long"] += 1
            elif says_its_name(question, docstring.symbol):
                removed["says its own name"] += 1
            else:
                found.append(_Candidate(source.path, docstring, question))
    return found


def says_its_name(question: str, symbol: str) -> bool:
    """True when the question holds the function's own name, apart from underscores around it, as a word.

    On the standard library such a question is found at an MRR@10 of 0.45, the others at 0.32.
    """
    name = own_name(symbol).strip("_")
    return bool(name) and re.search(rf"(?<!\w)_*{re.escape(name)}_*(?!\w)", question) is not None


def _distinct(candidates: Sequence[_Candidate], removed: Counter[str]) -> list[_Candidate]:
    times = Counter(one.question.lower() for one in candidates)
    distinct = [one for one in candidates if times[one.question.lower()] == 1]
    removed["shared by several functions"] += len(candidates) - len(distinct)
    return distinct


def _few_of_each_file(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    drawn: Counter[str] = Counter()
    few: list[_Candidate] = []
    for one in candidates:
        drawn[one.path] += 1
        if drawn[one.path] <= MOST_A_FILE:
            few.append(one)
    return few


def _masks(chunks: Sequence[Chunk], docstring: Docstring, done: dict[str, Chunk]) -> dict[str, Chunk]:
    """Masks of one docstring, on top of those that its chunks already have."""
    current = [replace(done[chunk.id], id=chunk.id) if chunk.id in done else chunk for chunk in chunks]
    return mask(current, docstring)


def _task(one: _Candidate, split: Split) -> LookupTask:
    gold = f"{one.path}::{one.docstring.symbol}"
    return LookupTask(
        id=digest(gold, one.question)[:16],
        question=one.question,
        gold=gold,
        path=one.path,
        symbol=one.docstring.symbol,
        split=split,
    )
