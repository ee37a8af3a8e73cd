"""An index with an embedder and a reranker of the caller's own."""

import numpy as np
import pytest

from homeground.base.errors import HomegroundError
from homeground.index import Index, IndexConfig, Stage
from homeground.index.protocols import encode_all
from tests.index.fake import word_vectors


class Words:
    def __init__(self, name="words", revision="1"):
        self.name, self.revision = name, revision

    def count(self, texts):
        return [len(text.split()) for text in texts]

    def encode(self, texts):
        for at in reversed(range(len(texts))):
            yield [at], word_vectors([texts[at]])

    def encode_query(self, query):
        return word_vectors([query])[0]


class Shortest:
    name = "shortest first"

    def score(self, query, texts):
        return [-float(len(text)) for text in texts]


def test_vectors_come_back_in_the_order_of_the_texts():
    texts = ["bread and oven", "iron", "a horse"]
    assert np.array_equal(encode_all(Words(), texts), word_vectors(texts))


def test_an_own_embedder_builds_searches_and_opens(village, tmp_path):
    index, report = Index.build(tmp_path / "index", [village], embedder=Words())
    assert report.embedded == report.chunks
    found = [hit.id for hit in index.search("raise the heat of the oven", stages=[Stage.DENSE])]
    index.close()
    again = Index.open(tmp_path / "index", embedder=Words())
    assert again.config.embedder == "words"
    assert [hit.id for hit in again.search("raise the heat of the oven", stages=[Stage.DENSE])] == found
    assert Index.build(tmp_path / "index", [village], embedder=Words())[1].embedded == 0


def test_another_revision_embeds_everything_again(village, tmp_path):
    _, first = Index.build(tmp_path / "index", [village], embedder=Words())
    _, second = Index.build(tmp_path / "index", [village], embedder=Words(revision="2"))
    assert second.embedded == first.embedded > 0


@pytest.mark.parametrize("other", [Words("others"), Words(revision="2")])
def test_an_index_is_opened_with_the_embedder_that_built_it(village, tmp_path, other):
    Index.build(tmp_path / "index", [village], embedder=Words())[0].close()
    with pytest.raises(HomegroundError, match=r"built with the embedder 'words' \(1\), not with") as caught:
        Index.open(tmp_path / "index", embedder=other)
    assert "build it again" in str(caught.value.hint)
    index = Index.open(tmp_path / "index")
    with pytest.raises(HomegroundError, match="words"):
        index.search("bread")


def test_an_own_reranker_orders_the_hits(village, tmp_path):
    config = IndexConfig(rerank_weight=1.0, exact_names=False)
    index, _ = Index.build(tmp_path / "index", [village], config, embedder=Words(), reranker=Shortest())
    assert index.config.rerank == "shortest first"
    hits = index.search("bread oven iron", 5)
    scores = [hit.scores["rerank"] for hit in hits]
    assert len(hits) > 1
    assert scores == sorted(scores, reverse=True)
    assert index.masked(tmp_path / "masked", {}).search("bread oven iron", 5) == hits
