"""The output head as it is found: tied to the embeddings, adapted, or trained as a whole."""

import pytest
import torch
from peft import LoraConfig as PeftLora
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from homeground.policy import LoraConfig, TokenForest, row_logprobs

from ..policy import tiny
from .rows import assert_equal_rows, gradient, relative, weighted

DEEP = tiny.random_paths(7, depth=2, longest=8)[:8]


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request, tmp_path):
    return tiny.build(tmp_path / "model", tiny.llama_config(tie_word_embeddings=request.param))


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_low_rank_adapter_on_the_head(folder, quantization):
    policy = tiny.policy_of(
        folder, quantization=quantization, lora=LoraConfig(r=4, alpha=8, targets=["q_proj", "lm_head"])
    )
    adapted = {name.split(".lora_")[0].split(".")[-1] for name in policy.trainable()}
    assert adapted == {"q_proj", "lm_head"}
    assert_equal_rows(policy, DEEP)
    policy.logprobs(TokenForest.build(DEEP)).sum().backward()
    assert all(float(p.grad.norm()) > 0 for n, p in policy.trainable().items() if "lm_head" in n)


@pytest.fixture
def whole_head(folder, tmp_path):
    """The folder of an adapter that holds a whole head of its own."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(5)
    peft = get_peft_model(base, PeftLora(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]))
    with torch.no_grad():
        peft.base_model.model.lm_head.modules_to_save["default"].weight.add_(torch.randn(266, 64) * 0.1)
    peft.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_head_that_is_trained_as_a_whole(folder, whole_head, quantization):
    policy = tiny.policy_of(folder, quantization=quantization, adapter=whole_head)
    forest = TokenForest.build(DEEP)
    head = next(p for n, p in policy.trainable().items() if "modules_to_save" in n)
    assert head.dtype is torch.float32
    mine = policy.logprobs(forest)
    weighted(mine).backward()
    my_gradient = gradient(policy)
    twin = tiny.plain(policy)
    names = {n.removeprefix("base_model.model.") for n in policy.trainable()}
    parameters = [p.requires_grad_(True) for n, p in twin.named_parameters() if n in names]
    assert len(parameters) == len(names)
    theirs = row_logprobs(twin, DEEP)
    weighted(theirs).backward()
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)
    assert relative(my_gradient, tiny.gradient_of(parameters)) < 1e-5
    bare = tiny.policy_of(folder, quantization=quantization)
    assert (bare.logprobs(forest) - mine).abs().max() > 0.01, "the adapter's own head was not used"


def test_a_whole_head_has_a_float32_master_in_bf16(folder, whole_head):
    policy = tiny.policy_of(folder, dtype=torch.bfloat16, adapter=whole_head)
    assert {p.dtype for p in policy.trainable().values()} == {torch.float32}
    policy.logprobs(TokenForest.build(DEEP)).sum().backward()
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in policy.trainable().values())
