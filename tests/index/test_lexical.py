import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.index.lexical import Lexicon, document_terms, stem, terms


def test_identifiers_are_split_and_kept_whole():
    assert terms("HTTPResponse.read_chunked(x2)") == [
        "http", "respons", "httpresponse", "read", "chunk", "readchunked", "x", "2", "x2"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("parse", "parses", "parsed", "parsing", "parser", "parsers"),
        ("query", "queries"),
        ("stop", "stopped", "stopping", "stops"),
        ("class", "classes"),
        ("write", "writes", "writing", "writer"),
    ],
)
def test_forms_of_a_word_share_a_stem(words):
    assert len({stem(word) for word in words}) == 1


@pytest.mark.parametrize("word", ["is", "as", "this", "status", "red", "ring", "us"])
def test_short_words_stay_as_they_are(word):
    assert stem(word) == word


@given(st.text(max_size=80))
def test_terms_never_fail_and_hold_no_blanks(text):
    assert all(term and not term.isspace() and " " not in term for term in terms(text))


def test_words_that_say_nothing_are_left_out():
    assert terms("the bread that is in_the oven") == ["bread", "inthe", "oven"]


def test_the_own_name_of_a_chunk_counts_more():
    lexicon = Lexicon.build([document_terms("a bread", "Shop.sell"), document_terms("sell bread", "Shop.buy")])
    scores = lexicon.scores("sell")
    assert scores[0] > scores[1] > 0


def test_a_rarer_word_counts_more_and_no_known_word_counts_nothing(tmp_path):
    documents = [["bread", "oven"], ["bread", "coin"], ["bread", "iron", "coin", "anvil"]]
    lexicon = Lexicon.build(documents)
    scores = lexicon.scores("bread oven")
    assert scores.argmax() == 0
    assert (lexicon.scores("oven")[0], lexicon.scores("oven")[1]) > (0, 0)
    assert lexicon.scores("unicorn").tolist() == [0, 0, 0]
    assert lexicon.scores("...").tolist() == [0, 0, 0]
    lexicon.save(tmp_path / "bm25")
    np.testing.assert_array_equal(Lexicon.load(tmp_path / "bm25").scores("bread oven"), scores)
