"""Examples as the trainer takes them: token ids, which of them are trained, and nothing longer than the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.data.formats import Example, Format
from homeground.policy import TokenPath, render
from homeground.policy.chat import encode
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
        paths: with at least one trained token each.
        dropped, cut, split: examples that were too long; ``dropped`` counts those too that lost every trained token.
    """

    paths: list[TokenPath] = field(default_factory=list)
    dropped: int = 0
    cut: int = 0
    split: int = 0

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
        return words


def render_examples(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    limit: int,
    overlong: Overlong = Overlong.DROP,
    only_last: bool = False,
) -> Rendering:
    """Examples as paths: loss on what assistants wrote, their end tokens included, or on the whole of a plain text.

    The last end token of an unfinished example is not trained.

    Args:
        tokenizer: of the policy that will be trained.
        examples: conversations and texts; preference pairs are for another trainer.
        limit: the model's context, tokens.
        overlong: see there.
        only_last: train the last assistant message of a conversation alone.

    Raises:
        HomegroundError: a preference pair, or nothing is left to train on.
    """
    rendering = Rendering()
    for number, example in enumerate(examples, start=1):
        if example.format is Format.PREFERENCE:
            raise HomegroundError(
                f"example {number} is a preference pair, which this trainer does not take",
                where=example.place or None,
                hint="train on its chosen answers: write them as rows of messages",
            )
        path = path_of(tokenizer, example, only_last=only_last)
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


def path_of(tokenizer: PreTrainedTokenizerBase, example: Example, *, only_last: bool = False) -> TokenPath:
    """One example as ids, whatever its length."""
    end = [tokenizer.eos_token_id] if isinstance(tokenizer.eos_token_id, int) and not example.unfinished else []
    if example.format is Format.CONTINUATION:
        before = [*opening(tokenizer), *encode(tokenizer, example.prefix)]
        ids = [*before, *encode(tokenizer, example.text), *end]
        return TokenPath(ids, range(len(before), len(ids)))
    if example.format is not Format.TEXT:
        rendered = render(tokenizer, example.messages, tools=example.tools, only_last=only_last)
        # The last token that is trained ends the last message.
        return TokenPath(rendered.ids, rendered.trained[:-1] if example.unfinished else rendered.trained)
    ids = [*encode(tokenizer, example.text), *end]
    # Nothing comes before the first token that could predict it.
    return TokenPath(ids, range(1, len(ids)))


def opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token that this tokenizer puts before a plain text, if it puts any."""
    begin = tokenizer.bos_token_id
    return [begin] if isinstance(begin, int) and tokenizer("")["input_ids"][:1] == [begin] else []


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
