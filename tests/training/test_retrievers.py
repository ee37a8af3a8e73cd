import json

import pytest

from homeground.index.rerank import SentenceReranker
from homeground.training.config import RetrieverConfig
from homeground.training.retrievers import Retriever, Row, train_retriever
from tests.training.tiny_encoder import write_encoder

WORDS = "bread oven horse iron spark crumb table nail hoof price coin basket receipt anvil hammer blade".split()
ROWS = [
    Row(f"where is {word}", f"def {word}(x): return {word}", tuple(f"def {WORDS[at - n]}(y): pass" for n in (1, 2)))
    for at, word in enumerate(WORDS)
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder"), [*"def return pass where is ( ) : x y".split(), *WORDS])


def trained(kind, base, folder, **more):
    config = RetrieverConfig(epochs=4.0, batch_size=8, learning_rate=2e-3)
    return train_retriever(kind, base, ROWS, folder, config, max_tokens=32, seed=3, **more)


@pytest.mark.parametrize("kind", list(Retriever))
def test_training_lowers_the_loss_and_saves_only_safetensors(encoder, tmp_path, kind):
    steps = []
    losses = trained(kind, encoder, tmp_path / "model", on_step=lambda *step: steps.append(step))
    assert len(losses) == 8
    assert sum(losses[-2:]) < sum(losses[:2])
    assert [step[:2] for step in steps] == [(number, 8) for number in range(1, 9)]
    weights = {file.suffix for file in (tmp_path / "model").rglob("*") if file.is_file()} & {".bin", ".pt", ".pkl"}
    assert not weights
    assert list((tmp_path / "model").rglob("*.safetensors"))


def test_the_same_seed_gives_the_same_model(encoder, tmp_path):
    runs = [trained(Retriever.BI_ENCODER, encoder, tmp_path / name) for name in "ab"]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("kind", [Retriever.CROSS_ENCODER, Retriever.LATE_INTERACTION])
def test_what_was_trained_reranks(encoder, tmp_path, kind):
    trained(kind, encoder, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_text())
    assert (config.get("model_type") == "MultiVectorEncoder") == (kind is Retriever.LATE_INTERACTION)
    scores = SentenceReranker(str(tmp_path / "model")).score(ROWS[0].query, [ROWS[0].positive, ROWS[5].positive])
    assert len(scores) == 2
    assert scores[0] != scores[1]
