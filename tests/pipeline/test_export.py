"""`homeground export` on a run of a tiny model, through the command line."""

import collections
import json
import shutil

import pytest
import yaml

from homeground.cli import main

from ..policy import tiny
from .test_documents import check


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A workspace with a trained run 'mine' of a tiny model, and a run 'bare' without an adapter."""
    folder = tmp_path_factory.mktemp("export")
    base = tiny.build(folder / "base", tiny.llama_config(max_position_embeddings=512))
    rows = [{"prompt": f"the abc {i}", "completion": "abc the"} for i in range(4)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = {"model": {"name": str(base), "compute_dtype": "fp32"}, "sft": {"batch_size": 4}}
    (folder / "r.yaml").write_text(yaml.safe_dump(recipe))
    home = folder / "home"
    arguments = ["--data", str(folder / "rows.jsonl"), "--recipe", str(folder / "r.yaml")]
    assert main(["sft", *arguments, "--run", "mine", "--home", str(home), "--quiet", "--json"]) == 0
    bare = home / "runs" / "bare"
    bare.mkdir()
    shutil.copy(home / "runs" / "mine" / "recipe.yaml", bare)
    return home


@pytest.fixture
def export(home, capsys):
    """Call the verb; returns (exit code, document, stderr)."""

    def call(*arguments, run="mine"):
        capsys.readouterr()
        code = main(["export", *map(str, arguments), "--run", run, "--home", str(home), "--quiet", "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return call


@pytest.mark.parametrize(
    ("kind", "options", "files"),
    [
        ("adapter", [], {"adapter_model.safetensors", "adapter_config.json"}),
        ("merged", ["--shard-size", "100KB"], {"config.json", "tokenizer.json", "generation_config.json"}),
        ("ollama", ["--type", "q8_0"], {"Modelfile", "base-mine-q8_0.gguf"}),
    ],
)
def test_an_export_is_whole_measured_and_described(export, tmp_path, kind, options, files):
    out = tmp_path / "out"
    code, document, _ = export(kind, "--out", out, *options)
    assert code == 0
    check("export", document)
    names = {file["name"] for file in document["files"]}
    assert files | {"README.md", "export.json"} <= names == {path.name for path in out.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    card = (out / "README.md").read_text()
    assert "Base model: `base`" in card
    assert "train: 4" in card
    assert not any(str(tmp_path.parent) in path.read_text() for path in out.glob("*.[jm][sd]*"))
    if kind != "adapter":
        assert document["onto"] == "quantized"
        assert document["measured"]["quantized"]["max"] < 1e-3
        assert document["measured"]["original"]["mean"] > document["measured"]["quantized"]["mean"]
    if kind == "ollama":
        assert document["check"]["texts_other"] == 0
        assert document["check"]["mean"] < 0.05


def test_a_far_merge_is_warned_of(export, tmp_path, monkeypatch):
    monkeypatch.setattr("homeground.policy.export.check.LARGE_MEAN", 1e-6)
    code, document, _ = export("merged", "--out", tmp_path / "out", "--onto", "original")
    assert code == 0
    (warning,) = document["warnings"]
    assert "nats a token from what was trained" in warning
    assert "--onto quantized" in warning


def test_without_the_reader_it_says_that_nothing_was_read_back(export, tmp_path, monkeypatch):
    monkeypatch.setattr("homeground.pipeline.export.reader_missing", lambda: "not read back: xllamacpp is missing")
    _, document, _ = export("gguf", "--out", tmp_path / "out")
    assert document["check"] is None
    assert document["warnings"] == ["not read back: xllamacpp is missing"]


def test_a_dry_run_says_how_much_and_writes_nothing(export, tmp_path):
    code, document, _ = export("gguf", "--out", tmp_path / "out", "--dry-run")
    assert code == 0
    assert document["bytes"] < document["free_bytes"]
    assert not list(tmp_path.iterdir())


def test_an_earlier_export_is_replaced_only_by_force_and_anything_else_never(export, tmp_path):
    out = tmp_path / "out"
    assert export("adapter", "--out", out)[0] == 0
    code, document, _ = export("adapter", "--out", out)
    assert (code, document["error"]) == (2, "there is an export already")
    assert "--force" in document["hint"]
    assert export("adapter", "--out", out, "--force")[0] == 0
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("x")
    code, document, _ = export("adapter", "--out", tmp_path / "letters", "--force")
    assert (code, document["error"]) == (2, "there is something else, which is never replaced")
    assert (tmp_path / "letters" / "dear.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "run", "code", "error"),
    [
        (["adapter"], "nobody", 2, "there is no run 'nobody'"),
        (["merged"], "bare", 1, "the run 'bare' has no adapter to export"),
        (["gguf", "--type", "q9"], "mine", 2, "the type 'q9' is made by llama.cpp's llama-quantize"),
        (["merged", "--type", "f16"], "mine", 2, "--type says nothing about an export as merged"),
        (["gguf", "--text", "nowhere.txt"], "mine", 2, "the text cannot be read"),
    ],
)
def test_mistakes_get_answers(export, monkeypatch, tmp_path, arguments, run, code, error):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    got, document, _ = export(*arguments, "--out", tmp_path / "out", run=run)
    assert got == code
    assert document["error"].startswith(error)
    check("error", document)
    assert not list(tmp_path.iterdir())


def test_too_small_a_disk_is_known_before_anything_is_loaded(export, monkeypatch, tmp_path):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10, 9, 1))
    monkeypatch.setattr("homeground.pipeline.workbench.Workbench.policy", property(lambda _: pytest.fail("loaded")))
    code, document, _ = export("merged", "--out", tmp_path / "out")
    assert code == 1
    assert document["error"].startswith("not enough disk: about ")
    assert "--out" in document["hint"]


def test_the_adapter_of_another_base_and_a_family_without_gguf_are_refused(export, tmp_path, monkeypatch):
    other = tiny.build(tmp_path / "other", tiny.llama_config(hidden_size=32))
    recipe = tmp_path / "other.yaml"
    recipe.write_text(yaml.safe_dump({"model": {"name": str(other)}}))
    code, document, _ = export("adapter", "--recipe", recipe, "--out", tmp_path / "out")
    assert code == 1
    assert document["error"].startswith("the adapter does not fit this base model")
    same_shapes = tiny.build(tmp_path / "same-shapes", tiny.llama_config(max_position_embeddings=512), seed=1)
    recipe.write_text(yaml.safe_dump({"model": {"name": str(same_shapes)}}))
    code, document, _ = export("adapter", "--recipe", recipe, "--out", tmp_path / "out")
    assert code == 1
    assert "whose weights are others" in document["error"]
    monkeypatch.delitem(__import__("homeground.policy.export.gguf_config", fromlist=["x"]).FAMILIES, "llama")
    code, document, _ = export("gguf", "--out", tmp_path / "out")
    assert code == 1
    assert document["error"] == "models of the family 'llama' cannot be written as GGUF yet"
    assert "qwen3" in document["where"]


def test_a_file_that_computes_something_else_is_thrown_away(export, tmp_path, monkeypatch):
    monkeypatch.setattr("homeground.policy.export.gguf_file.interleaved", lambda rows, heads: rows * 3 + heads)
    code, document, _ = export("gguf", "--out", tmp_path / "out")
    assert code == 1
    assert "llama.cpp computes something else from this file" in document["error"]
    assert not list(tmp_path.iterdir())
