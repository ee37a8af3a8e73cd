"""Examples as the trainer takes them: token ids, which of them are trained, and nothing longer than the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.data.formats import Example, Format
from homeground.data.sources import Rejected, first_of
from homeground.policy import TokenPath, render
from homeground.policy.chat import ConversationError, encode, encode_text, end_token, token_text
from homeground.training.config import SftConfig


class Overlong(StrEnum):
    """What becomes of an example that is longer than the context.

    Values:
        DROP: it is left out.
        CUT_END, CUT_START: tokens are cut off there.
        SPLIT: it becomes several examples; each but the first begins in the middle.
    """

    DROP = "drop"
    CUT_END = "cut-end"
    CUT_START = "cut-start"
    SPLIT = "split"


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


def render_examples(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    limit: int,
    overlong: Overlong = Overlong.DROP,
    only_last: bool = False,
) -> Rendering:
    """Render examples as paths with loss on assistant messages, end tokens included, or on the whole of a plain text.

    The last end token of an unfinished example is not trained. Examples that cannot be rendered are listed.

    Args:
        tokenizer: tokenizer of the policy that will be trained.
        examples: conversations and texts; preference pairs are for another trainer, and rejected.
        limit: the model's context, tokens.
        overlong: see there.
        only_last: train the last assistant message of a conversation alone.

    Raises:
        HomegroundError: the tokenizer has no chat template, or nothing is left to train on.
    """
    rendering = Rendering()
    for number, example in enumerate(examples, start=1):
        try:
            path = path_of(tokenizer, example, only_last=only_last)
        except ConversationError as error:
            rendering.rejected.append(Rejected(example.place or f"example {number}", error.message))
            continue
        if len(path.ids) <= limit and path.trained:
            rendering.paths.append(path)
            continue
        kept = [piece for piece in _fitted(path, limit, overlong) if piece.trained]
        rendering.paths += kept
        if not kept:
            rendering.dropped += 1
        elif overlong is Overlong.SPLIT:
            rendering.split += 1
        else:
            rendering.cut += 1
    if rendering.rejected and not rendering.paths and not rendering.dropped:
        raise HomegroundError(
            f"none of the {len(examples)} examples can be trained: {first_of(rendering.rejected)}",
            where=str(tokenizer.name_or_path),
            hint="mend the rows, or use a model whose chat template takes them",
        )
    if not rendering.paths:
        raise HomegroundError(
            f"none of the {len(examples)} examples fits the context of {limit} tokens",
            hint="shorten them, or cut or split what is too long (sft.overlong)",
        )
    return rendering


def render_as_asked(
    sft: SftConfig, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, limit: int
) -> Rendering:
    """:func:`render_examples` as a recipe's `sft` section asks for it."""
    only_last = sft.train_on == "last answer"
    return render_examples(tokenizer, examples, limit=limit, overlong=Overlong(sft.overlong), only_last=only_last)


def refusal(tokenizer: PreTrainedTokenizerBase, example: Example, *, only_last: bool = False) -> str:
    """Reason why an example cannot be rendered; empty if it can."""
    try:
        path_of(tokenizer, example, only_last=only_last)
    except ConversationError as error:
        return error.message
    return ""


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


def _fitted(path: TokenPath, limit: int, overlong: Overlong) -> Iterator[TokenPath]:
    length = len(path.ids)
    starts = {
        Overlong.DROP: range(0),
        Overlong.CUT_END: range(1),
        Overlong.CUT_START: range(length - limit, length - limit + 1),
        Overlong.SPLIT: range(0, length, limit),
    }[overlong]
    for start in starts:
        stop = min(start + limit, length)
        yield TokenPath(path.ids[start:stop], [t - start for t in path.trained if start < t < stop])
