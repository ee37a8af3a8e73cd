"""Rows as the trainer takes them: token ids, which of them are trained, and nothing longer than the context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError, UsageError
from homeground.policy import TokenPath, render
from homeground.policy.chat import ConversationError, encode, encode_text, end_token, token_text
from homeground.policy.rope import longest_path
from homeground.training.config import SftConfig
from homeground.training.formats import Example, Format, Rejected, Row, RowError, example_of, first_of, without_nulls

if TYPE_CHECKING:
    from homeground.policy import Policy

type Rows = Sequence[Row] | Sequence[Example] | Sequence[TokenPath]
"""Rows in any format of :mod:`homeground.training.formats`, or the same as examples, or rendered."""
_FORMATS = "see docs/data.md for the formats"


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt, the first preferred; trained tokens are the answers'."""

    chosen: TokenPath
    rejected: TokenPath


@dataclass
class Rendering:
    """Rendered examples and what happened to them.

    Attributes:
        paths: rendered examples with at least one trained token each.
        dropped, cut, split: counts of examples that were too long; ``dropped`` includes those that lost every trained
            token.
        rejected: examples that the chat template refuses, or cannot render completely.
    """

    paths: list[TokenPath] = field(default_factory=list)
    dropped: int = 0
    cut: int = 0
    split: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Of all paths."""
        return sum(len(path.ids) for path in self.paths)

    @property
    def trained_tokens(self) -> int:
        """Of all paths."""
        return sum(len(path.trained) for path in self.paths)

    def describe(self) -> str:
        """One line for people."""
        words = f"{len(self.paths)} examples, {self.tokens} tokens, {self.trained_tokens} of them trained"
        changed = {"dropped": self.dropped, "cut": self.cut, "split": self.split}
        if any(changed.values()):
            words += "; too long: " + ", ".join(f"{count} {name}" for name, count in changed.items() if count)
        if self.rejected:
            words += f"; {len(self.rejected)} rejected: {first_of(self.rejected)}"
        return words


def render_rows(policy: Policy, rows: Rows, config: SftConfig) -> Rendering:
    """Render what a policy is trained on; rows that are rendered already are taken as they are.

    Raises:
        UsageError: an iterator; a row that fits no format, that the chat template refuses, or without a trained token.
        HomegroundError: see :func:`render_examples`.
    """
    _refuse_iterator(rows)
    if all(isinstance(row, TokenPath) for row in rows):
        paths = cast("Sequence[TokenPath]", rows)
        if bare := [number for number, path in enumerate(paths, start=1) if not path.trained]:
            raise UsageError("the row has no trained token", where=f"row {bare[0]}", hint="leave it out")
        return Rendering(list(paths))
    limit = longest_path(policy.model.config)
    rendering = render_examples(policy.tokenizer, _examples(rows), config, limit=limit)
    if rendering.rejected:
        raise UsageError(rendering.rejected[0].reason, where=rendering.rejected[0].place, hint=_FORMATS)
    return rendering


def render_pairs(
    policy: Policy, pairs: Sequence[Row] | Sequence[Example] | Sequence[PreferencePair]
) -> list[PreferencePair]:
    """Render preference pairs; those that are longer than the context are left out.

    Raises:
        UsageError: an iterator; a row that is no pair, that the chat template refuses, or without trained tokens.
        HomegroundError: none fits the context.
    """
    _refuse_iterator(pairs)
    if all(isinstance(pair, PreferencePair) for pair in pairs):
        ready = cast("Sequence[PreferencePair]", pairs)
        if bare := [n for n, pair in enumerate(ready, start=1) if not (pair.chosen.trained and pair.rejected.trained)]:
            raise UsageError("an answer has no trained token", where=f"row {bare[0]}", hint="leave the pair out")
        return list(ready)
    made: list[PreferencePair] = []
    limit = longest_path(policy.model.config)
    for example in _examples(cast("Sequence[Row]", pairs)):
        if example.format is not Format.PREFERENCE:
            hint = "give 'prompt', 'chosen' and 'rejected'"
            raise UsageError(f"a row of {example.format} is no preference pair", where=example.place, hint=hint)
        try:
            answers = (render(policy.tokenizer, told, tools=example.tools, only_last=True)
                       for told in (example.messages, example.rejected))  # fmt: skip
            chosen, rejected = (TokenPath(one.ids, one.trained) for one in answers)
        except ConversationError as error:
            raise UsageError(error.message, where=example.place, hint=_FORMATS) from None
        if max(len(chosen.ids), len(rejected.ids)) <= limit:
            made.append(PreferencePair(chosen, rejected))
    if not made:
        raise HomegroundError(f"none of the {len(pairs)} pairs fits the context of {limit} tokens", hint="shorten them")
    return made


def _refuse_iterator(rows: object) -> None:
    if isinstance(rows, Iterator):
        raise UsageError(
            "the rows are an iterator, which can be read only once", hint="make a list of it, such as list(rows)"
        )


def _examples(rows: Rows) -> list[Example]:
    of_arrow = type(rows).__module__.partition(".")[0] == "datasets"
    examples: list[Example] = []
    for number, row in enumerate(cast("Sequence[Any]", rows), start=1):
        if isinstance(row, Example):
            examples.append(row if row.place else replace(row, place=f"row {number}"))
            continue
        if not isinstance(row, Mapping):
            raise UsageError(
                f"a row must be a mapping of its fields, not {type(row).__name__}", where=f"row {number}", hint=_FORMATS
            )
        try:
            example = example_of(without_nulls(row) if of_arrow else dict(row))
        except RowError as error:
            raise UsageError(str(error), where=f"row {number}", hint=_FORMATS) from None
        examples.append(replace(example, place=f"row {number}"))
    return examples


def render_examples(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], config: SftConfig | None = None, *, limit: int
) -> Rendering:
    """Render examples as paths with loss on assistant messages, end tokens included, or on the whole of a plain text.

    The last end token of an unfinished example is not trained. Examples that cannot be rendered are listed.

    Args:
        tokenizer: tokenizer of the policy that will be trained.
        examples: conversations and texts; preference pairs are for another trainer, and rejected. One that has a
            ``path`` is not rendered again.
        config: which answers are trained (``train_on``), and what becomes of examples that are too long (``overlong``).
        limit: the model's context, tokens.

    Raises:
        HomegroundError: the tokenizer has no chat template, or nothing is left to train on.
    """
    config = config or SftConfig()
    paths: list[TokenPath] = []
    rejected: list[Rejected] = []
    for number, example in enumerate(examples, start=1):
        try:
            paths.append(example.path or path_of(tokenizer, example, only_last=config.train_on == "last answer"))
        except ConversationError as error:
            rejected.append(Rejected(example.place or f"example {number}", error.message))
    if rejected and not paths:
        raise HomegroundError(
            f"none of the {len(examples)} examples can be trained: {first_of(rejected)}",
            where=str(tokenizer.name_or_path),
            hint="mend the rows, or use a model whose chat template takes them",
        )
    rendering = fit_paths(paths, config, limit=limit)
    rendering.rejected = rejected
    return rendering


def fit_paths(paths: Sequence[TokenPath], config: SftConfig, *, limit: int) -> Rendering:
    """Drop, cut or split paths that are longer than ``limit`` tokens, as ``config.overlong`` says.

    Raises:
        HomegroundError: nothing is left to train on.
    """
    rendering = Rendering()
    for path in paths:
        if len(path.ids) <= limit and path.trained:
            rendering.paths.append(path)
            continue
        kept = [piece for piece in _pieces(path, limit, config) if piece.trained]
        rendering.paths += kept
        if not kept:
            rendering.dropped += 1
        elif config.overlong == "split":
            rendering.split += 1
        else:
            rendering.cut += 1
    if not rendering.paths:
        raise HomegroundError(
            f"none of the {len(paths)} examples fits the context of {limit} tokens",
            hint="shorten them, or cut or split what is too long (sft.overlong)",
        )
    return rendering


def path_of(tokenizer: PreTrainedTokenizerBase, example: Example, *, only_last: bool = False) -> TokenPath:
    """Render one example as ids, whatever its length.

    A plain text has one begin mark, if the tokenizer adds any, and one end mark, even if the text already holds them.

    Raises:
        ConversationError: a preference pair, or a conversation that cannot be rendered.
    """
    if example.format is Format.PREFERENCE:
        raise ConversationError(
            "it is a preference pair, which this trainer does not take",
            where=example.place or None,
            hint="train on its chosen answers: write them as rows of messages",
        )
    if example.format is Format.CONTINUATION:
        before = encode_text(tokenizer, example.prefix)
        ids = [*before, *encode(tokenizer, example.text), *_end(tokenizer, example)]
        return TokenPath(ids, range(len(before), len(ids)))
    if example.format is not Format.TEXT:
        rendered = render(tokenizer, example.messages, tools=example.tools, only_last=only_last)
        cut_off = example.unfinished and rendered.trained[-1] == len(rendered.ids) - 1
        return TokenPath(rendered.ids, rendered.trained[:-1] if cut_off else rendered.trained)
    ids = [*encode_text(tokenizer, example.text), *_end(tokenizer, example)]
    # Nothing comes before the first token that could predict it.
    return TokenPath(ids, range(1, len(ids)))


def _end(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[int]:
    """End mark of a plain text, unless the text was truncated or already ends in one."""
    end = tokenizer.eos_token_id
    if example.unfinished or not isinstance(end, int):
        return []
    written = tuple(token_text(tokenizer, mark) for mark in (end, end_token(tokenizer)))
    return [] if example.text.rstrip().endswith(written) else [end]


def _pieces(path: TokenPath, limit: int, config: SftConfig) -> Iterator[TokenPath]:
    length = len(path.ids)
    starts = {
        "drop": range(0),
        "cut-end": range(1),
        "cut-start": range(length - limit, length - limit + 1),
        "split": range(0, length, limit),
    }[config.overlong]
    for start in starts:
        stop = min(start + limit, length)
        yield TokenPath(path.ids[start:stop], [t - start for t in path.trained if start < t < stop])
