import shutil
import sqlite3
import time

import pytest

from homeground.base.errors import HomegroundError, RestartNeededError, UsageError
from homeground.index import Index, IndexConfig, SentenceEmbedder, Tools
from tests.index.fake import fake_embedding
from tests.processes import forkserver


def test_a_reader_takes_over_what_another_process_has_indexed(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])
    reader = Index.open(tmp_path / "index")
    assert not reader.refresh()
    (village / "sky.py").write_text('def zeppelin():\n    """Float above the village."""\n')
    Index.build(tmp_path / "index", [village])
    assert "sky.py" not in {hit.path for hit in reader.search("zeppelins that float")}
    assert reader.refresh()
    assert reader.search("zeppelins that float")[0].path == "sky.py"
    assert not reader.refresh()


def test_an_index_that_was_cut_anew_has_to_be_opened_again(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])
    reader = Index.open(tmp_path / "index")
    Index.build(tmp_path / "index", [village], IndexConfig(max_tokens=48))
    with pytest.raises(RestartNeededError, match="another embedder or chunker"):
        reader.refresh()
    assert not Index.open(tmp_path / "index").refresh()


def test_an_index_that_was_embedded_anew_has_to_be_opened_again(village, tmp_path, fake, monkeypatch):
    Index.build(tmp_path / "index", [village])
    reader = Index.open(tmp_path / "index")
    monkeypatch.setattr(SentenceEmbedder, "revision", "other weights of the same name")
    Index.build(tmp_path / "index", [village])
    with pytest.raises(RestartNeededError, match="another embedder or chunker"):
        reader.refresh()


def test_other_weights_of_the_fusion_hinder_nobody(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])
    reader = Index.open(tmp_path / "index")
    (village / "sky.py").write_text('def zeppelin():\n    """Float above the village."""\n')
    Index.build(tmp_path / "index", [village], IndexConfig(dense_weight=0.1, top_k=3))
    assert reader.refresh()
    assert reader.search("zeppelins that float")[0].path == "sky.py"


def test_work_sees_files_view_and_symbols_of_what_was_published_last(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])[0].close()
    reader = Index.open(tmp_path / "index")
    tools = Tools(reader)

    def everything():
        return (
            {hit.path for hit in tools.search("zeppelin", 50).hits},
            {one.path for one in tools.symbols(limit=200).symbols},
            {name for _, name in reader.files()},
        )

    assert "sky.py" not in reader.at_newest(everything)[1]
    (village / "sky.py").write_text("def zeppelin():\n    pass\n")
    Index.build(tmp_path / "index", [village])[0].close()
    hits, symbols, files = reader.at_newest(everything)
    assert "sky.py" in hits & symbols & files
    (village / "sky.py").write_text("def airship():\n    zeppelin()\n")
    Index.build(tmp_path / "index", [village])[0].close()
    assert [one.symbol for one in reader.at_newest(lambda: tools.symbols("airship")).symbols] == ["airship"]
    (village / "sky.py").unlink()
    Index.build(tmp_path / "index", [village])[0].close()
    hits, symbols, files = reader.at_newest(everything)
    assert "sky.py" not in hits | symbols | files
    with pytest.raises(UsageError, match="no symbol is called"):
        reader.at_newest(lambda: tools.trace("airship"))
    reader.close()


def test_work_during_which_something_is_published_is_done_again(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])[0].close()
    reader = Index.open(tmp_path / "index")
    seen = []

    def work():
        seen.append({name for _, name in reader.files()})
        if len(seen) == 1:
            (village / "sky.py").write_text("def zeppelin():\n    pass\n")
            Index.build(tmp_path / "index", [village])[0].close()
            raise UsageError("half of the old one, half of the new one", where="here", hint="none")
        return seen[-1]

    assert "sky.py" in reader.at_newest(work)
    assert len(seen) == 2
    reader.close()


def test_an_index_that_is_deleted_and_made_again_is_taken_over(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])[0].close()
    reader = Index.open(tmp_path / "index")
    tools = Tools(reader)
    assert reader.at_newest(lambda: tools.symbols("Oven")).symbols[0].symbol == "Oven"
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(HomegroundError, match="there is no index here"):
        reader.at_newest(lambda: tools.symbols("Oven"))
    (village / "sky.py").write_text("def zeppelin():\n    pass\n")
    Index.build(tmp_path / "index", [village])[0].close()
    assert reader.at_newest(lambda: tools.symbols("zeppelin")).total == 1
    reader.close()


def test_a_run_that_was_killed_between_its_two_files_is_finished(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])[0].close()
    reader = Index.open(tmp_path / "index")
    tools = Tools(reader)
    reader.at_newest(lambda: tools.symbols("Oven"))
    with sqlite3.connect(tmp_path / "index" / "symbols.sqlite") as db:
        db.execute("UPDATE made_from SET generation = generation + 1")
    db.close()
    assert reader.at_newest(lambda: tools.symbols("Oven")).symbols[0].symbol == "Oven"
    assert reader.symbols.covers(reader._manifest)
    reader.close()


def test_an_index_whose_files_are_all_gone_says_so(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])[0].close()
    reader = Index.open(tmp_path / "index")
    for file in village.rglob("*"):
        if file.is_file():
            file.unlink()
    (village / "empty.py").touch()
    with pytest.raises(HomegroundError, match="no file to index"):
        Index.build(tmp_path / "index", [village])
    (village / "a.pdf").write_bytes(b"%PDF no")  # met by the walk, and then not to be read
    with pytest.raises(HomegroundError, match="no file to index"):
        Index.build(tmp_path / "index", [village])
    with pytest.raises(HomegroundError, match="the index is empty"):
        reader.at_newest(reader.files)
    reader.close()


def _build_often(folder, tree, stop):
    fake_embedding()
    number = 0
    while not stop.is_set():
        number += 1
        (tree / "sky.py").unlink(missing_ok=True)
        if number % 2:
            (tree / "sky.py").write_text(f"def zeppelin():\n    return {number}\n")
        Index.build(folder, [tree])[0].close()


def test_no_tool_contradicts_another_while_a_process_publishes(village, tmp_path, fake):
    folder = tmp_path / "index"
    Index.build(folder, [village])[0].close()
    processes = forkserver()
    stop = processes.Event()
    writer = processes.Process(target=_build_often, args=(folder, village, stop))
    writer.start()
    try:
        reader = Index.open(folder)
        tools = Tools(reader)

        def everything():
            return (
                "sky.py" in {hit.path for hit in tools.search("zeppelin", 50).hits},
                "sky.py" in {one.path for one in tools.symbols(limit=200).symbols},
                (0, "sky.py") in reader.files(),
                any(chunk.path == "sky.py" for chunk in reader.chunks()),
            )

        deadline, seen = time.monotonic() + 60, set()
        while len(seen) < 2 and time.monotonic() < deadline:
            answers = reader.at_newest(everything)
            assert len(set(answers)) == 1, answers
            seen.add(answers[0])
        assert seen == {True, False}
        reader.close()
    finally:
        stop.set()
        writer.join(60)
    assert writer.exitcode == 0
