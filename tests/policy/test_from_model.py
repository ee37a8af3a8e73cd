"""A policy over a model in memory is the policy over its files."""

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from homeground import GrpoConfig, ModelConfig, Policy, SftConfig, train_grpo, train_sft
from homeground.base.errors import HomegroundError, UsageError
from homeground.policy import AdapterWarning, LoraConfig, TokenForest

from . import tiny

FOREST = TokenForest.build(tiny.random_paths(0))
ROWS = [{"prompt": f"{n} and {n}?", "completion": f"{2 * n}"} for n in range(4)]


def in_memory(dtype=torch.float32):
    """The model of the fixture `llama`, never written to disk."""
    torch.manual_seed(0)
    weights = AutoModelForCausalLM.from_config(tiny.llama_config(), dtype=torch.float32).state_dict()
    model = AutoModelForCausalLM.from_config(tiny.llama_config(), dtype=dtype)
    model.load_state_dict(weights)
    return model


def policy_over(model, lora=tiny.SMALL_LORA, **more):
    return Policy.from_model(model, tiny.tokenizer(), lora=lora, **more)


def gradients(policy):
    policy.logprobs(FOREST).sum().backward()
    return tiny.gradient_of(policy.trainable().values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("init", ["default", "pissa"])
def test_values_and_gradients_are_those_of_the_same_model_from_a_folder(llama, dtype, init):
    lora = LoraConfig(r=4, alpha=8, init=init)
    policy, loaded = policy_over(in_memory(dtype), lora), tiny.policy_of(llama, dtype=dtype, lora=lora, shaken=False)
    if init == "default":
        policy, loaded = tiny.shake(policy), tiny.shake(loaded)
    assert policy.strategy == "forest"
    # PiSSA starts from the weights as they are stored: the folder's are float32.
    if dtype is torch.float32 or init == "default":
        assert torch.equal(policy.logprobs(FOREST), loaded.logprobs(FOREST))
        assert torch.equal(gradients(policy), gradients(loaded))
    else:
        torch.testing.assert_close(policy.logprobs(FOREST), loaded.logprobs(FOREST), rtol=0.05, atol=0.05)


def test_training_gives_the_adapter_of_the_same_model_from_a_folder(llama, tmp_path):
    saved = []
    for name, policy in {"memory": policy_over(in_memory()), "folder": tiny.policy_of(llama, shaken=False)}.items():
        train_sft(policy, ROWS, SftConfig(batch_size=2), folder=tmp_path / name / "sft", quiet=True)
        config = GrpoConfig(steps=1, tasks_per_step=2, group_size=3)
        run = train_grpo(
            policy, ["a", "b"], lambda _, text: float(len(text)), config, max_tokens=4, folder=tmp_path / name / "rl",
            quiet=True,
        )  # fmt: skip
        saved.append(policy.adapter_state())
        again = tiny.policy_of(llama, shaken=False, adapter=run.adapter).adapter_state()
        assert all(torch.equal(again[key], tensor) for key, tensor in saved[-1].items())
    fresh = tiny.policy_of(llama, shaken=False).adapter_state()
    assert any(not torch.equal(tensor, fresh[key]) for key, tensor in saved[0].items())
    assert all(torch.equal(tensor, saved[1][key]) for key, tensor in saved[0].items())


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    run = {"folder": tmp_path, "quiet": True}
    train_sft(policy_over(in_memory()), ROWS, SftConfig(batch_size=2, checkpoint_every=1), **run)
    config = SftConfig(batch_size=2, checkpoint_every=1, epochs=2)
    resumed = train_sft(policy_over(in_memory()), ROWS, config, resume=True, **run)
    assert resumed.history[-1]["step"] == 4


def test_an_adapter_of_another_model_is_refused(llama, tmp_path):
    tiny.policy_of(llama).save_adapter(tmp_path / "adapter")
    torch.manual_seed(5)
    other = AutoModelForCausalLM.from_config(tiny.llama_config(), dtype=torch.float32)
    with pytest.raises(HomegroundError, match="does not fit this base model"):
        policy_over(other, adapter=tmp_path / "adapter")
    policy = policy_over(in_memory(), adapter=tmp_path / "adapter")
    assert torch.equal(policy.logprobs(FOREST), tiny.policy_of(llama).logprobs(FOREST))


def test_what_needs_the_files_says_how_to_give_them(llama):
    with pytest.raises(HomegroundError, match="given as a model in memory") as caught:
        _ = policy_over(in_memory()).folder
    assert "save_pretrained" in caught.value.hint
    assert "folder=" in caught.value.hint
    assert policy_over(in_memory(), folder=llama).folder == llama


def test_a_quantized_model_keeps_its_storage_and_its_adapter_is_taken_on_trust(llama, tmp_path):
    def quantized():
        settings = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )  # fmt: skip
        return AutoModelForCausalLM.from_pretrained(llama, quantization_config=settings, dtype=torch.float32)

    policy = tiny.shake(policy_over(quantized()))
    loaded = tiny.policy_of(llama, quantization="nf4")
    assert policy.quantization == "nf4"
    assert torch.equal(policy.logprobs(FOREST), loaded.logprobs(FOREST))
    policy.save_adapter(tmp_path / "adapter")
    with pytest.warns(AdapterWarning, match="weights before quantization are not known"):
        tiny.policy_of(llama, quantization="nf4", adapter=tmp_path / "adapter")
    with pytest.raises(HomegroundError, match="original weights are not in memory"):
        policy_over(quantized(), LoraConfig(init="loftq"))


def test_settings_and_dtypes_that_cannot_be_trained_are_refused():
    with pytest.raises(ValueError, match="this base is not quantized"):
        policy_over(in_memory(), LoraConfig(init="loftq"))
    with pytest.raises(UsageError, match=r"computes in torch\.float16") as caught:
        policy_over(in_memory(torch.float16))
    assert "dtype=torch.bfloat16" in caught.value.hint


def test_the_defaults_are_those_of_the_settings():
    policy = Policy.from_model(in_memory(), tiny.tokenizer())
    assert policy.peft.peft_config["default"].r == ModelConfig().lora.r
    assert policy.name == "llama"
