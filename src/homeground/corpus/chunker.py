"""Split a file's lines into chunks over the syntax tree, then merge them, under a token budget.

Invariants, whatever the input: every non-blank line is in exactly one chunk, or in parts in several that follow each
other; line numbers are exact; no chunk of more than one word exceeds the budget; nothing is raised; and the same input
gives the same ids.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from homeground.corpus.encoding import nfc
from homeground.corpus.grammar import Defined, Imported, Syntax, parse
from homeground.corpus.languages import Language
from homeground.corpus.pieces import Piece, Ruler, Span, TokenCounter
from homeground.corpus.prose import Section, split_prose, split_sections
from homeground.corpus.syntax import SyntaxSplitter

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


def digest(*parts: str | bytes) -> str:
    """128-bit BLAKE2b of the parts, hexadecimal; lengths are mixed in, so parts never run together."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


_SPECIAL_TOKENS = 2
_LEAST_BUDGET = 16
_USES = "uses"
_IMPORT_TOKENS = 32  # a chunk that uses twenty modules is about none of them
_NAMES = re.compile(r"\w+")
_WORDS = re.compile(r"[^\W_]+|[^\w\s]|_")
_NO_BLANKS = "\u3000-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"  # East Asian text may be cut anywhere
_CUTTABLE = re.compile(rf"\s*(?:[{_NO_BLANKS}]|[^\s{_NO_BLANKS}]+)|\s+")


def approximate_tokens(lines: Sequence[str]) -> list[int]:
    """A cheap stand-in for a WordPiece tokenizer: one token for each mark, and for every four letters of a word."""
    return [sum(-(-len(word) // 4) for word in _WORDS.findall(line)) for line in lines]


def breadcrumb(path: str, symbol: str) -> str:
    """The line that tells an embedder where a chunk comes from."""
    return f"{path} {symbol}" if symbol else path


def chunk_lines(
    path: str,
    lines: Sequence[str],
    language: Language,
    *,
    max_tokens: int = 192,
    count: TokenCounter = approximate_tokens,
    sections: Sequence[Section] | None = None,
) -> list[Chunk]:
    """Chunks of one file, in order of their lines.

    Args:
        path: posix path relative to the root; part of every breadcrumb and id.
        lines: the file's lines without terminators (`Text.lines`).
        language: how to cut it.
        max_tokens: budget of a chunk: header, text and the two special tokens of the embedder. The header is the
            breadcrumb, and where room is left a second line with the imports that the chunk uses.
        count: tokens of each line, from the embedder's tokenizer.
        sections: where to cut a document, if its reader said so (`Text.sections`).
    """
    composed = [nfc(line) for line in lines]
    syntax = parse(composed, language) if sections is None else None
    headers = _Headers(path, count, syntax.definitions if syntax is not None else (), max_tokens)
    ruler = Ruler(composed, count, headers.budget)
    imports = _Imports(syntax.imports if syntax is not None else (), count)
    chunks: list[Chunk] = []
    seen: Counter[str] = Counter()
    pieces = (
        _pieces(composed, language, syntax, ruler) if sections is None else split_sections(len(lines), sections, ruler)
    )
    for piece in pieces:
        start, stop = piece.start, piece.stop
        while start < stop and ruler.blank[start]:
            start += 1
        while start < stop and ruler.blank[stop - 1]:
            stop -= 1
        if start == stop:
            continue
        symbol, text = nfc(piece.symbol), "\n".join(lines[start:stop])
        content = digest(path, symbol, text)
        seen[content] += 1
        key = digest(content, str(seen[content]))
        budget = headers.budget(symbol)
        room = budget - ruler.tokens(Span(start, stop))
        parts = [text] if room >= 0 or stop - start > 1 else list(_parts(text, budget, count))
        chunks += (
            Chunk(
                id=key if len(parts) == 1 else f"{key[:-PART_DIGITS]}{number:0{PART_DIGITS}x}",
                path=path,
                start=start + 1,
                end=stop,
                symbol=symbol,
                kind=piece.kind,
                language=language.name,
                header="\n".join([breadcrumb(path, symbol), *imports.used(part, range(start, stop), room)]),
                text=part,
            )
            for number, part in enumerate(parts)
        )
    return chunks


def _parts(line: str, budget: int, count: TokenCounter) -> Iterator[str]:
    """Cut the line between words into as few parts as the budget allows; a longer word is a part of its own."""
    words = _CUTTABLE.findall(line)
    part, held = "", 0
    for word, size in zip(words, count([nfc(word) for word in words]), strict=True):
        if size and part.strip() and held + size > budget:
            yield part
            part, held = "", 0
        part, held = part + word, held + size
    yield part


class _Headers:
    """Room for text under the breadcrumb of each symbol; the breadcrumbs of a file are counted together."""

    def __init__(self, path: str, count: TokenCounter, definitions: Sequence[Defined], max_tokens: int) -> None:
        self._path = path
        self._count = count
        self._room = max_tokens - _SPECIAL_TOKENS
        symbols = list(dict.fromkeys(one.symbol for one in definitions))
        counted = count([breadcrumb(path, symbol) for symbol in symbols])
        self._tokens = dict(zip(symbols, counted, strict=True))

    def budget(self, symbol: str) -> int:
        """Most tokens of text that a chunk of the symbol may have."""
        if symbol not in self._tokens:
            self._tokens[symbol] = self._count([breadcrumb(self._path, symbol)])[0]
        return max(self._room - self._tokens[symbol], _LEAST_BUDGET)


class _Imports:
    """What a file imports, to be named in the headers of the chunks that use it."""

    def __init__(self, imports: Sequence[Imported], count: TokenCounter) -> None:
        self._known = [(one.alias, one.label, one.row) for one in imports if one.alias.isidentifier()]
        labels = [f"{_USES} {label}," for _, label, _ in self._known]
        self._tokens = count(labels) if labels else []

    def used(self, text: str, rows: range, room: int) -> list[str]:
        """The line that names the imports used in the text, as far as there is room; no line where there are none.

        Args:
            text: the chunk's lines.
            rows: their rows; what is imported there needs no naming.
            room: tokens that the budget leaves.
        """
        if not self._known:
            return []
        words = set(_NAMES.findall(text))
        labels: list[str] = []
        words -= {alias for alias, _, row in self._known if row in rows}
        room = min(room, _IMPORT_TOKENS)
        for (alias, label, _), tokens in zip(self._known, self._tokens, strict=True):
            if alias in words and label not in labels and tokens <= room:
                labels.append(label)
                room -= tokens
        return [f"{_USES} {', '.join(labels)}"] if labels else []


def _pieces(lines: Sequence[str], language: Language, syntax: Syntax | None, ruler: Ruler) -> list[Piece]:
    if syntax is not None:
        pieces = SyntaxSplitter(syntax, ruler).split(len(lines))
        if _is_partition(pieces, len(lines)):
            return pieces
    return split_prose(lines, language.headings, ruler)


def _is_partition(pieces: Sequence[Piece], stop: int) -> bool:
    row = 0
    for piece in pieces:
        if piece.start != row or piece.stop <= row:
            return False
        row = piece.stop
    return row == stop
