"""Composed and decomposed spellings are one text; lines of any length are found and read."""

import unicodedata

import pytest

from homeground.index import Filters, Index, Stage, Tools
from homeground.index.symbols import lines_of

NAME = "prüfe_größe"
SOURCE = f'def {NAME}():\n    """Prüft die Größe des Zeppelins im Café."""\n    return 1\n'


def nfd(text):
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize("kept", [str, nfd], ids=["composed", "decomposed"])
@pytest.mark.parametrize("asked", [str, nfd], ids=["composed", "decomposed"])
def test_either_spelling_finds_the_other(tmp_path, fake, kept, asked):
    source = tmp_path / "source"
    (source / kept("prüfung")).mkdir(parents=True)
    file = source / kept("prüfung/größe.py")
    file.write_text(kept(SOURCE), encoding="utf-8")
    (source / "other.py").write_text("def other():\n    return 2\n")
    index, _ = Index.build(tmp_path / "index", [source])
    tools = Tools(index, source)
    path = kept("prüfung/größe.py")
    hits = tools.search(asked(NAME)).hits
    assert (hits[0].path, hits[0].symbol) == (path, NAME)
    assert index.search(asked("Größe"), 1, stages=[Stage.LEXICAL])[0].path == path
    for filters in (
        Filters(paths=(asked("prüfung/"),)),
        Filters(paths=("!" + asked("größe.py"),)),
        Filters(symbols=(asked("prüfe_*"),)),
    ):
        found = {hit.path for hit in tools.search("return", filters=filters).hits}
        assert found == ({"other.py"} if filters.paths and filters.paths[0].startswith("!") else {path})
    assert [one.symbol for one in tools.symbols(asked("prüfe_*")).symbols] == [NAME]
    assert tools.symbols(asked("größe"), paths=[asked("prüfung/")]).total == 1
    assert tools.trace(asked(NAME)).symbol.line == 1
    assert tools.trace(asked(f"prüfung/größe.py:{NAME}")).symbol.path == path
    assert tools.skeleton(asked("prüfung/größe.py")).entries[0].line == 1
    for written in (asked("prüfung/größe.py"), str(source / asked("prüfung/größe.py"))):
        read = tools.read(written)
        assert read.text == kept(SOURCE).rstrip("\n")
        assert not read.stale
    assert index.resolve(asked("prüfung/größe.py")).read_text(encoding="utf-8") == kept(SOURCE)
    index.close()


def test_two_files_whose_names_differ_in_spelling_only_are_both_there(tmp_path, fake):
    source = tmp_path / "source"
    source.mkdir()
    (source / "größe.py").write_text("x = 'composed'\n")
    (source / nfd("größe.py")).write_text("x = 'decomposed'\n")
    index, report = Index.build(tmp_path / "index", [source])
    assert report.files == 2
    tools = Tools(index)
    assert tools.read("größe.py").text == "x = 'composed'"
    assert tools.read(nfd("größe.py")).text == "x = 'decomposed'"
    index.close()


@pytest.mark.parametrize("roots", [1, 2])
def test_a_long_line_is_found_by_its_parts_and_read_whole(tmp_path, fake, roots):
    source, other = tmp_path / "source", tmp_path / "other"
    source.mkdir()
    other.mkdir()
    (other / "b.py").write_text("y = 2\n")
    long = " ".join(f"word{number}" for number in range(3000)) + "  zeppelin at the end "
    (source / "notes.txt").write_text(f"first\n\n  {long}\nlast\n")
    index, _ = Index.build(tmp_path / "index", [source, other][:roots])
    tools = Tools(index)
    (path,) = [name for _, name in index.files() if name.endswith("notes.txt")]
    parts = index.file_chunks(0, path)
    assert len(parts) > 10
    assert lines_of(parts) == ["first", "", f"  {long}", "last"]
    hit = next(hit for hit in tools.search("zeppelin", 3).hits if "zeppelin" in hit.text)
    assert (hit.path, hit.start, hit.end) == (path, 3, 3)
    assert len(hit.text) < len(long) / 10
    assert tools.read(path, 3, 3).text == f"  {long}"
    assert not tools.read(path).stale
    (source / "notes.txt").write_text("x" * 100_000 + " " + "y" * 100_000)
    Index.build(tmp_path / "index", [source])[0].close()
    index.refresh()
    read = tools.read("notes.txt")
    assert len(read.text) == 40_000
    assert read.truncated
    index.close()
