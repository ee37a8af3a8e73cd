import multiprocessing
import signal
import sqlite3
import time

import pytest

from homeground.base.errors import HomegroundError
from homeground.corpus import Chunk
from homeground.index import Index, IndexConfig, SentenceEmbedder
from homeground.index import build as building
from homeground.index.encoders import OnnxEncoder
from homeground.index.manifest import SCHEMA_VERSION, Manifest
from homeground.index.view import View
from tests.corpus.village import write_village


@pytest.fixture
def embedded(monkeypatch):
    """Texts that went through the embedder."""
    texts: list[str] = []
    encode = SentenceEmbedder.encode

    def record(self, batch):
        for positions, vectors in encode(self, batch):
            texts.extend(batch[at] for at in positions)
            yield positions, vectors

    monkeypatch.setattr(SentenceEmbedder, "encode", record)
    return texts


def test_the_report_counts_files_chunks_and_what_was_left_out(village, tmp_path):
    (village / "data.bin").write_bytes(b"\0")
    (village / "empty.py").write_text("")
    index, report = Index.build(tmp_path / "index", [village])
    assert report.files == 5
    assert report.chunks == report.embedded == len(index.chunks())
    assert report.skipped == {"empty": 1, "unsupported": 1}
    assert list(report.to_json()) == [
        "roots", "files", "chunks", "embedded", "reused", "skipped", "secrets", "seconds", "changed", "gone"
    ]  # fmt: skip
    assert (report.changed, report.gone) == (5, 0)
    assert report.roots == [str(village)]


def test_an_unchanged_corpus_is_not_embedded_again(village, tmp_path, embedded):
    first, report = Index.build(tmp_path / "index", [village])
    before = [hit.id for hit in first.search("bread")]
    embedded.clear()
    second, again = Index.build(tmp_path / "index", [village])
    assert embedded == []
    assert (again.embedded, again.reused) == (0, report.chunks)
    assert [hit.id for hit in second.search("bread")] == before


def test_one_changed_function_is_one_text_to_embed(village, tmp_path, embedded):
    Index.build(tmp_path / "index", [village])
    till = village / "bakery" / "till.py"
    till.write_text("import os\n\n" + till.read_text().replace("amount = 0", "amount = 0  # cents"))
    embedded.clear()
    index, report = Index.build(tmp_path / "index", [village])
    assert report.embedded == 2
    assert sorted(text.split("\n")[0] for text in embedded) == ["bakery/till.py", "bakery/till.py total_price"]
    (chunk,) = [chunk for chunk in index.chunks() if chunk.symbol == "total_price"]
    assert "# cents" in chunk.text
    assert chunk.start == 6
    assert len(index._view.ids) == report.chunks


def test_a_deleted_file_leaves_nothing_behind(village, tmp_path):
    Index.build(tmp_path / "index", [village])
    (village / "smithy" / "horses.py").unlink()
    index, report = Index.build(tmp_path / "index", [village])
    assert report.files == 4
    assert not [hit for hit in index.search("shoe a horse") if "horses" in hit.path]
    contents = index._manifest._rows("SELECT count(*) FROM contents")[0][0]
    assert contents == report.chunks
    assert len(index._view.ids) == report.chunks


def test_a_moved_root_embeds_nothing(village, tmp_path, embedded):
    Index.build(tmp_path / "index", [village])
    embedded.clear()
    village.rename(tmp_path / "town")
    index, report = Index.build(tmp_path / "index", [tmp_path / "town"])
    assert (report.embedded, embedded) == (0, [])
    assert index.resolve("README.md") == tmp_path / "town" / "README.md"


def test_two_roots_of_the_same_content_share_their_vectors(village, tmp_path, embedded):
    other = write_village(tmp_path / "worktree")
    index, report = Index.build(tmp_path / "index", [village, other])
    assert report.files == 10
    assert report.chunks == 2 * report.embedded == 2 * len(embedded)
    assert len({chunk.id for chunk in index.chunks()}) == report.chunks


def test_another_budget_cuts_anew(village, tmp_path):
    _, wide = Index.build(tmp_path / "index", [village])
    _, narrow = Index.build(tmp_path / "index", [village], IndexConfig(max_tokens=48))
    assert narrow.chunks > wide.chunks
    assert Index.open(tmp_path / "index").config.max_tokens == 48


def test_weights_change_without_embedding(village, tmp_path):
    Index.build(tmp_path / "index", [village])
    settings = IndexConfig(dense_weight=0.0, lexical_weight=1.0)
    index, report = Index.build(tmp_path / "index", [village], settings)
    assert report.embedded == 0
    hits = Index.open(tmp_path / "index").search("loaf shelf", 5)
    assert [hit.id for hit in hits] == [hit.id for hit in index.search("loaf shelf", 5)]
    lexical = [hit.scores["lexical"] for hit in hits]
    assert lexical == sorted(lexical, reverse=True)


def test_a_run_killed_while_embedding_is_finished_by_the_next(village, tmp_path, monkeypatch, embedded):
    monkeypatch.setattr(building, "_COMMIT_EVERY", 1)
    monkeypatch.setattr(OnnxEncoder, "batch_tokens", 200)
    encode = SentenceEmbedder.encode

    def die(self, batch):
        for one in encode(self, batch):
            yield one
            if len(embedded) > 8:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SentenceEmbedder, "encode", die)
        with pytest.raises(KeyboardInterrupt):
            Index.build(tmp_path / "index", [village])
    with pytest.raises(HomegroundError, match="not finished") as caught:
        Index.open(tmp_path / "index")
    assert "again" in str(caught.value.hint)
    done = len(embedded)
    index, report = Index.build(tmp_path / "index", [village])
    assert done > 0
    assert report.embedded == report.chunks - done
    assert index.search("bread", 1)


def test_a_run_killed_before_its_view_was_written_changes_nothing_and_is_finished_by_the_next(
    village, tmp_path, monkeypatch
):
    Index.build(tmp_path / "index", [village])
    (village / "new.py").write_text("def polish_bell(bell):\n    bell.shine += 1\n")

    def die(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(View, "write", die)
        with pytest.raises(KeyboardInterrupt):
            Index.build(tmp_path / "index", [village])
    index = Index.open(tmp_path / "index")
    assert "new.py" not in {path for _, path in index.files()}
    assert index.search("bread", 1)
    index, report = Index.build(tmp_path / "index", [village])
    assert (report.embedded, report.changed) == (0, 1)
    assert index.search("polish the bell", 1)[0].symbol == "polish_bell"
    assert [folder.name for folder in (tmp_path / "index").glob("view-*")] == ["view-2"]


def test_a_reader_keeps_its_view_while_the_index_changes(village, tmp_path):
    reader, _ = Index.build(tmp_path / "index", [village])
    before = [hit.id for hit in reader.search("bread", 3)]
    (village / "new.py").write_text("def butter_bread(bread):\n    return [bread, 'butter']\n")
    Index.build(tmp_path / "index", [village])
    assert [hit.id for hit in reader.search("bread", 3)] == before
    assert "butter_bread" in [hit.symbol for hit in Index.open(tmp_path / "index").search("butter on bread")]


def test_nothing_to_index_is_an_error_that_counts_the_reasons(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "src" / "empty.py").write_text("")
    with pytest.raises(HomegroundError, match=r"no file to index \(1 empty, 1 unsupported\)") as caught:
        Index.build(tmp_path / "index", [tmp_path / "src"])
    assert caught.value.where == str(tmp_path / "src")
    assert "corpus.exclude" in str(caught.value.hint)


def test_opening_nothing_says_how_to_make_an_index(tmp_path):
    with pytest.raises(HomegroundError, match="no index here") as caught:
        Index.open(tmp_path)
    assert "homeground index" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_an_index_of_a_newer_version_is_refused(village, tmp_path):
    index, _ = Index.build(tmp_path / "index", [village])
    index.close()
    with sqlite3.connect(tmp_path / "index" / "manifest.sqlite") as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for attempt in (lambda: Index.open(tmp_path / "index"), lambda: Index.build(tmp_path / "index", [village])):
        with pytest.raises(HomegroundError, match="newer Homeground") as caught:
            attempt()
        assert "upgrade" in str(caught.value.hint)


def test_a_damaged_manifest_says_what_to_delete(tmp_path):
    (tmp_path / "manifest.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(HomegroundError, match="cannot be read") as caught:
        Index.open(tmp_path)
    assert f"delete {tmp_path}" in str(caught.value.hint)


def _build_slowly(folder, village, embedded):
    encode = SentenceEmbedder.encode

    def slow(self, batch):
        for one in encode(self, batch):
            embedded.value += len(one[0])
            yield one
            time.sleep(60)

    SentenceEmbedder.encode = slow
    building._COMMIT_EVERY = 1
    OnnxEncoder.batch_tokens = 600
    Index.build(folder, [village])


def test_after_kill_9_the_next_run_goes_on(village, tmp_path):
    context = multiprocessing.get_context("spawn")
    embedded = context.Value("i", 0)
    child = context.Process(target=_build_slowly, args=(tmp_path / "index", village, embedded))
    child.start()
    manifest = tmp_path / "index" / "manifest.sqlite"
    deadline = time.monotonic() + 120
    kept = 0
    while not kept and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.1)
        if embedded.value:
            kept = Manifest(manifest)._rows("SELECT count(*) FROM contents")[0][0]
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert kept == embedded.value
    _, report = Index.build(tmp_path / "index", [village])
    assert report.embedded == report.chunks - kept > 0


def _hold(folder, held, release):
    with building.writing(folder):
        held.set()
        release.wait(30)


def test_two_processes_never_write_the_same_index(village, tmp_path, monkeypatch):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "index", held, release))
    other.start()
    try:
        assert held.wait(60)
        monkeypatch.setattr(building, "_LOCK_WAIT_S", 0.1)
        with pytest.raises(HomegroundError, match="another process is writing") as caught:
            Index.build(tmp_path / "index", [village])
        assert "wait" in str(caught.value.hint)
    finally:
        release.set()
        other.join()
    assert Index.build(tmp_path / "index", [village])[1].files == 5


def replaced(index, symbol, text):
    (old,) = [chunk for chunk in index.chunks() if chunk.symbol == symbol]
    new = Chunk(f"{old.id}-new", old.path, old.start, old.end, old.symbol, old.kind, old.language, old.header, text)
    return {old.id: new}


def test_a_masked_view_embeds_only_what_was_replaced(shared_index, tmp_path, embedded):
    masks = replaced(shared_index, "sharpen", "def sharpen(submarine):\n    submarine.periscope.dive()")
    masked = shared_index.masked(tmp_path / "masked", masks)
    assert embedded == ["smithy/forge.py sharpen\ndef sharpen(submarine):\n    submarine.periscope.dive()"]
    assert masked.search("submarine periscope", 1)[0].symbol == "sharpen"
    assert "submarine" not in shared_index.search("submarine periscope", 1)[0].text
    assert len(masked.chunks()) == len(shared_index.chunks())
    assert masked.folder != shared_index.folder
    others = [hit.id for hit in shared_index.search("coins", 5) if hit.symbol != "sharpen"]
    assert [hit.id for hit in masked.search("coins", 5) if hit.symbol != "sharpen"] == others


def test_a_masked_view_is_kept_until_it_must_change(shared_index, tmp_path, embedded):
    masks = replaced(shared_index, "sharpen", "first")
    horse = replaced(shared_index, "weigh_horse", "weighs")
    shared_index.masked(tmp_path / "masked", masks | horse).close()
    embedded.clear()
    shared_index.masked(tmp_path / "masked", masks).close()
    assert embedded == [], "what an earlier mask had embedded is kept"
    assert len(shared_index.masked(tmp_path / "masked", masks).chunks()) == len(shared_index.chunks())
    assert embedded == []
    changed = shared_index.masked(tmp_path / "masked", replaced(shared_index, "sharpen", "second"))
    assert embedded == ["smithy/forge.py sharpen\nsecond"]
    assert "second" in [chunk.text for chunk in changed.chunks()]
    assert "first" not in [chunk.text for chunk in changed.chunks()]


def test_a_masked_view_follows_the_weights_of_its_index(village, tmp_path):
    index, _ = Index.build(tmp_path / "index", [village])
    masks = replaced(index, "sharpen", "first")
    index.masked(tmp_path / "masked", masks)
    index, _ = Index.build(tmp_path / "index", [village], IndexConfig(dense_weight=0.1, lexical_weight=0.9))
    assert index.masked(tmp_path / "masked", masks).config == index.config


def test_masks_of_another_index_are_refused(shared_index, tmp_path):
    masks = replaced(shared_index, "sharpen", "x")
    with pytest.raises(HomegroundError, match="1 of the chunks to replace are not in this index") as caught:
        shared_index.masked(tmp_path / "masked", {"unknown": next(iter(masks.values()))})
    assert "again" in str(caught.value.hint)
    with pytest.raises(HomegroundError, match="folder of its own"):
        shared_index.masked(shared_index.folder, masks)


def test_an_unknown_path_is_not_resolved(shared_index):
    with pytest.raises(HomegroundError, match="no such file"):
        shared_index.resolve("../etc/passwd")


def test_an_index_that_named_openvino_opens_with_onnx(village, tmp_path):
    index, _ = Index.build(tmp_path / "index", [village])
    index._manifest.put("settings", {**index._manifest.get("settings"), "backend": "openvino", "of another version": 1})
    index.close()
    assert Index.open(tmp_path / "index").config == IndexConfig(backend="onnx")
