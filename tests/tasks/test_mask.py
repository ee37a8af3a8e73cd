import pytest

from homeground.corpus import chunk_lines, language_of
from homeground.tasks.docstrings import docstrings
from homeground.tasks.mask import mask


def masked_of(source, max_tokens=192):
    lines = source.split("\n")
    chunks = chunk_lines("a.py", lines, language_of("a.py"), max_tokens=max_tokens)
    (docstring,) = docstrings(source)
    return chunks, mask(chunks, docstring), docstring


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ('def f():\n    """One line."""\n    return 1', "def f():\n\n    return 1"),
        ('def f():\n    """Two\n    lines."""\n    return 1', "def f():\n\n\n    return 1"),
        ('def f(): "Beside it."; return 1', "def f(): ; return 1"),
        ('def f():\n    "ünï"; x = "ö"', 'def f():\n    ; x = "ö"'),
        (
            'class A:\n    async def f(self):\n        r"""Raw."""\n        pass',
            "    async def f(self):\n\n        pass",
        ),
    ],
)
def test_only_the_docstring_goes_and_lines_keep_their_numbers(source, left):
    chunks, masked, _ = masked_of(source)
    ((old, new),) = masked.items()
    (original,) = [chunk for chunk in chunks if chunk.id == old]
    assert new.text == left
    assert (new.start, new.end, new.symbol, new.header) == (
        original.start, original.end, original.symbol, original.header,
    )  # fmt: skip
    assert new.id != old


def test_a_function_in_several_chunks_loses_its_docstring_in_each():
    secret = "\n".join(f"    word{n} another{n} more{n} again{n}" for n in range(30))
    source = f'def f(x):\n    """Start.\n{secret}\n    """\n    return compute(x)'
    chunks, masked, docstring = masked_of(source, max_tokens=60)
    assert len(chunks) > 2
    assert docstring.first_paragraph.startswith("Start. word0")
    after = [masked.get(chunk.id, chunk) for chunk in chunks]
    assert "word" not in "".join(chunk.text for chunk in after)
    assert "".join(chunk.text.replace("\n", "") for chunk in after) == "def f(x):    return compute(x)"
    assert sum(len(chunk.text.split("\n")) for chunk in after) == source.count("\n") + 1


def test_names_defined_twice_and_nested_functions_make_no_docstring():
    source = '''
def f():
    """First."""
    def inner():
        """Inside."""
if x:
    def g():
        """Only one."""
try:
    class A:
        def h(self):
            """Method."""
except E:
    def f():
        """Second."""
def none():
    pass
def number():
    1
'''
    assert [(one.symbol, one.text) for one in docstrings(source)] == [("g", "Only one."), ("A.h", "Method.")]


@pytest.mark.parametrize("source", ["def f(:", "\0", "x = " + "(" * 500, "def f():\n\tif x:\n        y"])
def test_a_file_that_does_not_parse_has_no_docstrings(source):
    assert docstrings(source) == []


def test_an_odd_escape_is_no_warning(recwarn):
    assert docstrings('def f():\n    "A \\d digit."\n')[0].text == "A \\d digit."
    assert len(recwarn) == 0
