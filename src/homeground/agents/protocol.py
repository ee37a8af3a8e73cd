"""What the look-up agent and the model say to each other: prompts out, calls parsed back.

    system     find functions; first "search: ...", then "answer: [k]"
    user       Which function does this? <question>
    assistant  search: <query>
    user       [1] <path without .py> <symbol>
               ...
    assistant  answer: [k]

Only an assistant turn is ever parsed. Names from the corpus reach the prompt as one printable line each, so that text
planted in a document can neither be read as an answer nor start a line of its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

SYSTEM_PROMPT = (
    "You find functions in a code base. First reply 'search: ' and a short query. "
    "When you see the hits, reply 'answer: ' and the number of the right one in brackets."
)
QUESTION_PREFIX = "Which function does this? "
MAX_QUESTION_CHARS = 200
MAX_NAME_CHARS = 120
HITS_SHOWN = 5
NO_HITS = "No hits."

_SEARCH_CALL = re.compile(r"\s*search:[ \t]*(?P<query>\S[^\r\n]*?)\s*", re.IGNORECASE)
_ANSWER_CALL = re.compile(r"\s*answer:[ \t]*\[(?P<number>[1-9][0-9]?)\]\s*", re.IGNORECASE)


class Message(TypedDict):
    """One turn of a conversation, as the chat-completions API has it."""

    role: str
    content: str


class Named(Protocol):
    """Anything that can stand in a list of hits: a search hit, or a task's own function."""

    @property
    def path(self) -> str: ...

    @property
    def symbol(self) -> str: ...


@dataclass(frozen=True)
class SearchCall:
    """A first assistant turn, read.

    Attributes:
        query: what to search for; the whole turn when it was malformed, "" when it was blank.
        well_formed: whether the turn was exactly one line "search: <query>".
    """

    query: str
    well_formed: bool


def opening(question: str) -> list[Message]:
    """The system turn and the first user turn; the question is put on one line and cut at 200 characters."""
    return [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": QUESTION_PREFIX + _one_line(question, MAX_QUESTION_CHARS)},
    ]


def assistant(content: str) -> Message:
    """An assistant turn, kept exactly as written: the next prompt must extend what was sampled."""
    return {"role": "assistant", "content": content}


def hits_turn(hits: Sequence[Named]) -> Message:
    """The second user turn: the first five hits as numbered lines `[k] <path without .py> <symbol>`."""
    lines = [
        f"[{number}] {_one_line(hit.path.removesuffix('.py'))} {_one_line(hit.symbol)}".rstrip()
        for number, hit in enumerate(hits[:HITS_SHOWN], start=1)
    ]
    return {"role": "user", "content": "\n".join(lines) or NO_HITS}


def search_turn(query: str) -> Message:
    """The assistant turn that asks for `query`."""
    return assistant(f"search: {query}")


def answer_turn(number: int) -> Message:
    """The assistant turn that cites hit `number`, counted from 1."""
    return assistant(f"answer: [{number}]")


def parse_search(text: str) -> SearchCall:
    """Read a first assistant turn; a malformed one is searched for as it stands."""
    match = _SEARCH_CALL.fullmatch(text)
    if match:
        return SearchCall(match["query"], well_formed=True)
    return SearchCall(" ".join(text.split()), well_formed=False)


def parse_answer(text: str, shown: int) -> int | None:
    """Read a second assistant turn.

    Args:
        text: the assistant's turn and nothing else; never a document's text.
        shown: how many hits the agent saw.

    Returns:
        The cited number, from 1 to `shown`; None when the turn is anything but one citation of a hit that was shown.
    """
    match = _ANSWER_CALL.fullmatch(text)
    number = int(match["number"]) if match else 0
    return number if 1 <= number <= shown else None


def _one_line(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Text from the corpus as one printable line of bounded length, without chat markup like `<|im_end|>`."""
    printable = "".join(c if c.isprintable() else " " for c in text).replace("<|", "< |").replace("|>", "| >")
    return " ".join(printable.split())[:limit]
