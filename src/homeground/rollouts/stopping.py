"""Stop strings: found in the decoded text, wherever the borders of tokens lie.

A token may hold a part of a character, so text is decoded in pieces that end where a character ends: a piece whose
text ends in U+FFFD waits for its next token.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Reader:
    """Decodes one row's tokens as they are sampled.

    Args:
        tokenizer: special tokens have no text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._begin = 0
        self._done = 0

    def read(self, ids: Sequence[int]) -> tuple[str, bool]:
        """Text of what is new among all ids of the row; whether its last character is whole, else it comes again."""
        # A token may be written differently at the beginning of a text, so each piece begins with the one before it.
        before = self._decode(ids[self._begin : self._done])
        now = self._decode(ids[self._begin :])
        finished = not now.endswith(UNFINISHED)
        if finished:
            self._begin, self._done = self._done, len(ids)
        return now[len(before) :], finished

    def _decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        assert isinstance(text, str)
        return text


class StopWatch:
    """Reads one row's tokens as they are sampled.

    Args:
        tokenizer: decodes; special tokens have no text.
        stops: non-empty strings.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        self._reader = Reader(tokenizer)
        self._stops = tuple(stops)
        self._reach = max(len(s) for s in stops) - 1
        self._text = ""

    def completed_by(self, ids: Sequence[int]) -> bool:
        """Whether the newest of ``ids`` (all that the row has sampled) completes a stop string."""
        new, finished = self._reader.read(ids)
        text = self._text + new
        if finished:
            self._text = text[-self._reach :] if self._reach else ""
        return any(stop in text for stop in self._stops)


def cut(text: str, stops: Sequence[str]) -> str:
    """``text`` up to where the first of the stop strings begins; all of it when none occurs."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]
