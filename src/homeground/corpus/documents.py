"""Text and sections of documents: the cells of notebooks, what a reader sees of HTML, the pages of PDFs.

Outputs of notebooks are dropped. A PDF is a program of sorts, and a hostile one can keep a reader busy for ever or fill
the memory, so pypdf runs in a process of its own, `pdf_pages.py`, under limits that the operating system keeps.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from homeground.corpus.prose import Section, Trail, markdown_headings
from homeground.corpus.skip import LeftOutError, Skip

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode


def read_notebook(text: str) -> tuple[list[str], tuple[Section, ...]]:
    """Lines of a notebook (nbformat 3 or 4) and one section a cell.

    A cell begins with a line such as `# %% cell 3 (code)`, so a citation says which cell it means. Its symbol is the
    titles above it and its number.

    Raises:
        LeftOutError: this is no notebook.
    """
    try:
        cells = list(_cells(json.loads(text)))
    except (ValueError, RecursionError):
        raise LeftOutError(Skip.DAMAGED) from None
    lines: list[str] = []
    sections: list[Section] = []
    trail = Trail()
    for number, (kind, source) in enumerate(cells, 1):
        body = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if not source.strip():
            continue
        if kind == "markdown":
            for _, level, title in markdown_headings(body):
                trail.enter(level, title)
        sections.append(Section(len(lines), " > ".join([*trail.titles, f"cell {number}"])))
        lines += [f"# %% cell {number} ({kind})", *body, ""]
    if not lines:
        raise LeftOutError(Skip.EMPTY)
    return lines[:-1], tuple(sections)


def _cells(document: object) -> Iterator[tuple[str, str]]:
    """(kind, source) of each cell; anything else than a notebook is a ValueError."""
    holders = [document, *_list(_dict(document).get("worksheets", []))]  # worksheets: nbformat 3
    if not any("cells" in _dict(holder) for holder in holders):
        raise ValueError
    for holder in holders:
        for cell in _list(_dict(holder).get("cells", [])):
            one = _dict(cell)
            source: object = one.get("source", one.get("input", ""))
            parts = [source] if isinstance(source, str) else _list(source)
            yield str(one.get("cell_type", "raw")), "".join(map(str, parts))


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    return cast("dict[str, Any]", value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError
    return cast("list[Any]", value)


_SECONDS = 60.0
_SCRIPT = Path(__file__).with_name("pdf_pages.py")


def read_pdf(data: bytes, seconds: float = _SECONDS) -> tuple[list[str], tuple[Section, ...]]:
    """Lines of a PDF and one section a page. A page begins with a line such as `[page 3]`.

    Raises:
        LeftOutError: DAMAGED for what pypdf cannot read within the time, EMPTY for pages without text (scans),
            UNREADABLE for one that wants a password.
    """
    command = [sys.executable, "-P", str(_SCRIPT)]  # -P: what lies in its folder is not to be imported
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=seconds, check=False)
        told: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"reason": Skip.DAMAGED}
    except (subprocess.TimeoutExpired, ValueError):
        told = {"reason": Skip.DAMAGED}
    if "reason" in told:
        raise LeftOutError(Skip(told["reason"]))
    lines: list[str] = []
    sections: list[Section] = []
    for number, text in enumerate(told["pages"], 1):
        body = [line.rstrip() for line in str(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")]
        if not any(body):
            continue
        sections.append(Section(len(lines), f"page {number}"))
        lines += [f"[page {number}]", *body, ""]
    if not lines:
        raise LeftOutError(Skip.EMPTY)
    return lines[:-1], tuple(sections)


_UNSEEN = frozenset({
    "script", "style", "template", "noscript", "svg", "math", "canvas", "iframe", "object", "audio", "video", "head",
    "select", "datalist", "button", "input",
})  # fmt: skip
_INLINE = frozenset({
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u",
    "var", "wbr", "img",
})  # fmt: skip
_CELLS = frozenset({"td", "th"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_NOT_NESTED = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
    "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "option", "optgroup", "rb", "rt",
})  # fmt: skip
"""Empty, or ended by what follows: their end is often left out."""
_DEEPEST = 512  # as in browsers; a parser's time grows with length times depth
_WIDTH = 100  # a paragraph is one line in HTML's eyes; here it must be possible to cut it


def read_html(text: str) -> tuple[list[str], tuple[Section, ...]]:
    """Lines of visible text and a section for each heading.

    Paragraphs are filled to 100 columns, `pre` keeps its lines, a table's row is one line.

    Raises:
        LeftOutError: there is nothing to see, or elements nest deeper than in any page that people read.
    """
    if _depth(text) > _DEEPEST:
        raise LeftOutError(Skip.DAMAGED)
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    page = _Page()
    root = tree.body or tree.root
    if root is not None:
        _visit(root, page)
    page.end_block()
    if not any(line.strip() for line in page.lines):
        raise LeftOutError(Skip.EMPTY)
    title = tree.css_first("title")
    return page.lines, page.sections(title.text(deep=True) if title is not None else "")


def _depth(text: str) -> int:
    """How deep the elements of a page nest, or a little more."""
    deepest = depth = 0
    unended: Counter[str] = Counter()
    for end, name in _TAG.findall(text):
        tag = name.lower()
        if tag not in _NOT_NESTED and (not end or unended[tag]):
            step = -1 if end else 1
            unended[tag] += step
            depth += step
            deepest = max(deepest, depth)
    return deepest


class _Page:
    """Lines as they come, the block that is being written, and where headings stand."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.marks: list[tuple[int, int, str]] = []
        self.preformatted = 0
        self._block: list[str] = []
        self._level: int | None = None

    def write(self, text: str) -> None:
        self._block.append(text)

    def heading(self, level: int | None) -> None:
        """From here on the text is a heading of that level, or no longer is."""
        self._level = level

    def end_block(self, *, as_it_is: bool = False) -> None:
        text = "".join(self._block)
        self._block.clear()
        if not text.strip():
            return
        if as_it_is:
            lines = [line.rstrip() for line in text.strip("\n").replace("\r\n", "\n").replace("\r", "\n").split("\n")]
        else:
            lines = textwrap.wrap(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)
        if self._level is not None:
            self.marks.append((len(self.lines) + bool(self.lines), self._level, " ".join(lines)))
        if self.lines and (self._level is not None or self._spaced):
            self.lines.append("")
        self._spaced = self._level is not None or as_it_is
        self.lines += lines

    _spaced = False

    def paragraph(self) -> None:
        """What follows stands apart."""
        self._spaced = True

    def sections(self, title: str) -> tuple[Section, ...]:
        trail = Trail()
        found: list[Section] = []
        if not self.marks or self.marks[0][0] > 0:
            found.append(Section(0, " ".join(title.split())))
        for row, level, name in self.marks:
            trail.enter(level, name)
            found.append(Section(row, trail.symbol))
        return tuple(found)


def _visit(root: LexborNode, page: _Page) -> None:
    """Writes all below a node, without recursion: pages nest deeper than Python's stack."""
    ahead: list[tuple[LexborNode, bool]] = [(root, False)]
    while ahead:
        node, is_end = ahead.pop()
        tag = node.tag or ""
        if is_end:
            _close(tag, page)
        elif tag == "-text":
            page.write(node.text_content or "")
        elif tag not in _UNSEEN and not tag.startswith(("-", "!")) and "hidden" not in node.attributes:
            _open(tag, page)
            ahead.append((node, True))
            child = node.last_child
            while child is not None:
                ahead.append((child, False))
                child = child.prev


def _open(tag: str, page: _Page) -> None:
    if tag == "br":
        page.write("\n" if page.preformatted else "")  # elsewhere its end ends the line
    elif tag not in _INLINE and tag not in _CELLS and not page.preformatted:
        page.end_block()
    if tag in _HEADINGS:
        page.heading(_HEADINGS[tag])
    elif tag == "p":
        page.paragraph()
    elif tag == "li":
        page.write("- ")
    elif tag == "pre":
        page.paragraph()
        page.preformatted += 1


def _close(tag: str, page: _Page) -> None:
    if tag == "pre":
        page.preformatted -= 1
        if not page.preformatted:
            page.end_block(as_it_is=True)
    elif tag in _CELLS:
        page.write(" \t ")
    elif tag not in _INLINE and not page.preformatted:
        page.end_block()
        if tag in ("p", "ul", "ol", "table", "dl", "blockquote"):
            page.paragraph()
    if tag in _HEADINGS:
        page.heading(None)
