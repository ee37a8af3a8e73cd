import pytest

from homeground.base.errors import RestartNeededError
from homeground.index import Embedder, Index, IndexSettings


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
    Index.build(tmp_path / "index", [village], IndexSettings(max_tokens=48))
    with pytest.raises(RestartNeededError, match="another embedder or chunker"):
        reader.refresh()
    assert not Index.open(tmp_path / "index").refresh()


def test_an_index_that_was_embedded_anew_has_to_be_opened_again(village, tmp_path, fake, monkeypatch):
    Index.build(tmp_path / "index", [village])
    reader = Index.open(tmp_path / "index")
    monkeypatch.setattr(Embedder, "revision", "other weights of the same name")
    Index.build(tmp_path / "index", [village])
    with pytest.raises(RestartNeededError, match="another embedder or chunker"):
        reader.refresh()


def test_other_weights_of_the_fusion_hinder_nobody(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])
    reader = Index.open(tmp_path / "index")
    (village / "sky.py").write_text('def zeppelin():\n    """Float above the village."""\n')
    Index.build(tmp_path / "index", [village], IndexSettings(dense_weight=0.1, top_k=3))
    assert reader.refresh()
    assert reader.search("zeppelins that float")[0].path == "sky.py"
