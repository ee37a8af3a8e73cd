"""Look-up tasks: "which definition does this?", asked with the first sentence of its documentation comment.

No labels and no judge: the gold answer is the definition whose comment it is. For the tasks, that comment is taken out
of the indexed text (`TaskSet.masks`), with those of its twins (a declaration in a header, a trait's implementation),
so a question can only be answered by what the code does. Held-out tasks come from other files than the train tasks,
and train questions that nearly repeat a held-out one are dropped and counted.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from homeground.base.errors import HomegroundError
from homeground.corpus import Chunk, SourceFile, digest, language_of, language_of_head, own_name
from homeground.corpus.documentation import Documentation, documentation
from homeground.corpus.encoding import unreadable
from homeground.corpus.ignore import Patterns
from homeground.corpus.languages import HEAD_BYTES
from homeground.corpus.reading import DOCUMENTS
from homeground.index import Index
from homeground.tasks.config import TasksConfig
from homeground.tasks.contents import contents
from homeground.tasks.decontaminate import near_duplicates
from homeground.tasks.mask import mask
from homeground.tasks.questions import NOT_ASKED, refusal
from homeground.tasks.task import LookupTask, Split
from homeground.tasks.taskset import TaskSet

LEAST_A_FILE = 12
"""A file may always give this many tasks."""
SHARE_OF_A_FILE = 2
"""... and this many times its even share: without a limit a tenth of the standard library's would ask about tkinter."""
MOST_OVER = 1.25
"""The held-out share may be exceeded by this factor, as files are not divided."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A definition that can be asked for, with all places that define the same."""

    path: str
    symbol: str
    question: str
    twins: tuple[tuple[str, Documentation], ...]


def build_lookup_tasks(index: Index, config: TasksConfig = TasksConfig(), *, seed: int = 0) -> TaskSet:
    """Tasks from the documentation comments of an index; the same index, arguments and seed give the same tasks.

    A question that definitions of different names share is dropped (it has no one answer), and so is one that says
    the definition's own name. Where they have the same name, each of them is right. Of one file at most
    `LEAST_A_FILE` tasks are drawn, or twice its even share of those that are wanted.

    Args:
        index: the full index; its chunks are what gets masked.
        config: how many tasks, of which questions; `findable` is for `keep_findable`.
        seed: seed of the split and of the draw.

    Raises:
        HomegroundError: there are too few files with documentation comments to hold any out.
    """
    removed: Counter[str] = Counter()
    by_file: defaultdict[str, list[Chunk]] = defaultdict(list)
    for chunk in index.chunks():
        by_file[chunk.path].append(chunk)
    sources = indexed_sources(index, sorted(by_file), removed)
    found = _candidates(sources, config, removed)
    symbols = {(chunk.path, chunk.symbol) for chunks in by_file.values() for chunk in chunks}
    candidates = [one for one in found if (one.path, one.symbol) in symbols]
    rng = random.Random(seed)
    files = {one.path for one in candidates}
    if len(files) < 2:
        raise _too_few(index, sorted(by_file), len(files), config)
    held = _held(found, config.heldout_share, rng)  # of all, as `heldout_files` has no index to filter by
    rng.shuffle(candidates)
    most = max(LEAST_A_FILE, math.ceil(SHARE_OF_A_FILE * (config.train + config.heldout) / len(files)))
    candidates = _few_of_each_file(candidates, most)
    chosen = [one for one in candidates if one.path in held][: config.heldout]
    rest = [one for one in candidates if one.path not in held]
    learned, repeats = without_repeats(rest, chosen, config)
    masks: dict[str, Chunk] = {}
    for one in (*learned, *chosen):
        for path, twin in one.twins:
            masks |= _masks(by_file[path], twin, masks)
    return TaskSet(
        train=[_task(one, Split.TRAIN) for one in learned],
        heldout=[_task(one, Split.HELDOUT) for one in chosen],
        removed_near_duplicates=repeats,
        removed=dict(sorted((+removed).items())),
        masks=masks,
    )


def without_repeats[T: (_Candidate, LookupTask)](
    rest: Sequence[T], heldout: Sequence[T], config: TasksConfig
) -> tuple[list[T], int]:
    """Train tasks that do not nearly repeat a held-out question, as many as are wanted, and how many did."""
    asked, held = ([one.question for one in ones] for ones in (rest, heldout))
    repeats = set(near_duplicates(asked, held, config.near_duplicate))
    return [one for at, one in enumerate(rest) if at not in repeats][: config.train], len(repeats)


def _too_few(index: Index, paths: Sequence[str], usable: int, config: TasksConfig) -> HomegroundError:
    """Error that tells what the indexed files have instead."""
    found = contents(indexed_sources(index, paths, Counter()), config)
    listed = "; ".join(f"{language}: {count.words()}" for language, count in found.items()) or "no file"
    others = (
        "`homeground eval search` also asks from headings and from the git history, and `homeground data` makes rows"
    )
    return HomegroundError(
        f"only {usable} of the indexed files {'has' if usable == 1 else 'have'} a definition with a usable "
        f"documentation comment, and two are needed; found {listed}",
        where=", ".join(map(str, index.roots)),
        hint=f"write or index comments that begin with a sentence of {config.min_chars} to {config.max_chars} "
        f"characters; files of tests count only if tasks.exclude lets them; {others}",
    )


def heldout_files(sources: Iterable[SourceFile], config: TasksConfig, *, seed: int) -> frozenset[str]:
    """Paths of the files that `build_lookup_tasks` holds out, of an index of the same files with the same arguments.

    A file that gives no task is in neither of its splits; such files are held out by a hash of their path, in the same
    share, rounded up.
    """
    sources = list(sources)
    removed: Counter[str] = Counter()
    candidates = _candidates(sources, config, removed)
    silent = {source.path for source in sources} - {one.path for one in candidates}
    held = _held(candidates, config.heldout_share, random.Random(seed)) if candidates else set[str]()
    most = len(silent) - (not candidates and len(silent) > 1)  # without any question each split still gets a file
    by_chance = sorted(silent, key=lambda path: _by_hash(path, seed))
    return frozenset(held.union(by_chance[: min(most, math.ceil(config.heldout_share * len(silent)))]))


def _by_hash(path: str, seed: int) -> float:
    """A number from 0 to 1 that is a file's own, whatever other files there are."""
    return int(digest(str(seed), path)[:8], 16) / 2**32


def _held(candidates: Sequence[_Candidate], share: float, rng: random.Random) -> set[str]:
    """Files drawn by chance that have about this share of the candidates; one is always held out, and one never."""
    of_file = Counter(one.path for one in candidates)
    shuffled = sorted(of_file)
    rng.shuffle(shuffled)
    wanted, got = share * len(candidates), 0
    held: set[str] = set()
    for path in shuffled:
        if got < wanted and got + of_file[path] <= MOST_OVER * wanted:
            held.add(path)
            got += of_file[path]
    if not held:
        held = {min(shuffled, key=lambda path: of_file[path])}
    return held if len(held) < len(shuffled) else held - {shuffled[0]}


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
    asking: defaultdict[str, list[tuple[str, Documentation]]] = defaultdict(list)
    defined: defaultdict[str, list[tuple[str, Documentation]]] = defaultdict(list)
    excluded = Patterns.of_ignore_file(config.exclude)
    for source in sources:
        found_here = documentation(source.lines(), source.language)
        if excluded.covers(source.path):
            removed["a test"] += sum(not one.unusable for one in found_here)
            continue
        for one in found_here:
            if one.kind not in NOT_ASKED:
                defined[one.symbol].append((source.path, one))
            if reason := refusal(one, config):
                removed[reason] += 1
            else:
                asking[one.summary.lower()].append((source.path, one))
    found: list[_Candidate] = []
    for twins in asking.values():
        if len({own_name(one.symbol) for _, one in twins}) > 1:
            removed["shared by definitions of several names"] += len(twins)
            continue
        askable = [(path, one) for path, one in twins if one.kind not in NOT_ASKED]
        if not askable and len({one.symbol for _, one in twins}) == 1:  # C documents what a header declares
            askable = [(path, one) for path, one in defined[twins[0][1].symbol] if one.unusable]
            twins.extend(askable)
        if not askable:
            removed["declared without a body"] += len(twins)
            continue
        path, one = max(askable, key=lambda twin: twin[1].end - twin[1].start)  # the implementation of a declaration
        found.append(_Candidate(path, one.symbol, twins[0][1].summary, tuple(twins)))
    return found


def _few_of_each_file(candidates: Sequence[_Candidate], most: int) -> list[_Candidate]:
    drawn: Counter[str] = Counter()
    few: list[_Candidate] = []
    for one in candidates:
        drawn[one.path] += 1
        if drawn[one.path] <= most:
            few.append(one)
    return few


def _masks(chunks: Sequence[Chunk], twin: Documentation, done: dict[str, Chunk]) -> dict[str, Chunk]:
    """Masks of one comment, on top of those that its chunks already have."""
    current = [replace(done[chunk.id], id=chunk.id) if chunk.id in done else chunk for chunk in chunks]
    return mask(current, twin.spans)


def _task(one: _Candidate, split: Split) -> LookupTask:
    gold = f"{one.path}::{one.symbol}"
    also = {f"{path}::{twin.symbol}" for path, twin in one.twins if twin.kind not in NOT_ASKED} - {gold}
    return LookupTask(
        id=digest(gold, one.question)[:16],
        question=one.question,
        gold=gold,
        path=one.path,
        symbol=one.symbol,
        split=split,
        also=tuple(sorted(also)),
    )
