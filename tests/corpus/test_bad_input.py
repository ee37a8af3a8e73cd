"""What lies on disks and should not: each has an outcome, and none stops the rest."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest

from homeground.base.errors import HomegroundError
from homeground.corpus import Corpus, LeftOutError, Skip, Walk, chunk_lines, language_of, read_text
from homeground.corpus.reading import read_bytes


def write(root: Path, path: str, data: bytes = b"x = 1\n") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def paths(walk: Walk) -> list[str]:
    return [file.path for file in walk]


def test_an_empty_folder_gives_nothing_and_no_reason(tmp_path):
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    walk = Walk(tmp_path)
    assert paths(walk) == []
    assert not walk.skipped


def test_a_huge_file_of_one_line_is_never_read(tmp_path):
    with (tmp_path / "huge.py").open("wb") as file:
        file.truncate(200 << 20)
    write(tmp_path, "a.py")
    tracemalloc.start()
    walk = Walk(tmp_path)
    assert paths(walk) == ["a.py"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert walk.skipped == {Skip.TOO_LARGE: 1}
    assert peak < 20 << 20


def test_a_file_that_grows_while_it_is_read_is_not_read_past_the_cap(tmp_path, monkeypatch):
    file = write(tmp_path, "log.txt", b"x" * 100)
    real = os.fstat

    def then_it_grows(descriptor):
        state = real(descriptor)
        with file.open("ab") as more:
            more.write(b"y" * 5000)
        return state

    monkeypatch.setattr(os, "fstat", then_it_grows)
    with pytest.raises(LeftOutError) as caught:
        read_bytes(file, 1000)
    assert caught.value.reason == Skip.TOO_LARGE


def test_a_file_that_vanishes_or_changes_kind_before_it_is_read_is_counted(tmp_path, monkeypatch):
    for name in ("a.py", "b.py", "c.py"):
        write(tmp_path, name)
    walk = Walk(tmp_path)
    found = iter(walk)
    assert next(found).path == "a.py"  # the folder is listed by now
    (tmp_path / "b.py").unlink()
    (tmp_path / "c.py").unlink()
    (tmp_path / "c.py").mkdir()
    assert list(found) == []
    assert walk.skipped == {Skip.UNREADABLE: 1, Skip.NOT_A_FILE: 1}


def test_pipes_sockets_and_devices_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.open(tmp_path, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{place}/socket.py")
        (tmp_path / "null.py").symlink_to("/dev/zero")
        walk = Walk(tmp_path)
        began = time.monotonic()
        assert paths(walk) == []
        assert time.monotonic() - began < 5
        os.close(place)
    assert walk.skipped == {Skip.NOT_A_FILE: 2, Skip.OUTSIDE: 1}
    with pytest.raises(HomegroundError, match="not-a-file"):
        read_text(tmp_path / "pipe.py")


def test_names_with_line_breaks_and_other_bytes_are_listed_and_do_no_harm(tmp_path):
    write(tmp_path, "line\nbreak.py")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))).mkdir()
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe/a.py"))).write_text("x = 1\n")
    left_out = []
    walk = Walk(tmp_path, on_skip=lambda path, reason: left_out.append((path, reason)))
    assert paths(walk) == ["line\nbreak.py"]
    assert left_out == [("\udcff\udcfe/a.py", Skip.UNREADABLE)]


def test_folders_nested_deeper_than_the_stack_are_walked(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1100):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
    finally:
        os.close(here)
    write(tmp_path, "z.py")
    assert paths(Walk(tmp_path)) == ["z.py"]
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # too deep for pytest to remove


_AS_NOBODY = """
import os, sys
from pathlib import Path
from homeground.base.errors import HomegroundError
from homeground.corpus import Walk
os.setgroups([]); os.setgid(65534); os.setuid(65534)
walk = Walk(Path(sys.argv[1]))
print([file.path for file in walk], dict(walk.skipped.items()) == {"unreadable": 2})
try:
    Walk(Path(sys.argv[1]) / "locked")
except HomegroundError as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become somebody who may not read")
def test_what_may_not_be_read_is_counted_and_a_root_that_may_not_says_so():
    with tempfile.TemporaryDirectory() as folder:  # unlike pytest's, one that others may enter
        root = Path(folder)
        root.chmod(0o755)
        write(root, "open.py")
        write(root, "closed.py").chmod(0)
        write(root, "locked/a.py")
        (root / "locked").chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, folder], capture_output=True, text=True, check=False, cwd="/"
        )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "['open.py'] True"
    assert second == "what is to be indexed may not be read | get permission to read it, or index another folder"


def test_time_grows_with_the_number_of_files_and_memory_does_not(tmp_path):
    for number in range(4000):
        folder = tmp_path / ("small" if number < 500 else "large") / str(number % 10)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.py").write_bytes(b"x = 1\n")
    (tmp_path / ".gitignore").write_text("\n".join(f"*.out{number}" for number in range(100)))

    def walk(name):
        began = time.process_time()
        tracemalloc.start()
        count = sum(1 for _ in Walk(tmp_path / name))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return count, time.process_time() - began, peak

    (few, quick, small), (many, slow, large) = walk("small"), walk("large")
    assert (few, many) == (500, 3500)
    assert slow < 3 * 7 * max(quick, 0.02)
    assert large < 2 << 20 > small, "a listing of one folder at a time"


@pytest.mark.parametrize("data", [
    b"", b"\0", b"\xff\xfe", b"\xff" * 50, b"a\rb\r\nc\n\x0cd\x0be\xe2\x80\xa8f", b"\xed\xa0\x80 lone surrogate",
    b"x" * 300_000, b"\n" * 5000, "ﷺ".encode() * 3000, b"\xff\xfe\x00\xd8",
], ids=repr)  # fmt: skip
@pytest.mark.parametrize("name", ["a.py", "a.md", "a.rst", "a.txt", "a.html", "a.ipynb", ".env", "a.go"])
def test_any_bytes_under_any_name_give_chunks_or_a_reason(tmp_path, name, data):
    write(tmp_path, name, data)
    walk = Walk(tmp_path)
    for file in walk:
        try:
            read = file.text
        except LeftOutError:
            assert name in ("a.html", "a.ipynb")
            continue
        chunks = chunk_lines(file.path, read.lines, file.language, sections=read.sections)
        rows = {row for chunk in chunks for row in range(chunk.start, chunk.end + 1)}
        assert {row for row, line in enumerate(read.lines, 1) if line.strip()} <= rows
        assert read_text(tmp_path / name) == read.lines


def test_files_under_several_roots_are_in_once(tmp_path):
    for path in ("a.py", "pkg/b.py", "pkg/deep/c.py", "other/d.py"):
        write(tmp_path, path)
    (tmp_path / "again").symlink_to(tmp_path / "pkg")
    roots = [tmp_path / "pkg" / "deep", tmp_path, tmp_path / "pkg", tmp_path / "again", tmp_path / "other" / "d.py"]
    left_out = []
    corpus = Corpus(roots, on_skip=lambda root, path, reason: left_out.append((root.name, path, reason)))
    found = [(corpus.roots[number].name, file.path) for number, file in corpus]
    assert found == [("deep", "pkg/deep/c.py"), (tmp_path.name, "a.py"), (tmp_path.name, "other/d.py"),
                     (tmp_path.name, "pkg/b.py")]  # fmt: skip
    assert len(corpus.roots) == 4
    assert corpus.skipped == {Skip.DUPLICATE: 4, Skip.LINK: 1}
    assert (tmp_path.name, "pkg/deep/c.py", Skip.DUPLICATE) in left_out


def test_a_root_that_another_ignores_is_read(tmp_path):
    write(tmp_path, ".gitignore", b"vendor/\n")
    write(tmp_path, "a.py")
    write(tmp_path, "vendor/b.py")
    assert [file.path for _, file in Corpus([tmp_path, tmp_path / "vendor"])] == ["a.py", "vendor/b.py"]


def test_a_file_that_is_named_is_read_whatever_the_rules_say(tmp_path):
    write(tmp_path, ".gitignore", b"a.py\n")
    assert [file.path for _, file in Corpus([write(tmp_path, "a.py")])] == ["a.py"]
    assert language_of("x.zzz") is None
    assert [file.language.name for _, file in Corpus([write(tmp_path, "x.zzz")])] == ["text"]
