import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.agents.protocol import hits_turn, opening, parse_answer, parse_search
from homeground.agents.scripted import STOP_WORDS, content_words, scripted_lookup, scripted_trajectory

from .library import SOURCES, hit, search, task

TASKS = [
    task(path, symbol, f"Return the {' '.join(text.split()[-5:])} of it.") for (path, symbol), text in SOURCES.items()
]


def shown_in(messages):
    return messages[3]["content"].splitlines()


def test_the_script_searches_with_the_question_and_cites_the_first_hit():
    outcome = scripted_lookup(task(), search)
    assert outcome.query == "Merge sorted inputs into one sorted output."
    assert outcome.cited == outcome.hits[0]
    assert outcome.well_formed
    assert outcome.reward.value == 1.0


def test_the_script_fails_like_anyone_when_the_search_does():
    outcome = scripted_lookup(task(), lambda query, k: [hit("bisect.py", "insort")])
    assert not outcome.success
    assert outcome.reward.value == pytest.approx(0.2)
    assert scripted_lookup(task(), lambda query, k: []).reward.value == pytest.approx(0.1)


@given(st.sampled_from(TASKS), st.integers(0, 10_000))
def test_a_trajectory_is_well_formed_and_shows_what_the_search_found(about, seed):
    messages = scripted_trajectory(about, search, random.Random(seed))
    assert messages[:2] == opening(about.question)
    assert [message["role"] for message in messages[2:]] == ["assistant", "user", "assistant"]
    call = parse_search(messages[2]["content"])
    assert call.well_formed
    assert len(shown_in(messages)) == 5
    assert parse_answer(messages[4]["content"], 5) is not None
    assert messages[3] == hits_turn(search(call.query, 5))


@given(st.sampled_from(TASKS), st.integers(0, 10_000))
def test_queries_are_one_to_six_content_words_of_the_question(about, seed):
    query = parse_search(scripted_trajectory(about, search, random.Random(seed))[2]["content"]).query.split()
    assert 1 <= len(query) <= 6
    assert set(query) <= set(content_words(about.question))
    assert not {word.lower() for word in query} & STOP_WORDS


def test_equal_random_states_write_equal_trajectories_and_others_differ():
    written = [str(scripted_trajectory(TASKS[0], search, random.Random(seed))) for seed in (1, 1, 2, 3, 4)]
    assert written[0] == written[1]
    assert len(set(written)) > 2


def answers(hits, n=1000):
    rng = random.Random(0)
    return [parse_answer(scripted_trajectory(task(), lambda q, k: hits, rng)[4]["content"], 5) for _ in range(n)]


def test_a_right_function_among_the_hits_is_named_about_six_times_in_ten():
    hits = [hit(f"m{i}.py", "f") for i in range(5)]
    hits[3] = hit("heapq.py", "merge")
    found = answers(hits)
    assert 550 <= found.count(4) <= 650  # half by intent, and one in five of the other half by chance
    assert set(found) == {1, 2, 3, 4, 5}


def test_without_it_any_hit_is_named():
    found = answers([hit(f"m{i}.py", "f") for i in range(5)])
    assert all(150 <= found.count(number) <= 250 for number in range(1, 6))


def test_an_index_without_hits_still_gives_a_trajectory():
    messages = scripted_trajectory(task(), lambda query, k: [], random.Random(0))
    assert messages[3] == hits_turn([])
    assert messages[4]["content"] == "answer: [1]"


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Return the sorted list of it.", ["sorted", "list"]),
        ("Is it so?", ["Is", "it", "so"]),
        ("Größe der Datei", ["Größe", "der", "Datei"]),
        ("!!! ???", ["!!! ???"]),
        ("Don't re-raise read_only errors", ["Don't", "re-raise", "read_only", "errors"]),
    ],
)
def test_content_words_leave_out_stop_words_unless_nothing_else_is_left(question, words):
    assert content_words(question) == words
