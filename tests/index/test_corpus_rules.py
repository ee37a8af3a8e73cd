"""What the index takes over from the corpus: rules, documents, secrets, roots."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from homeground.base.errors import HomegroundError
from homeground.corpus import FoundSecret, read_text
from homeground.index import Index, Tools

TOKEN = "gh" + "p_" + "a1B2" * 9


def test_a_secret_is_nowhere_in_an_index_and_the_report_says_where_it_was(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "login.py").write_text(f"import os\n\nclient = connect('{TOKEN}')\n")
    (root / ".env").write_text("HOST=db.hidden.example\n")
    cells = [{"cell_type": "code", "source": f"login('{TOKEN}')"}]
    (root / "try.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}))
    (root / "broken.ipynb").write_text("{")
    index, report = Index.build(tmp_path / "index", [root])
    assert report.secrets == [
        FoundSecret(".env", 1, "Environment Value"),
        FoundSecret("login.py", 3, "GitHub Token"),
        FoundSecret("try.ipynb", 2, "GitHub Token"),
    ]
    assert TOKEN not in json.dumps(report.to_json())
    assert (report.files, report.skipped) == (3, {"damaged": 1})
    for file in (tmp_path / "index").rglob("*"):
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes(), file
            assert b"db.hidden" not in file.read_bytes(), file
    for chunk in index.chunks():
        lines = read_text(index.resolve(chunk.path))
        assert "\n".join(lines[chunk.start - 1 : chunk.end]) == chunk.text
    assert Index.build(tmp_path / "index", [root])[1].embedded == 0


def test_equal_paths_below_two_roots_are_two_files(tmp_path):
    for name, word in (("a", "bread"), ("b", "iron")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text(f'def {word}():\n    """Make {word}."""\n    return "{word}"\n')
    index, report = Index.build(tmp_path / "index", [tmp_path / "a", tmp_path / "b"])
    assert report.files == 2
    assert index.base == tmp_path
    tools = Tools(index, tmp_path / "b")
    for name, word in (("a", "bread"), ("b", "iron")):
        assert index.search(f"make {word}")[0].path == f"{name}/m.py"
        assert index.resolve(f"{name}/m.py") == tmp_path / name / "m.py"
        skeleton = tools.skeleton(f"{name}/m.py")
        assert [(one.symbol, one.doc) for one in skeleton.entries] == [(word, f"Make {word}.")]
        assert not skeleton.stale
    assert word in tools.read(str(tmp_path / "b" / "m.py")).text
    assert tools.file("m.py") == (1, "b/m.py")  # as someone in the folder b would write it
    index.close()


def test_a_second_root_moves_paths_and_embeds_nothing_again(village, tmp_path):
    first, _ = Index.build(tmp_path / "index", [village])
    first.close()
    other = tmp_path / "other"
    other.mkdir()
    (other / "more.py").write_text("def more():\n    return 'one function more'\n")
    index, report = Index.build(tmp_path / "index", [village, other])
    assert report.embedded == 1
    before = f"{village.relative_to(tmp_path).as_posix()}/"
    assert {chunk.path for chunk in index.chunks()} == {
        *(before + chunk.path for chunk in Index.build(tmp_path / "alone", [village])[0].chunks()),
        "other/more.py",
    }
    assert all(chunk.header.startswith(chunk.path) for chunk in index.chunks())
    index.close()


def test_an_index_of_several_roots_from_before_is_asked_to_be_made_again(village, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(village, other)
    Index.build(tmp_path / "index", [village, other])[0].close()
    with closing(sqlite3.connect(tmp_path / "index" / "manifest.sqlite")) as manifest, manifest:
        manifest.execute("DELETE FROM meta WHERE key = 'base'")
    with pytest.raises(HomegroundError, match="equal paths below two roots") as caught:
        Index.open(tmp_path / "index")
    assert "homeground index" in caught.value.hint
    assert Index.build(tmp_path / "index", [village, other])[1].embedded == 0


def test_two_work_trees_of_the_same_files_are_embedded_once_and_nested_roots_add_nothing(village, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(village, other)
    (other / "more.py").write_text("def more():\n    return 'one function more'\n")
    _, report = Index.build(tmp_path / "index", [village, other, village / "bakery", village])
    assert report.roots == [str(village), str(other), str(village / "bakery")]
    assert report.files == 11
    assert report.skipped == {"in-another-root": 2}
    assert report.embedded == report.chunks // 2 + 1
