import json
import shutil

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from homeground.base.errors import HomegroundError
from homeground.policy import LoraConfig, TokenForest

from . import tiny

FOREST = TokenForest.build(tiny.random_paths(0))


def load(folder, **more):
    return tiny.policy_of(folder, shaken=False, **more)


def test_a_fresh_adapter_changes_nothing_yet(llama):
    policy = load(llama)
    bare = AutoModelForCausalLM.from_pretrained(llama, attn_implementation="eager", dtype=torch.float32)
    ids = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(tiny.plain(policy)(ids).logits, bare(ids).logits)


def test_the_seed_decides_a_fresh_adapter(llama):
    first, again, other = (load(llama, seed=seed).adapter_state() for seed in (3, 3, 4))
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not all(torch.equal(first[n], other[n]) for n in first)


def test_only_the_adapter_is_trainable_and_it_is_in_float32(llama):
    policy = tiny.policy_of(llama, quantization="nf4", dtype=torch.bfloat16)
    trainable = policy.trainable()
    assert trainable
    assert all("lora_" in name and p.dtype is torch.float32 for name, p in trainable.items())
    assert policy.model.model.norm.weight.dtype is torch.bfloat16


def test_lora_settings_shape_the_adapter(llama):
    policy = load(llama, lora=LoraConfig(r=2, alpha=6, targets=["q_proj"]))
    assert {n.split(".")[-2] for n in policy.adapter_state()} == {"lora_A", "lora_B"}
    assert all("q_proj" in n and 2 in t.shape for n, t in policy.adapter_state().items())
    config = policy.peft.peft_config["default"]
    assert (config.r, config.lora_alpha) == (2, 6)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_saved_adapter_is_the_same_policy_when_loaded_again(llama, tmp_path, quantization):
    policy = tiny.policy_of(llama, quantization=quantization)
    policy.save_adapter(tmp_path / "adapter")
    again = tiny.policy_of(llama, quantization=quantization, adapter=tmp_path / "adapter", shaken=False)
    assert torch.equal(again.logprobs(FOREST), policy.logprobs(FOREST))
    assert again.trainable().keys() == policy.trainable().keys()


def test_a_saved_adapter_loads_in_plain_peft_on_the_original_base(llama, tmp_path, policy):
    policy.save_adapter(tmp_path / "adapter")
    bare = AutoModelForCausalLM.from_pretrained(llama, attn_implementation="eager", dtype=torch.float32)
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    without = bare(ids).logits
    plain = PeftModel.from_pretrained(bare, tmp_path / "adapter")
    torch.testing.assert_close(plain(ids).logits, tiny.plain(policy)(ids).logits, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(plain(ids).logits, without)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_saving_again_replaces_the_adapter_and_leaves_nothing_beside_it(policy, llama, tmp_path):
    folder = tmp_path / "run" / "adapter"
    policy.save_adapter(folder)
    tiny.shake(policy, seed=9)
    policy.save_adapter(folder)
    assert [f.name for f in folder.parent.iterdir()] == ["adapter"]
    again = load(llama, adapter=folder)
    assert torch.equal(again.logprobs(FOREST), policy.logprobs(FOREST))


def test_an_adapter_of_a_base_with_other_shapes_is_refused(policy, tmp_path):
    policy.save_adapter(tmp_path / "adapter")
    wider = tiny.build(tmp_path / "model", tiny.llama_config(hidden_size=128))
    with pytest.raises(HomegroundError, match="does not fit this base") as caught:
        load(wider, adapter=tmp_path / "adapter")
    assert caught.value.where == str(tmp_path / "adapter")
    assert "the base that it was trained on" in caught.value.hint


def test_an_adapter_that_does_not_fit_a_shallower_base_whole_is_refused(policy, tmp_path):
    """PEFT itself loads what fits and drops the rest without a word."""
    policy.save_adapter(tmp_path / "adapter")
    shallower = tiny.build(tmp_path / "model", tiny.llama_config(num_hidden_layers=1))
    with pytest.raises(HomegroundError, match="does not fit this base model: 14 of its tensors") as caught:
        load(shallower, adapter=tmp_path / "adapter")
    assert caught.value.where == str(tmp_path / "adapter")


def test_a_folder_without_an_adapter_says_how_to_make_one(llama, tmp_path):
    with pytest.raises(HomegroundError, match=r"adapter_config\.json is missing") as caught:
        load(llama, adapter=tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "homeground sft" in caught.value.hint


def test_a_broken_adapter_config_is_named(policy, llama, tmp_path):
    policy.save_adapter(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{")
    with pytest.raises(HomegroundError) as caught:
        load(llama, adapter=tmp_path / "adapter")
    assert caught.value.where == f"{tmp_path / 'adapter' / 'adapter_config.json'}:1"


@pytest.mark.parametrize("damage", ["no weights", "broken config", "unknown architecture"])
def test_a_model_that_cannot_be_read_says_where_and_what_to_do(llama, tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    if damage == "no weights":
        (folder / "model.safetensors").unlink()
    elif damage == "broken config":
        (folder / "config.json").write_text("{")
    else:
        (folder / "config.json").write_text(json.dumps({"model_type": "never-heard-of"}))
    with pytest.raises(HomegroundError) as caught:
        load(folder)
    assert str(folder) in f"{caught.value.message} {caught.value.where}"
    assert caught.value.hint


def test_the_fingerprint_tells_bases_apart_and_forgets_adapters_and_places(llama, tmp_path):
    plain = tiny.policy_of(llama)
    fingerprint = plain.base_fingerprint()
    tiny.shake(plain, seed=5)
    assert plain.base_fingerprint() == fingerprint, "the adapter is no part of the base"
    moved = tmp_path / "elsewhere"
    shutil.copytree(llama, moved)
    assert tiny.policy_of(moved).base_fingerprint() == fingerprint, "nor is the folder"
    others = {
        "weights": tiny.policy_of(tiny.build(tmp_path / "other", tiny.llama_config(), seed=1)),
        "quantization": tiny.policy_of(llama, quantization="nf4"),
        "double quantization": tiny.policy_of(llama, quantization="nf4", double_quant=False),
    }
    prints = {name: p.base_fingerprint() for name, p in others.items()}
    assert len({fingerprint, *prints.values()}) == 4, prints


def test_the_compute_dtype_decides_about_autocast(llama):
    with tiny.policy_of(llama).autocast():
        assert not torch.is_autocast_enabled("cpu")
    with tiny.policy_of(llama, dtype=torch.bfloat16).autocast():
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
