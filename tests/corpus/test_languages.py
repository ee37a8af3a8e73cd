"""Every language with a grammar: its fixture's symbols, and what holds of any input."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.corpus import LANGUAGES, chunk_lines, language_of, outline
from homeground.corpus.grammar import parse
from tests.corpus.fixture_symbols import EXPECTED, expected
from tests.corpus.invariants import check_invariants

FIXTURES = Path(__file__).parent / "fixtures"
WITH_GRAMMAR = [language for language in LANGUAGES if language.grammar is not None]
NAMES = sorted(EXPECTED)
HEADLESS = {"module", "impl", "member"}  # their first line goes with what follows
ODD = "(){}[]\"'`;:,<>#/*-= \t\u00e9\U0001f40e\r\0"
TEXT = {name: (FIXTURES / name).read_text(encoding="utf-8") for name in NAMES}


def lines_of(name):
    return TEXT[name].split("\n")


def test_every_language_with_a_grammar_has_a_fixture():
    assert {id(language_of(name)) for name in NAMES} == {id(language) for language in WITH_GRAMMAR}
    assert sorted(path.name for path in FIXTURES.iterdir()) == NAMES
    assert len({language.name for language in WITH_GRAMMAR}) > 20


@pytest.mark.parametrize("name", NAMES)
def test_a_fixture_has_no_syntax_error_and_the_symbols_that_its_reader_sees(name):
    syntax = parse(lines_of(name), language_of(name))
    assert syntax is not None
    assert not syntax.root.has_error
    found = [(one.kind, one.symbol) for one in outline(lines_of(name), language_of(name)).definitions]
    assert sorted(found) == expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_search_must_find_is_a_chunk_under_its_own_symbol(name):
    definitions = outline(lines_of(name), language_of(name)).definitions
    inside = {one.symbol for one in definitions if one.kind in ("function", "method")}
    wanted = {
        (one.kind, one.symbol)
        for one in definitions
        if one.kind not in HEADLESS and one.symbol.rpartition(".")[0] not in inside
    }
    chunks = chunk_lines(name, lines_of(name), language_of(name))
    assert wanted <= {(chunk.kind, chunk.symbol) for chunk in chunks}
    for chunk in chunks:
        assert chunk.text.strip() not in ("}", "end", "};", ")"), "a chunk that only closes something"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_tokens", [24, 48, 192])
def test_fixtures_keep_the_invariants(name, max_tokens):
    check_invariants(lines_of(name), language_of(name), max_tokens)


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_damaged_code_of_any_language_keeps_the_invariants(data):
    name = data.draw(st.sampled_from(NAMES))
    lines = lines_of(name)
    for _ in range(data.draw(st.integers(1, 6))):
        row = data.draw(st.integers(0, len(lines) - 1))
        line = lines[row]
        cut = data.draw(st.integers(0, len(line)))
        how = data.draw(st.sampled_from(["cut", "drop", "double", "join", "insert", "indent"]))
        if how == "cut":
            lines[row] = line[:cut]
        elif how == "drop" and len(lines) > 1:
            del lines[row]
        elif how == "double":
            lines.insert(row, line)
        elif how == "join" and row + 1 < len(lines):
            lines[row : row + 2] = [line + lines[row + 1]]
        elif how == "insert":
            lines[row] = (
                line[:cut] + data.draw(st.text("(){}[]\"'`;:,<>#/*-= \t\u00e9\U0001f40e\r\0", max_size=6)) + line[cut:]
            )
        else:
            lines[row] = "    " + line
    check_invariants(lines, language_of(name), data.draw(st.sampled_from([24, 64])))


@given(st.binary(max_size=400), st.sampled_from(WITH_GRAMMAR))
@settings(max_examples=150, deadline=None)
def test_random_bytes_in_any_language_keep_the_invariants(data, language):
    check_invariants(data.decode("utf-8", "replace").split("\n"), language, 40)


@pytest.mark.parametrize("language", WITH_GRAMMAR, ids=lambda language: "".join(language.suffixes))
def test_a_wrong_suffix_degrades_and_never_raises(language):
    for name in ("shelf.py", "Shelf.hs", "shelf.c"):
        check_invariants(lines_of(name), language, 64)
        outline(lines_of(name), language)


HOSTILE = {
    "a hundred thousand parentheses": "(" * 100_000,
    "nested parentheses": "(" * 50_000 + ")" * 50_000,
    "a sum of a hundred thousand terms": "a + " * 100_000 + "a",
    "one line of half a megabyte": "x = [" + "1, " * 166_000 + "]",
    "braces that never close": "{" * 60_000,
    "opened and closed in the wrong order": "}{)(" * 12_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("suffix", [".py", ".js", ".c"])
def test_hostile_input_takes_neither_the_stack_nor_the_day(text, suffix):
    began = time.process_time()
    (chunk,) = chunk_lines("a" + suffix, ["", text], language_of("a" + suffix))
    assert (chunk.start, chunk.end) == (2, 2)
    assert time.process_time() - began < 6
