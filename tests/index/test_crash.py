"""`kill -9` at any moment, and two processes at once: the index opens, and the next run finishes it."""

import random
import signal
import time

import pytest

from homeground.base.errors import HomegroundError
from homeground.index import Index
from homeground.index import build as building
from tests.index.fake import fake_embedding, state
from tests.index.test_incremental import function, write_tree
from tests.processes import forkserver

pytestmark = pytest.mark.usefixtures("fake")


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have everything imported already."""
    return forkserver()


def _build(folder, tree, began):
    fake_embedding()
    building._WINDOW_CHUNKS = 8
    building._COMMIT_EVERY = 4
    began.set()
    Index.build(folder, [tree])


def test_kill_9_at_twenty_moments_leaves_an_index_that_opens_and_finishes(tmp_path, processes):
    rng = random.Random(2)
    tree, folder = write_tree(tmp_path / "tree", 12), tmp_path / "index"
    began = processes.Event()
    whole = processes.Process(target=_build, args=(tmp_path / "whole", tree, began))
    whole.start()
    began.wait(60)
    start = time.monotonic()
    whole.join()
    takes = time.monotonic() - start
    killed = 0
    for number in range(20):
        for path in rng.sample(sorted(tree.rglob("*.py")), 3):
            path.write_text(path.read_text() + "\n\n" + function(1000 + number, rng))
        began = processes.Event()
        child = processes.Process(target=_build, args=(folder, tree, began))
        child.start()
        assert began.wait(60)
        child.join(rng.uniform(0, takes))
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        try:
            index = Index.open(folder)
        except HomegroundError as error:
            assert "not finished" in error.message or "no index here" in error.message  # noqa: PT017
        else:
            assert index.search("bread in the oven", 3)
            assert len(index._view.ids) == len(index.chunks())
            index.close()
    assert killed > 5
    Index.build(folder, [tree])[0].close()
    Index.build(tmp_path / "fresh", [tree])[0].close()
    finished, fresh = state(folder), state(tmp_path / "fresh")
    assert finished == fresh


def test_two_processes_that_build_at_once_do_it_one_after_the_other(tmp_path, processes):
    tree, folder = write_tree(tmp_path / "tree", 10), tmp_path / "index"
    events = [processes.Event(), processes.Event()]
    children = [processes.Process(target=_build, args=(folder, tree, event)) for event in events]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    Index.build(tmp_path / "fresh", [tree])[0].close()
    assert state(folder) == state(tmp_path / "fresh")


def _build_often(folder, tree, stop):
    fake_embedding()
    rng = random.Random(3)
    while not stop.is_set():
        (tree / "part0" / "file0.py").write_text(function(rng.randrange(10_000), rng))
        Index.build(folder, [tree])[0].close()


def test_a_reader_is_answered_while_another_process_writes(tmp_path, processes):
    tree, folder = write_tree(tmp_path / "tree", 10), tmp_path / "index"
    Index.build(folder, [tree])[0].close()
    stop = processes.Event()
    writer = processes.Process(target=_build_often, args=(folder, tree, stop))
    writer.start()
    try:
        deadline = time.monotonic() + 2
        opened = 0
        while time.monotonic() < deadline:
            index = Index.open(folder)
            assert len(index.search("iron anvil", 5)) == 5
            index.close()
            opened += 1
        assert opened > 3
    finally:
        stop.set()
        writer.join(60)
    assert writer.exitcode == 0
