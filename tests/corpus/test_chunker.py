import random
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.corpus import chunk_lines, language_of
from homeground.corpus.languages import LANGUAGES, Language
from tests.corpus.invariants import check_invariants

PYTHON = language_of("a.py")
assert PYTHON is not None
PROSE = [language for language in LANGUAGES if language.name in ("markdown", "rst", "text", "make")]


FRAGMENTS = st.sampled_from(
    ["def f(a,", "):", "class A:", "@decorated", "if x:", "else:", "try:", "except E:", "with open(p) as f:", "pass",
     "x = [", "]", '"""doc', 'end"""', "# comment", "", "   ", "return 1", "async def g(): pass", "lambda: (",
     "a = 1; def h(): pass", "match x:", "case 1:", "\\", "\x0c", "ünïcode = '…'", "y = f'{x!r}'", "\t\tm = 1", "}{)("]
)  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 5), FRAGMENTS), max_size=60),
    st.sampled_from([PYTHON, *PROSE]),
    st.integers(20, 80),
)
@settings(max_examples=300, deadline=None)
def test_broken_code_is_still_covered_once_in_order_and_under_budget(rows, language, max_tokens):
    check_invariants(["    " * depth + text for depth, text in rows], language, max_tokens)


@given(st.binary(max_size=600), st.sampled_from([PYTHON, *PROSE]))
@settings(max_examples=200, deadline=None)
def test_random_bytes_degrade_to_lines_and_never_raise(data, language):
    check_invariants(data.decode("utf-8", "replace").split("\n"), language, 40)


@pytest.mark.parametrize("name", ["ast.py", "argparse.py", "heapq.py", "typing.py", "http/cookiejar.py", "this.py"])
@pytest.mark.parametrize("max_tokens", [64, 192])
def test_real_modules_keep_the_invariants(name, max_tokens):
    source = (Path(sysconfig.get_paths()["stdlib"]) / name).read_text(encoding="utf-8")
    check_invariants(source.split("\n"), PYTHON, max_tokens)


def test_deep_nesting_degrades_instead_of_recursing_without_end():
    check_invariants(["(" * 3 for _ in range(3000)], PYTHON, 40)
    check_invariants(["  " * depth + f"class C{depth}:" for depth in range(400)], PYTHON, 40)
    check_invariants(["  " * depth + "if x:" for depth in range(400)] + ["  " * 400 + "pass"], PYTHON, 40)


SOURCE = '''"""Module."""
import os

LIMIT = 3


# What a box is.
@register
@final
class Box(Base):
    """A box."""

    size = 1

    # How it opens.
    @property
    def lid(self):
        """The lid."""
        return self._lid
        # deep trailing remark

    async def close(self):
        def inner():
            pass
        return inner

    alias = close


if os.name == "nt":
    def spread(x):
        return x
else:
    def spread(x):
        return -x

def last(): return 1
'''.split("\n")


def by_symbol(chunks):
    return {chunk.symbol: chunk for chunk in chunks}


def test_every_function_is_a_chunk_with_its_decorators_comments_and_docstring():
    chunks = by_symbol(chunk_lines("box.py", SOURCE, PYTHON))
    lid = chunks["Box.lid"]
    assert lid.kind == "method"
    assert lid.text.startswith("    # How it opens.\n    @property\n    def lid(self):")
    assert '"""The lid."""' in lid.text
    assert lid.text.endswith("# deep trailing remark")
    assert chunks["Box.close"].text.split("\n")[0] == "    async def close(self):"
    assert "inner" in chunks["Box.close"].text, "a nested function stays in its own"
    assert chunks["last"].text == "def last(): return 1"
    assert chunks["last"].kind == "function"


def test_the_rest_of_a_class_keeps_its_head_and_its_name():
    chunks = [chunk for chunk in chunk_lines("box.py", SOURCE, PYTHON) if chunk.symbol == "Box"]
    assert [chunk.kind for chunk in chunks] == ["class", "class"]
    assert chunks[0].text.startswith("# What a box is.\n@register\n@final\nclass Box(Base):")
    assert chunks[0].text.endswith("size = 1")
    assert chunks[1].text.strip() == "alias = close"


def test_the_head_of_a_class_is_no_part_of_its_first_method():
    chunks = chunk_lines("a.py", "class A(B):\n    # Why.\n    def f(self):\n        pass".split("\n"), PYTHON)
    assert [(chunk.symbol, chunk.text) for chunk in chunks] == [
        ("A", "class A(B):"),
        ("A.f", "    # Why.\n    def f(self):\n        pass"),
    ]


def test_functions_under_a_condition_are_found_with_it():
    chunks = [chunk for chunk in chunk_lines("box.py", SOURCE, PYTHON) if chunk.symbol == "spread"]
    assert [chunk.text.split("\n")[0] for chunk in chunks] == ['if os.name == "nt":', "else:"]
    assert [chunk.kind for chunk in chunks] == ["function", "function"]
    assert chunks[0].id != chunks[1].id


def test_the_breadcrumb_names_path_and_symbol():
    chunk = by_symbol(chunk_lines("pkg/box.py", SOURCE, PYTHON))["Box.lid"]
    assert chunk.header == "pkg/box.py Box.lid"
    assert chunk.indexed_text == f"{chunk.header}\n{chunk.text}"


def test_a_long_function_is_split_at_statements_and_keeps_its_symbol():
    body = [f"    value_{n} = compute(\n        {n},\n        {n + 1},\n    )" for n in range(30)]
    lines = "\n".join(["def long(x):", '    """Says what it does."""', *body]).split("\n")
    chunks = chunk_lines("long.py", lines, PYTHON, max_tokens=80)
    assert len(chunks) > 3
    assert {chunk.symbol for chunk in chunks} == {"long"}
    assert chunks[0].text.startswith('def long(x):\n    """Says what it does."""\n    value_0')
    for chunk in chunks[1:]:
        assert chunk.text.lstrip().startswith("value_"), "a statement was cut in two"


def test_ids_depend_on_path_and_content_and_tell_repeats_apart():
    lines = ["def f():", "    pass", "", "def f():", "    pass"]
    first, second = chunk_lines("a.py", lines, PYTHON)
    assert first.text == second.text
    assert first.id != second.id
    assert first.indexed_text == second.indexed_text
    assert chunk_lines("b.py", lines, PYTHON)[0].id != first.id
    moved = chunk_lines("a.py", ["", "", *lines], PYTHON)
    assert [chunk.id for chunk in moved] == [first.id, second.id]
    assert moved[0].start == 3


def test_a_missing_grammar_wheel_degrades_to_lines():
    language = Language("python", (".py",), grammar="tree_sitter_no_such_language")
    chunks = check_invariants(SOURCE, language, 60)
    assert {chunk.symbol for chunk in chunks} == {""}
    assert {chunk.kind for chunk in chunks} == {"lines"}


def test_markdown_is_cut_at_headings_outside_of_fences():
    lines = "# A\ntext\n\n## B\n```\n# no heading\n```\n# C\nend".split("\n")
    language = language_of("x.md")
    chunks = chunk_lines("x.md", lines, language)
    assert [(chunk.symbol, chunk.start, chunk.end) for chunk in chunks] == [("A", 1, 2), ("A > B", 4, 7), ("C", 8, 9)]
    assert {chunk.kind for chunk in chunks} == {"section"}


def test_rst_headings_nest_in_the_order_their_marks_appear():
    lines = "=====\nTitle\n=====\n\nintro\n\nPart\n----\nbody\n\nNext\n----\nmore".split("\n")
    chunks = chunk_lines("x.rst", lines, language_of("x.rst"))
    assert [chunk.symbol for chunk in chunks] == ["Title", "Title > Part", "Title > Next"]


def test_prose_is_packed_by_paragraph():
    rng = random.Random(0)
    lines = []
    for _ in range(40):
        lines += [" ".join(rng.choices(["bread", "iron", "horse"], k=6)) for _ in range(3)] + [""]
    for chunk in check_invariants(lines, language_of("x.txt"), 60):
        assert chunk.end == len(lines) - 1 or lines[chunk.end] == "", "a paragraph was cut"


USING = """import json
import os.path as osp
from pathlib import Path


def load(name):
    return json.loads(Path(name).read_text())


def shout(name):
    return name.upper()


def json_of(name):
    import json

    return json
""".split("\n")


def test_the_header_names_the_imports_that_the_chunk_uses():
    chunks = by_symbol(chunk_lines("a.py", USING, PYTHON))
    assert chunks["load"].header == "a.py load\nuses json, pathlib.Path"
    assert chunks["shout"].header == "a.py shout"
    assert chunks[""].header == "a.py", "an import needs no naming where it stands"
    assert chunks["load"].indexed_text.startswith("a.py load\nuses json, pathlib.Path\ndef load(name):")


def test_imports_are_named_only_where_the_budget_leaves_room():
    chunk = by_symbol(chunk_lines("a.py", USING, PYTHON, max_tokens=33))["load"]
    assert chunk.text.split("\n") == USING[5:7], "the text comes first"
    assert chunk.header == "a.py load\nuses json"
    many = [f"import module{n}" for n in range(40)]
    body = ["", "def f():", *(f"    module{n}" for n in range(40))]
    header = by_symbol(chunk_lines("a.py", [*many, *body], PYTHON, max_tokens=2000))["f"].header
    assert 3 < header.count("module") < 20
