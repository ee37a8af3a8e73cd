import asyncio
import textwrap

import pytest

from homeground.agents.answer import ask, describe, docstring_summary, merge_hits
from homeground.base.errors import UsageError
from homeground.index import Index

from .library import SOURCES, hit, search

QUESTION = "How are daemon threads joined at exit?"


def model(*turns):
    """A model that says these turns, and a list of what it was asked."""
    said, asked = list(turns), []

    def complete(messages, max_tokens):
        asked.append((list(messages), max_tokens))
        return said.pop(0)

    complete.asked = asked
    return complete


def answer(complete, question=QUESTION, tool=search, **options):
    return asyncio.run(ask(question, tool, complete, **options))


def test_the_answer_names_symbol_and_lines_and_quotes_the_docstring():
    complete = model("search: daemon threads exit", "answer: [1]")
    given = answer(complete)
    assert given == {
        "answer": "`_shutdown` (threading.py:10-14): Wait for daemon threads at exit.",
        "citations": [{"path": "threading.py", "start": 10, "end": 14}],
        "found": True,
    }
    assert [max_tokens for _, max_tokens in complete.asked] == [24, 8]
    assert complete.asked[1][0][-1]["content"].startswith("[1] threading _shutdown")


def test_an_asynchronous_model_does_as_well():
    plain = model("search: daemon threads exit", "answer: [1]")

    async def complete(messages, max_tokens):
        return plain(messages, max_tokens)

    assert answer(complete)["found"]


def test_a_pick_below_the_best_hit_is_cited_together_with_it():
    given = answer(model("search: daemon threads exit", "answer: [2]"), min_confidence=0.0)
    assert len(given["citations"]) == 2
    assert given["citations"][1] == {"path": "threading.py", "start": 10, "end": 14}
    assert given["answer"].index("(threading.py:10-14)") > 0


@pytest.mark.parametrize("reply", ["", "no idea", "answer: [9]", "answer: [1] [2]"])
def test_a_malformed_pick_falls_back_to_the_best_hit(reply):
    assert answer(model("search: daemon threads exit", reply))["citations"] == [
        {"path": "threading.py", "start": 10, "end": 14}
    ]


@pytest.mark.parametrize("query", ["search: tree", "", "search: zebra"])
def test_a_weak_query_is_helped_by_the_question(query):
    complete = model(query, "answer: [1]")
    given = answer(complete, "Wait for daemon threads at exit")
    assert given["citations"][0]["path"] in ("threading.py", "shutil.py")
    assert any(line.endswith("threading _shutdown") for line in complete.asked[1][0][-1]["content"].splitlines())


def test_every_citation_is_a_hit_of_the_search():
    known = {(path, 10, 10 + text.count("\n")) for (path, _), text in SOURCES.items()}
    for number in range(1, 6):
        given = answer(model("search: sorted", f"answer: [{number}]"), "Keep a list sorted", min_confidence=0.0)
        assert given["citations"]
        assert {(c["path"], c["start"], c["end"]) for c in given["citations"]} <= known


def test_weak_hits_are_no_answer_and_the_message_says_how_weak():
    complete = model("search: zebra stripes")
    given = answer(complete, "zebra stripes over there exit")
    assert not given["found"]
    assert given["citations"] == []
    assert "with similarity 0.20 where 0.45 is needed" in given["answer"]
    assert len(complete.asked) == 1


def test_an_empty_index_is_no_answer():
    given = answer(model("search: anything"), tool=lambda query, k: [])
    assert given == {"answer": "Nothing in the index matches this question.", "citations": [], "found": False}


def test_a_blank_question_is_a_usage_error():
    with pytest.raises(UsageError, match="question is empty") as error:
        answer(model(), " \n")
    assert "homeground ask" in str(error.value.hint)


def test_two_searches_take_turns_and_the_surer_one_starts():
    own, asked = [hit("a.py", "f", 0.6), hit("b.py", "g", 0.7)], [hit("c.py", "h", 0.65), hit("d.py", "i", 0.1)]
    assert [h.path for h in merge_hits(own, asked)] == ["a.py", "c.py", "b.py", "d.py"]
    assert [h.path for h in merge_hits(asked, own)] == ["a.py", "c.py", "b.py", "d.py"]


def test_merging_keeps_the_order_of_each_search_and_repeats_nothing():
    own, asked = [hit("a.py", "f", 0.4), hit("b.py", "g", 0.2)], [hit("a.py", "f", 0.9), hit("c.py", "h", 0.95)]
    assert [(h.path, h.score) for h in merge_hits(own, asked)] == [("a.py", 0.9), ("c.py", 0.95), ("b.py", 0.2)]
    assert merge_hits([], []) == []
    assert merge_hits([], asked) == merge_hits(asked, []) == asked


def test_code_without_a_docstring_shows_its_first_lines():
    text = "\n".join(f"    line {i}" for i in range(20))
    described = describe(hit("a.go", "F", text=text, language="go", start=3, end=22))
    assert described.startswith("`F` (a.go:3-22) begins:\n    line 0\n")
    assert "line 7" in described
    assert "line 8" not in described
    assert described.endswith("...")


def test_lines_without_a_symbol_are_named_by_their_place():
    assert describe(hit("README.md", "", text="Read me.", language="markdown", start=1, end=1)) == (
        "README.md:1-1 begins:\n    Read me."
    )


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ('    def f(self):\n        """One\n        two.\n\n        Three."""', "One two."),
        ('class C:\n    """A thing."""', "A thing."),
        ('@cache\nasync def f():\n    "Short."', "Short."),
        ('"""A module."""\n\ndef f():\n    "A function."', "A module."),
        ("def f(): pass", ""),
        ("def f(:", ""),
        ("x = 1", ""),
    ],
)
def test_the_summary_is_the_first_paragraph_of_the_docstring(source, summary):
    assert docstring_summary(source) == summary


def test_with_a_real_index_the_cited_lines_hold_what_was_asked_for(tmp_path):
    root = tmp_path / "code"
    root.mkdir()
    (root / "dates.py").write_text(
        textwrap.dedent('''\
            import time


            def from_header(text):
                """Parse the date in an HTTP header.

                Raises ValueError.
                """
                return time.strptime(text, "%a, %d %b %Y %H:%M:%S GMT")


            def today():
                """Return the current day."""
                return time.localtime()
            ''')
    )
    (root / "trees.py").write_text("def depth(node):\n    return 1 + max(map(depth, node.children), default=0)\n")
    index, _ = Index.build(tmp_path / "index", [root])
    try:
        asked = answer(
            model("search: http date", "answer: [1]"), "How is the date of an HTTP header parsed?", index.search
        )
        unknown = answer(model("search: bake bread"), "How long does sourdough bread bake?", index.search)
    finally:
        index.close()
    cited = asked["citations"][0]
    lines = (root / cited["path"]).read_text().splitlines()[cited["start"] - 1 : cited["end"]]
    assert lines[0] == "def from_header(text):"
    assert lines[-1].strip().startswith("return time.strptime")
    assert asked["answer"].startswith("`from_header` (dates.py:4-9): Parse the date in an HTTP header.")
    assert not unknown["found"]
