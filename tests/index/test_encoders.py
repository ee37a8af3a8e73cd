import subprocess
import sys

import numpy as np
import pytest

from homeground.base.errors import HomegroundError
from homeground.index import Embedder, backend, encoders

TEXTS = ["bread", "def give_change(paid, amount):\n    return coins", "# The village\n\n" + "horses and iron " * 40]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of one's own, so that nothing is exported or remembered yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_exported_model_gives_the_vectors_of_torch():
    exact = Embedder("all-minilm-l6-v2", 192, "fp32").encode_all(TEXTS)
    exported = Embedder("all-minilm-l6-v2", 192, "onnx").encode_all(TEXTS)
    assert np.min(np.sum(exact * exported, axis=1)) > 0.9999


def test_our_ids_and_pooling_are_those_of_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    embedder = Embedder("all-minilm-l6-v2", 64, "fp32")
    model = SentenceTransformer(str(embedder.folder), device="cpu")
    model.max_seq_length = 64
    theirs = model.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(embedder.encode_all(TEXTS), theirs, atol=1e-5)


def test_a_query_needs_neither_torch_nor_sentence_transformers_nor_chroma():
    Embedder("all-minilm-l6-v2", 192).encode_query("makes the export, where this is the first test")
    program = (
        "import sys\n"
        "from homeground.index import Embedder, Index\n"
        "vector = Embedder('all-minilm-l6-v2', 192).encode_query('bread')\n"
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
        embedder = Embedder("all-minilm-l6-v2", 192)
        assert embedder.encode_query("bread").shape == (384,)
        assert set(embedder._encoders) <= {"bf16", "fp32"}
    assert len(calls) == 1, "a failure is remembered"
    with pytest.raises(HomegroundError, match="cannot be exported") as caught:
        Embedder("all-minilm-l6-v2", 192, "onnx").encode_query("bread")
    assert "index.backend" in str(caught.value.hint)


def test_an_export_with_other_vectors_is_not_kept():
    def one(ids, mask):
        return np.ones((len(ids), 4), dtype=np.float32) + mask.sum()

    def other(ids, mask):
        return one(ids, mask) * np.array([1, 1, 1, 1.1], dtype=np.float32)

    assert encoders._agree(one, lambda ids, mask: 2 * one(ids, mask)), "length does not count"
    assert not encoders._agree(one, other)


def test_openvino_that_is_not_installed_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(HomegroundError, match="not installed") as caught:
        encoders.OpenVinoEncoder(tmp_path / "model.onnx")
    assert "homeground[openvino]" in str(caught.value.hint)


def test_openvino_ranks_as_onnx_does():
    pytest.importorskip("openvino")
    one = Embedder("all-minilm-l6-v2", 192, "onnx").encode_all(TEXTS)
    other = Embedder("all-minilm-l6-v2", 192, "openvino").encode_all(TEXTS)
    assert np.min(np.sum(one * other, axis=1)) > 0.999


def test_a_slow_start_pays_only_for_much_to_embed(monkeypatch):
    monkeypatch.setattr(backend.sys, "modules", {})
    rates = {"bf16": 17_000.0, "onnx": 4_700.0}
    assert backend.soonest(rates, 2_000, set()) == "onnx"
    assert backend.soonest(rates, 2_000_000, set()) == "bf16"
    assert backend.soonest(rates, 2_000, {"bf16"}) == "bf16"


def test_much_to_embed_is_measured_once_and_remembered(cache, monkeypatch):
    measured = []

    def rate(self, encoder):
        measured.append(encoder)
        return {"fast": 9e9, "slow": 1.0}[encoder.name]

    class Named:
        batch_tokens = 2048

        def __init__(self, name):
            self.name = name

        def __call__(self, ids, mask):
            return np.ones((len(ids), 4), dtype=np.float32)

    monkeypatch.setattr(Embedder, "_measured", rate)
    monkeypatch.setattr(Embedder, "_exported", lambda self: True)
    monkeypatch.setattr(Embedder, "_opened", lambda self, kind: Named("fast" if kind == "fp32" else "slow"))
    monkeypatch.setattr(backend, "PROBE_TOKENS", 50)
    few = Embedder("all-minilm-l6-v2", 192)
    few.encode_all(["bread"])
    assert measured == []
    assert set(few._encoders) == {"onnx"}
    many = Embedder("all-minilm-l6-v2", 192)
    many.encode_all(["bread and iron"] * 40)
    assert set(many._encoders) == {"fp32", "onnx"}
    count = len(measured)
    assert count == len(backend.available())
    again = Embedder("all-minilm-l6-v2", 192)
    again.encode_all(["bread and iron"] * 40)
    assert len(measured) == count
    assert backend.remembered(again.revision)["fp32"] == 9e9
