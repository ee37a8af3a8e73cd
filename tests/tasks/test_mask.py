import pytest

from homeground.corpus import chunk_lines, language_of
from homeground.corpus.documentation import documentation
from homeground.tasks.mask import mask


def masked_of(source, max_tokens=192):
    lines = source.split("\n")
    chunks = chunk_lines("a.py", lines, language_of("a.py"), max_tokens=max_tokens)
    (found,) = (one for one in documentation(lines, language_of("a.py")) if one.text)
    return chunks, mask(chunks, found.spans), found


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
    assert docstring.text.startswith("Start.\nword0")
    after = [masked.get(chunk.id, chunk) for chunk in chunks]
    assert "word" not in "".join(chunk.text for chunk in after)
    assert "".join(chunk.text.replace("\n", "") for chunk in after) == "def f(x):    return compute(x)"
    assert sum(len(chunk.text.split("\n")) for chunk in after) == source.count("\n") + 1
