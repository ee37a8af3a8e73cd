"""A model's answer while it is written: citations checked and numbered anew, sentences without one given theirs.

- ``[n]`` of a passage that the model was shown, and that the index still has, is kept. Numbers count from 1 in the
  order in which places are first cited, so ``[n]`` is the n-th of the answer's citations. Any other ``[n]`` is taken
  out and told. Brackets in code (between backticks) are code.
- A sentence without a citation gets that of the passage which shares most of its words, if it shares half of them;
  words that any sentence about code may have do not count. Small models rarely cite by themselves. How many citations
  came about in this way is told.
- An answer that says one of its sentences again has nothing more to say and ends there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from homeground.agents.events import Cited, Text
from homeground.index import Hit
from homeground.index.lexical import terms

SHARED_WORDS = 0.5
_LEAST_SHARED = 2
_LEAST_WORDS = 4
_SAY_NOTHING = frozenset(
    terms("answer question passage following code function method class module object value use call return provide")
)
"""What every sentence about code may say."""
_TOKEN = re.compile(r"`+|[ \t]*\[\d{1,4}(?:[ \t]*,[ \t]*\d{1,4})*\]|\s+|[^\s`\[]+|\[")
_PERHAPS_CITATION = re.compile(r"[ \t]*\[[\d, \t]{0,40}\Z")
_SENTENCE_END = re.compile(r"[.!?][\"')*_]*\Z")


class Prose:
    """Reads an answer piece by piece and gives back what can be shown.

    Args:
        passages: what the model was shown as [1], [2], ...
        exists: whether the index has the lines of a passage now.

    Attributes:
        cited: places in the order of their numbers.
        dropped: citations that were taken out, and why.
        by_words: how many citations the model did not write.
        uncited: finished sentences without a citation.
        ended: it has begun to repeat itself: read no further.
        written: it has said a word.
        announces: the last sentence that can be shown ends in a colon.
    """

    def __init__(self, passages: Sequence[Hit], exists: Callable[[Hit], bool]) -> None:
        self.cited: list[Hit] = []
        self.dropped: list[str] = []
        self.by_words = 0
        self.uncited = 0
        self.ended = False
        self.written = self.announces = False
        self._passages = passages
        self._terms = [frozenset(terms(f"{hit.path} {hit.symbol}\n{hit.text}")) for hit in passages]
        self._exists = exists
        self._unread = ""
        self._code = 0
        self._said: set[str] = set()
        self._sentence = ""
        self._waiting: list[Cited | Text] = []
        self._space = ""
        self._has_citation = False
        self._complete = False

    def add(self, text: str) -> Iterator[Cited | Text]:
        """What can be shown after more text; the last word waits for its end."""
        self._unread += text
        perhaps = _PERHAPS_CITATION.search(self._unread)
        until = perhaps.start() if perhaps else len(self._unread)
        tokens = list(_TOKEN.finditer(self._unread, 0, until))
        if not perhaps and tokens:
            until = tokens.pop().start()
        self._unread = self._unread[until:]
        for token in tokens:
            yield from self._take(token.group())

    def finish(self) -> Iterator[Cited | Text]:
        """What is left when the answer has ended."""
        for token in _TOKEN.finditer(self._unread):
            yield from self._take(token.group())
        self._unread = ""
        if self._sentence.strip():
            yield from self._close(finished=self._complete)

    def point(self, words: str) -> Iterator[Cited | Text]:
        """Words of ours, then every passage: for an answer that came to nothing."""
        self._tell(Text(words))
        for hit in self._passages:
            if self._exists(hit):
                self._cite(hit)
        yield from self._flush()

    def _take(self, token: str) -> Iterator[Cited | Text]:
        if self.ended:
            return
        if token.startswith("`"):
            yield from self._word(token)
            self._code = 0 if self._code == len(token) else self._code or len(token)
        elif self._code:
            self._tell(Text(token))
            self._sentence += token
            yield from self._show()
        elif token.isspace():
            yield from self._between(token)
        elif "[" in token and token.strip() != "[":
            yield from self._citation(token)
        else:
            yield from self._word(token)

    def _word(self, token: str) -> Iterator[Cited | Text]:
        if self._complete and not token[0].islower():
            yield from self._close(finished=True)
            if self.ended:
                return
        self.written = True
        self._tell(Text(self._space + token))
        self._sentence += self._space + token
        self._space = ""
        self._complete = bool(_SENTENCE_END.search(token))
        yield from self._show()

    def _between(self, space: str) -> Iterator[Cited | Text]:
        self._space += space
        if "\n" in space and self._sentence.strip():
            yield from self._close(finished=True)

    def _citation(self, token: str) -> Iterator[Cited | Text]:
        glued = not (self._space or token[0].isspace() or self._complete)
        spacing = self._space + token.partition("[")[0]
        for number in map(int, re.findall(r"\d+", token)):
            if glued and not 1 <= number <= len(self._passages) and self._sentence:
                # `name[0]`, as code is written without backticks.
                self._tell(Text(f"[{number}]"))
                self._sentence += f"[{number}]"
                continue
            if not 1 <= number <= len(self._passages):
                self._drop(number, "the model was shown no such passage")
            elif not self._exists(self._passages[number - 1]):
                self._drop(number, f"the index no longer has {self._passages[number - 1].citation}")
            else:
                self._cite(self._passages[number - 1], spacing or " ")
                spacing = self._space = ""
        yield from self._show()

    def _drop(self, number: int, why: str) -> None:
        if (words := f"[{number}]: {why}") not in self.dropped:
            self.dropped.append(words)

    def _cite(self, hit: Hit, spacing: str = " ") -> None:
        if hit not in self.cited:
            self.cited.append(hit)
            self._tell(Cited(len(self.cited), hit))
        self._tell(Text(f"{spacing}[{self.cited.index(hit) + 1}]"))
        self._has_citation = True

    def _close(self, *, finished: bool) -> Iterator[Cited | Text]:
        """The end of a sentence."""
        words = self._sentence.split()
        said = " ".join(words)
        if said in self._said and len(words) >= _LEAST_WORDS:
            self.ended = True
            for event in self._waiting:
                if isinstance(event, Cited):
                    self.cited.remove(event.hit)
            self._waiting.clear()
            self._sentence = self._space = ""
            return
        self._said.add(said)
        self.announces = said.endswith(":")
        if finished and not self._has_citation and len(words) >= _LEAST_WORDS and not said.endswith((":", "```")):
            place = self._place_of(said)
            if place is None:
                self.uncited += 1
            else:
                self._cite(place)
                self.by_words += 1
        yield from self._flush()
        self._sentence = ""
        self._has_citation = self._complete = False

    def _place_of(self, sentence: str) -> Hit | None:
        """The passage that shares most words with a sentence, if they are enough."""
        asked = frozenset(terms(sentence)) - _SAY_NOTHING
        shared = [len(asked & held) for held in self._terms]
        best = max(range(len(shared)), key=lambda at: (shared[at], -at), default=None)
        if best is None or shared[best] < max(_LEAST_SHARED, SHARED_WORDS * len(asked)):
            return None
        return self._passages[best] if self._exists(self._passages[best]) else None

    def _tell(self, event: Cited | Text) -> None:
        self._waiting.append(event)

    def _show(self) -> Iterator[Cited | Text]:
        """What waits, unless the sentence may turn out to be one that was said before."""
        begun = " ".join(self._sentence.split())
        if not any(said.startswith(begun) for said in self._said):
            yield from self._flush()

    def _flush(self) -> Iterator[Cited | Text]:
        waiting, self._waiting = self._waiting, []
        yield from waiting
