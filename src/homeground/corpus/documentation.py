"""Extract the documentation comment of each definition of a file, in every language that has a grammar.

A comment belongs to a definition by its position: right above it (annotations, attributes and signatures may stand
between), as the first thing inside it (Python's docstrings, Rust's `//!`, Elixir's `@moduledoc`), behind it on the same
line (Doxygen's `///<`) or in a statement of its own (SQL's `COMMENT ON`). The differences between languages are
the rows of `STYLES`.

::

    // Sum adds the prices of a basket; it ignores what is sold out.
    //
    // Deprecated: use Total.
    func Sum(basket []Item) int {

    symbol "Sum", summary "Adds the prices of a basket; it ignores what is sold out."
"""

from __future__ import annotations

import ast
import html
import inspect
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeground.corpus.grammar import Defined, Syntax, body_of, parse, rows
from homeground.corpus.languages import Language
from homeground.corpus.names import own_name

if TYPE_CHECKING:
    from tree_sitter import Node

type Place = tuple[int, int]
"""Line, from 1, and column in UTF-8 bytes, from 0."""


@dataclass(frozen=True, slots=True)
class Documentation:
    """The documentation comment of one definition.

    Attributes:
        symbol: dotted name of the definition, as `Definition.symbol`.
        kind: as `Definition.kind`.
        line: line of the definition's name, from 1; tells overloads apart.
        start: first line of the definition, from 1, its decorators and attributes included.
        end: its last line, inclusive.
        text: the comment without its marks, indentation cleaned.
        summary: its first sentence on one line, without markup and without the definition's own name in front.
        spans: where the comment stands: start and end of each of its parts, ends exclusive.
        conventional: written in the form that the language has for documentation, not as a plain comment.
        unusable: why the comment says nothing about the definition (a licence, a directive, code), else "".
    """

    symbol: str
    kind: str
    line: int
    start: int
    end: int
    text: str
    summary: str
    spans: tuple[tuple[Place, Place], ...]
    conventional: bool
    unusable: str = ""


@dataclass(frozen=True)
class Style:
    """Documentation of one language.

    Attributes:
        marks: how a comment above a definition begins that is documentation by the language's convention.
        inside: how a comment begins that documents the definition around it; "string" for a literal.
        after: how a comment begins that documents the definition before it.
        first_line_only: the marks stand on the first of several line comments (Haddock).
        lead: a statement above (or first inside) the definition that holds its documentation as a literal; groups
            `word` and `text`.
        statement: a statement elsewhere in the file, with the groups `name` and `text`.
    """

    marks: str
    inside: str | None = None
    after: str | None = None
    lead: str | None = None
    first_line_only: bool = False
    statement: str | None = None


ANY = r""
_JAVADOC = r"/\*\*(?![*/])"
_DOXYGEN_AFTER = r"/\*[*!]<|//[/!]<"
STYLES: dict[str, Style] = {
    "python": Style(r"(?!)", inside="string"),
    "javascript": Style(_JAVADOC),
    "typescript": Style(_JAVADOC),
    "tsx": Style(_JAVADOC),
    "go": Style(ANY),
    "rust": Style(r"///(?!/)|/\*\*(?![*/])", inside=r"//!|/\*!"),
    "java": Style(_JAVADOC + r"|///(?!/)"),
    "kotlin": Style(_JAVADOC),
    "scala": Style(_JAVADOC),
    "c": Style(ANY, after=_DOXYGEN_AFTER),
    "cpp": Style(ANY, after=_DOXYGEN_AFTER),
    "csharp": Style(r"///(?!/)|/\*\*(?![*/])"),
    "ruby": Style(ANY),
    "php": Style(_JAVADOC),
    "swift": Style(r"///(?!/)|/\*\*(?![*/])"),
    "lua": Style(ANY),
    "bash": Style(ANY),
    "sql": Style(
        ANY,
        statement=r"(?is)\bCOMMENT\s+ON\s+(?:[a-z]+\s+){1,2}(?P<name>[\w.\"]+)\s*(?:\([^)]*\)\s*)?IS\s+"
        r"'(?P<text>(?:[^']|'')*)'\s*;?",
    ),
    "haskell": Style(r"--\s*\||\{-\s*\|", after=r"--\s*\^|\{-\s*\^", first_line_only=True),
    "elixir": Style(
        r"(?!)",
        lead=r"(?s)@(?P<word>doc|moduledoc|typedoc)\s+(?:~[sS])?(?P<quote>\"\"\"|'''|\")(?P<text>.*?)(?<!\\)(?P=quote)",
    ),
    "ocaml": Style(r"\(\*\*(?!\*)", after=r"\(\*\*(?!\*)"),
    "zig": Style(r"///(?!/)"),
    "julia": Style(r"\"|@doc"),
    "hcl": Style(ANY),
}
"""How each language writes documentation; a language with a grammar that has no row has none (CSS, TOML, YAML)."""

# A comment's own marks: of a block, how it opens, closes and begins its inner lines; else of each line.
_BLOCKS = (
    (r"/\*+[*!]?<?", r"\**\*/", r"[ \t]*\*(?!\*)"),
    (r"\{-\s*[|^]?", r"-\}", r"(?!)"),
    (r"\(\*+", r"\**\*\)", r"[ \t]*\*(?!\))"),
    (r"--\[=*\[", r"(?:--)?\]=*\]", r"(?!)"),
    (r"#=+", r"=+#", r"(?!)"),
    (r"=begin\b[^\n]*", r"=end\b", r"(?!)"),
)
_LINE_MARK = re.compile(r"[ \t]*(?:///+<?|//!<?|//|#+!?(?!\[)|--+[ \t]*[|^]?|;+|%+)")
_BANNER = re.compile(r"\s*([-=#*~/_+.])\1{2,}.*|.*([-=#*~/_+])\2{2,}\s*")
_SHOUTED = re.compile(r"[A-Z0-9 &/,_-]+")

# From here on it is no longer about what the definition does.
_ENDS = re.compile(
    r"[ \t]*(?:"
    r"[@\\](?!(?:brief|summary|desc|description|short|abstract|code|ref|link|see\b.*\bfor\b|note)\b)[a-zA-Z]\w*"  # tags
    r"|:(?:param|parameter|type|rtype|returns?|raises?|arg|keyword|ivar|cvar|call-seq)\b[^:\n]*:"  # reST, RDoc
    r"|\s*-\s+(?:Parameters?|Returns?|Throws|Note|Important|Warning|Attention|Complexity|SeeAlso)\b[^\n]*:"  # Swift
    r"|(?:Args|Arguments|Parameters|Params|Returns?|Yields?|Raises|Throws|Options|Usage|Globals|Outputs|Inputs"
    r"|Examples?|Notes?|See also|See Also|Since|Author|Deprecated|TODO|FIXME|XXX)\s*:"  # headed sections
    r"|#+\s+(?:Examples?|Arguments|Panics|Errors|Safety|Returns|Parameters|Options)\b"  # Markdown sections
    r"|>>>\s|```|~~~"  # examples
    r")"
)
_OPENERS = re.compile(r"^[ \t]*[@\\](?:brief|summary|description|desc|short|abstract|note)\b[ \t]*:?", re.MULTILINE)
_XML = re.compile(r"<summary>(.*?)(?:</summary>|\Z)", re.DOTALL)
_INLINE = (
    (re.compile(r"\{@(?:link|linkplain|code|literal|value|see|tutorial)\s+#?([^}|\s]+)(?:[|\s]+([^}]+))?\}"), 0),
    (re.compile(r"<(?:see|paramref|typeparamref|seealso)\s+\w+=\"(?:[A-Z]:)?([^\"]+)\"\s*/?>(?:</see>)?"), 1),
    (re.compile(r":[a-zA-Z:]+:`(?:[^`<]*<)?[~!]?([^`>]+)>?`"), 1),
    (re.compile(r"\[([^\[\]]+)\](?:\([^()\s]*\)|\[[^\[\]]*\])"), 1),
    (re.compile(r"\[`([^`\[\]]+)`\]"), 1),
    (re.compile(r"\{!(?:[a-z]+:)?([^}]+)\}"), 1),
    (re.compile(r"[@\\](?:p|c|a|b|e|em|ref|code)\s+(?=\S)"), -1),
    (re.compile(r"</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>"), -1),
    (re.compile(r"`+"), -1),
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s+[\"'(\[]*[^\sa-z]|\s*$)|[。！？]")
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|viz|etc|resp|approx|incl|excl|no|fig|eq|sec|ch|dr|mr|ms|st|al|[A-Z])\.)$", re.IGNORECASE
)
_OWN_NAME = (
    r"(?:(?:[Tt]he|[Aa]n?)\s+)?(?:NAME(?:\([^()]*\))?(?![\w.])|\[NAME\b[^\]]*\])"
    r"\s*(?:[:,–—]|--?(?=\s))?\s*(?:(?:function|method|class|struct|type|interface|macro)\b\s*)?(?:(?:is|are|was)\b\s*)?"
)
_LEAST_WORDS = 2
_PROSE = re.compile(r"(?:\b[A-Za-z']+\b[ ,]+){3,}")

_LICENCE = re.compile(
    r"\bSPDX-|\bcopyright\b(?=.*\d{4}|\s*\(c\)|\s*©)|\ball rights reserved\b|\blicen[sc]ed? under\b"
    r"|\bthis (?:source )?(?:file|code|software|program|library) is (?:part of|free|licen|subject|govern|distrib)"
    r"|\bpermission is hereby granted\b|\buse of this source code is governed\b",
    re.IGNORECASE | re.DOTALL,
)
_DIRECTIVE = re.compile(
    r"\s*(?:go:\w+|line\s+\S+:\d+|nolint|export\s+\w+$|\+build|eslint|tslint|jshint|jslint|prettier-|biome-|stylelint"
    r"|@ts-|@flow|@jsx|@__PURE__|#__PURE__|istanbul|c8 ignore|v8 ignore|webpack|global\b.*:|noqa|type:\s*ignore|pylint:"
    r"|mypy:|pyright:|pragma\b|fmt:\s*(?:on|off)|yapf:|isort:|rubocop|frozen_string_literal|steep:|typed:|sorbet"
    r"|shellcheck|luacheck|selene:|stylua:|NOLINT|clang-format|clang-tidy|cppcheck|coverity|swiftlint|swiftformat"
    r"|MARK:|region\b|endregion\b|\#region|rustfmt|ReSharper|phpcs|phpstan|psalm|@codeCoverage|@inheritdoc|\{@inheritdoc"
    r"|@hide\b|@internal\b|@nodoc|:nodoc:|:stopdoc:|:startdoc:|vim?:|-\*-|coding[:=]|hlint|credo:|dialyzer|zig fmt"
    r"|ktlint|detekt|scalafmt|scalastyle|format:\s*(?:on|off)|tflint|checkov|tfsec|sqlfluff|generated\b.*\bdo not edit"
    r"|do not edit\b|!/)",
    re.IGNORECASE,
)
_NOTE_TO_SELF = re.compile(r"\s*(?:TODO|FIXME|XXX|HACK|BUG|NB)\b", re.IGNORECASE)
_CODE_LINE = re.compile(
    r"[^.]*[;{}]\s*|\s*[\w.$>-]+(?:\[[^\]]*\])?\s*[-+*/|&:]?=\s*\S+[^.]*"
    r"|\s*(?:if|for|while|switch|return|import|from|var|let|const|val|def|func|fn|end|else|elif|public|private|static"
    r"|print\w*|local|assert|self|this)\b.*[({\[;:=]\s*|\s*(?:return\s+)?[\w.:$>-]+\([^()]*\);?\s*|\s*[)\]}]+[;,]?\s*"
)


def documentation(lines: Sequence[str], language: Language) -> list[Documentation]:
    """The documentation comments of a file's definitions, in the order of the definitions.

    A comment belongs to one definition: the outermost of those that begin on the line below it.

    Args:
        lines: the file's lines without terminators (`SourceFile.lines`).
        language: its row in the table of languages.
    """
    style = STYLES.get(language.name)
    syntax = parse(lines, language) if style is not None else None
    if style is None or syntax is None:
        return []
    return list(_Finder(lines, syntax, style).found())


_STATEMENT = re.compile(r"(?<!body)(?<!block)_(?:declaration|statement|definition|item)$")


@dataclass(frozen=True, slots=True)
class _Read:
    text: str
    spans: tuple[tuple[Place, Place], ...]
    conventional: bool


class _Finder:
    """Pairs the comments of one file with its definitions."""

    def __init__(self, lines: Sequence[str], syntax: Syntax, style: Style) -> None:
        self._lines = lines
        self._syntax = syntax
        self._style = style
        self._comments = sorted(syntax.comment_nodes, key=lambda node: node.start_byte)
        if self._comments and _source(self._comments[0]).startswith("#!"):
            del self._comments[0]
        self._rows = [node.start_point.row for node in self._comments]
        self._taken: set[int] = set()

    def found(self) -> Iterator[Documentation]:
        elsewhere = self._statements()
        for one in self._syntax.definitions:
            start = self._first_row(one)
            read = self._literal(one, start) or self._comment(one, start)
            read = read or elsewhere.get(one.symbol.lower()) or elsewhere.get(one.name.lower())
            if read is None or not read.text:
                continue
            while start - 1 in self._syntax.leads:
                start -= 1
            summary = summary_of(read.text, one.symbol)
            yield Documentation(
                symbol=one.symbol,
                kind=one.kind,
                line=one.row + 1,
                start=start + 1,
                end=one.stop,
                text=read.text,
                summary=summary,
                spans=read.spans,
                conventional=read.conventional,
                unusable=_unusable(read.text, summary),
            )

    def _first_row(self, one: Defined) -> int:
        """First row of the statement that ends with the definition: `template <...>`, `export`, decorators."""
        node, row = one.node, one.start
        while (parent := node.parent) is not None and _STATEMENT.search(parent.type) and parent.parent is not None:
            if parent.end_byte - node.end_byte > 1:
                break
            node, row = parent, min(row, parent.start_point.row)
        return row

    def _comment(self, one: Defined, start: int) -> _Read | None:
        style = self._style
        if style.inside and (nodes := self._inside(one)):
            return self._read(nodes, True)
        if style.after and (nodes := self._after(one)):
            return self._read(nodes, True)
        nodes = [node for node in self._above(one, start) if node.id not in self._taken]
        if style.after and style.after != style.marks:
            nodes = [node for node in nodes if not _begins(style.after, node)]
        marked = [at for at, node in enumerate(nodes) if _begins(style.marks, node)]
        if not marked:
            return self._read(_last_run(nodes), False) if nodes else None
        if style.marks == ANY:
            return self._read(_last_run(nodes), True)
        if _is_block(nodes[marked[-1]]):
            return self._read([nodes[marked[-1]]], True)
        last = len(nodes) if style.first_line_only else marked[-1] + 1
        return self._read(nodes[marked[0] : last], True)

    def _above(self, one: Defined, start: int) -> list[Node]:
        """Comments right above the definition; a block that is documentation may be one blank line away."""
        asides = self._syntax.comments | self._syntax.leads
        row = start
        while row - 1 in asides:
            row -= 1
        nodes = [node for node in self._from(row, start + 1) if node.start_byte < one.node.start_byte]
        if nodes or row < 2 or self._lines[row - 1].strip() or self._style.marks == ANY:
            return nodes
        stop = row - 1
        row = stop
        while row - 1 in self._syntax.comments:
            row -= 1
        return [n for n in self._from(row, stop) if _begins(self._style.marks, n) and _is_block(n)][-1:]

    def _inside(self, one: Defined) -> list[Node]:
        """The marked comments among the first things of the body."""
        body = body_of(one.node)
        if body is None or self._style.inside is None:
            return []
        first = next((n.start_byte for n in body.named_children if n.id not in self._syntax.asides), body.end_byte)
        nodes = self._from(body.start_point.row, one.stop)
        inner = [node for node in nodes if body.start_byte <= node.start_byte < first]
        return [node for node in inner if _begins(self._style.inside, node)]

    def _after(self, one: Defined) -> list[Node]:
        """A marked comment behind the definition, on its last row or the next, and the rows that go on with it."""
        found: list[Node] = []
        if self._style.after is None:
            return found
        for node in self._from(one.stop - 1, one.stop + 50):
            row = node.start_point.row
            if node.start_byte < one.node.end_byte or node.id in self._taken:
                continue
            if found:
                if row != rows(found[-1])[1] or not self._style.first_line_only:
                    break
            elif row > one.stop or not _begins(self._style.after, node):
                break
            elif self._style.after == self._style.marks and rows(node)[1] in self._heads():
                break  # it stands right above the next definition
            found.append(node)
        return found

    def _heads(self) -> set[int]:
        return {one.start for one in self._syntax.definitions}

    def _literal(self, one: Defined, start: int) -> _Read | None:
        if self._style.inside == "string":
            return self._docstring(one)
        if self._style.lead is None:
            return None
        inner = one.kind in ("module", "interface")
        if inner:
            after = (other.start for other in self._syntax.definitions if other.start > one.start)
            first, stop = one.row + 1, min(one.stop, next(after, one.stop))
        else:
            first, stop = start, start
            while first - 1 in self._syntax.leads or first - 1 in self._syntax.comments:
                first -= 1
        text = "\n".join(self._lines[first:stop])
        for match in re.finditer(self._style.lead, text):
            if match["word"].startswith("module") == inner:
                return _Read(inspect.cleandoc(match["text"].replace('\\"', '"')), (_places(text, match, first),), True)
        return None

    def _docstring(self, one: Defined) -> _Read | None:
        """Python's: the string that is the body's first statement."""
        body = body_of(one.node)
        node = next((child for child in body.named_children if child.type != "comment"), None) if body else None
        if node is not None and node.type == "expression_statement" and node.named_child_count == 1:
            node = node.named_children[0]
        if node is None or node.type not in ("string", "concatenated_string"):
            return None
        try:
            value: object = ast.literal_eval(_source(node))
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return None  # an f-string, or a string that does not end: no docstring to Python either
        return _Read(inspect.cleandoc(value), (_span(node),), True) if isinstance(value, str) else None

    def _statements(self) -> dict[str, _Read]:
        """Documentation that stands in statements of its own, by the lower-cased name that it is about."""
        if self._style.statement is None:
            return {}
        text = "\n".join(self._lines)
        found: dict[str, _Read] = {}
        for match in re.finditer(self._style.statement, text):
            name = match["name"].replace('"', "").lower()
            read = _Read(match["text"].replace("''", "'"), (_places(text, match, 0),), True)
            found.setdefault(name, read)
            found.setdefault(name.rpartition(".")[2], read)
        return found

    def _from(self, first: int, stop: int) -> list[Node]:
        """Comments that begin in the rows [first, stop)."""
        return self._comments[bisect_left(self._rows, first) : bisect_left(self._rows, stop)]

    def _read(self, nodes: Sequence[Node], conventional: bool) -> _Read:
        self._taken.update(node.id for node in nodes)
        text = "\n".join(_unmarked(_source(node)) for node in nodes)
        return _Read(inspect.cleandoc(text).strip(), tuple(_span(node) for node in nodes), conventional)


def _begins(marks: str, node: Node) -> bool:
    return re.match(marks, _source(node)) is not None


def _is_block(node: Node) -> bool:
    return any(re.match(opens, _source(node)) for opens, _, _ in _BLOCKS)


def _last_run(nodes: Sequence[Node]) -> Sequence[Node]:
    """The last block comment, or the line comments behind the last block."""
    blocks = [at for at, node in enumerate(nodes) if _is_block(node)]
    if not blocks:
        return nodes
    return nodes[blocks[-1] :] if blocks[-1] == len(nodes) - 1 else nodes[blocks[-1] + 1 :]


def _source(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _span(node: Node) -> tuple[Place, Place]:
    (first, left), (last, right) = node.start_point, node.end_point
    return (first + 1, left), (last + 1, right)


def _places(text: str, match: re.Match[str], first: int) -> tuple[Place, Place]:
    begin, end = match.span()
    return _place(text, begin, first), _place(text, end, first)


def _place(text: str, at: int, first: int) -> Place:
    line = text.rfind("\n", 0, at) + 1
    return first + text.count("\n", 0, at) + 1, len(text[line:at].encode("utf-8", "replace"))


def _unmarked(comment: str) -> str:
    """A comment's words: without what opens, closes and begins its lines, and without ornaments."""
    for opens, closes, inner in _BLOCKS:
        if (opening := re.match(opens, comment)) is not None:
            body = re.sub(rf"\s*{closes}\s*\Z", "", comment[opening.end() :])
            lines = [re.sub(rf"\A{inner}", "", line) for line in body.split("\n")]
            break
    else:
        if comment[:1] in "\"'":
            lines = comment.strip("\"'").split("\n")
        else:
            lines = [_LINE_MARK.sub("", line, count=1) for line in comment.split("\n")]
    return "\n".join("" if _BANNER.fullmatch(line) else line for line in lines)


def summary_of(text: str, symbol: str) -> str:
    """First sentence of a documentation comment, on one line and without markup; "" where nothing is left.

    Args:
        text: the comment without its marks.
        symbol: of the definition; its own name is taken off the front ("Sum adds ..." gives "Adds ...").
    """
    words = " ".join(" ".join(_first_paragraph(text)).split())
    for pattern, group in _INLINE:
        words = pattern.sub(
            "" if group < 0 else lambda match, group=group: match[2] or match[1] if group == 0 else match[group], words
        )
    return _without_name(_first_sentence(" ".join(html.unescape(words).split())), own_name(symbol))


def _first_paragraph(text: str) -> list[str]:
    """Lines up to the first blank one or the first tag, section or example."""
    if (found := _XML.search(text)) is not None:
        text = found[1]
    kept: list[str] = []
    lines = _OPENERS.sub("", text).strip().split("\n")
    for at, line in enumerate(lines):
        if kept and not line.strip():
            if not all(map(_is_code, kept)) or not any(later.strip() for later in lines[at:]):
                break
            kept = []  # a signature that stands above the words
        elif _ENDS.match(line):
            break
        elif line.strip():
            kept.append(line)
    return kept


def _first_sentence(words: str) -> str:
    start = 0
    while (end := _SENTENCE_END.search(words, start)) is not None:
        if not _ABBREVIATED.search(words[: end.start() + 1]):
            return words[: end.end()].strip()
        start = end.end()
    return words


def _without_name(sentence: str, name: str) -> str:
    own = re.match(_OWN_NAME.replace("NAME", re.escape(name)), sentence)
    rest = sentence[own.end() :] if own is not None else sentence
    return rest[:1].upper() + rest[1:] if len(rest.split()) >= _LEAST_WORDS else sentence


def _is_code(line: str) -> bool:
    return _CODE_LINE.fullmatch(line) is not None and _PROSE.search(line) is None


def _unusable(text: str, summary: str) -> str:
    head = "\n".join(text.split("\n")[:12])
    if _LICENCE.search(head):
        return "a licence or copyright notice"
    if _DIRECTIVE.match(text):
        return "a directive to a tool"
    if _NOTE_TO_SELF.match(text):
        return "a note about work to do"
    lines = [line for line in _first_paragraph(text) if "{@" not in line]
    if lines and sum(_is_code(line) for line in lines) * 2 >= len(lines):
        return "code that is commented out"
    if not re.search(r"\w", summary) or len(summary.split()) < _LEAST_WORDS or _SHOUTED.fullmatch(summary):
        return "no sentence"
    return ""
