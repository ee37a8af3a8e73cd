"""What a disk, a person or another version can do to an index: each a clear outcome, nothing lost."""

import multiprocessing
import resource
import sqlite3

import pytest

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.index import Index
from homeground.index.manifest import SCHEMA_VERSION
from tests.index.fake import fake_embedding, state
from tests.index.test_incremental import write_tree

pytestmark = pytest.mark.usefixtures("fake")


def _build_with_little_disk(folder, tree, most, told):
    fake_embedding()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # stands for a full disk: no file grows beyond this
    try:
        Index.build(folder, [tree])
    except HomegroundError as error:
        told.put(error.to_json())


@pytest.mark.parametrize("most", [40_000, 250_000])
def test_a_full_disk_is_said_and_the_next_run_finishes(tmp_path, most):
    tree, folder = write_tree(tmp_path / "tree", 80), tmp_path / "index"
    context = multiprocessing.get_context("forkserver")
    told = context.Queue()
    child = context.Process(target=_build_with_little_disk, args=(folder, tree, most, told))
    child.start()
    error = told.get(timeout=60)
    child.join()
    assert "cannot be written" in error["error"]
    assert "free some disk space" in error["hint"]
    assert "nothing is lost" in error["hint"]
    Index.build(folder, [tree])[0].close()
    Index.build(tmp_path / "fresh", [tree])[0].close()
    assert state(folder) == state(tmp_path / "fresh")


def test_a_workspace_that_may_not_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("no folder")
    tree = write_tree(tmp_path / "tree", 1)
    with pytest.raises(HomegroundError, match="may not be written") as caught:
        Index.build(tmp_path / "file" / "index", [tree])
    assert "--home" in str(caught.value.hint)


def test_an_index_of_an_older_version_is_made_anew_and_says_so(tmp_path, capsys):
    tree, folder = write_tree(tmp_path / "tree", 3), tmp_path / "index"
    Index.build(folder, [tree])[0].close()
    fresh = state(folder)
    with sqlite3.connect(folder / "manifest.sqlite") as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    with pytest.raises(HomegroundError, match="older Homeground") as caught:
        Index.open(folder)
    assert "homeground index again" in str(caught.value.hint)
    Index.build(folder, [tree], progress=Progress())[0].close()
    assert "written by an older Homeground: 3 files" in capsys.readouterr().err
    assert state(folder) == fresh


def damage(folder, name):
    (view,) = folder.glob("view-*")
    (view / name).write_bytes(b"\x00damaged")


@pytest.mark.parametrize("name", ["rows.json", "vectors.npy", "bm25/starts.npy", "bm25/terms.txt"])
def test_a_damaged_view_is_written_again_when_the_index_is_opened(tmp_path, name, fake):
    tree, folder = write_tree(tmp_path / "tree", 3), tmp_path / "index"
    Index.build(folder, [tree])[0].close()
    before = state(folder)
    damage(folder, name)
    fake.clear()
    assert {**state(folder), "dense": 0} == {**before, "dense": 0}
    assert len(fake) == 2, "only the queries were embedded"
    assert state(folder) == before


def test_a_view_that_somebody_deleted_is_written_again(tmp_path):
    import shutil

    tree, folder = write_tree(tmp_path / "tree", 3), tmp_path / "index"
    Index.build(folder, [tree])[0].close()
    before = state(folder)
    for path in folder.glob("view-*"):
        shutil.rmtree(path)
    assert state(folder) == before


def test_a_damaged_database_says_what_to_delete_wherever_it_is_damaged(tmp_path):
    tree, folder = write_tree(tmp_path / "tree", 60), tmp_path / "index"
    Index.build(folder, [tree])[0].close()
    path = folder / "manifest.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x17" * (len(data) - 4096)
    path.write_bytes(data)
    for attempt in (lambda: Index.open(folder), lambda: Index.build(folder, [tree])):
        with pytest.raises(HomegroundError, match="cannot be read") as caught:
            attempt()
        assert f"delete {folder}" in str(caught.value.hint)


def test_files_without_any_chunk_are_no_index(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "notes.md").write_text("\ufeff\n")
    with pytest.raises(HomegroundError, match="no file to index"):
        Index.build(tmp_path / "index", [tmp_path / "tree"])
    with pytest.raises(HomegroundError, match="empty: its first run"):
        Index.open(tmp_path / "index")


def test_an_empty_folder_does_not_take_the_place_of_a_full_index(tmp_path):
    tree, folder = write_tree(tmp_path / "tree", 3), tmp_path / "index"
    Index.build(folder, [tree])[0].close()
    before = state(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HomegroundError, match="no file to index"):
        Index.build(folder, [tmp_path / "empty"])
    assert state(folder) == before
