from hypothesis import given
from hypothesis import strategies as st

from homeground.tasks import near_duplicates, shingles

TEXTS = st.lists(
    st.lists(st.sampled_from(["read", "the", "next", "byte", "line"]), max_size=6).map(" ".join), max_size=6
)


@given(TEXTS, TEXTS, st.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_finds_what_comparing_every_pair_finds(texts, others, threshold):
    def jaccard(one, other):
        a, b = shingles(one), shingles(other)
        return len(a & b) / len(a | b) if a & b else 0.0

    expected = [at for at, text in enumerate(texts) if any(jaccard(text, other) >= threshold for other in others)]
    assert near_duplicates(texts, others, threshold) == expected


def test_case_and_punctuation_do_not_hide_a_repeat():
    assert near_duplicates(["Return the next line."], ["return the next line"], 1.0) == [0]
    assert near_duplicates(["Return the next line."], ["return the last line"], 0.8) == []


def test_single_words_and_nothing_are_compared_too():
    assert near_duplicates(["Close.", ""], ["close", ""], 0.8) == [0]
