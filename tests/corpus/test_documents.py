"""Notebooks, HTML and PDF: their lines, their sections, and what hostile ones come to."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError
from homeground.corpus import LeftOutError, Skip, chunk_lines, language_of, read_text, text_of
from homeground.corpus.documents import read_html, read_pdf


def text(path, data):
    return text_of(path, data.encode() if isinstance(data, str) else data, language_of(path))


def chunks_of(path, data, max_tokens=40):
    read = text(path, data)
    chunks = chunk_lines(path, read.lines, language_of(path), max_tokens=max_tokens, sections=read.sections)
    covered = [row for chunk in chunks for row in range(chunk.start, chunk.end + 1)]
    assert len(covered) == len(set(covered))
    assert set(covered) >= {row for row, line in enumerate(read.lines, 1) if line.strip()}
    assert all("\n".join(read.lines[chunk.start - 1 : chunk.end]) == chunk.text for chunk in chunks)
    return chunks


def notebook(*cells):
    return json.dumps({"nbformat": 4, "cells": [{"cell_type": kind, "source": source} for kind, source in cells]})


def pdf(*pages):
    """A PDF with a line of text a page, written out by hand."""
    numbers = [4 + 2 * at for at in range(len(pages))]
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(b"%d 0 R" % n for n in numbers), len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, words in zip(numbers, pages, strict=True):
        stream = b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % words.encode()
        resources = b"/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 600 800]"
        objects.append(b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R %s >>" % (number + 1, resources))
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n" % size
    return out + head + table + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(out))


def test_a_notebook_is_cut_at_its_cells_and_loses_its_outputs():
    document = json.loads(notebook(("markdown", ["# Bread\n", "text"]), ("code", "bake()\neat()"), ("code", [])))
    document["cells"][1]["outputs"] = [{"text": "a secret recipe"}]
    document["cells"].append({"cell_type": "markdown", "source": "## Rolls"})
    read = text("a.ipynb", json.dumps(document))
    assert read.lines == ["# %% cell 1 (markdown)", "# Bread", "text", "", "# %% cell 2 (code)", "bake()", "eat()", "",
                          "# %% cell 4 (markdown)", "## Rolls"]  # fmt: skip
    chunks = chunks_of("a.ipynb", json.dumps(document))
    assert [(chunk.start, chunk.end, chunk.symbol) for chunk in chunks] == [
        (1, 3, "Bread > cell 1"), (5, 7, "Bread > cell 2"), (9, 10, "Bread > Rolls > cell 4")
    ]  # fmt: skip


def test_an_old_notebook_is_read_too():
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": ["x = 1"], "outputs": []}]}]}
    assert text("a.ipynb", json.dumps(old)).lines == ["# %% cell 1 (code)", "x = 1"]


@pytest.mark.parametrize("data", [
    "", "{", "[]", "3", "null", '{"a": 1}', '{"cells": 1}', '{"cells": [1]}',
    '{"cells": [{"source": {}}]}', "[" * 100_000, '{"worksheets": [3]}',
])  # fmt: skip
def test_what_is_no_notebook_is_damaged(data):
    with pytest.raises(LeftOutError) as caught:
        text("a.ipynb", data)
    assert caught.value.reason == Skip.DAMAGED


PAGE = """<!doctype html><html><head><title>The page</title><style>b{}</style></head><body>
<a href=x>Home</a> <a>Docs</a><h1>Title <em>one</em></h1><p>First   paragraph
goes on.<br>Next line.</p><script>alert('no')</script><ul><li>one<li>two <b>bold</b></ul>
<pre>def f():
    return 1</pre><h2>Sub</h2><table><tr><th>a<th>b<tr><td>1<td>2</table><p hidden>no</p><!-- no --></body></html>"""


def test_html_gives_what_a_reader_sees_by_heading():
    read = text("a.html", PAGE)
    assert read.lines == ["Home Docs", "", "Title one", "", "First paragraph goes on.", "Next line.", "", "- one",
                          "- two bold", "", "def f():", "    return 1", "", "Sub", "", "a b", "1 2"]  # fmt: skip
    chunks = chunks_of("a.html", PAGE)
    assert [(chunk.start, chunk.symbol) for chunk in chunks] == [
        (1, "The page"), (3, "Title one"), (14, "Title one > Sub")
    ]  # fmt: skip


def test_a_long_paragraph_of_html_can_be_cut_under_the_budget():
    chunks = chunks_of("a.html", f"<p>{'some words ' * 400}</p>")
    assert len(chunks) > 10
    assert max(len(chunk.text) for chunk in chunks) < 300


def test_html_declares_its_letters():
    data = '<meta charset="iso-8859-1"><p>Grüße</p>'.encode("latin-1")
    assert text("a.html", data).lines == ["Grüße"]


TAGS = ["<div>", "</div>", "<pre>", "</pre>", "<h1>", "</h2>", "<p>", "<td>", "<li>", "<br>", "word", " ", "\n", "<b>",
        "&lt;x&gt;", "<!--", "-->", "<script>", "\0", "<"]  # fmt: skip


@given(st.lists(st.sampled_from(TAGS)))
def test_any_html_gives_lines_that_chunks_cover(parts):
    data = "".join(parts)
    try:
        read_html(data)
    except LeftOutError:
        assert "word" not in data or "<" in data
    else:
        if "\0" not in data:  # which is binary as a file
            chunks_of("a.html", data)


def test_html_that_nests_without_end_is_damaged_and_takes_no_time():
    assert read_html("<div>" * 500 + "deep")[0] == ["deep"]
    assert read_html("<ul>" + "<li>one<p>two" * 2000)[0][-3:] == ["- one", "", "two"]
    for tag in ("<div>", "<b>", "</b><i>"):
        with pytest.raises(LeftOutError) as caught:
            read_html(tag * 200_000)
        assert caught.value.reason == Skip.DAMAGED


def test_a_pdf_is_cut_at_its_pages():
    data = pdf("Bread needs time", "", "Rolls do not")
    read = text("a.pdf", data)
    assert read.lines == ["[page 1]", "Bread needs time", "", "[page 3]", "Rolls do not"]
    assert [(chunk.start, chunk.end, chunk.symbol) for chunk in chunks_of("a.pdf", data)] == [
        (1, 2, "page 1"), (4, 5, "page 3")
    ]  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), [
    (b"no pdf at all", Skip.DAMAGED), (pdf("Bread")[:250], Skip.DAMAGED), (pdf(""), Skip.EMPTY),
])  # fmt: skip
def test_a_pdf_that_cannot_be_read_says_why(data, reason):
    with pytest.raises(LeftOutError) as caught:
        text("a.pdf", data)
    assert caught.value.reason == reason


def test_a_pdf_that_takes_for_ever_is_given_up():
    began = time.monotonic()
    with pytest.raises(LeftOutError) as caught:
        read_pdf(pdf("Bread"), seconds=0.01)
    assert caught.value.reason == Skip.DAMAGED
    assert time.monotonic() - began < 10


def test_a_pdf_reader_imports_nothing_from_the_folder_it_is_called_in(tmp_path, monkeypatch):
    (tmp_path / "pypdf.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert text("a.pdf", pdf("Bread")).lines == ["[page 1]", "Bread"]


def test_secrets_in_documents_go_too():
    token = "gh" + "p_" + "a1B2" * 9
    assert token not in "\n".join(text("a.ipynb", notebook(("code", f"login('{token}')"))).lines)
    assert text("a.html", f"<p>{token}</p>").lines == ["<secret>"]


@pytest.mark.parametrize(("name", "data", "lines"), [
    ("a.py", b"\xef\xbb\xbfx\r\ny\rz\x0cw\n", ["x", "y", "z\x0cw", ""]),
    ("a.txt", "Grüße\n".encode("utf-16"), ["Grüße", ""]),
    ("a.txt", b"\xfe\xff" + "Grüße".encode("utf-16-be"), ["Grüße"]),
    ("a.txt", b"\xff\xfe\0\0" + "Grüße".encode("utf-32-le"), ["Grüße"]),
    ("a.txt", "Grüße".encode("latin-1"), ["Grüße"]),
    ("a.txt", "Grüße ".encode() + b"\xff", ["Grüße ÿ"]),
    ("a.py", b"# -*- coding: koi8-r -*-\n\xc4\xc1", ["# -*- coding: koi8-r -*-", "да"]),
    ("a.py", b"# coding: rot13\n\xe4", ["# coding: rot13", "ä"]),
    ("a.py", b"# coding: punycode\n\xe4", ["# coding: punycode", "ä"]),
    ("notes", b"any name", ["any name"]),
])  # fmt: skip
def test_read_text_gives_the_lines_that_editors_show(tmp_path, name, data, lines):
    (tmp_path / name).write_bytes(data)
    assert read_text(tmp_path / name) == lines


@pytest.mark.parametrize(("data", "reason"), [(None, "No such file"), (b"a\0b", "binary"), (65 << 20, "too-large")])
def test_read_text_says_what_is_wrong_with_a_file(tmp_path, data, reason):
    if isinstance(data, bytes):
        (tmp_path / "a.py").write_bytes(data)
    elif data is not None:
        with (tmp_path / "a.py").open("wb") as file:
            file.truncate(data)
    with pytest.raises(HomegroundError, match=reason) as caught:
        read_text(tmp_path / "a.py")
    assert caught.value.where == str(tmp_path / "a.py")
    assert "--dry-run" in str(caught.value.hint)
