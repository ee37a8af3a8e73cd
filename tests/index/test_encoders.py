import subprocess
import sys

import numpy as np
import pytest

from homeground.base.errors import HomegroundError
from homeground.index import SentenceEmbedder, embed, encoders
from homeground.index.protocols import encode_all

TEXTS = ["bread", "def give_change(paid, amount):\n    return coins", "# The village\n\n" + "horses and iron " * 40]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of one's own, so that nothing is exported or remembered yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_exported_model_gives_the_vectors_of_torch():
    exact = encode_all(SentenceEmbedder("all-minilm-l6-v2", 192, "fp32"), TEXTS)
    exported = encode_all(SentenceEmbedder("all-minilm-l6-v2", 192, "onnx"), TEXTS)
    assert np.min(np.sum(exact * exported, axis=1)) > 0.9999


def test_our_ids_and_pooling_are_those_of_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    embedder = SentenceEmbedder("all-minilm-l6-v2", 64, "fp32")
    model = SentenceTransformer(str(embedder.folder), device="cpu")
    model.max_seq_length = 64
    theirs = model.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encode_all(embedder, TEXTS), theirs, atol=1e-5)


def test_a_query_needs_neither_torch_nor_sentence_transformers_nor_chroma():
    SentenceEmbedder("all-minilm-l6-v2", 192, "auto").encode_query("makes the export, where this is the first test")
    program = (
        "import sys\n"
        "from homeground.index import SentenceEmbedder, Index\n"
        "vector = SentenceEmbedder('all-minilm-l6-v2', 192, 'auto').encode_query('bread')\n"
        "assert vector.shape == (384,)\n"
        "loaded = {'torch', 'sentence_transformers', 'transformers', 'chromadb', 'bm25s'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_model_that_cannot_be_exported_stays_with_torch(cache, monkeypatch):
    calls = []

    def fails(encoder, file):
        calls.append(file)
        return False

    monkeypatch.setattr(encoders, "_exports", fails)
    for _ in range(2):
        embedder = SentenceEmbedder("all-minilm-l6-v2", 192, "auto")
        assert embedder.encode_query("bread").shape == (384,)
        assert set(embedder._encoders) <= {"bf16", "fp32"}
    assert len(calls) == 1, "a failure is remembered"
    with pytest.raises(HomegroundError, match="cannot be exported") as caught:
        SentenceEmbedder("all-minilm-l6-v2", 192, "onnx").encode_query("bread")
    assert "index.backend" in str(caught.value.hint)


def test_an_export_with_other_vectors_is_not_kept():
    def one(ids, mask):
        return np.ones((len(ids), 4), dtype=np.float32) + mask.sum()

    def other(ids, mask):
        return one(ids, mask) * np.array([1, 1, 1, 1.1], dtype=np.float32)

    assert encoders._agree(one, lambda ids, mask: 2 * one(ids, mask)), "length does not count"
    assert not encoders._agree(one, other)


def test_much_text_goes_through_torch_where_that_is_faster(monkeypatch):
    """Torch takes seconds to start: it pays only for much text, on a processor that multiplies in bf16."""
    monkeypatch.setattr(embed, "_TORCH_PAYS", 50)
    for fast, much in ((True, "bf16"), (False, "onnx")):
        monkeypatch.setattr(embed, "bf16_is_fast", lambda fast=fast: fast)
        embedder = SentenceEmbedder("all-minilm-l6-v2", 192, "auto")
        encode_all(embedder, ["bread"])
        assert set(embedder._encoders) == {"onnx"}
        encode_all(embedder, ["bread and iron"] * 40)
        assert set(embedder._encoders) == {"onnx", much}
