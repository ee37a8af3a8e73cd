"""`homeground data`: rows for fine-tuning from a person's own corpus, in two splits that share no module."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_json, atomic_write_jsonl
from homeground.base.kinds import OF_CORPUS, DataKind
from homeground.corpus import Corpus, SourceFile, find_secrets
from homeground.corpus.skip import LeftOutError
from homeground.data.config import EXACT_ONLY
from homeground.data.contamination import Measured, decontaminate
from homeground.data.duplicates import distinct
from homeground.data.functions import functions
from homeground.data.own import (
    OwnRow,
    answer_row,
    completion_row,
    documentation_question,
    documentation_row,
    heading_question,
)
from homeground.pipeline.workbench import Workbench
from homeground.training.formats import Example, Format

if TYPE_CHECKING:
    from homeground.data.own import Question

TRAIN_ROWS, REPLAY_ROWS = 600, 100
TRIES_A_ROW = 2
"""How many questions are searched for a wanted answer: of about half, the place is among the first hits."""


@dataclass
class Written:
    """One kind's rows on disk: how many, where, and what was left out for which reason."""

    train: int
    heldout: int
    train_file: Path
    heldout_file: Path
    removed: Counter[str] = field(default_factory=Counter[str])

    def to_json(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "heldout": self.heldout,
            "removed": dict(sorted(self.removed.items())),
            "train_file": str(self.train_file),
            "heldout_file": str(self.heldout_file),
        }


class OwnData:
    """Makes the rows of each kind and writes them; reads the corpus once.

    Args:
        bench: recipe (its corpus and tasks), workspace (its index and tasks).
        train, heldout: rows of a kind at most.
    """

    def __init__(self, bench: Workbench, *, train: int, heldout: int) -> None:
        recipe = bench.recipe
        self._bench = bench
        self._most = {False: train, True: heldout}
        self._seed = recipe.seed
        bar = bench.progress.bar("reading the corpus")
        sources: list[SourceFile] = []
        corpus = Corpus([Path(root) for root in recipe.corpus.roots], recipe.corpus)
        for _, source in corpus:
            try:
                source.lines()
            except LeftOutError:  # an index leaves it out too
                continue
            sources.append(source)
            bar.advance()
        self.paths = frozenset(source.path for source in sources)
        self.held = _held(bench, sources)
        self._functions = [one for source in sources for one in functions(source)]
        bar.done(f"{len(sources)} files ({len(self.held)} held out), {len(self._functions)} functions")

    def write(self, kind: DataKind, folder: Path) -> Written:
        """Make one kind's rows and write ``KIND/train.jsonl`` and ``KIND/heldout.jsonl`` below the folder.

        Raises:
            HomegroundError: the corpus gives no row of this kind for one of the splits, or what it needs is missing.
        """
        makers: dict[DataKind, Callable[[], Iterator[OwnRow]]] = {
            DataKind.TRAJECTORIES: self._trajectories,
            DataKind.DOCUMENTATION: self._documentation,
            DataKind.COMPLETION: self._completions,
            DataKind.ANSWERS: self._answers,
        }
        bar = self._bench.progress.bar(f"making {kind}")
        rows: dict[bool, list[OwnRow]] = {False: [], True: []}
        for row in makers[kind]():
            bar.advance()
            rows[row.path in self.held].append(row)
        removed: Counter[str] = Counter()
        heldout = _without_secrets(rows[True], self._most[True], removed)
        train, repeated = clean(rows[False], heldout)
        train = _without_secrets(train, self._most[False], removed)
        removed += repeated
        if not train or not heldout:
            which = "train" if heldout else "held-out"
            raise HomegroundError(
                f"the corpus gives no {which} rows of {kind}",
                where=", ".join(self._bench.recipe.corpus.roots),
                hint=_NEEDS[kind],
            )
        written = Written(
            len(train), len(heldout), folder / kind / "train.jsonl", folder / kind / "heldout.jsonl", removed
        )
        atomic_write_jsonl(written.train_file, (row.to_json() for row in train))
        atomic_write_jsonl(written.heldout_file, (row.to_json() for row in heldout))
        bar.done(f"{written.train} train and {written.heldout} held-out rows")
        return written

    def _documentation(self) -> Iterator[OwnRow]:
        return iter(
            _shuffled([row for one in self._functions if (row := documentation_row(one)) is not None], self._seed)
        )

    def _completions(self) -> Iterator[OwnRow]:
        from homeground.base.model_files import read_tokenizer
        from homeground.base.weights import resolve_model
        from homeground.data.fim import fim_marks, safe

        tokenizer = read_tokenizer(resolve_model(self._bench.recipe.model.name))
        marks = fim_marks(tokenizer)
        rng = random.Random(self._seed)
        made = (completion_row(one, marks, rng, lambda text: safe(tokenizer, marks, text)) for one in self._functions)
        return iter(_shuffled([row for row in made if row is not None], self._seed))

    def _trajectories(self) -> Iterator[OwnRow]:
        from homeground.agents import scripted_trajectory

        bench = self._bench
        _ = bench.tasks, bench.masked  # the tasks first: without them the index is of no use
        rng = random.Random(self._seed)
        for tasks, most in ((bench.tasks.train, self._most[False]), (bench.tasks.heldout, self._most[True])):
            for task in tasks[:most]:
                if task.path not in self.paths:
                    raise HomegroundError(
                        f"the look-up tasks are of other folders: {task.path} is not in those that were read",
                        where=str(bench.tasks_file),
                        hint="index the same folders and make the tasks again: homeground index, homeground tasks",
                    )
                messages = list(scripted_trajectory(task, bench.search, rng))
                yield OwnRow(task.path, task.symbol, {"messages": messages}, task.question)

    def _answers(self) -> Iterator[OwnRow]:
        index = self._bench.index
        asked: list[Question | None] = [documentation_question(one) for one in self._functions]
        asked += [
            heading_question(chunk.path, chunk.symbol, chunk.text)
            for chunk in index.chunks()
            if chunk.kind == "section" and chunk.path in self.paths
        ]
        made: Counter[bool] = Counter()
        tried: Counter[bool] = Counter()
        for question in _shuffled([one for one in asked if one is not None], self._seed):
            held = question.path in self.held
            if made[held] == self._most[held] or tried[held] == TRIES_A_ROW * self._most[held]:
                continue
            tried[held] += 1
            row = answer_row(question, index.search(question.asked))
            if row is not None:
                made[held] += 1
                yield row


_NEEDS = {
    DataKind.TRAJECTORIES: "make look-up tasks first: homeground index, homeground tasks; both splits need some",
    DataKind.DOCUMENTATION: "it needs functions with documentation comments in at least two files",
    DataKind.COMPLETION: "it needs functions with bodies of their own lines in at least two files",
    DataKind.ANSWERS: "index the same folders first: homeground index; it needs documented functions, or headings with "
    "text below them, in at least two files",
}


def make_data_sets(
    bench: Workbench, kinds: Sequence[DataKind], folder: Path, *, train: int | None, heldout: int
) -> dict[str, Any]:
    """Write rows of some kinds, or with none named of every kind that the corpus gives, and a report of them.

    Args:
        bench: see :class:`OwnData`.
        kinds: in the order in which they are made.
        folder: gets a folder for each kind, and ``report.json``.
        train, heldout: rows of a kind at most; by default `TRAIN_ROWS`, of replay `REPLAY_ROWS`.

    Raises:
        HomegroundError: a kind that was named cannot be made, or none can.
    """
    own: OwnData | None = None
    written: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for kind in kinds or OF_CORPUS:
        if kind is DataKind.REPLAY:
            from homeground.pipeline.replay import write_replay

            written[kind] = write_replay(bench, folder / kind / "train.jsonl", train or REPLAY_ROWS)
            continue
        own = own or OwnData(bench, train=train or TRAIN_ROWS, heldout=heldout)
        try:
            written[kind] = own.write(kind, folder).to_json()
        except HomegroundError as error:
            if kinds:
                raise
            left_out[kind] = str(error)
    if not written:
        raise HomegroundError(
            f"no kind of rows could be made: {'; '.join(left_out.values())}",
            where=", ".join(bench.recipe.corpus.roots),
            hint="name folders with source code or documents (--root), and index them for answers: homeground index",
        )
    report = {
        "folder": str(folder),
        "modules": len(own.paths) if own else 0,
        "heldout_modules": len(own.held) if own else 0,
        "kinds": written,
        "left_out": left_out,
    }
    atomic_write_json(folder / "report.json", report)
    return report


def clean(train: Sequence[OwnRow], heldout: Sequence[OwnRow]) -> tuple[list[OwnRow], Counter[str]]:
    """Train rows that repeat no other and give no held-out row away, and how many did."""
    examples = [_said(row, f"train:{at}") for at, row in enumerate(train)]
    single = distinct(examples, EXACT_ONLY)
    told = decontaminate(single.examples, [Measured.of(_said(row, "held out")) for row in heldout])
    removed = Counter({"repeated": len(single.exact), "in the held-out rows": len(told.removed)})
    kept = {example.place for example in told.examples}
    return [row for row, example in zip(train, examples, strict=True) if example.place in kept], +removed


def _without_secrets(rows: Sequence[OwnRow], most: int, removed: Counter[str]) -> list[OwnRow]:
    """The first rows that hold no secret, as many as are wanted."""
    kept: list[OwnRow] = []
    for row in rows:
        if len(kept) == most:
            break
        if any(find_secrets(text) for text in row.texts()):
            removed["with a secret"] += 1
        else:
            kept.append(row)
    return kept


def _said(row: OwnRow, place: str) -> Example:
    return Example(Format.TEXT, text=row.said, place=place)


def _held(bench: Workbench, sources: Sequence[SourceFile]) -> frozenset[str]:
    """The held-out files: those of the look-up tasks, with which tasks that were made before must agree."""
    from homeground.tasks import heldout_files

    paths = {source.path for source in sources}
    held = heldout_files(sources, bench.recipe.tasks, seed=bench.recipe.seed)
    if bench.tasks_file.is_file():
        made = {task.path: task.path in held for task in bench.tasks.train}
        astray = [path for path, is_held in made.items() if is_held and path in paths]
        astray += [task.path for task in bench.tasks.heldout if task.path in paths - held]
        if astray:
            raise HomegroundError(
                f"the look-up tasks split the corpus otherwise: {astray[0]} is on both sides",
                where=str(bench.tasks_file),
                hint="make them again with the same recipe and seed: homeground tasks",
            )
    return held


def _shuffled[T](items: Sequence[T], seed: int) -> list[T]:
    return random.Random(seed).sample(list(items), len(items))
