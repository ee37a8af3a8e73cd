"""Merged weights against PEFT's own forward of base and adapter."""

import json

import pytest
import torch
from peft import LoraConfig as PeftLora
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from homeground.base.errors import HomegroundError, UsageError
from homeground.policy import LoraConfig
from homeground.policy.export.check import LARGE_MEAN, compare, fill, plain_logprobs, plain_model, trained_logprobs
from homeground.policy.export.folders import write_adapter, write_merged
from homeground.policy.export.weights import MergedWeights
from homeground.policy.forest import TokenPath

from .. import tiny

ROW = torch.arange(1, 40)[None]
PATHS = [TokenPath(ROW[0].tolist(), list(range(1, ROW.shape[1])))]


def adapted(base, folder, **changes):
    """Save an adapter whose every part matters; returns what PEFT computes with it."""
    torch.manual_seed(1)
    fields = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), PeftLora(**(fields | changes))).eval()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("modules_to_save" in name or name.endswith("bias")):
            parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    with torch.no_grad():
        return model(ROW).logits


@pytest.mark.parametrize(
    ("changes", "tied"),
    [
        ({}, True),
        ({"use_rslora": True, "use_dora": True}, True),
        ({"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 1}}, True),
        ({"modules_to_save": ["lm_head"]}, False),
        ({"modules_to_save": ["embed_tokens"]}, False),
        ({"target_modules": ["embed_tokens", "q_proj"]}, False),
    ],
)
def test_plain_transformers_loads_equal_logits(llama, tmp_path, changes, tied):
    expected = adapted(llama, tmp_path / "adapter", **changes)
    weights = MergedWeights(llama, tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    write_merged(weights, AutoTokenizer.from_pretrained(llama), tmp_path / "out", shard_size="60KB")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 2
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert loaded.config.tie_word_embeddings is tied
    with torch.no_grad():
        torch.testing.assert_close(loaded(ROW).logits, expected, atol=2e-4, rtol=1e-4)


def test_trained_biases_come_along(tmp_path):
    base = tiny.build(tmp_path / "base", tiny.llama_config(attention_bias=True))
    expected = adapted(base, tmp_path / "adapter", bias="lora_only", target_modules=["q_proj"])
    model = plain_model(MergedWeights(base, tmp_path / "adapter"), torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(model(ROW).logits, expected, atol=2e-4, rtol=1e-4)


def test_tokenizer_template_and_end_tokens_come_along(llama, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    write_merged(MergedWeights(llama), tokenizer, tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == 264
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.chat_template == tiny.CHATML
    text = "the abc <|im_end|> é 123"
    assert again(text).input_ids == AutoTokenizer.from_pretrained(llama)(text).input_ids


@pytest.fixture(scope="module")
def quantized(llama, tmp_path_factory):
    """A policy on an NF4 base, its adapter saved, and what it gives."""
    policy = tiny.policy_of(llama, quantization="nf4")
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    policy.save_adapter(folder)
    return policy, folder, trained_logprobs(policy, PATHS)


def test_onto_the_quantized_base_is_what_was_trained_and_onto_the_original_is_not(quantized, llama):
    policy, adapter, trained = quantized
    model = plain_model(MergedWeights(llama, adapter, policy), torch.float32)
    ours = compare(trained, plain_logprobs(model, PATHS))
    fill(model, MergedWeights(llama, adapter))
    original = compare(trained, plain_logprobs(model, PATHS))
    assert ours.max < 1e-3
    assert original.mean > 20 * ours.mean
    assert original.large is (original.mean > LARGE_MEAN)


@pytest.mark.parametrize(
    ("quantization", "changes"),
    [("fp4", {"init": "pissa"}), ("nf4", {"init": "loftq", "rslora": True}), ("int8", {}), ("nf4", {"dora": True})],
)
def test_so_it_is_wherever_the_adapter_began_and_however_the_base_is_packed(llama, tmp_path, quantization, changes):
    policy = tiny.policy_of(llama, quantization=quantization, lora=LoraConfig(r=4, alpha=8, **changes))
    policy.save_adapter(tmp_path / "adapter")
    trained = trained_logprobs(policy, PATHS)
    model = plain_model(MergedWeights(llama, tmp_path / "adapter", policy), torch.float32)
    # LLM.int8 rounds its inputs, which no merge keeps.
    assert compare(trained, plain_logprobs(model, PATHS)).max < (0.2 if quantization == "int8" else 2e-3)


def test_the_adapter_loads_in_plain_peft_and_names_no_folder(quantized, llama, tmp_path):
    _, adapter, _ = quantized
    write_adapter(adapter, tmp_path, "owner/base")
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "owner/base"
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), str(tmp_path)).eval()
    merged = plain_model(MergedWeights(llama, adapter), torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(ROW).logits, merged(ROW).logits, atol=2e-4, rtol=1e-4)
    assert str(llama) not in "".join(p.read_text() for p in tmp_path.glob("*.json"))


@pytest.mark.parametrize("changes", [{"hidden_size": 32}, {"num_hidden_layers": 1}])
def test_the_adapter_of_another_base_is_refused(quantized, tmp_path, changes):
    other = tiny.build(tmp_path / "other", tiny.llama_config(**changes))
    with pytest.raises(HomegroundError, match="the adapter does not fit this base model"):
        MergedWeights(other, quantized[1])


def test_a_shard_size_that_is_none_is_refused(llama, tmp_path):
    with pytest.raises(UsageError, match="not a size of a file: 'much'"):
        write_merged(MergedWeights(llama), AutoTokenizer.from_pretrained(llama), tmp_path, "much")
