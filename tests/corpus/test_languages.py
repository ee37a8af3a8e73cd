"""Every language with a grammar: its fixture's symbols, and what holds of any input."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.corpus import LANGUAGES, Skip, Walk, chunk_lines, language_of, outline
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
    chunks = chunk_lines("a" + suffix, ["", text], language_of("a" + suffix))
    assert {(chunk.start, chunk.end) for chunk in chunks} == {(2, 2)}
    assert "".join(chunk.text for chunk in chunks) == text
    assert time.process_time() - began < 6


SCRIPTS = {
    "#!/usr/bin/python": "python", "#!/usr/bin/env python3": "python", "#!/usr/bin/env python3.12 -u": "python",
    "#! /usr/bin/env python": "python", "#!/usr/bin/env -S python3 -I": "python", "#!/usr/bin/env -Spython3": "python",
    "#!/usr/bin/env -i python": "python", "#!/usr/bin/env -S -i PATH=/bin A=b python": "python",
    "#!/usr/bin/env -u HOME -S uv run --script": "python", "#!/usr/bin/env -S uv run --script --quiet": "python",
    "#!/usr/bin/env --split-string=python3 -u": "python", "#!/usr/bin/env pypy3": "python",
    "#!/opt/my-env/bin/python2.7": "python", "#!C:\\Python312\\python.exe": "python",
    '#!"C:/Program Files/Python/python.exe"': "python", "#!/bin/sh": "bash", "#! /bin/sh -e": "bash",
    "#!/bin/bash -eu": "bash", "#!/usr/bin/env dash": "bash", "#!/usr/bin/env zsh": "bash", "#!/bin/busybox sh": "bash",
    "#!/usr/bin/env node": "javascript", "#!/usr/bin/env -S node --experimental": "javascript",
    "#!/usr/bin/nodejs": "javascript", "#!/usr/bin/env -S deno run -A": "typescript",
    "#!/usr/bin/env ts-node": "typescript",
    "#!/usr/bin/env ruby2.7": "ruby", "#!/usr/bin/php8.2": "php", "#!/usr/bin/lua5.4": "lua",
    "#!/usr/bin/env elixir": "elixir", "#!/usr/bin/env runhaskell": "haskell", "#!/usr/bin/env julia": "julia",
    "#!/usr/bin/env swift": "swift", "#!/usr/bin/make -f": "make", "#!/usr/bin/env just --justfile": "just",
    "# vim: set ft=python :": "python", "# vi:ft=ruby": "ruby", "// vim: ts=4 filetype=javascript": "javascript",
    "# -*- python -*-": "python", "# -*- mode: ruby; coding: utf-8 -*-": "ruby", "; -*- mode: conf -*-": "ini",
    "#!/bin/sh\n''''exec python3 \"$0\" \"$@\" # '''": "python", "#!/bin/sh\nexec python3 -u \"$0\" \"$@\"": "python",
    "#!/usr/bin/perl": None, "#!/usr/bin/env": None, "#!": None, "x = 1": None, "#!/usr/bin/env -u": None,
}  # fmt: skip


@pytest.mark.parametrize("first", SCRIPTS)
@pytest.mark.parametrize("name", ["run", "run.command"])
def test_a_script_says_its_language_in_its_first_line(tmp_path, first, name):
    for number, (mark, end) in enumerate([(b"", b"\n"), (b"", b"\r\n"), (b"\xef\xbb\xbf", b"\n")]):
        file = tmp_path / str(number) / name
        file.parent.mkdir()
        file.write_bytes(mark + b"".join(line.encode() + end for line in [*first.split("\n"), "x"]))
        file.chmod(0o755)
    walk = Walk(tmp_path)
    wanted = SCRIPTS[first]
    assert [file.language.name for file in walk] == ([wanted] * 3 if wanted is not None else [])
    assert walk.skipped == ({} if wanted is not None else {Skip.UNSUPPORTED: 3})


def test_no_modeline_or_shebang_overrules_a_name(tmp_path):
    (tmp_path / "a.py").write_text("#!/bin/bash\nx = 1\n")
    (tmp_path / "data.bin").write_text("#!/bin/bash\nx=1\n")  # not to be run, and not without a suffix
    assert [(file.path, file.language.name) for file in Walk(tmp_path)] == [("a.py", "python")]


@pytest.mark.parametrize(
    ("name", "language"),
    [("Makefile", "make"), ("Dockerfile", "docker"), ("Dockerfile.dev", "docker"), ("Containerfile", "docker"),
     ("Rakefile", "ruby"), ("Gemfile", "ruby"), ("Vagrantfile", "ruby"), ("Podfile", "ruby"), ("BUILD", "python"),
     ("BUILD.bazel", "python"), ("WORKSPACE", "python"), ("SConstruct", "python"), ("Jenkinsfile", "groovy"),
     ("justfile", "just"), (".bashrc", "bash"), ("CHANGELOG", "text"), ("CODEOWNERS", "text"), ("COPYING", "text")],
)  # fmt: skip
def test_well_known_names_say_what_a_file_is(name, language):
    found = language_of(f"pkg/{name}")
    assert found is not None
    assert found.name == language
