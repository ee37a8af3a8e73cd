"""The record that leaves the corpus: a run of source lines with a name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from homeground.corpus.encoding import nfc

PART_DIGITS = 6
"""Number of final digits in the id of a part of a line: they number the parts, so that ids sort in their order."""


@dataclass(frozen=True, slots=True)
class Chunk:
    r"""Consecutive lines of one file, or a part of a line that alone exceeds the budget.

    Attributes:
        id: hash of path, symbol and text (and of the occurrence, where a file repeats itself);
            the same input always gives the same id. Parts of one line share all but the last `PART_DIGITS` digits.
        path: posix path relative to its root, or to the folder above several roots.
        start: first line, 1-based.
        end: last line, inclusive.
        symbol: dotted name of the definition the lines belong to ("Class.method"); "" at module level.
        kind: "function", "method", "class", "module", "section" or "lines".
        language: name from the table of languages.
        header: breadcrumb that is embedded in front of the text.
        text: the source lines, joined by "\n", without a final newline.
    """

    id: str
    path: str
    start: int
    end: int
    symbol: str
    kind: str
    language: str
    header: str
    text: str

    @property
    def indexed_text(self) -> str:
        """Input of the embedder and the lexical index: breadcrumb and lines, composed (NFC); `text` is the file's."""
        return nfc(f"{self.header}\n{self.text}")

    @property
    def content_hash(self) -> str:
        """Hash of `indexed_text`: chunks that share it share one vector."""
        return digest(self.indexed_text)


def digest(*parts: str | bytes) -> str:
    """128-bit BLAKE2b of the parts, hexadecimal; lengths are mixed in, so parts never run together."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()
