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


WORDS = st.sampled_from("bread oven coin iron anvil hoof".split())
DOCUMENTS = st.lists(st.lists(WORDS, max_size=8), min_size=1, max_size=8)


@given(DOCUMENTS.filter(any), st.lists(WORDS, max_size=3).map(" ".join))
def test_scores_are_those_of_bm25s(documents, query):
    import bm25s

    reference = bm25s.BM25(method="lucene", k1=3.0, b=0.9)
    reference.index([list(map(stem, document)) for document in documents], show_progress=False)
    ids = reference.get_tokens_ids(terms(query))
    expected = reference.get_scores_from_ids(ids) if ids else np.zeros(len(documents))
    lexicon = Lexicon.build([list(map(stem, document)) for document in documents])
    np.testing.assert_allclose(lexicon.scores(query), expected, rtol=1e-5, atol=1e-7)


@given(DOCUMENTS, st.data())
def test_documents_come_and_go_as_in_a_fresh_build(documents, data):
    rows = data.draw(st.permutations(range(len(documents) + 3)))
    new = dict(zip(rows, documents, strict=False))
    kept = data.draw(st.lists(st.booleans(), min_size=len(documents), max_size=len(documents)))
    order = sorted(row for row, keep in zip(rows, kept, strict=False) if keep)
    fresh = data.draw(DOCUMENTS)
    size = len(order) + len(fresh)
    places = data.draw(st.permutations(range(size)))
    final = dict(zip(places, [*(new[row] for row in order), *fresh], strict=True))
    old_rows = sorted(new)
    moved_to = np.array([places[order.index(row)] if row in order else -1 for row in old_rows], dtype=np.int64)
    before = Lexicon.build([new[row] for row in old_rows])
    updated = before.updated(moved_to, zip(places[len(order) :], fresh, strict=True))
    expected = Lexicon.build([final[row] for row in range(size)])
    assert set(updated.vocabulary) == set(expected.vocabulary), "a word that is gone leaves nothing behind"
    for query in ("bread", "iron anvil iron", "hoof coin oven"):
        np.testing.assert_array_equal(updated.scores(query), expected.scores(query))
