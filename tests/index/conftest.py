import pytest

from homeground.index import Index, SentenceEmbedder
from tests.corpus.village import write_village
from tests.index.fake import FAKED, fake_embedding


@pytest.fixture
def village(tmp_path):
    """A fresh copy of the village's sources."""
    return write_village(tmp_path / "village")


@pytest.fixture(scope="session")
def shared_village(tmp_path_factory):
    """Sources that no test changes."""
    return write_village(tmp_path_factory.mktemp("village"))


@pytest.fixture(scope="session")
def shared_index(shared_village, tmp_path_factory):
    """An index that no test changes, made with the bundled embedder."""
    index, _ = Index.build(tmp_path_factory.mktemp("index"), [shared_village])
    return index


@pytest.fixture
def fake(monkeypatch):
    """Words in place of the model: embedding costs nothing. Holds the texts that went through it."""
    for name in FAKED:
        monkeypatch.setattr(SentenceEmbedder, name, getattr(SentenceEmbedder, name))
    return fake_embedding()
