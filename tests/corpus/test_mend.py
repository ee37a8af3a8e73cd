"""What a grammar does not know costs what holds it, and nothing else."""

import re
import time
from pathlib import Path

import pytest

from homeground.corpus import chunk_lines, language_of, outline
from tests.corpus.fixture_symbols import EXPECTED
from tests.corpus.invariants import check_invariants

FIXTURES = Path(__file__).parent / "fixtures"
WITHOUT_BLOCKS = {"shelf.yaml", "shelf.sql", "shelf.css", "shelf.toml", "shelf.mli"}
ODD = ["=> <~ ?? @@ := %%", "when is Foo if bar -> )"]


def read_cases():
    text = (Path(__file__).parent / "newer_syntax.txt").read_text(encoding="utf-8")
    _, *parts = re.split(r"^@@@ (\S+) (\w+): ?(.*)\n", text, flags=re.MULTILINE)
    cases = zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    return {(name, label): (names.split(), lines) for name, label, names, lines in cases}


CASES = read_cases()


def definitions(lines, name):
    return [(one.symbol, one.kind, one.start, one.end) for one in outline(lines, language_of(name)).definitions]


@pytest.mark.parametrize(("name", "label"), [key for key in CASES if key[1] not in ("before", "after")])
def test_definitions_around_newer_syntax_stay(name, label):
    before, after = (CASES[name, part][1].split("\n") for part in ("before", "after"))
    own, text = CASES[name, label]
    odd = text.split("\n")
    found = definitions([*before, *odd, *after], name)
    alone = definitions([*before, *after], name)
    assert {symbol for symbol, *_ in alone} == set(CASES[name, "after"][0])
    down = len(odd)
    moved = [(s, k, a + down, b + down) if a > len(before) else (s, k, a, b) for s, k, a, b in alone]
    assert [one for one in moved if one not in found] == []
    assert set(own) <= {symbol for symbol, *_ in found}


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - WITHOUT_BLOCKS))
def test_a_line_that_no_grammar_knows_costs_no_other_definition(name):
    lines = (FIXTURES / name).read_text(encoding="utf-8").split("\n")
    known = outline(lines, language_of(name)).definitions
    tried, lost = 0, []
    for row in range(1, len(lines), 2):
        around = [one for one in known if one.head_end <= row < one.end]
        # where a line goes on with what stands above it, the definition above is odd, too
        goes_on = any(one.start <= row < one.head_end or one.end == row == one.start for one in known)
        if not around or goes_on or not lines[row - 1].strip():
            continue
        indent = re.match(r"\s*", lines[row] if lines[row].strip() else lines[row - 1])[0]
        for odd in ODD:
            tried += 1
            found = definitions([*lines[:row], indent + odd, *lines[row:]], name)
            stay = [
                (o.symbol, o.kind, o.start + (o.start > row), o.end + (o.end > row)) for o in known if o not in around
            ]
            lost += [(row, odd, one) for one in stay if one not in found]
    assert tried
    assert lost == []


def test_a_file_without_an_error_is_not_mended(monkeypatch):
    monkeypatch.setattr("homeground.corpus.grammar._mended", None)
    for name in EXPECTED:
        outline((FIXTURES / name).read_text(encoding="utf-8").split("\n"), language_of(name))
    with pytest.raises(TypeError):
        outline(["fun f(", "fun g() = 1"], language_of("a.kt"))


@pytest.mark.parametrize("name", ["a.kt", "a.cpp", "a.py", "a.rb", "A.hs"])
def test_a_long_file_full_of_errors_is_read_in_the_time_of_a_few_parses(name):
    lines = []
    for number in range(1500):
        lines += [f"fun f{number}(x) {{", "    when is => ) <~ y", "}", ""]
    began = time.process_time()
    chunks = chunk_lines(name, lines, language_of(name))
    assert time.process_time() - began < 5
    assert chunks
    check_invariants(lines[:200], language_of(name), 64)
