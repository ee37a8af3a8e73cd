import time

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.corpus.prose import markdown_headings, rst_headings

BLOCKS = st.sampled_from([
    "Plain\n=====", "Numbered 1.0\n------------", "1. Intro\n========", "Über uns\n========", "日本語\n======",
    "Short\n====", "Too short\n===", "=====\nOver\n=====", "======\n Over\n======", "-----\nOdd\n=====", "----------",
    "text\nand text\n=========", "  quoted\n  ------", "* item\n\n  more", "::\n\n  Literal\n  =======",
    ".. note::\n\n   Inside\n   ------", ".. code-block:: c\n\n   #\n   ====", "=====  =====\na      b\n=====  =====",
    "+---+\n| a |\n+---+", ".. _label:", "Tilde\n~~~~~", "~~~~~\nTilde\n~~~~~", "``code``\n~~~~~~~~", "term\n  meaning",
    ":field: value", ">>> 1 + 1\n2", "| line\n| block", "A\n-",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(BLOCKS, min_size=1, max_size=6))
def test_rst_headings_are_those_that_docutils_finds(blocks):
    text = "\n\n".join(blocks)
    quiet = {"report_level": 5, "halt_level": 6, "doctitle_xform": False, "file_insertion_enabled": False}
    tree = publish_doctree(text, settings_overrides=quiet)
    titles = [section.next_node(nodes.title).astext() for section in tree.findall(nodes.section)]
    found = list(rst_headings(text.split("\n")))
    assert [title.replace("``", "") for _, _, title in found] == titles
    if not list(tree.findall(nodes.system_message)):  # levels that skip are errors, which docutils does not nest
        depths = [_depth(section) for section in tree.findall(nodes.section)]
        assert [level for _, level, _ in found] == depths


def _depth(node):
    return 0 if node is None else isinstance(node, nodes.section) + _depth(node.parent)


@pytest.mark.parametrize(("text", "expected"), [
    ("# One\ntext\n## Two ##\n", [(0, 1, "One"), (2, 2, "Two")]),
    ("One\n===\n\nTwo\nlines\n---\n", [(0, 1, "One"), (3, 2, "Two lines")]),
    ("---\ntitle: x\n# no\n---\n# Yes\n", [(4, 1, "Yes")]),
    ("+++\n# no\n+++\nYes\n===\n", [(3, 1, "Yes")]),
    ("---\n# Yes\n", [(1, 1, "Yes")]),
    ("```sh\n# no\n```\n# Yes", [(3, 1, "Yes")]),
    ("````\n```\n# no\n````\n# Yes", [(4, 1, "Yes")]),
    ("~~~\n# no\n```\n# no\n~~~\n# Yes", [(5, 1, "Yes")]),
    ("```\n# no, to the end", []),
    ("``` a`b\n# Yes", [(1, 1, "Yes")]),
    ("text\n\n    # no, indented\n\n   # Yes", [(4, 1, "Yes")]),
    ("#no\n####### no\n# \n#\tYes", [(2, 1, ""), (3, 1, "Yes")]),
    ("- # of an item\n\n> # of a quote\n", []),
    ("<div>\n# no\n</div>\n\n# Yes", [(4, 1, "Yes")]),
    ("a | b\n--- | ---\n1 | 2\n", []),
    ("text\n\n---\n\nmore\n", []),
    ("", []),
])  # fmt: skip
def test_markdown_headings_are_those_of_commonmark(text, expected):
    assert list(markdown_headings(text.split("\n"))) == expected


@pytest.mark.parametrize("line", ["# a", ">" * 40, "- " * 40, "```", "a\n===", "[a]: b", "<a", "* a\n " * 9, "1. "])
def test_markdown_is_read_in_time_that_grows_with_its_length(line):
    def seconds(times):
        lines = "\n".join([line] * times).split("\n")
        taken: list[float] = []
        for _ in range(3):
            began = time.process_time()
            list(markdown_headings(lines))
            taken.append(time.process_time() - began)
        return min(taken)

    assert seconds(1600) < 24 * max(seconds(200), 0.01)
