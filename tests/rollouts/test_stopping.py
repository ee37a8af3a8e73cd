import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.rollouts.stopping import StopWatch, cut

from ..policy import tiny

TOKENIZER = tiny.tokenizer()
VOCABULARY = 262  # without the special tokens, which have no text
ids_of_bytes = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=20)
ids_of_text = st.text("aébc €\n", min_size=1, max_size=12).map(lambda t: TOKENIZER(t)["input_ids"])
stops = st.lists(st.text("abc€é ", min_size=1, max_size=4), min_size=1, max_size=3)


def first_stop(ids, stops):
    """By definition: the first n for which the text of the first n tokens contains a stop string."""
    for n in range(1, len(ids) + 1):
        if any(stop in TOKENIZER.decode(ids[:n], skip_special_tokens=True) for stop in stops):
            return n
    return None


def watched(ids, stops):
    watch = StopWatch(TOKENIZER, stops)
    return next((n for n in range(1, len(ids) + 1) if watch.completed_by(ids[:n])), None)


@given(st.one_of(ids_of_bytes, ids_of_text, st.lists(st.integers(0, 265), min_size=1, max_size=20)), stops)
def test_a_stop_string_is_found_with_the_token_that_completes_it(ids, stops):
    assert watched(ids, stops) == first_stop(ids, stops)


@pytest.mark.parametrize(("text", "stop", "n"), [
    ("xy€z", "€", 5),  # a character of three tokens
    ("abc", "bc", 1),  # one token, "abc"
    ("one two", "e t", 5),  # across tokens
    ("aaab", "aab", None),  # "aa" twice is no "aab" until the b, which is merged: decided by the text alone
])  # fmt: skip
def test_borders_of_tokens_do_not_matter(text, stop, n):
    ids = TOKENIZER(text)["input_ids"]
    found = watched(ids, [stop])
    assert found == first_stop(ids, [stop])
    assert n is None or found == n


def test_the_watch_keeps_no_more_than_it_needs():
    watch = StopWatch(TOKENIZER, ["stop"])
    ids = TOKENIZER("x" * 500)["input_ids"]
    for n in range(1, len(ids) + 1):
        assert not watch.completed_by(ids[:n])
    assert len(watch._text) == 3


@pytest.mark.parametrize(("text", "stops", "left"), [
    ("one two", ["two"], "one "),
    ("one two", ["two", "ne"], "o"),
    ("one two", ["three"], "one two"),
    ("one two", [], "one two"),
    ("one", ["one"], ""),
])  # fmt: skip
def test_text_is_cut_where_the_first_stop_begins(text, stops, left):
    assert cut(text, stops) == left
