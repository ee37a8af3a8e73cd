"""Remove tokens that a C preprocessor would have removed, before a file is parsed again.

The grammar parses a class with an export macro in its head as a function of the macro's type, without an error, so
such heads are always mended. The other steps run only on files with errors, and are kept if they leave fewer.
Kotlin's grammar requires a line end or a semicolon before a body's closing brace, so one is always inserted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

_PARENTHESES = r"\((?:[^()\n]|\((?:[^()\n]|\([^()\n]*\))*\))*\)"
_ARGUMENTS = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
_MACRO = r"(?:[A-Z_][A-Z0-9_]{2,}|__\w+)\b"
_NAMED = r"(?!(?:final|sealed|abstract)\b)[A-Za-z_][\w:]*(?:<[^<>;{}]{0,500}>)?\s*(?:(?:final|sealed|abstract)\s*)?"
_BASES = r":\s*[A-Za-z_][^;{}?]{0,1000}\{"
_MEMBERS = r"\{\s*(?:\n|//|/\*|public:|\}|[^{}\n]{0,500};)"  # and no variable that is initialised


def _pattern(text: str) -> re.Pattern[bytes]:
    return re.compile(text.encode(), re.MULTILINE)


_WORDS = rf"(?P<omit>(?:(?:\[\[[^\]\n]*\]\]|[A-Za-z_]\w*(?:[ \t]*{_PARENTHESES})?)\s+){{1,4}})"
_CLASS = r"(?:class|enum[ \t]+(?:class|struct)|enum(?=[ \t]+[A-Z_0-9]+\s))[ \t]+"
_HEADS = _pattern(
    rf"(?<![\w<,])(?:{_CLASS}{_WORDS}(?={_NAMED}(?:\{{|{_BASES}))"
    rf"|(?:struct|union|enum)[ \t]+{_WORDS.replace('omit', 'also')}(?={_NAMED}(?:{_MEMBERS}|{_BASES})))"
)
_LINES = _pattern(rf"^[ \t]*(?P<omit>{_MACRO}(?:\s*{_ARGUMENTS})?[ \t]*;?)[ \t]*(?=\n|//|/\*)")
_MODULES = _pattern(r"^[ \t]*(?P<omit>(?:export[ \t]+)?(?:module|import)\b[^;\n(]*;|export\b(?=[ \t]+\w))")
_ATTRIBUTES = _pattern(
    r"(?P<omit>\b(?:__attribute__|__declspec|__asm__|__extension__|alignas)\b" rf"(?:\s*{_ARGUMENTS})?)"
)
_BEHIND = _pattern(
    rf"\)[ \t]*(?:(?:const|override|final|noexcept)[ \t]+)*(?P<omit>{_MACRO}(?:\s*{_ARGUMENTS})?)\s*(?=[;{{])"
)
_BEFORE = _pattern(
    rf"(?<![\w.>#:\"])(?P<omit>{_MACRO}(?:{_PARENTHESES})?)"
    r"(?=[ \t\n]+[A-Za-z_~:*&](?:[\w:<>,*& \t~]{0,200}[\w)>])?[ \t]*[({;=])"
)
_DIRECTIVE = re.compile(rb"[ \t]*#[ \t]*(if|ifdef|ifndef|elif|elifdef|elifndef|else|endif)\b[ \t]*([^\n]*)")

_STATEMENT_END = _pattern(
    r"\"{3}[\s\S]*?\"{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|//[^\n]*|/\*[\s\S]*?\*/"
    r"|(?P<end>(?<=[^\s{;,(])[ \t])(?=[ \t]*\})"
)


def without(source: bytes, patterns: Sequence[re.Pattern[bytes]]) -> bytes:
    """Replace the patterns' group `omit` with spaces; line ends are kept."""
    for pattern in patterns:
        source = pattern.sub(_blanked, source)
    return source


def _blanked(found: re.Match[bytes]) -> bytes:
    whole = found[0]
    for name in found.re.groupindex:
        if found[name] is not None:
            start, stop = (edge - found.start() for edge in found.span(name))
            whole = whole[:start] + re.sub(rb"[^\n]", b" ", whole[start:stop]) + whole[stop:]
    return whole


def _one_branch(source: bytes) -> bytes:
    """Keep the first branch of each conditional, or the second of `#if 0`, and blank the directives."""
    lines = source.split(b"\n")
    kept: list[bool] = []  # for each enclosing conditional: true if the current branch is kept
    done: list[bool] = []
    for row, line in enumerate(lines):
        directive = _DIRECTIVE.match(line)
        if directive is None:
            if not all(kept):
                lines[row] = b" " * len(line)
            continue
        word, condition = directive[1], directive[2].strip()
        if word.startswith(b"if"):
            kept.append(condition != b"0")
            done.append(kept[-1])
        elif kept and word.startswith(b"el"):
            kept[-1] = not done[-1]
            done[-1] = True
        elif kept:
            kept.pop()
            done.pop()
        lines[row] = b" " * len(line)
    return b"\n".join(lines)


def _leaves_out(*patterns: re.Pattern[bytes]) -> Callable[[bytes], bytes]:
    return lambda source: without(source, patterns)


_C = (
    _leaves_out(_LINES),
    _leaves_out(_ATTRIBUTES),
    _leaves_out(_BEHIND),
    _leaves_out(_BEFORE),
    _one_branch,
    _leaves_out(_BEFORE, _BEHIND),
)


def _with_ends(source: bytes) -> bytes:
    return _STATEMENT_END.sub(lambda found: b";" if found["end"] else found[0], source)


ALWAYS = {"c": _leaves_out(_HEADS), "cpp": _leaves_out(_HEADS), "kotlin": _with_ends}
STEPS: dict[str, tuple[Callable[[bytes], bytes], ...]] = {"c": _C, "cpp": (_leaves_out(_MODULES), *_C)}


def spans(source: bytes, less: bytes) -> Iterator[tuple[int, int]]:
    """Spans of the source that became spaces; spans with only blanks between them are merged."""
    at, start, stop = 0, -1, -1
    for line, other in zip(source.split(b"\n"), less.split(b"\n"), strict=True):
        if line != other:
            changed = [column for column, (one, two) in enumerate(zip(line, other, strict=True)) if one != two]
            if start >= 0 and less[stop : at + changed[0]].strip():
                yield start, stop
                start = -1
            start, stop = at + changed[0] if start < 0 else start, at + changed[-1] + 1
        at += len(line) + 1
    if start >= 0:
        yield start, stop
