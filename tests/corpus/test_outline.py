from pathlib import Path

import pytest

from homeground.corpus import Definition, Outline, chunk_lines, language_of, outline

FIXTURES = Path(__file__).parent / "fixtures"


def read(name):
    return (FIXTURES / name).read_text(encoding="utf-8").split("\n")


def outline_of(name):
    return outline(read(name), language_of(name))


def test_a_definition_has_its_lines_its_kind_and_its_head_on_one_line():
    by_symbol = {one.symbol: one for one in outline_of("shelf.py").definitions}
    head = "def free(self) -> int:"
    assert by_symbol["Shelf.free"] == Definition("Shelf.free", "free", "method", 26, 29, 27, 27, head)
    assert by_symbol["Shelf"].start == 19, "a comment is not a part of the class"
    assert by_symbol["Shelf.save.plain"].kind == "function"
    by_symbol = {one.symbol: one for one in outline_of("Shelf.java").definitions}
    put = by_symbol["Shelf.put"]
    assert (put.start, put.line, put.signature) == (21, 22, "public void put(T book) throws IOException")
    assert by_symbol["Shelf.Book.title"].kind == "member"


def test_a_head_of_several_lines_ends_where_the_body_begins():
    lines = ["def f(", "    a,", "    b,", "):", '    """Doc."""', "    return a"]
    (only,) = outline(lines, language_of("a.py")).definitions
    assert (only.head_end, only.signature) == (4, "def f( a, b, ):")


def calls_of(name):
    return {
        f"{one.qualifier}.{one.name}".lstrip(".") + f" in {one.symbol or name}" for one in outline_of(name).references
    }


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("shelf.py", ["json.dumps in Shelf.save.plain", "spine in Shelf.put", "plain in Shelf.save"]),
        ("shelf.js", ["read in Shelf.open", "Error in Shelf.put", "path.join in shelfPath", "require in shelf.js"]),
        ("shelf.ts", ["base in Library.spine", "Shelf in find", "this.books.push in Shelf.put"]),
        ("shelf.tsx", ["useState in Shelf", "React.memo in Spine"]),
        ("shelf.go", ["fmt.Errorf in Shelf.Put", "str.ToUpper in spine", "errors.New in shelf.go"]),
        ("shelf.rs", ["spine in Shelf.put", "Map.new in Shelf.new", "assert in Shelf.put", "self.open in Open.first"]),
        ("Shelf.java", ["books.add in Shelf.put", "IOException in Shelf.put", "requireNonNull in Paper.Paper"]),
    ],
)
def test_calls_are_known_with_what_stands_before_them_and_who_calls(name, calls):
    assert calls_of(name) >= set(calls)


@pytest.mark.parametrize(
    ("name", "imports"),
    [
        (
            "shelf.py",
            [("json", "", "json"), ("os.path", "", "osp"), ("collections", "OrderedDict", "Ordered"),
             ("pathlib", "Path", "Path")],
        ),
        (
            "shelf.js",
            [("node:fs", "", "fs"), ("node:fs", "readFile", "read"), ("node:path", "", "path"),
             ("node:util", "", "util")],
        ),
        ("shelf.ts", [("node:fs", "Stats", "Stats"), ("node:path", "join", "join"), ("node:path", "basename", "base")]),
        ("shelf.tsx", [("react", "", "React"), ("react", "useState", "useState"), ("./book", "Book", "Book")]),
        ("shelf.go", [("errors", "", "errors"), ("fmt", "", "fmt"), ("strings", "", "str")]),
        (
            "shelf.rs",
            [("std::collections", "BTreeMap", "BTreeMap"), ("std::collections", "HashMap", "Map"),
             ("std::fmt", "", "fmt"), ("std::io", "*", "")],
        ),
        (
            "Shelf.java",
            [("java.util.ArrayList", "", "ArrayList"), ("java.util.List", "", "List"),
             ("java.util.Objects.requireNonNull", "", "requireNonNull"), ("java.io", "*", "")],
        ),
    ],
)  # fmt: skip
def test_imports_are_known_by_the_name_that_the_file_gives_them(name, imports):
    assert [(one.module, one.name, one.alias) for one in outline_of(name).imports] == imports


def test_a_plain_python_import_binds_the_first_part_of_its_name():
    (only,) = outline(["import os.path"], language_of("a.py")).imports
    assert (only.module, only.alias) == ("os.path", "os")


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
def test_symbols_of_chunks_are_symbols_of_definitions(name):
    known = {one.symbol for one in outline_of(name).definitions}
    assert {chunk.symbol for chunk in chunk_lines(name, read(name), language_of(name))} <= {"", *known}


def test_a_language_without_a_grammar_has_an_empty_outline():
    assert outline(["all:", "\techo"], language_of("Makefile")) == Outline()


def test_a_header_in_cpp_is_read_as_cpp():
    lines = ["namespace library {", "class Shelf {", "  int free() const { return 1; }", "};", "}"]
    symbols = [one.symbol for one in outline(lines, language_of("shelf.h")).definitions]
    assert symbols == ["library", "library.Shelf", "library.Shelf.free"]
    assert [
        one.symbol for one in outline(["int class;", "int f(void) { return 1; }"], language_of("a.h")).definitions
    ] == ["f"]
