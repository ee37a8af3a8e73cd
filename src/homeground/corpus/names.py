"""Names of definitions: dotted in every language, with the operator signs of the source.

Examples: `Money.<=>`, `A.operator[]`, `A.operator bool`, `Semigroup.<>`, `Shelf.Symbol.iterator`. Dots separate the
names of the enclosing definitions from the definition's own name, which may consist of signs only.
"""

from __future__ import annotations

import re

_ARGUMENTS = re.compile(r"(?<=[\w>\])])(?:<[^<>]+>|\[[^\[\]]+\])")
_NOISE = re.compile(r"^(?:module\.)?exports\.|^this\.|\bprototype\.")
_QUOTES = "\"'`"
_OPERATOR = re.compile(r"(?P<owner>(?:[^\s]*::)?)operator\b\s*(?P<signs>\(\s*\)|\"\"\s*\w+|[^\w\s(\"][^\w(]*|\w[^(]*)")
_PARENTHESES = re.compile(r"\(\s*([^\s(),]+)\s*\)")
_QUOTED_SIGNS = re.compile(r"(?<=\.):\(?([^\w\s()]+)\)?$")  # Base.:(==) in Julia
_WRAPPED = re.compile(r"(?:@|r#|var(?=\"))(?=[\w\"])")  # an odd or reserved word as a name: Zig, C#, Rust, Julia
_SCOPE = re.compile(r"(?<=[\w>)\]])(?:::|#)(?=\S)")
_TAIL = re.compile(r"[^\w\s]*$")
_WORDS = re.compile(r"[\w\s]+")
_LONGEST = 200


def clean_name(text: str) -> str:
    """A definition's name as a symbol: one separator in every language, without type arguments and quotes."""
    # The grammar of SQL leaves the outer brackets of `[dbo].[Orders]` aside.
    text = _WRAPPED.sub("", " ".join(text.split()), count=1).replace("].[", ".")
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0] and text[0] not in text[1:-1]:
        return text[1:-1] or "?"
    if found := _OPERATOR.match(text):
        owner = f"{clean_name(found['owner'].removesuffix('::'))}." if found["owner"].endswith("::") else ""
        signs = re.sub(r"(?<=\W) | (?=\W)", "", found["signs"].strip())
        return f"{owner}operator{' ' if signs[0].isalpha() else ''}{signs}"
    if found := _PARENTHESES.fullmatch(text):
        return clean_name(found[1])
    if text.startswith("[") and text.endswith("]") and len(text) > 2:
        text = re.sub(r"\[([^\[\]]*)\]", r"\1", text).strip("\"'`")
    while (shorter := _ARGUMENTS.sub("", text)) != text:
        text = shorter
    if any(mark in text for mark in '"`') and len(text) > 1:
        text = text.replace('"', "").replace("`", "")
    text = _QUOTED_SIGNS.sub(r"\1", _SCOPE.sub(".", text.removeprefix("::") if text[2:] else text))
    return without_noise(text) or "?"


def without_noise(text: str) -> str:
    """Remove parts of a dotted name that only name the target of an export."""
    return _NOISE.sub("", text)


def split_symbol(symbol: str) -> tuple[str, str]:
    """Split a symbol into its enclosing definition's name and its own name; a dot in an operator is not a separator."""
    tail = _TAIL.search(symbol)
    signs = tail[0] if tail is not None else ""
    head = symbol[: len(symbol) - len(signs)]
    if signs.startswith(".") and head and len(signs) > 1:
        return head, signs[1:]
    owner, dot, name = head.rpartition(".")
    return (owner, name + signs) if dot else ("", symbol)


def own_name(symbol: str) -> str:
    """Last name of a dotted symbol."""
    return split_symbol(symbol)[1]


def spellings(written: str) -> list[str]:
    """Dotted names that a query may refer to if it is a single name, the most literal one first.

    Empty for plain words, for text that is not printable and for text that is too long to be a name.
    """
    text = written.strip()
    if not text or not text.isprintable() or len(text) > _LONGEST:
        return []
    if " " in text and _WORDS.fullmatch(text) and not text.startswith("operator "):
        return []
    dotted = _SCOPE.sub(".", text)
    bare = dotted.removesuffix("()")
    owner, name = split_symbol(bare)
    cleaned = f"{owner}.{clean_name(name)}" if owner else clean_name(name)
    return list(dict.fromkeys(one for one in (text, dotted, bare, cleaned, clean_name(text), bare.rstrip("?!")) if one))
