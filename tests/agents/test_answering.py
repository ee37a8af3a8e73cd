import asyncio
from dataclasses import replace

import pytest

from homeground.agents.answering import Answerer
from homeground.agents.events import Cited, Done, Sources, Step, Text
from homeground.agents.packing import Conversation, pack
from homeground.agents.seeking import Seeking
from homeground.base.errors import HomegroundError
from homeground.data.passages import ANSWER_SYSTEM
from homeground.index import Excerpt

from .library import SOURCES, hit, search

QUESTION = "Wait for daemon threads at exit"


class Typist:
    """Writes what it is told to, in order, and remembers what it was asked; a token is a word."""

    def __init__(self, *turns, context=1000):
        self.context, self.turns, self.asked = context, list(turns), []

    def count(self, messages):
        return sum(len(message["content"].split()) for message in messages)

    def write(self, messages, max_tokens, params=None, stop=()):
        self.asked.append((messages, max_tokens))
        return Typed(self.turns.pop(0), self.count(messages))


class Typed:
    finish_reason = "stop"

    def __init__(self, text, prompt_tokens):
        self.text, self.prompt_tokens, self.sampled, self.closed = text, prompt_tokens, 0, False

    async def pieces(self):
        try:
            for letter in self.text:
                self.sampled += 1
                yield letter
        finally:
            self.closed = True

    async def whole(self):
        return self.text


class Shelf:
    """The tools of an index that holds the library."""

    def __init__(self, gone=()):
        self.gone = gone

    def read(self, path, start, end, most_lines=400):
        found = next((one for one in (hit(*key) for key in SOURCES) if one.path == path), None)
        if found is None or path in self.gone:
            raise HomegroundError("the index holds no such file")
        lines = {found.start + at: line for at, line in enumerate(found.text.split("\n"))}
        kept = [number for number in sorted(lines) if start <= number <= end]
        text = "\n".join(lines[number] for number in kept)
        return Excerpt(path, start, kept[-1], max(lines), text, truncated=False, stale=False)


def answerer(*turns, **changes):
    made = Answerer(search, Typist(*turns), Shelf(), least=0.5)
    return replace(made, **changes)


def events_of(made, *messages, **options):
    """The events of the last of these turns, users' and assistants' by turns."""
    said = [{"role": "user" if at % 2 == 0 else "assistant", "content": text} for at, text in enumerate(messages)]

    async def collect():
        return [event async for event in made.stream(said, **options)]

    return asyncio.run(collect())


def test_prose_is_streamed_and_its_citations_resolve():
    made = answerer("It waits for daemon threads [1].")
    events = events_of(made, QUESTION)
    done = events[-1]
    assert [type(event) for event in events if not isinstance(event, Text)] == [Sources, Cited, Done]
    assert len([event for event in events if isinstance(event, Text)]) > 3
    assert "".join(event.text for event in events if isinstance(event, Text)) == done.answer
    assert done.document() == {
        "answer": "It waits for daemon threads [1].",
        "citations": [{"path": "threading.py", "start": 10, "end": 14}],
        "found": True,
    }
    assert (done.by_words, done.uncited, list(done.dropped)) == (0, 0, [])
    assert done.prompt_tokens == made.writer.count(made.writer.asked[0][0])


def test_the_model_is_asked_as_it_is_trained():
    made = answerer("So.")
    events_of(made, QUESTION)
    system, asked = made.writer.asked[0][0]
    assert system == {"role": "system", "content": ANSWER_SYSTEM}
    assert asked["content"].startswith("[1] threading.py:10-14 _shutdown\ndef _shutdown():\n")
    assert asked["content"].endswith(f"\n\nQuestion: {QUESTION}")
    assert [line[:3] for line in asked["content"].splitlines() if line[:1] == "["] == ["[1]", "[2]", "[3]"]


def test_what_the_index_does_not_hold_is_not_answered():
    made = answerer("Never asked.")
    events = events_of(made, "How do I bake bread with yeast?")
    assert [type(event) for event in events] == [Sources, Text, Done]
    assert events[0].packed == 0
    assert events[-1].answer.startswith("Not found in this index: the nearest is ")
    assert (events[-1].found, events[-1].citations, made.writer.asked) == (False, [], [])
    assert events[-1].similarity < events[-1].needed == 0.5


def test_an_empty_index_says_so():
    events = events_of(answerer(search=lambda query, k: []), QUESTION)
    assert events[-1].answer == "Not found in this index: no part of it matches the question."


def test_citations_that_the_model_made_up_or_the_index_lost_are_dropped_and_said():
    made = answerer("It waits [1] and wakes [8].", tools=Shelf(gone=["threading.py"]))
    done = events_of(made, QUESTION)[-1]
    assert done.answer == "It waits and wakes."
    assert list(done.dropped) == [
        "[1]: the index no longer has threading.py:10-14",
        "[8]: the model was shown no such passage",
    ]
    assert done.citations == []


def test_a_model_that_repeats_itself_is_stopped():
    made = answerer("It waits for daemon threads. " * 50)
    done = events_of(made, QUESTION)[-1]
    assert done.answer == "It waits for daemon threads. [1]"
    assert done.completion_tokens < 100


@pytest.mark.parametrize("written", ["", " \n", "[9]"])
def test_a_model_that_writes_nothing_leaves_the_places(written):
    done = events_of(answerer(written), QUESTION)[-1]
    assert done.answer == "The model wrote nothing. The nearest in the index: [1] [2]"
    assert [one["path"] for one in done.citations] == ["threading.py", "bisect.py"]


def test_a_model_that_announces_an_answer_and_never_gives_it_leaves_the_places():
    done = events_of(answerer("The answer to the question is:\n" * 9), QUESTION)[-1]
    assert done.answer.startswith("The answer to the question is:\n\nThe model wrote no more than that.")
    assert done.answer.endswith("[1] [2]")


@pytest.mark.parametrize("messages", [[""], ["   "], ["Hello", "Hi"]])
def test_there_has_to_be_a_question(messages):
    with pytest.raises(HomegroundError, match="the question is empty"):
        events_of(answerer(), *messages)


def test_a_follow_up_is_searched_for_with_what_came_before_it():
    made = answerer("Yes [1].")
    events = events_of(made, QUESTION, "It joins them [2].", "And at exit?")
    assert events[-1].found
    assert events[0].hits[0].path == "threading.py"
    prompt = made.writer.asked[0][0]
    assert [turn["content"] for turn in prompt[1:3]] == [QUESTION, "It joins them."]


def test_a_callers_system_message_is_kept_behind_ours():
    asked = Conversation.of([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}])
    prompt, _ = pack(asked, [hit("heapq.py", "merge")], Typist().count, 100, passages=1, lines=(9, 9))
    assert prompt[0]["content"] == f"{ANSWER_SYSTEM}\nBe brief."


def test_agentic_mode_shows_every_step_and_puts_the_pick_first():
    seeker = Typist("search: delete directory tree", "answer: [2]")
    made = answerer("Trees are copied [1].", seeker=seeker)
    events = events_of(made, "delete a whole directory tree", agentic=True)
    steps = [event for event in events if isinstance(event, Step)]
    assert [(step.tool, step.asked) for step in steps] == [
        ("search", "delete directory tree"),
        ("pick", "answer: [2]"),
        ("read", "shutil.py:10-11"),
    ]
    assert "text" not in steps[0].to_json()["hits"][0]
    sources = next(event for event in events if isinstance(event, Sources))
    assert sources.hits[0].symbol == steps[1].hits[0].symbol == "copytree"
    assert len(sources.hits) == len({(one.path, one.start, one.symbol) for one in sources.hits})
    assert seeker.asked[1][0][-1]["content"].startswith("[1] shutil rmtree")


@pytest.mark.parametrize("reply", ["", "no idea", "answer: [9]"])
def test_without_a_pick_plain_search_decides(reply):
    made = answerer("So [1].", seeker=Typist("search: tree", reply))
    events = events_of(made, QUESTION, agentic=True)
    assert events[1].hits == []
    assert events[-1].citations[0]["path"] == "threading.py"


def test_what_is_no_call_is_not_searched_for():
    made = answerer("So [1].", seeker=Typist("search: ", "answer: [1]"))
    events = events_of(made, QUESTION, agentic=True)
    assert (events[0].tool, events[0].asked, events[0].hits) == ("search", "search:", [])
    assert events[-1].citations[0]["path"] == "threading.py"


def test_a_question_of_nothing_here_is_not_found_by_an_agent_either():
    made = answerer(seeker=Typist("search: delete a whole directory tree", "answer: [1]"))
    assert not events_of(made, "How do I bake bread with yeast?", agentic=True)[-1].found


def test_agentic_mode_without_a_trained_agent_says_what_to_train():
    with pytest.raises(HomegroundError, match="no model here was trained to search") as error:
        events_of(answerer(), QUESTION, agentic=True)
    assert "homeground rl" in error.value.hint


def test_closing_the_stream_ends_the_sampling():
    typed = []

    class Watched(Typist):
        def write(self, *arguments):
            typed.append(super().write(*arguments))
            return typed[-1]

    async def close_early():
        events = answerer(writer=Watched("It waits for daemon threads [1].")).stream(
            [{"role": "user", "content": QUESTION}]
        )
        async for event in events:
            if isinstance(event, Text):
                break
        await events.aclose()

    asyncio.run(close_early())
    assert typed[0].closed
    assert typed[0].sampled < len(typed[0].text)


LONG = hit("long.py", "f", text="\n".join(f"line {number} of it" for number in range(40)))


@pytest.mark.parametrize("room", [40, 60, 100, 200])
def test_what_is_packed_fits(room):
    asked = Conversation(
        "Why?", [{"role": "user", "content": "word " * 50}, {"role": "assistant", "content": "no " * 9}]
    )
    prompt, shown = pack(asked, [LONG, LONG, LONG], Typist().count, room, passages=3, lines=(40, 40))
    assert Typist().count(prompt) <= room
    assert 1 <= len(shown) <= 3
    assert prompt[-1]["content"].endswith("Question: Why?")
    # Nothing more would have fitted: room for a line more is left only where the passages are whole.
    assert Typist().count(prompt) > room - 60


def test_newest_turns_are_kept_and_oldest_go_first():
    history = [{"role": "user", "content": f"turn {number}"} for number in range(30)]
    prompt, _ = pack(Conversation("Why?", history), [LONG], Typist().count, 70, passages=1, lines=(3, 3))
    kept = [turn["content"] for turn in prompt[1:-1]]
    assert kept == [f"turn {number}" for number in range(30 - len(kept), 30)]
    assert kept


def test_a_question_that_cannot_fit_is_refused():
    with pytest.raises(HomegroundError, match="does not fit") as error:
        pack(Conversation("why " * 100), [LONG], Typist().count, 60, passages=1, lines=(9, 9))
    assert "shorter" in error.value.hint


class OneLongLine:
    """The tools of an index whose only file is one long line."""

    def read(self, path, start, end, most_lines=400):
        return Excerpt(path, 1, 1, 1, "the oven is hot and the bread is in it", truncated=False, stale=False)


@pytest.mark.parametrize(("part", "there"), [("the bread is", True), ("the bread was", False)])
def test_a_part_of_a_long_line_is_cited_while_it_is_there(part, there):
    found = replace(next(hit(*key) for key in SOURCES), path="notes.txt", start=1, end=1, text=part)
    assert Answerer(search, Typist(), OneLongLine(), 0.0)._exists(found) is there


def test_a_part_of_a_long_line_is_not_read_whole():
    found = replace(next(hit(*key) for key in SOURCES), path="notes.txt", start=1, end=1, text="the bread is")
    seeking = Seeking(Typist(), search, OneLongLine(), 10)
    assert seeking._read(found) == found
    whole = replace(found, text="the oven is hot and the bread is in it")
    assert seeking._read(whole).text == whole.text
