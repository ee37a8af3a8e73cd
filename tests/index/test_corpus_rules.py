"""What the index takes over from the corpus: rules, documents, secrets, roots."""

import json
import shutil

from homeground.corpus import FoundSecret, read_text
from homeground.index import Index

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


def test_two_work_trees_of_the_same_files_are_embedded_once_and_nested_roots_add_nothing(village, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(village, other)
    (other / "more.py").write_text("def more():\n    return 'one function more'\n")
    _, report = Index.build(tmp_path / "index", [village, other, village / "bakery", village])
    assert report.roots == [str(village), str(other), str(village / "bakery")]
    assert report.files == 11
    assert report.skipped == {"in-another-root": 2}
    assert report.embedded == report.chunks // 2 + 1
