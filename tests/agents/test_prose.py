import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.agents.events import Cited, Text
from homeground.agents.prose import Prose

from .library import hit

PASSAGES = [hit("threading.py", "_shutdown"), hit("shutil.py", "rmtree"), hit("heapq.py", "merge")]


def read(text, *, piece=3, passages=PASSAGES, exists=lambda one: True):
    """Feed a text in small pieces; what was shown, and the reader."""
    prose = Prose(passages, exists)
    events = []
    for at in range(0, len(text), piece):
        events += prose.add(text[at : at + piece])
    events += prose.finish()
    return "".join(event.text for event in events if isinstance(event, Text)), events, prose


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("written", "shown", "cited", "dropped"),
    [
        ("Deletes it [2].", "Deletes it [1].", ["shutil.py"], 0),
        ("It waits at exit. [1] Trees go too. [2]", "It waits at exit. [1] Trees go too. [2]", None, 0),
        ("Both do [1, 3] and more [3][1].", "Both do [1] [2] and more [2] [1].", ["threading.py", "heapq.py"], 0),
        ("It is made up [7].", "It is made up.", [], 1),
        ("It is [9, 2] half made up.", "It is [1] half made up.", ["shutil.py"], 1),
        ("Said[3] without a space.", "Said [1] without a space.", ["heapq.py"], 0),
        ("Take `args[2]` and sys.argv[0].", "Take `args[2]` and sys.argv[0].", [], 0),
        ("So:\n```\nx = [1]\n```\nDone [1]", "So:\n```\nx = [1]\n```\nDone [1]", ["threading.py"], 0),
        ("A [link] and [ 3 ] and [", "A [link] and [ 3 ] and [", [], 0),
        ("", "", [], 0),
    ],
)
def test_only_citations_of_passages_are_kept_and_numbered_by_appearance(written, shown, cited, dropped, piece):
    text, _, prose = read(written, piece=piece)
    assert text == shown
    assert cited is None or [one.path for one in prose.cited] == cited
    assert len(prose.dropped) == dropped


def test_a_place_is_announced_before_its_number_is_shown():
    _, events, _ = read("First [3]. Second [1]. Third [3].")
    kinds = [
        (type(event).__name__, event.number if isinstance(event, Cited) else event.text)
        for event in events
        if isinstance(event, Cited) or "[" in event.text
    ]
    assert kinds == [("Cited", 1), ("Text", " [1]"), ("Cited", 2), ("Text", " [2]"), ("Text", " [1]")]


def test_a_passage_that_has_left_the_index_is_not_cited():
    text, _, prose = read("Deletes it [2].", exists=lambda one: one.path != "shutil.py")
    assert (text, prose.cited) == ("Deletes it.", [])
    assert prose.dropped == ["[2]: the index no longer has shutil.py:10-11"]


def test_a_sentence_without_a_citation_gets_the_passage_whose_words_it_uses():
    text, _, prose = read("The function deletes a whole directory tree. Nobody likes bread and butter today.")
    assert text == "The function deletes a whole directory tree. [1] Nobody likes bread and butter today."
    assert ([one.path for one in prose.cited], prose.by_words, prose.uncited) == (["shutil.py"], 1, 1)


def test_an_answer_that_repeats_itself_ends():
    said = "The function deletes a whole directory tree. "
    text, _, prose = read(f"{said}It then merges sorted inputs well. {said}And never more.")
    assert prose.ended
    assert text == "The function deletes a whole directory tree. [1] It then merges sorted inputs well. [2]"


def test_what_only_a_repeated_sentence_cites_is_not_cited():
    text, events, prose = read("It waits for daemon threads [1]. It waits for daemon threads [2]. More.")
    assert (text, prose.ended) == ("It waits for daemon threads [1].", True)
    assert [one.path for one in prose.cited] == ["threading.py"]
    assert [event.number for event in events if isinstance(event, Cited)] == [1]


def test_a_made_up_number_is_told_once():
    assert len(read("One [7]. Two [7]. Three [8].")[2].dropped) == 2


def test_a_sentence_that_only_begins_like_another_is_shown():
    text, _, prose = read("It waits for daemon threads at exit [1]. It waits for daemon threads at night.")
    assert not prose.ended
    assert text.endswith("exit [1]. It waits for daemon threads at night. [1]")


@given(st.text("ab [1]9`.\n"), st.integers(1, 5))
def test_however_it_is_cut_the_same_is_shown(text, piece):
    shown, _, prose = read(text, piece=piece)
    assert (shown, prose.cited, prose.dropped) == (lambda r: (r[0], r[2].cited, r[2].dropped))(read(text, piece=1))
    assert all(1 <= event.number <= len(prose.cited) for event in read(text)[1] if isinstance(event, Cited))
