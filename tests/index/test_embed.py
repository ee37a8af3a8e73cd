import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError
from homeground.corpus import chunk_lines, language_of
from homeground.index import SentenceEmbedder
from homeground.index.protocols import encode_all

EMPTY = (2).to_bytes(8, "little") + b"{}"
ALSO_EMPTY = (3).to_bytes(8, "little") + b"{} "
"""Both are safetensors without a tensor."""


@pytest.fixture(scope="module")
def embedder():
    return SentenceEmbedder("all-minilm-l6-v2", 192, "auto")


def heapq_texts(embedder):
    path = Path(sysconfig.get_paths()["stdlib"]) / "heapq.py"
    lines = path.read_text(encoding="utf-8").split("\n")
    chunks = chunk_lines("heapq.py", lines, language_of("heapq.py"), count=embedder.count)
    return [chunk.indexed_text for chunk in chunks]


def test_vectors_have_length_one_and_keep_the_order_of_their_texts(embedder):
    texts = ["bread " * 150, "iron", "a much longer sentence about horses and their shoes", ""]
    vectors = encode_all(embedder, texts)
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert embedder.encode_query(text) @ vector > 0.999


def test_bf16_ranks_as_fp32_does():
    exact, quick = SentenceEmbedder("all-minilm-l6-v2", 192, "fp32"), SentenceEmbedder("all-minilm-l6-v2", 192, "bf16")
    texts = heapq_texts(exact)
    queries = ["push an item onto the heap", "merge sorted inputs", "the n largest elements of a list", "sift up"]
    cosine_exact = encode_all(exact, queries) @ encode_all(exact, texts).T
    cosine_quick = encode_all(quick, queries) @ encode_all(quick, texts).T
    assert not np.array_equal(cosine_exact, cosine_quick), "one of them did not compute in its own number type"
    assert np.abs(cosine_exact - cosine_quick).mean() < 0.005
    for one, other in zip(cosine_exact, cosine_quick, strict=True):
        assert one[other.argmax()] > one.max() - 0.01


def test_no_chunk_is_cut_short_by_the_embedder(embedder):
    specials = 2
    assert max(embedder.count(heapq_texts(embedder))) + specials <= 192


def test_tokens_of_lines_add_up(embedder):
    text = "def read_chunked(self):\n    return b''.join(self._parts)\n\n# done"
    assert sum(embedder.count(text.split("\n"))) == embedder.count([text])[0]


@given(st.lists(st.integers(0, 400), max_size=200))
def test_batches_hold_every_text_once_and_stay_small(lengths):
    embedder = SentenceEmbedder("all-minilm-l6-v2", 192, "auto")
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = embedder._batches(order, lengths, 1000)
    assert [at for batch in batches for at in batch] == order
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= 1000


def test_a_model_that_is_no_embedder_says_so(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-type"}')
    (tmp_path / "model.safetensors").write_bytes(EMPTY)
    with pytest.raises(HomegroundError, match="cannot be loaded") as caught:
        SentenceEmbedder(str(tmp_path), 64, "auto").encode_query("bread")
    assert "homeground weights" in str(caught.value.hint)
    with pytest.raises(HomegroundError, match=r"no tokenizer\.json") as caught:
        SentenceEmbedder(str(tmp_path), 64, "auto").count(["text"])
    assert "fast tokenizer" in str(caught.value.hint)


def test_the_revision_is_that_of_the_weights(tmp_path, embedder):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(EMPTY)
    one = SentenceEmbedder(str(tmp_path), 64, "auto").revision
    assert SentenceEmbedder(str(tmp_path), 64, "auto").revision == one != embedder.revision
    (tmp_path / "model.safetensors").write_bytes(ALSO_EMPTY)
    assert SentenceEmbedder(str(tmp_path), 64, "auto").revision != one
