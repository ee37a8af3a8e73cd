"""Masks are exact: without its documentation comments a file has every other byte, and defines the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.corpus import outline
from homeground.corpus.documentation import documentation
from homeground.corpus.languages import LANGUAGE_BY_NAME

DOC = re.compile(r"⟦(.*?)⟧", re.DOTALL)
"""Marks a documentation comment in the templates; a comment outside of these marks belongs to no definition."""


@dataclass(frozen=True)
class Grown:
    """Sources of a language: comments with WORDS, definitions with N in their name, and what stands between."""

    comments: Sequence[str]
    definitions: Sequence[str]
    between: Sequence[str]
    beginning: str = ""


GROWN = {
    "go": Grown(
        ["// WORDS", "// WORDS\n//\n// WORDS\n", "/* WORDS */", "/*\nWORDS\n\tWORDS\n*/", "//WORDS\n//\tWORDS"],
        [
            "DOC\nfunc fN(a int) int { return a } // WORDS",
            "DOC\nfunc (t *T) mN() {\n\t// WORDS\n\tgo run() /* WORDS */\n}",
            "DOC\ntype TN struct {\n\tA int // WORDS\n}",
            "DOC\nfunc aN() {}; func bN() {}",
            "//go:build WORDS\n\nDOC\nfunc cN() {}",
            "func dN() {}",
        ],
        ["\n// WORDS\n", "var xN = 1 // WORDS", '\nvar s = "// WORDS"\n', "\n/* WORDS */\n"],
        "package p\n",
    ),
    "typescript": Grown(
        ["/** WORDS */", "/**\n * WORDS\n * @param a WORDS\n */", "/**\n\tWORDS\n\tWORDS */"],
        [
            "DOC\nexport function fN(a: string): void { /* WORDS */ }",
            "DOC\nfunction oN(a: string): void;\nDOC\nfunction oN(a: number): void;\nDOC\nfunction oN(a: any) {}",
            "DOC\nexport class CN {\n\tDOC\n\tm(): void {} // WORDS\n\n\tDOC\n\t@dec n() {}\n}",
            "DOC\nexport interface IN {\n  DOC\n  m(a: string): void;\n  m(a: number): void;\n}",
            "DOC\nexport const vN = make(`// WORDS`);",
            "function xN() {} function yN() {}",
        ],
        ["\n// WORDS\n\n", "run(); // WORDS", "\nconst s = '/** WORDS */';\n"],
    ),
    "python": Grown(
        ['"""WORDS"""', '"""WORDS\n\n    WORDS\n    """', "'WORDS'", 'r"""WORDS"""', "'WORDS' 'WORDS'"],
        [
            "def fN(a):\n    DOC\n    return a  # WORDS",
            "class CN:\n    DOC\n\n    def m(self): DOC; return 1\n\n    async def n(self):\n        DOC",
            "@dec\n# WORDS\ndef gN():\n    DOC\n    x = '''WORDS'''",
            "@overload\ndef oN(a: int): DOC\n@overload\ndef oN(a: str): ...\ndef oN(a):\n    DOC",
            "if a:\n    def hN(): DOC\n",
        ],
        ["\n# WORDS\n\n", "x = 'WORDS'\n", "'''WORDS'''\n"],
    ),
    "cpp": Grown(
        ["/// WORDS", "/** WORDS */", "// WORDS\n// WORDS", "/**\n * WORDS\n *\tWORDS\n */", "//! WORDS\n//! WORDS"],
        [
            "DOC\nint fN(int a) { return a; /* WORDS */ }",
            "DOC\ntemplate <typename T>\nT tN(T a) { return a; } // WORDS",
            "DOC\nclass CN {\n public:\n\tDOC\n\tvoid m();\n\n\tDOC\n\tvoid n() {}\n};\n\nDOC\nvoid CN::m() {}",
            "DOC\nint oN(int a);\nDOC\nint oN(long a);\nDOC\nint oN(int a) { return a; }",
            "struct SN { int n; }; ⟦///< WORDS⟧",
            "void aN() {} void bN() {}",
        ],
        ["\n// WORDS\n", "int xN = 1; // WORDS", '\nconst char *s = "// WORDS";\n'],
    ),
    "rust": Grown(
        ["/// WORDS", "/// WORDS\n///\n/// WORDS", "/** WORDS */"],
        [
            "DOC\npub fn fN(a: u8) -> u8 { a } // WORDS",
            "DOC\npub trait TN {\n    DOC\n    fn m(&self);\n}",
            "DOC\nimpl TN for S {\n    DOC\n    fn m(&self) {}\n}",
            "DOC\n#[derive(Debug)]\npub struct SN;",
            "mod mN {\n    ⟦//! WORDS⟧\n    ⟦//! WORDS⟧\n\n    DOC\n    fn n() {}\n}",
        ],
        ["\n// WORDS\n", "\nconst S: &str = \"/// WORDS\";\n"],
    ),
}  # fmt: skip

LETTERS = st.sampled_from(["a", "b", "é", "e\u0301", "ß", "漢", "😀", "я", "\u00a0a"])
WORD = st.lists(LETTERS, min_size=1, max_size=5).map("".join)
WORDS = st.lists(WORD, min_size=2, max_size=5).map(" ".join)


@st.composite
def sources(draw: st.DrawFn, grown: Grown) -> str:
    """A file of definitions with and without comments, in any order."""
    parts = [grown.beginning]
    for number in range(draw(st.integers(1, 6))):
        part = draw(st.sampled_from(grown.definitions))
        while (at := part.find("DOC")) >= 0:
            comment = f"⟦{draw(st.sampled_from(grown.comments)).strip()}⟧" if draw(st.booleans()) else ""
            indent = re.search(r"[ \t]*\Z", part[:at])
            if comment == "":  # no line of its own is left
                part = part[:at] + ("pass" if grown is GROWN["python"] else "") + part[at + 3 :]
                continue
            if indent is not None and grown is not GROWN["python"]:
                comment = comment.replace("\n", f"\n{indent[0]}")
            part = part[:at] + comment + part[at + 3 :]
        parts.append(re.sub(r"(?<=[a-zA-Z])N\b", str(number), part))
        if draw(st.booleans()):
            parts.append(draw(st.sampled_from(grown.between)).replace("xN", f"x{number}"))
    return re.sub("WORDS", lambda _: draw(WORDS), "\n\n".join(parts))


def blanked(text: str) -> str:
    """The text with a blank for each of its bytes."""
    return "".join("\n" if one == "\n" else " " * len(one.encode()) for one in text)


def without_comments(lines: Sequence[str], language: str) -> str:
    """The lines with a blank for each byte of each documentation comment."""
    data = [line.encode() for line in lines]
    for one in documentation(lines, LANGUAGE_BY_NAME[language]):
        for (first, left), (last, right) in one.spans:
            for number in range(first, last + 1):
                line = data[number - 1]
                start, stop = left if number == first else 0, right if number == last else len(line)
                assert 0 <= start <= stop <= len(line)
                data[number - 1] = line[:start] + b" " * (stop - start) + line[stop:]
    return "\n".join(line.decode() for line in data)


@pytest.mark.parametrize("language", GROWN)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_masked_is_each_documentation_comment_and_nothing_else(language: str, data: st.DataObject) -> None:
    marked = data.draw(sources(GROWN[language]))
    lines = DOC.sub(r"\1", marked).split("\n")
    left = without_comments(lines, language)
    expected = DOC.sub(lambda match: blanked(match[1]), marked)
    assert left.replace("\t", " ") == expected.replace("\t", " ")  # one between two comments is a part of neither
    row = LANGUAGE_BY_NAME[language]
    before = [(one.symbol, one.kind, one.line) for one in outline(lines, row).definitions]
    assert [(one.symbol, one.kind, one.line) for one in outline(left.split("\n"), row).definitions] == before
