"""An index that may not be written: mounted read-only in a namespace of its own, else without permission."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from homeground.index import Index

MOUNT = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


def _namespace() -> list[str]:
    """The command that runs another one with a folder read-only; empty where this machine does not let us."""
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return [*command, "sh", "-c", MOUNT, "sh"]
        except OSError:
            break
    return []


NAMESPACE = _namespace()
pytestmark = pytest.mark.skipif(not NAMESPACE and os.geteuid() == 0, reason="root may write, and may not mount")

LOOK = """
import json, sys
from pathlib import Path
from homeground.base.errors import HomegroundError
from homeground.index import Filters, Index, Tools
from tests.index.fake import fake_embedding
fake_embedding()
folder, source = map(Path, sys.argv[1:])
try:
    (folder / "x").touch()
except OSError as error:
    told = {"refused": error.strerror}
index = Index.open(folder)
tools = Tools(index)
for _ in range(2):
    told |= index.at_newest(lambda: {
        "hits": [hit.symbol for hit in tools.search("heat", 3).hits],
        "chroma": index._view._chroma is not None,
        "symbols": [one.symbol for one in tools.symbols("heat_up").symbols],
        "trace": tools.trace("heat_up").external,
        "read": tools.read("bakery/oven.py", 1, 1).end,
        "skeleton": len(tools.skeleton("bakery/oven.py").entries),
    })
index.close()
try:
    Index.build(folder, [source])
except HomegroundError as error:
    told["build"] = [error.message, str(error.hint)]
print(json.dumps(told))
"""


def look(folder, source):
    command = [*NAMESPACE, *([str(folder)] if NAMESPACE else []), sys.executable, "-c", LOOK, str(folder), str(source)]
    kept = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path, mode in kept.items() if not NAMESPACE else ():
        path.chmod(mode & ~0o222)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    for path, mode in kept.items():
        path.chmod(mode)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(told):
    assert told["refused"] == ("Read-only file system" if NAMESPACE else "Permission denied")
    assert "Oven.heat_up" in told["hits"]
    assert told["symbols"] == ["Oven.heat_up"]
    assert told["trace"] == ["time.sleep"]
    assert told["read"] == 1
    assert told["skeleton"] > 1
    assert told["build"][0] == f"the index may not be written: {told['refused']}"
    assert "another workspace with --home" in told["build"][1]


def test_an_index_on_a_read_only_file_system_is_searched_and_not_written(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])[0].close()
    (village / "sky.py").write_text("def zeppelin():\n    pass\n")
    check(look(tmp_path / "index", village))


def test_what_a_killed_writer_left_in_its_log_is_read(village, tmp_path, fake):
    folder, copy = tmp_path / "index", tmp_path / "copy"
    index, _ = Index.build(folder, [village])
    index.symbols.all()
    shutil.copytree(folder, copy)  # as a disk has it after the power failed: the logs are not merged
    index.close()
    assert (copy / "manifest.sqlite-wal").stat().st_size
    for log in copy.glob("*-shm"):
        log.unlink()
    check(look(copy, village))


def test_symbols_that_are_missing_or_of_another_version_are_outlined_in_memory(village, tmp_path, fake):
    folder = tmp_path / "index"
    Index.build(folder, [village])[0].close()
    with sqlite3.connect(folder / "symbols.sqlite") as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    check(look(folder, village))
    for file in folder.glob("symbols.sqlite*"):
        file.unlink()
    check(look(folder, village))


def test_chroma_is_passed_over_where_it_would_write(village, tmp_path, fake):
    from homeground.index import IndexConfig
    from homeground.index.config import ChromaConfig

    folder = tmp_path / "index"
    Index.build(folder, [village], IndexConfig(chroma=ChromaConfig(exact_below=1)))[0].close()
    assert list(folder.glob("chroma-*"))
    told = look(folder, village)
    check(told)
    assert not told["chroma"]
