from pathlib import Path

import pytest

from homeground.corpus import SourceFile, Walk, language_of, stdlib_root
from homeground.data.functions import functions

SOURCE = '''\
import os


@os.fspath
def area(width,
         height):
    """Square metres.

    Of a room.
    """
    # both are known
    return width * height


class Room:
    def door(self):
        return 1  # one

    def short(self): return 2

    def stub(self):
        """Says nothing else."""

    def odd(self):
        """Beside code."""; return 3


print(area(2, 3))
'''


def of(text, path="house/room.py"):
    return functions(SourceFile(Path(), path, language_of(path), text.encode()))


def test_a_function_comes_without_its_secrets():
    token = "gh" + "p_" + "a1B2" * 9
    (one,) = of(f"def login():\n    client = connect('{token}')\n    return client\n")
    assert one.body == "    client = connect('<secret>')\n    return client\n"
    assert token not in repr(one)


def test_a_function_is_head_and_body():
    area, door = of(SOURCE)
    assert (area.symbol, area.start, area.end) == ("area", 4, 12)
    assert area.head == (
        '@os.fspath\ndef area(width,\n         height):\n    """Square metres.\n\n    Of a room.\n    """\n'
    )
    assert area.text == "Square metres.\n\nOf a room."
    assert area.body == "    # both are known\n    return width * height\n"
    assert area.before == "import os\n\n\n"
    assert (door.symbol, door.text, door.bare) == ("Room.door", "", "def door(self):\n    return 1  # one\n")


@pytest.mark.parametrize("package", ["json", "email"])
def test_the_pieces_of_a_function_are_its_file(package):
    seen = 0
    for source in Walk(stdlib_root() / package):
        whole = "\n".join(source.lines())
        for one in functions(source):
            assert one.before + one.head + one.body + one.after in (whole, f"{whole}\n")
            assert one.body.strip()
            seen += 1
    assert seen > 20


def test_prose_has_none():
    assert of(SOURCE, "notes.md") == []


OTHERS = {
    "sum.go": (
        "package shop\n\n// Sum adds prices.\nfunc Sum(b []int) int {\n\treturn len(b)\n}\n\nvar x = 1\n",
        ("// Sum adds prices.\nfunc Sum(b []int) int {\n", "\treturn len(b)\n}\n", "Adds prices."),
    ),
    "Shop.java": (
        "class Shop {\n  /** Opens the shop. */\n  @Override\n  public void open() {\n    go();\n  }\n}\n",
        ("  /** Opens the shop. */\n  @Override\n  public void open() {\n", "    go();\n  }\n", "Opens the shop."),
    ),
    "shop.rb": (
        "# Closes the shop.\ndef close\n  lock\nend\n",
        ("# Closes the shop.\ndef close\n", "  lock\nend\n", "Closes the shop."),
    ),
}


@pytest.mark.parametrize("path", OTHERS)
def test_functions_of_other_languages_come_apart_alike(path):
    text, expected = OTHERS[path]
    (one,) = of(text, path)
    assert (one.head, one.body, one.summary) == expected
    assert one.before + one.head + one.body + one.after in (text, text.removesuffix("\n"))
    assert one.summary.split()[0] not in one.bare
