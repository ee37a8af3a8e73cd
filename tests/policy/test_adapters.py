"""Which layers get an adapter, how it begins, and that its files are those of the original base."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig as PeftLora
from peft import PeftModel, get_peft_model
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from homeground.base.errors import HomegroundError
from homeground.policy import AdapterWarning, LoraConfig, ModelConfig, TokenForest
from homeground.policy.fused import dora_factors_of
from homeground.policy.originals import WeightFiles, same_base
from homeground.policy.quantize import dequantized
from homeground.policy.shells import lora_layers, publish, sampler_shell, share_inputs
from homeground.policy.start import largest

from . import tiny

FOREST = TokenForest.build(tiny.random_paths(0))
IDS = torch.tensor([[5, 6, 7, 8, 9]])
ATTENTION, MLP = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}


def bare(folder):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


def train(policy, steps=3, rate=0.02):
    """Move everything, by the loss of some forest."""
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=rate)
    for _ in range(steps):
        (-policy.logprobs(FOREST).mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return policy


def kinds(policy):
    return {name.rpartition(".")[2] for name in lora_layers(policy.model)}


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("all-linear", ATTENTION | MLP),
        ("attention", ATTENTION),
        ("mlp", MLP),
        ("attention+mlp", ATTENTION | MLP),
        (["q_proj", "down_proj"], {"q_proj", "down_proj"}),
        ("v_proj", {"v_proj"}),
    ],
)
def test_a_strategy_names_layers_by_what_they_are_part_of(llama, targets, expected):
    policy = tiny.policy_of(llama, lora=LoraConfig(r=2, targets=targets))
    assert kinds(policy) == expected
    assert len(lora_layers(policy.model)) == 2 * len(expected)


def test_a_layer_may_be_named_alone_and_among_packed_ones(llama):
    policy = tiny.policy_of(llama, quantization="nf4", lora=LoraConfig(r=2, targets=["layers.1.mlp.up_proj"]))
    assert list(lora_layers(policy.model)) == ["model.layers.1.mlp.up_proj"]


@pytest.mark.parametrize("targets", [["q_proj", "query"], "query", [], ["proj"]])
def test_a_target_that_matches_nothing_lists_the_layers_that_exist(llama, targets):
    with pytest.raises(HomegroundError) as caught:
        tiny.policy_of(llama, lora=LoraConfig(targets=targets))
    assert caught.value.where == "model.lora.targets"
    assert "attention+mlp" in caught.value.hint
    assert "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head" in caught.value.hint


@pytest.mark.parametrize(
    ("lora", "quantization", "message"),
    [
        ({"r": 0}, "none", "greater than or equal to 1"),
        ({"init": "magic"}, "none", "'default', 'pissa' or 'loftq'"),
        ({"init": "loftq"}, "none", "this base is not quantized: set quantization to nf4"),
        ({"init": "pissa", "dora": True}, "none", "cannot be saved .*: set dora to false"),
        ({"dora": True, "dropout": 0.1}, "nf4", "unpacks some of them wrongly: set lora.dropout to 0"),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(lora, quantization, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(lora=LoraConfig(**lora), quantization=quantization)


def test_the_former_name_of_modules_to_save_is_an_alias():
    assert LoraConfig.model_validate({"trained_whole": ["norm"]}) == LoraConfig(modules_to_save=("norm",))


def test_rslora_scales_by_the_root_of_the_rank(llama):
    policy = tiny.policy_of(llama, lora=LoraConfig(r=16, alpha=8, rslora=True))
    assert {layer.scaling["default"] for layer in lora_layers(policy.model).values()} == {2.0}


def test_the_largest_directions_are_the_best_low_rank_weight():
    weight = torch.randn(40, 24, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    torch.manual_seed(0)
    a, b = largest(weight, 4, 2.0)
    torch.testing.assert_close(2.0 * b @ a, (u[:, :4] * s[:4]) @ v[:4], rtol=1e-2, atol=2e-2)
    a, b = largest(weight, 30, 2.0)
    torch.testing.assert_close(2.0 * b @ a, weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rslora", [False, True])
def test_a_pissa_adapter_begins_as_the_model_and_is_saved_for_the_original_base(llama, tmp_path, rslora):
    policy = tiny.policy_of(llama, lora=LoraConfig(r=4, alpha=8, init="pissa", rslora=rslora), shaken=False)
    original = dict(bare(llama).named_modules())
    for name, layer in lora_layers(policy.model).items():
        assert (layer.get_base_layer().weight - original[name].weight).norm() > 0.1 * original[name].weight.norm()
    torch.testing.assert_close(tiny.plain(policy)(IDS).logits, bare(llama)(IDS).logits, rtol=1e-4, atol=1e-4)
    train(policy)
    policy.save_adapter(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["init_lora_weights"]) == (8, True)
    elsewhere = PeftModel.from_pretrained(bare(llama), tmp_path / "adapter")
    torch.testing.assert_close(elsewhere(IDS).logits, tiny.plain(policy)(IDS).logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(elsewhere(IDS).logits, bare(llama)(IDS).logits, atol=1e-2)


@pytest.mark.parametrize("init", ["pissa", "loftq"])
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_training_goes_on_from_a_saved_start_with_the_same_numbers(llama, tmp_path, init, kind):
    lora = LoraConfig(r=4, alpha=8, init=init)
    policy = train(tiny.policy_of(llama, quantization=kind, lora=lora, shaken=False))
    policy.save_adapter(tmp_path / "adapter")
    again = tiny.policy_of(llama, quantization=kind, adapter=tmp_path / "adapter", shaken=False)
    assert torch.equal(again.logprobs(FOREST), policy.logprobs(FOREST))
    assert again.base_fingerprint() == policy.base_fingerprint()
    assert {n: p.shape for n, p in again.trainable().items()} == {n: p.shape for n, p in policy.trainable().items()}
    train(again)
    again.save_adapter(tmp_path / "second")
    third = tiny.policy_of(llama, quantization=kind, adapter=tmp_path / "second", shaken=False)
    assert torch.equal(again.logprobs(FOREST), third.logprobs(FOREST))


@pytest.mark.parametrize("init", ["pissa", "loftq"])
def test_a_start_brings_a_quantized_model_nearer_to_the_original(llama, init):
    def distance(lora):
        policy = tiny.policy_of(llama, quantization="fp4", lora=lora, shaken=False)
        modules, total = dict(bare(llama).named_modules()), 0.0
        for name, layer in lora_layers(policy.model).items():
            found = dequantized(layer.get_base_layer()) + layer.get_delta_weight("default")
            total += float((found - modules[name].weight).norm() / modules[name].weight.norm())
        return total

    assert distance(LoraConfig(r=16, init=init)) < 0.95 * distance(LoraConfig(r=16))


def test_the_seed_decides_a_start_and_a_resumed_run_finds_its_base(llama):
    first, again = (tiny.policy_of(llama, lora=LoraConfig(r=4, init="pissa"), shaken=False) for _ in range(2))
    assert first.base_fingerprint() == again.base_fingerprint()
    assert all(torch.equal(t, again.adapter_state()[n]) for n, t in first.adapter_state().items())


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_dora_equals_peft_s_own_code_in_training_and_in_the_sampler(tmp_path, quantization):
    folder = tiny.build(tmp_path / "biased", tiny.llama_config(attention_bias=True))
    policy = tiny.policy_of(folder, quantization=quantization, lora=LoraConfig(r=4, alpha=8, dora=True))
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "magnitude" in name:
                parameter.mul_(1.3)
            elif name.endswith("bias"):
                parameter.normal_()
    assert all(dora_factors_of(layer) is not None for layer in lora_layers(policy.model).values())
    results = []
    for unfuse in (False, True):
        if unfuse:
            tiny.unfused(policy.model)
        values = policy.logprobs(FOREST)
        values.sum().backward()
        names = list(policy.trainable())
        assert sum("magnitude" in name for name in names) == 14
        results.append((values.detach(), [policy.trainable()[n].grad.clone() for n in names]))
        for parameter in policy.trainable().values():
            parameter.grad = None
    (mine, grads), (theirs, expected) = results
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    flat, other = (torch.cat([g.flatten() for g in gs]) for gs in (grads, expected))
    assert float((flat - other).norm() / other.norm()) < 1e-4
    shell = sampler_shell(policy.model, torch.float32)
    shell.set_attn_implementation("eager")
    share_inputs(shell, lambda: shell(IDS))
    torch.testing.assert_close(shell(IDS).logits, tiny.plain(policy)(IDS).logits, rtol=1e-4, atol=1e-4)
    train(policy)
    publish(policy.model, shell)
    torch.testing.assert_close(shell(IDS).logits, tiny.plain(policy)(IDS).logits, rtol=1e-4, atol=1e-4)


def test_a_fresh_dora_adapter_changes_nothing_and_a_trained_one_loads_in_plain_peft(llama, tmp_path):
    policy = tiny.policy_of(llama, lora=LoraConfig(r=4, dora=True), shaken=False)
    torch.testing.assert_close(tiny.plain(policy)(IDS).logits, bare(llama)(IDS).logits, rtol=1e-5, atol=1e-5)
    train(policy).save_adapter(tmp_path / "adapter")
    elsewhere = PeftModel.from_pretrained(bare(llama), tmp_path / "adapter")
    torch.testing.assert_close(elsewhere(IDS).logits, tiny.plain(policy)(IDS).logits, rtol=1e-4, atol=1e-4)
    again = tiny.policy_of(llama, adapter=tmp_path / "adapter", shaken=False)
    assert torch.equal(again.logprobs(FOREST), policy.logprobs(FOREST))


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("untied"), tiny.llama_config(tie_word_embeddings=False))


def test_modules_may_be_trained_whole_and_are_saved_with_the_adapter(untied, tmp_path):
    lora = LoraConfig(r=4, targets="attention", modules_to_save=["lm_head", "embed_tokens", "norm"])
    policy = tiny.policy_of(untied, quantization="nf4", lora=lora)
    whole = {n: p.detach().clone() for n, p in policy.trainable().items() if "lora_" not in n}
    assert len(whole) == 3
    train(policy)
    assert all(not torch.equal(t, policy.trainable()[n]) for n, t in whole.items())
    shell = sampler_shell(policy.model, torch.float32)
    shell.set_attn_implementation("eager")
    torch.testing.assert_close(shell(IDS).logits, tiny.plain(policy)(IDS).logits, rtol=1e-4, atol=1e-4)
    policy.save_adapter(tmp_path / "adapter")
    again = tiny.policy_of(untied, quantization="nf4", adapter=tmp_path / "adapter", shaken=False)
    assert torch.equal(again.logprobs(FOREST), policy.logprobs(FOREST))


@pytest.mark.parametrize(
    ("names", "message", "hint"),
    [
        (["head"], "is called 'head'", "embed_tokens"),
        (["embed_tokens"], "are one matrix", "does not tie"),
        (["lm_head"], "are one matrix", "does not tie"),
        (["up_proj"], "is quantized", "quantization to none"),
        (["q_proj"], "gets an adapter", "take it out"),
    ],
)
def test_a_module_that_cannot_be_trained_whole_is_refused(llama, names, message, hint):
    lora = LoraConfig(r=4, targets=["q_proj"], modules_to_save=names)
    with pytest.raises(HomegroundError, match=message) as caught:
        tiny.policy_of(llama, quantization="nf4", lora=lora)
    assert caught.value.where == "model.lora.modules_to_save"
    assert hint in caught.value.hint


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(llama, tmp_path):
    tiny.policy_of(llama).save_adapter(tmp_path / "adapter")
    other = tiny.build(tmp_path / "other", tiny.llama_config(), seed=1)
    with pytest.raises(HomegroundError, match="does not fit this base model: it was trained on") as caught:
        tiny.policy_of(other, adapter=tmp_path / "adapter")
    assert str(llama) in caught.value.message
    assert "the base that it was trained on" in caught.value.hint


def test_a_base_is_known_again_quantized_or_stored_in_half_precision(llama, tmp_path):
    tiny.policy_of(llama).save_adapter(tmp_path / "adapter")
    tiny.policy_of(llama, quantization="nf4", adapter=tmp_path / "adapter")
    for dtype in (torch.bfloat16, torch.float16):
        half = tmp_path / str(dtype)
        shutil.copytree(llama, half)
        bare(llama).to(dtype).save_pretrained(half)
        assert same_base(WeightFiles(llama).sample(), WeightFiles(half).sample())
        tiny.policy_of(half, adapter=tmp_path / "adapter")


def test_an_adapter_made_elsewhere_loads_with_a_warning(llama, tmp_path):
    made = get_peft_model(bare(llama), PeftLora(r=3, target_modules=["q_proj"], init_lora_weights=False))
    made.save_pretrained(tmp_path / "adapter")
    with pytest.warns(AdapterWarning, match="taken on trust"):
        policy = tiny.policy_of(llama, adapter=tmp_path / "adapter", shaken=False)
    torch.testing.assert_close(tiny.plain(policy)(IDS).logits, made(IDS).logits, rtol=1e-5, atol=1e-5)


def test_weights_under_other_names_say_so(llama, tmp_path):
    with pytest.raises(HomegroundError, match="names are not those of the model"):
        WeightFiles(llama).weight("transformer.h.0.attn")
    with pytest.raises(HomegroundError, match=r"no model\*\.safetensors"):
        WeightFiles(tmp_path).sample()
