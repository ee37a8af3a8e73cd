from homeground.index import Index, IndexSettings


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


def test_a_reader_stays_with_what_it_has_when_the_index_was_made_with_other_settings(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])
    reader = Index.open(tmp_path / "index")
    Index.build(tmp_path / "index", [village], IndexSettings(max_tokens=48))
    assert not reader.refresh()
    assert reader.search("oven")
