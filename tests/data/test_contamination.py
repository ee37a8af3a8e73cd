import pytest

from homeground.data import Measured, Overlap, decontaminate
from homeground.training import example_of

LONG = "the quick brown fox jumps over the lazy dog while seven other animals sleep beside the river"


def ask(question, answer):
    return example_of({"prompt": question, "completion": answer})


def told(text):
    return example_of({"text": text})


@pytest.mark.parametrize(("row", "measured", "overlap"), [
    (ask("What is rain?", "Water that falls."), ask("what is  rain", "Something else."), Overlap.QUESTION),
    (told("Short text."), told("short  TEXT."), Overlap.TEXT),
    (told(f"Before it. {LONG.upper()}! After it."), ask("Which?", LONG), Overlap.WORDS),
    (ask("Say it.", f"So: {LONG[:70]} and on"), told(f"x {LONG}"), Overlap.WORDS),
    (told("It says: one two three four five six seven eight. End."), told("One two three four five six seven eight"),
     Overlap.WORDS),
])  # fmt: skip
def test_what_gives_an_evaluation_example_away_is_removed_and_says_where(row, measured, overlap):
    clean = decontaminate([row, told("nothing of it")], [Measured.of(measured)])
    assert clean.examples == [told("nothing of it")]
    assert [one.overlap for one in clean.removed] == [overlap]


@pytest.mark.parametrize(("row", "measured"), [
    (told(" ".join(LONG.split()[:12])), told(LONG)),
    (ask("Say four words.", "one two three four"), ask("Count to four.", "one two three four")),
    (ask("What is bread?", "Water that falls."), ask("What is rain?", "Water that falls.")),
    (told("one two three four five six seven and eight"), told("one two three four five six seven eight")),
])  # fmt: skip
def test_short_and_partial_overlaps_stay(row, measured):
    assert decontaminate([row], [Measured.of(measured)]).removed == []


def test_the_places_of_both_and_the_shared_words_are_listed():
    from dataclasses import replace

    row, measured = replace(told(f"{LONG} x"), place="train:3"), replace(told(LONG), place="eval:7")
    (removed,) = decontaminate([row], [Measured.of(measured)]).removed
    assert (removed.place, removed.of) == ("train:3", "eval:7")
    assert removed.shared == " ".join(LONG.split()[:13])


def test_a_phrase_of_more_than_ten_rows_gives_nothing_away():
    rows = [told(f"{LONG} {n}") for n in range(11)]
    clean = decontaminate(rows, [Measured.of(told(LONG + " else"))])
    assert (len(clean.examples), clean.common) == (11, 5)
    assert len(decontaminate(rows[:10], [Measured.of(told(LONG + " else"))]).removed) == 10


def test_a_held_out_task_is_a_question_without_an_answer():
    rows = [ask("Tell whether a year has one day more.", "calendar.isleap"), ask("Join all threads.", "join")]
    task = Measured(
        "calendar.py::isleap", ["Tell whether a year has one day more."], "Tell whether a year has one day more."
    )
    clean = decontaminate(rows, [task])
    assert clean.examples == rows[1:]
    assert clean.removed[0].of == "calendar.py::isleap"
