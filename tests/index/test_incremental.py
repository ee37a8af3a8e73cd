"""What an index does when files change: it equals a fresh one, and embeds nothing that it knows."""

import random
import shutil

import pytest

from homeground.index import Index, IndexConfig, SentenceEmbedder
from homeground.index import build as building
from homeground.index import manifest as manifests
from homeground.index.manifest import Manifest
from tests.index.fake import state

pytestmark = pytest.mark.usefixtures("fake")


def function(number, rng):
    words = " ".join(rng.choices("bread oven coin iron anvil hoof table".split(), k=6))
    return f"def value_{number}(number):\n    # {words}\n    return number + {number}\n"


def write_tree(folder, count, seed=0):
    """`count` files of five functions each."""
    rng = random.Random(seed)
    for number in range(count):
        path = folder / f"part{number % 7}" / f"file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(function(5 * number + at, rng) for at in range(5)))
    return folder


def test_after_any_edits_the_index_equals_a_fresh_one(tmp_path):
    rng = random.Random(1)
    tree = write_tree(tmp_path / "tree", 12)
    for step in range(4):
        files = sorted(tree.rglob("*.py"))
        for path in rng.sample(files, 3):
            path.write_text(path.read_text() + "\n\n" + function(1000 + step, rng))
        rng.choice(files).unlink()
        (tree / f"new{step}.py").write_text(function(2000 + step, rng))
        Index.build(tmp_path / "index", [tree])[0].close()
        shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
        Index.build(tmp_path / "fresh", [tree])[0].close()
        kept, fresh = state(tmp_path / "index"), state(tmp_path / "fresh")
        assert kept == fresh


def test_a_moved_folder_and_a_renamed_file_embed_nothing(village, tmp_path, fake):
    _, first = Index.build(tmp_path / "index", [village])
    fake.clear()
    (village / "bakery").rename(village / "bread_shop")
    (village / "smithy" / "forge.py").rename(village / "smithy" / "hammer.py")
    index, report = Index.build(tmp_path / "index", [village])
    assert (report.embedded, fake) == (0, [])
    assert report.chunks == report.reused == first.chunks
    paths = {chunk.path for chunk in index.chunks()}
    assert {"bread_shop/oven.py", "smithy/hammer.py"} <= paths
    assert not [path for path in paths if path.startswith("bakery")]
    assert index.search("bread_shop oven", 1)[0].path == "bread_shop/oven.py", "the new path counts as words"


def test_a_moved_and_edited_file_embeds_what_was_edited(village, tmp_path, fake):
    Index.build(tmp_path / "index", [village])
    fake.clear()
    till = village / "bakery" / "till.py"
    moved = village / "cash.py"
    moved.write_text(till.read_text().replace("amount = 0", "amount = 0  # cents"))
    till.unlink()
    Index.build(tmp_path / "index", [village])
    assert [text.split("\n")[0] for text in fake] == ["cash.py total_price"]


def test_copies_of_a_file_are_embedded_once(village, tmp_path, fake):
    shutil.copytree(village / "bakery", village / "copy" / "of" / "bakery")
    _, report = Index.build(tmp_path / "index", [village])
    assert report.embedded == len(fake) < report.chunks
    assert len(set(fake)) == len(fake)


def test_a_window_at_a_time_gives_what_all_at_once_gives(tmp_path, monkeypatch, fake):
    tree = write_tree(tmp_path / "tree", 20)
    Index.build(tmp_path / "whole", [tree])[0].close()
    monkeypatch.setattr(building, "_WINDOW_CHUNKS", 7)
    largest = []
    encode = SentenceEmbedder.encode
    monkeypatch.setattr(
        SentenceEmbedder, "encode", lambda self, texts: (largest.append(len(texts)), encode(self, texts))[1]
    )
    Index.build(tmp_path / "index", [tree])[0].close()
    assert max(largest) < 14
    assert len(largest) > 5
    assert state(tmp_path / "index") == state(tmp_path / "whole")


def test_what_is_staged_is_seen_by_nobody_and_is_not_cut_again(tmp_path, monkeypatch, fake):
    tree = write_tree(tmp_path / "tree", 6)
    Index.build(tmp_path / "index", [tree])[0].close()
    before = state(tmp_path / "index")
    for path in tree.rglob("*.py"):
        path.write_text(path.read_text().replace("number + ", "number - "))
    with monkeypatch.context() as patch:
        patch.setattr(building, "_WINDOW_CHUNKS", 5)
        patch.setattr("homeground.index.index.publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Index.build(tmp_path / "index", [tree])
    during = state(tmp_path / "index")
    for part in ("files", "chunks", "rows", "view", "lexical", "dense"):
        assert during[part] == before[part]
    fake.clear()
    cut = []
    chunk_lines = building.chunk_lines
    monkeypatch.setattr(building, "chunk_lines", lambda *a, **k: (cut.append(a[0]), chunk_lines(*a, **k))[1])
    _, report = Index.build(tmp_path / "index", [tree])
    assert (report.embedded, fake, cut) == (0, [], [])
    Index.build(tmp_path / "fresh", [tree])[0].close()
    assert state(tmp_path / "index") == state(tmp_path / "fresh")


def test_what_was_staged_and_then_deleted_leaves_nothing(tmp_path, monkeypatch):
    tree = write_tree(tmp_path / "tree", 6)
    with monkeypatch.context() as patch:
        patch.setattr("homeground.index.index.publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Index.build(tmp_path / "index", [tree])
    (tree / "part0" / "file0.py").unlink()
    Index.build(tmp_path / "index", [tree])[0].close()
    Index.build(tmp_path / "fresh", [tree])[0].close()
    assert state(tmp_path / "index") == state(tmp_path / "fresh")


def test_much_that_was_deleted_gives_the_disk_its_space_back(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "_LEAST_VACUUM_PAGES", 10)
    tree = write_tree(tmp_path / "tree", 150)
    Index.build(tmp_path / "index", [tree])[0].close()
    before = (tmp_path / "index" / "manifest.sqlite").stat().st_size
    for path in sorted(tree.rglob("*.py"))[10:]:
        path.unlink()
    Index.build(tmp_path / "index", [tree])[0].close()
    assert (tmp_path / "index" / "manifest.sqlite").stat().st_size < before / 3


def test_another_chunk_size_says_what_it_costs_before_it_starts(tmp_path, capsys):
    from homeground.base.progress import Progress

    tree = write_tree(tmp_path / "tree", 5)
    Index.build(tmp_path / "index", [tree])
    Index.build(tmp_path / "index", [tree], IndexConfig(max_tokens=64), progress=Progress())
    told = capsys.readouterr().err
    assert "chunks have 64 tokens instead of 192: 5 files" in told
    assert "about 0:0" in told
    assert told.index("instead of 192") < told.index("embedding, KB of source")


def test_another_model_says_what_it_costs_and_embeds_everything(tmp_path, capsys, fake, monkeypatch):
    from homeground.base.progress import Progress

    tree = write_tree(tmp_path / "tree", 5)
    _, first = Index.build(tmp_path / "index", [tree])
    monkeypatch.setattr(SentenceEmbedder, "revision", "another")
    fake.clear()
    _, report = Index.build(tmp_path / "index", [tree], progress=Progress())
    assert "the weights of all-minilm-l6-v2 changed: 5 files" in capsys.readouterr().err
    assert report.embedded == first.embedded > 0
    assert len(Manifest(tmp_path / "index" / "manifest.sqlite").rows()) == report.chunks
