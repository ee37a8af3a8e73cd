"""What the model is shown: as much of the passages and of the conversation as its window holds.

Room is given in this order: the question and the answer, the first passage, the newest turns of the conversation (up to
half of what is left), the other passages. A passage that does not fit whole loses lines from its end; one that keeps
fewer than three is left out, and so are those behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeground.base.errors import HomegroundError
from homeground.data.passages import ANSWER_SYSTEM, passage_text, question_turn

if TYPE_CHECKING:
    from homeground.index import Hit
    from homeground.policy.chat import Message

_LEAST_LINES = 3
_MARK = re.compile(r"[ \t]*\[\d{1,4}\]")


@dataclass(frozen=True)
class Conversation:
    """What was asked, in the light of what.

    Attributes:
        question: the last user's turn.
        history: turns before it, users' and assistants', oldest first.
        system: what the caller tells the model beside our own instructions.
    """

    question: str
    history: Sequence[Message] = ()
    system: str = ""

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Conversation:
        """Messages as the chat-completions API has them; the last is a user's.

        Raises:
            HomegroundError: it is not, or it is blank.
        """
        said = [message for message in messages if message["role"] in ("user", "assistant")]
        if not said or said[-1]["role"] != "user" or not str(said[-1]["content"]).strip():
            raise HomegroundError(
                "the question is empty", where="the last message", hint='ask in words: homeground ask "how is X done?"'
            )
        system = [str(message["content"]) for message in messages if message["role"] == "system"]
        # Citations of earlier answers are numbers of other passages.
        history = [{**turn, "content": _MARK.sub("", str(turn["content"]))} for turn in said[:-1]]
        return cls(str(said[-1]["content"]).strip(), history, "\n".join(system))

    @property
    def queries(self) -> list[str]:
        """What to search for: the question, and with the one before it when it may only make sense behind that."""
        earlier = [str(turn["content"]) for turn in self.history if turn["role"] == "user"]
        return [self.question, *([f"{earlier[-1]}\n{self.question}"] if earlier else [])]


def pack(
    asked: Conversation,
    hits: Sequence[Hit],
    count: Callable[[Sequence[Message]], int],
    room: int,
    *,
    passages: int,
    lines: Sequence[int],
) -> tuple[list[Message], list[Hit]]:
    """The prompt, and the hits that it shows as [1], [2], ...

    Args:
        asked: see there.
        hits: best first; at least one.
        count: tokens of a prompt.
        room: tokens that it may have.
        passages: how many are shown at most.
        lines: of the first passage and of each other one, at most.

    Raises:
        HomegroundError: not even the question and three lines fit.
    """
    first = _fitting(asked, [], hits[0], (), count, room, lines[0])
    if first is None:
        raise HomegroundError(
            f"the question does not fit: the model's window has {room} tokens left beside the answer",
            where="the last message",
            hint="ask something shorter, or for a shorter answer",
        )
    texts, turns = [first], list(asked.history)
    most = (count(_prompt(asked, texts, ())) + room) // 2
    while turns and count(_prompt(asked, texts, turns)) > most:
        turns = turns[1:]
    for hit in hits[1:passages]:
        text = _fitting(asked, texts, hit, turns, count, room, lines[1])
        if text is None:
            break
        texts.append(text)
    return _prompt(asked, texts, turns), list(hits[: len(texts)])


def _fitting(
    asked: Conversation,
    texts: Sequence[str],
    hit: Hit,
    turns: Sequence[Message],
    count: Callable[[Sequence[Message]], int],
    room: int,
    lines: int,
) -> str | None:
    """As many lines of a hit as fit behind the passages that are there; None where they are too few."""
    there = min(lines, len(hit.text.splitlines()))
    low, high = min(_LEAST_LINES, there), there
    best: str | None = None
    while low <= high:
        middle = high if best is None and high == there else (low + high) // 2
        text = passage_text(hit, middle)
        if count(_prompt(asked, [*texts, text], turns)) <= room:
            best, low = text, middle + 1
        else:
            high = middle - 1
    return best


def _prompt(asked: Conversation, texts: Sequence[str], turns: Sequence[Message]) -> list[Message]:
    system = f"{ANSWER_SYSTEM}\n{asked.system}".strip()
    question = question_turn(texts, asked.question)
    return [{"role": "system", "content": system}, *turns, {"role": "user", "content": question}]
