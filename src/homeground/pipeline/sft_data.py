"""From the recipe's sources to what is trained: read, clean, hold out, decontaminate, mix; and an account of it.

The order matters. Secrets go first, so that no later list can show one. Near duplicates go before rows are held out, so
that no row has a twin on the other side. What is held out is decided by what a row says, so that it is on the same
side in every run, whatever its seed and whatever rows are added. Rows that share text with anything that is measured
on go last of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.data import (
    EXACT_ONLY,
    Contaminated,
    Duplicate,
    Measured,
    Part,
    Redacted,
    SourceConfig,
    decontaminate,
    distinct,
    fingerprint,
    mix,
    read_examples,
    redact_examples,
    shuffled,
)
from homeground.policy.chat import ConversationError, thoughts_of
from homeground.recipe import Recipe
from homeground.training import Example, Rejected
from homeground.training.rendering import path_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from homeground.tasks import LookupTask

_SIDES = 1 << 32
_SHOWN = 5


@dataclass
class SourceAccount:
    """What became of one source's rows.

    Attributes:
        source: as the recipe names it.
        rows: read, rejected ones included.
        rejected: fit no format.
        secrets: replaced in its rows.
        duplicates: removed, exact and near.
        heldout: never trained on.
        contaminated: removed.
        taken: in the mix, repetitions included.
        share: of the examples in the mix.
        text_share: of the characters that assistants write, or of plain texts.
    """

    source: str
    rows: int = 0
    rejected: int = 0
    secrets: int = 0
    duplicates: int = 0
    heldout: int = 0
    contaminated: int = 0
    taken: int = 0
    share: float = 0.0
    text_share: float = 0.0


@dataclass
class SftData:
    """Examples to train on and to measure the held-out loss on, and what was removed on the way."""

    train: list[Example] = field(default_factory=list)
    heldout: list[Example] = field(default_factory=list)
    sources: list[SourceAccount] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    secrets: list[Redacted] = field(default_factory=list)
    exact_duplicates: list[Duplicate] = field(default_factory=list)
    near_duplicates: list[Duplicate] = field(default_factory=list)
    contaminated: list[Contaminated] = field(default_factory=list)
    common_phrases: int = 0

    def document(self) -> dict[str, Any]:
        """The account as JSON (`docs/schemas/data.json`): counts of each source, and every removal with its place."""
        lists = ("sources", "rejected", "secrets", "exact_duplicates", "near_duplicates", "contaminated")
        listed = {name: [asdict(one) for one in getattr(self, name)] for name in lists}
        counts = {"train": len(self.train), "heldout": len(self.heldout), "common_phrases": self.common_phrases}
        return {**counts, **listed}

    def describe(self) -> str:
        """One line for people."""
        removed = {
            "rejected": len(self.rejected),
            "repeated": len(self.exact_duplicates),
            "nearly repeated": len(self.near_duplicates),
            "contaminated": len(self.contaminated),
        }
        words = [f"{count} {name}" for name, count in removed.items() if count]
        if self.secrets:
            words.append(f"{len(self.secrets)} secrets replaced")
        told = f"{len(self.train)} examples to train on, {len(self.heldout)} held out"
        return f"{told} ({', '.join(words)})" if words else told


def sft_data(
    recipe: Recipe,
    progress: Progress,
    *,
    tasks: Iterable[LookupTask] = (),
    strict: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> SftData:
    """Read the data of the recipe's `data` section, and render each row once.

    Args:
        recipe: its data section names at least one source.
        progress: shows a line for each source.
        tasks: held-out tasks of the run: their questions must not be trained on.
        strict: a rejected row is an error.
        tokenizer: of the model; rows that its chat template refuses are rejected. None leaves all rows unrendered.

    Raises:
        HomegroundError: a source cannot be read or is empty, the mixture cannot be made, or nothing is left.
    """
    section = recipe.data
    data = SftData()
    render = _Renderer(data, tokenizer, strict=strict, only_last=recipe.sft.train_on == "last answer")
    pools = [_read(one, data, progress, render) for one in section.sources]
    # Rows are told apart by identity: two sources may hold files of one name.
    owner = {id(example): account for pool, account in zip(pools, data.sources, strict=True) for example in pool}
    found = distinct([row for pool in pools for row in pool], section.duplicates)
    data.exact_duplicates, data.near_duplicates = found.exact, found.near
    kept, data.heldout = _sides(found.examples, section.heldout.share)
    for row in data.heldout:
        owner[id(row)].heldout += 1
    if section.heldout.source is not None:
        data.heldout = render(_read_measured(section.heldout.source, progress))
        if not data.heldout:
            raise HomegroundError(
                f"none of its rows can be measured: {data.rejected[-1]}",
                where=section.heldout.source,
                hint="mend the rows, or use a model whose chat template takes them",
            )
    measured = [Measured.of(row) for row in data.heldout]
    for source in section.decontaminate:
        measured += [Measured.of(row) for row in _read_measured(source, progress)]
    measured += [Measured(f"task {task.gold}", [task.question], task.question) for task in tasks]
    clean = decontaminate(kept, measured)
    data.contaminated, data.common_phrases = clean.removed, clean.common
    _count(data.sources, owner, pools, found.examples, kept, clean.examples)
    parts = [
        Part(one, [row for row in clean.examples if owner[id(row)] is account])
        for one, account in zip(section.sources, data.sources, strict=True)
    ]
    taken = mix(parts, section, seed=recipe.seed)
    _count_shares(data.sources, taken)
    data.train = shuffled(taken, recipe.seed)
    if not data.train:
        raise HomegroundError(
            f"nothing is left to train on: {data.describe()}" + "".join(f"; {row}" for row in data.rejected[:_SHOWN]),
            where=", ".join(one.source for one in section.sources),
            hint="look at the counts: see data.duplicates, data.heldout and data.decontaminate of the recipe",
        )
    return data


def _read(source: SourceConfig, data: SftData, progress: Progress, render: _Renderer) -> list[Example]:
    reading = read_examples(source.source, limit=source.read_rows, strict=render.strict)
    progress.bar("reading examples").done(reading.describe())
    examples, secrets = redact_examples(reading.examples)
    data.rejected += reading.rejected
    data.secrets += secrets
    taken = render(examples)
    data.sources.append(SourceAccount(source.source, reading.rows, reading.rows - len(taken), len(secrets)))
    return taken


@dataclass
class _Renderer:
    """Renders rows, and rejects those that the chat template refuses."""

    data: SftData
    tokenizer: PreTrainedTokenizerBase | None
    strict: bool
    only_last: bool

    def __call__(self, examples: list[Example]) -> list[Example]:
        if self.tokenizer is None:
            return examples
        taken: list[Example] = []
        for example in examples:
            try:
                taken.append(replace(example, path=path_of(self.tokenizer, example, only_last=self.only_last)))
            except ConversationError as error:
                if self.strict:
                    hint = "mend the row, or leave out --strict"
                    raise HomegroundError(error.message, where=example.place, hint=hint) from None
                self.data.rejected.append(Rejected(example.place, error.message))
        return taken


def _read_measured(source: str, progress: Progress) -> list[Example]:
    """Rows of a set that is measured on, each once; without secrets, because the account quotes them."""
    reading = read_examples(source)
    progress.bar("reading what is measured on").done(reading.describe())
    return distinct(redact_examples(reading.examples)[0], EXACT_ONLY).examples


def _sides(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Rows to train on, and the share whose fingerprints are smallest."""
    limit = share * _SIDES
    sides: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        sides[int(fingerprint(example)[:8], 16) < limit].append(example)
    return sides


def _count(
    accounts: Sequence[SourceAccount],
    owner: dict[int, SourceAccount],
    pools: Sequence[Sequence[Example]],
    single: Sequence[Example],
    kept: Sequence[Example],
    clean: Sequence[Example],
) -> None:
    def counts(rows: Iterable[Example]) -> Counter[int]:
        return Counter(id(owner[id(row)]) for row in rows)

    read, once, trainable, left = (counts(rows) for rows in ((r for p in pools for r in p), single, kept, clean))
    for account in accounts:
        key = id(account)
        account.duplicates = read[key] - once[key]
        account.contaminated = trainable[key] - left[key]


def _count_shares(accounts: Sequence[SourceAccount], taken: Sequence[Sequence[Example]]) -> None:
    rows = sum(map(len, taken)) or 1
    written = [sum(map(_written, examples)) for examples in taken]
    for account, examples, characters in zip(accounts, taken, written, strict=True):
        account.taken = len(examples)
        account.share = len(examples) / rows
        account.text_share = characters / (sum(written) or 1)


def _written(example: Example) -> int:
    """Characters that are trained, about: the tokenizer is not loaded yet."""
    trained = [m for m in example.messages if m["role"] == "assistant" and m.get("weight") != 0]
    return len(example.text) + sum(len(thoughts_of(m)) + len(m["content"]) for m in trained)
