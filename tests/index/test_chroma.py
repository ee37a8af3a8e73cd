import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from homeground.base.errors import HomegroundError
from homeground.index import ChromaConfig, Index, IndexConfig
from homeground.index import chroma as chroma_view

pytestmark = pytest.mark.usefixtures("fake")
THROUGH_CHROMA = IndexConfig(chroma=ChromaConfig(exact_below=0))


def scores(index, query="bread in the oven"):
    vector = index.embedder.encode_query(query)
    return {key: round(score, 3) for key, score in index._view.nearest(vector, 8).items()}


def test_the_collection_uses_cosine_and_holds_every_chunk(village, tmp_path):
    index, report = Index.build(tmp_path / "index", [village], THROUGH_CHROMA)
    collection = index._view._chroma.collection
    assert collection.configuration["hnsw"]["space"] == "cosine"
    assert collection.count() == report.chunks


def test_chroma_answers_as_exact_search_does(village, tmp_path):
    index, _ = Index.build(tmp_path / "index", [village], THROUGH_CHROMA)
    exact, _ = Index.build(tmp_path / "exact", [village])
    assert index._view._chroma is not None
    assert exact._view._chroma is None
    assert scores(index) == scores(exact)


def test_what_changed_since_chroma_was_written_is_found_and_what_is_gone_is_not(village, tmp_path):
    Index.build(tmp_path / "index", [village], THROUGH_CHROMA)
    before = list((tmp_path / "index").glob("chroma-*"))
    (village / "bakery" / "oven.py").unlink()
    (village / "new.py").write_text("def butter_bread(bread):\n    return 'bread in the oven'\n")
    till = village / "bakery" / "till.py"
    till.write_text(till.read_text().replace("amount = 0", "amount = 0  # bread in the oven"))
    index, _ = Index.build(tmp_path / "index", [village], THROUGH_CHROMA)
    assert list((tmp_path / "index").glob("chroma-*")) == before, "it was not written again"
    assert scores(index) == scores(Index.build(tmp_path / "exact", [village])[0])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_chroma_is_written_again_when_much_has_changed(village, tmp_path, monkeypatch, share):
    monkeypatch.setattr(chroma_view, "_LEAST_STALE", 1)
    monkeypatch.setattr(chroma_view, "_REBUILD_SHARE", share)
    Index.build(tmp_path / "index", [village], THROUGH_CHROMA)
    (before,) = (tmp_path / "index").glob("chroma-*")
    (village / "bakery" / "oven.py").unlink()
    (village / "new.py").write_text("def butter_bread(bread):\n    return 'bread in the oven'\n")
    index, report = Index.build(tmp_path / "index", [village], THROUGH_CHROMA)
    (after,) = (tmp_path / "index").glob("chroma-*")
    assert after != before
    assert index._view._chroma.collection.count() == report.chunks
    assert scores(index) == scores(Index.build(tmp_path / "exact", [village])[0])


def test_damaged_files_of_chroma_are_searched_around_and_written_again(village, tmp_path):
    index, _ = Index.build(tmp_path / "index", [village], THROUGH_CHROMA)
    before = scores(index)
    index.close()
    (folder,) = (tmp_path / "index").glob("chroma-*")
    (folder / "chroma" / "chroma.sqlite3").write_bytes(b"no database" * 1000)
    damaged = Index.open(tmp_path / "index")
    assert scores(damaged) == before
    index, report = Index.build(tmp_path / "index", [village], THROUGH_CHROMA)
    assert index._view._chroma.collection.count() == report.chunks
    assert scores(index) == before


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Port of a Chroma server of one's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("chroma"),
            "run",
            "--path",
            str(folder),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def test_a_server_serves_several_indexes_that_do_not_mix(village, tmp_path, server):
    settings = IndexConfig(chroma=ChromaConfig(mode="server", port=server))
    one, report = Index.build(tmp_path / "one", [village], settings)
    other, smaller = Index.build(tmp_path / "other", [village / "bakery"], settings)
    assert one._view._chroma.collection.count() == report.chunks
    assert other._view._chroma.collection.count() == smaller.chunks < report.chunks
    assert one._view._chroma.collection.name != other._view._chroma.collection.name
    exact = scores(Index.build(tmp_path / "exact", [village])[0])
    assert scores(one) == scores(Index.open(tmp_path / "one")) == exact
    assert not list((tmp_path / "one").glob("chroma-*"))


def test_a_server_is_brought_up_to_date_in_place(village, tmp_path, server, monkeypatch):
    monkeypatch.setattr(chroma_view, "_LEAST_STALE", 1)
    settings = IndexConfig(chroma=ChromaConfig(mode="server", port=server))
    before, _ = Index.build(tmp_path / "index", [village], settings)
    (village / "bakery" / "oven.py").unlink()
    index, report = Index.build(tmp_path / "index", [village], settings)
    assert index._view._chroma.collection.count() == report.chunks
    assert scores(index) == scores(Index.build(tmp_path / "exact", [village])[0])
    assert scores(before), "a reader with an older view is still answered"


def test_a_collection_that_somebody_deleted_is_written_anew(village, tmp_path, server):
    settings = IndexConfig(chroma=ChromaConfig(mode="server", port=server))
    index, report = Index.build(tmp_path / "index", [village], settings)
    collection = index._view._chroma.collection
    index._view._chroma._client.delete_collection(collection.name)
    with pytest.raises(HomegroundError, match="does not hold this index") as caught:
        scores(Index.open(tmp_path / "index"))
    assert "homeground index" in str(caught.value.hint)
    index, _ = Index.build(tmp_path / "index", [village], settings)
    assert index._view._chroma.collection.count() == report.chunks


def test_a_server_that_is_away_says_where_it_was_sought(village, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        settings = IndexConfig(chroma=ChromaConfig(mode="server", port=port))
        with pytest.raises(HomegroundError, match="does not answer") as caught:
            Index.build(tmp_path / "index", [village], settings)
        assert caught.value.where == f"http://127.0.0.1:{port}"
        assert "index.chroma.host" in str(caught.value.hint)
        with pytest.raises(HomegroundError, match="does not answer"):
            scores(Index.open(tmp_path / "index"))
    _, report = Index.build(tmp_path / "index", [village])
    assert report.embedded == 0, "what was embedded is kept"
