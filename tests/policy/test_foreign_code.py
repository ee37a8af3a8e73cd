"""Model folders that bring Python code: no door runs it, and none asks at the terminal."""

import builtins
import contextlib
import json
import shutil

import pytest

from homeground.base.errors import HomegroundError
from homeground.base.model_files import read_config, read_tokenizer
from homeground.base.weights import resolve_model
from homeground.index import SentenceEmbedder
from homeground.index.rerank import SentenceReranker
from homeground.policy.export.weights import MergedWeights
from homeground.training import retrievers

from . import tiny

MAP = {
    "AutoConfig": "evil.Thing",
    "AutoModel": "evil.Thing",
    "AutoModelForCausalLM": "evil.Thing",
    "AutoModelForSequenceClassification": "evil.Thing",
}


def change(file, **settings):
    old = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(old | settings))


def unknown_model(folder):
    change(folder / "config.json", model_type="evil", auto_map=MAP)


def known_model(folder):
    change(folder / "config.json", auto_map=MAP)


def tokenizer(folder):
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="Thing",
        auto_map={"AutoTokenizer": ["evil.Thing", "evil.Thing"]},
    )


def processor(folder):
    for name in ("processor_config.json", "preprocessor_config.json"):
        change(folder / name, processor_class="Thing", auto_map={"AutoProcessor": "evil.Thing"})


def generation(folder):
    change(folder / "generation_config.json", custom_generate="evil.py")
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "evil.py", folder / "custom_generate" / "generate.py")


def module(folder):
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Thing"}]))


@pytest.fixture(params=[unknown_model, known_model, tokenizer, processor, generation, module], ids=lambda f: f.__name__)
def hostile(request, llama, tmp_path, monkeypatch):
    folder = shutil.copytree(llama, tmp_path / "hostile")
    code = f"open({str(tmp_path / 'marker')!r}, 'w')\nclass Thing: pass\n"
    (folder / "evil.py").write_text(code)
    request.param(folder)
    monkeypatch.syspath_prepend(str(folder))  # as if homeground were started inside it
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("it asked"))
    return folder


DOORS = {
    "policy": lambda folder: tiny.policy_of(folder),
    "tokenizer": lambda folder: read_tokenizer(resolve_model(str(folder))),
    "config": lambda folder: read_config(resolve_model(str(folder))),
    "export": lambda folder: MergedWeights(resolve_model(str(folder))),
    "embedder": lambda folder: SentenceEmbedder(str(folder), 64, "fp32").encode_query("a"),
    "reranker": lambda folder: SentenceReranker(str(folder)).score("a", ["b"]),
    "tune": lambda folder: retrievers.train_retriever(
        retrievers.Retriever.BI_ENCODER,
        resolve_model(str(folder)),
        [retrievers.Row("a", "b")],
        folder / "out",
        retrievers.RetrieverConfig(),
        max_tokens=64,
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_code_of_a_model_s_folder_is_never_run(hostile, tmp_path, door):
    with contextlib.suppress(HomegroundError):  # any other error fails the test
        DOORS[door](hostile)
    assert not (tmp_path / "marker").exists()


def test_a_model_that_needs_its_code_is_told_so(llama, tmp_path):
    folder = shutil.copytree(llama, tmp_path / "hostile")
    unknown_model(folder)
    with pytest.raises(HomegroundError, match=r"needs Python code that comes with it.*never run") as caught:
        tiny.policy_of(folder)
    assert caught.value.where == str(folder)
    assert "auto_map" in caught.value.hint


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"model": 3}', '{"version": "1.0", "model": {"type": "BPE"}}', ""]
)
def test_a_broken_tokenizer_is_an_error_with_its_folder(llama, tmp_path, content):
    folder = shutil.copytree(llama, tmp_path / "broken")
    (folder / "tokenizer.json").write_text(content)
    for door in ("policy", "tokenizer"):
        with pytest.raises(HomegroundError, match="tokenizer cannot be loaded") as caught:
            DOORS[door](folder)
        assert caught.value.where == str(folder)
    with pytest.raises(HomegroundError, match="tokenizer cannot be loaded") as caught:
        SentenceEmbedder(str(folder), 64, "auto").count(["a"])
    assert caught.value.where == str(folder / "tokenizer.json")


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": "x"},
        {"num_hidden_layers": 3},
        {"num_attention_heads": 0},
        {"vocab_size": None},
        {"dtype": "evil"},
    ],
)
def test_a_configuration_that_cannot_be_is_an_error_with_its_folder(llama, tmp_path, settings):
    folder = shutil.copytree(llama, tmp_path / "broken")
    change(folder / "config.json", **settings)
    for door in ("policy", "export"):
        with pytest.raises(HomegroundError) as caught:
            DOORS[door](folder)
        assert str(folder) in caught.value.where
        assert caught.value.hint
