import os
import stat

import pytest

from homeground.base.errors import HomegroundError
from homeground.base.files import (
    append_jsonl,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    read_json,
    read_jsonl,
    staged_folder,
)


def test_a_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "file.txt"
    atomic_write_text(path, "long old content")
    atomic_write_text(path, "né")
    assert path.read_bytes() == "né".encode()
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_failed_write_keeps_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic_write_bytes(path, b"old")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_written_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "file", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic_write_json(tmp_path / "x.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_is_read_back(tmp_path):
    atomic_write_json(tmp_path / "x.json", {"a": [1, "é"]})
    assert read_json(tmp_path / "x.json") == {"a": [1, "é"]}


@pytest.mark.parametrize("content", [b'{\n"a": }', b"\xff\xfe"])
def test_broken_json_names_file_and_line(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(HomegroundError, match="not valid JSON") as caught:
        read_json(path)
    assert caught.value.where == f"{path}:{2 if b'{' in content else 1}"


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
def test_numbers_and_depths_that_python_does_not_read_are_named(tmp_path, value):
    path = tmp_path / "x.json"
    path.write_text(f'{{"a": {value}}}\n')
    with pytest.raises(HomegroundError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(HomegroundError, match="not valid JSON"):
        read_jsonl(path)


def test_missing_json_names_the_file(tmp_path):
    with pytest.raises(HomegroundError, match="does not exist") as caught:
        read_json(tmp_path / "x.json")
    assert caught.value.where == str(tmp_path / "x.json")


def test_rows_are_read_in_the_order_they_were_appended(tmp_path):
    path = tmp_path / "log" / "rows.jsonl"
    for step in range(3):
        append_jsonl(path, {"step": step})
    assert read_jsonl(path) == [{"step": 0}, {"step": 1}, {"step": 2}]


@pytest.mark.parametrize("torn", [b'{"step"', b'{"step": 1}', b"x" * 200_000])
def test_a_line_torn_by_a_kill_is_dropped_when_reading_and_when_appending(tmp_path, torn):
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, {"step": 0})
    with path.open("ab") as stream:
        stream.write(torn)
    assert read_jsonl(path) == [{"step": 0}]
    append_jsonl(path, {"step": 2})
    assert read_jsonl(path) == [{"step": 0}, {"step": 2}]


def test_a_torn_first_line_leaves_an_empty_log(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"st')
    append_jsonl(path, {"step": 0})
    assert read_jsonl(path) == [{"step": 0}]


@pytest.mark.parametrize(("line", "what"), [("{broken", "not valid JSON"), ("[1]", "must be a JSON object")])
def test_a_broken_finished_line_is_named(tmp_path, line, what):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(HomegroundError, match=what) as caught:
        read_jsonl(path)
    assert caught.value.where == f"{path}:2"


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(HomegroundError, match="does not exist"):
        read_jsonl(tmp_path / "rows.jsonl")


def test_a_staged_folder_takes_its_place_whole_or_not_at_all(tmp_path):
    place = tmp_path / "out"
    with staged_folder(place) as staging:
        (staging / "a").write_text("first")
        assert not place.exists()
    with pytest.raises(FileNotFoundError), staged_folder(place) as staging:
        (staging / "no" / "such").write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (place / "a").read_text() == "first"
    with staged_folder(place) as staging:
        (staging / "b").write_text("third")
    assert [path.name for path in place.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_rows_and_documents_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    (tmp_path / "a.json").write_bytes('{"a": "caf\u00e9"}'.encode("utf-16"))
    assert read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}]
    assert read_json(tmp_path / "a.json") == {"a": "caf\u00e9"}
