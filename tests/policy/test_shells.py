import pytest
import torch
from peft import LoraConfig as PeftLora
from peft import get_peft_model

from homeground.policy import LoraConfig, TokenForest
from homeground.policy.quantize import dequantized, four_bit_layers
from homeground.policy.shells import FEW_ROWS, SamplerLinear, lora_layers, publish, sampler_shell, share_inputs
from homeground.training import Kl, kl_estimate

from . import tiny

FOREST = TokenForest.build(tiny.random_paths(0))


def step(policy, learning_rate=0.05):
    """One optimizer step that moves everything."""
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=learning_rate)
    policy.logprobs(FOREST).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def base_tensors(policy):
    return {n: p.detach().clone() for n, p in policy.peft.named_parameters() if not p.requires_grad}


def run(shell, ids):
    """Logits of plain rows through a shell's own weights."""
    shell.set_attn_implementation("eager")
    return shell(torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kl_to_a_fresh_twin_is_exactly_zero(llama, quantization, dtype):
    policy = tiny.policy_of(llama, quantization=quantization, dtype=dtype)
    twin = policy.reference()
    mine, theirs = policy.logprobs(FOREST), policy.logprobs(FOREST, reference=twin)
    assert torch.equal(mine.detach(), theirs)
    assert torch.equal(kl_estimate(mine, theirs, Kl.K3), torch.zeros_like(theirs))
    assert not theirs.requires_grad


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_twin_stays_where_it_was_when_the_trainer_steps(llama, quantization):
    policy = tiny.policy_of(llama, quantization=quantization)
    twin = policy.reference()
    before = policy.logprobs(FOREST, reference=twin)
    step(policy)
    assert torch.equal(policy.logprobs(FOREST, reference=twin), before)
    assert not torch.equal(policy.logprobs(FOREST), before)
    assert bool((kl_estimate(policy.logprobs(FOREST), before, Kl.K3) > 0).any())


def test_a_twin_costs_only_its_adapter(policy):
    twin = policy.reference()
    mine = {p.data_ptr() for n, p in policy.model.named_parameters() if "lora_" not in n}
    theirs = {p.data_ptr() for n, p in twin.named_parameters() if "lora_" not in n}
    assert mine == theirs
    lora = {p.data_ptr() for n, p in policy.model.named_parameters() if "lora_" in n}
    assert lora.isdisjoint({p.data_ptr() for n, p in twin.named_parameters() if "lora_" in n})


def test_the_trainer_keeps_its_gradients_switched_on_beside_its_shells(policy):
    before = {n: p.requires_grad for n, p in policy.peft.named_parameters()}
    policy.reference()
    sampler_shell(policy.model, policy.dtype)
    assert {n: p.requires_grad for n, p in policy.peft.named_parameters()} == before
    assert any(before.values())


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_training_never_touches_the_base(llama, quantization):
    policy = tiny.policy_of(llama, quantization=quantization)
    before = base_tensors(policy)
    adapter = policy.adapter_state()
    for _ in range(3):
        step(policy)
    after = base_tensors(policy)
    assert all(torch.equal(before[n], after[n]) for n in before)
    moved = [n for n, t in policy.adapter_state().items() if not torch.equal(t, adapter[n])]
    assert len(moved) == len(adapter)


def test_an_adapter_state_is_a_copy(policy):
    state = policy.adapter_state()
    kept = {n: t.clone() for n, t in state.items()}
    step(policy)
    assert all(torch.equal(state[n], kept[n]) for n in state)


def test_a_sampler_shell_shares_the_storage_of_a_plain_base(policy):
    shell = sampler_shell(policy.model, policy.dtype)
    layers = lora_layers(policy.model)
    assert len(layers) == 14
    for name, layer in layers.items():
        assert shell.get_submodule(name).weight.data_ptr() == layer.get_base_layer().weight.data_ptr()
    assert shell.get_input_embeddings().weight.data_ptr() == policy.model.get_input_embeddings().weight.data_ptr()
    assert not any(p.requires_grad for p in shell.parameters())


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_a_sampler_shell_of_a_four_bit_base_holds_the_dequantized_numbers(llama, targets):
    policy = tiny.policy_of(llama, quantization="nf4", lora=LoraConfig(r=4, alpha=8, targets=targets))
    shell = sampler_shell(policy.model, policy.dtype)
    assert four_bit_layers(shell) == {}
    for name, layer in four_bit_layers(policy.model).items():
        assert torch.equal(shell.get_submodule(name.replace(".base_layer", "")).weight, dequantized(layer))
    ids = [5, 6, 7, 8]
    torch.testing.assert_close(run(shell, ids), run(tiny.plain(policy), ids), rtol=1e-4, atol=1e-4)


def test_publish_carries_the_trainers_step_to_the_sampler(policy):
    shell = sampler_shell(policy.model, policy.dtype)
    ids = [5, 6, 7, 8]
    stale = run(shell, ids).clone()
    step(policy)
    trainer = run(tiny.plain(policy), ids)
    assert torch.equal(run(shell, ids), stale), "the sampler moved before it was published to"
    assert not torch.allclose(stale, trainer)
    publish(policy.model, shell)
    torch.testing.assert_close(run(shell, ids), trainer, rtol=1e-5, atol=1e-5)


def test_a_biased_layer_keeps_its_bias_once(tmp_path):
    config = tiny.llama_config(attention_bias=True, mlp_bias=True)
    policy = tiny.policy_of(tiny.build(tmp_path / "model", config))
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    shell = sampler_shell(policy.model, policy.dtype)
    ids = [5, 6, 7]
    torch.testing.assert_close(run(shell, ids), run(tiny.plain(policy), ids), rtol=1e-5, atol=1e-5)


def test_the_sampler_s_product_is_base_plus_scaled_low_rank(policy):
    layer = next(iter(lora_layers(policy.model).values()))
    linear = SamplerLinear(layer, torch.float32)
    x = torch.randn(3, linear.weight.shape[1], generator=torch.Generator().manual_seed(0))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = x @ layer.get_base_layer().weight.T + 8 / 4 * (x @ a.T @ b.T)
    torch.testing.assert_close(linear(x), expected.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (2, 5), (1, FEW_ROWS), (1, FEW_ROWS + 1)])
def test_few_rows_are_multiplied_the_other_way_round_to_the_same_result(tmp_path, bias, shape):
    policy = tiny.policy_of(tiny.build(tmp_path / "model", tiny.llama_config(attention_bias=bias)))
    layer = next(iter(lora_layers(policy.model).values()))
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(*shape, layer.in_features, generator=torch.Generator().manual_seed(1))
    out = SamplerLinear(layer, torch.float32)(x)
    assert out.shape == (*shape, layer.out_features)
    torch.testing.assert_close(out, layer(x).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_two_adapters_are_refused(policy, dora):
    policy.peft.add_adapter("other", PeftLora(r=2, target_modules="all-linear", use_dora=dora))
    with pytest.raises(NotImplementedError, match="exactly one plain LoRA adapter"):
        sampler_shell(policy.model, policy.dtype)


def test_layers_that_read_the_same_tensor_share_a_product_and_stay_what_they_were(policy):
    shell = sampler_shell(policy.model, policy.dtype)
    apart = run(shell, [1, 2, 3])
    share_inputs(shell, lambda: run(shell, [4]))
    groups = {}
    for name, module in shell.named_modules():
        if isinstance(module, SamplerLinear) and module.share:
            groups.setdefault(id(module.share[0]), []).append(name.rsplit(".", 1)[-1])
    assert sorted(groups.values()) == 2 * [["gate_proj", "up_proj"]] + 2 * [["q_proj", "k_proj", "v_proj"]]
    torch.testing.assert_close(run(shell, [1, 2, 3]), apart, atol=1e-5, rtol=1e-5)
    step(policy)
    publish(policy.model, shell)
    fresh = sampler_shell(policy.model, policy.dtype)
    torch.testing.assert_close(run(shell, [1, 2, 3]), run(fresh, [1, 2, 3]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(run(shell, [1, 2, 3]), apart)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_sharing_inputs_leaves_the_trainer_its_bits_and_the_base_in_one_place(llama, quantization):
    policy = tiny.policy_of(llama, quantization=quantization)
    twin = policy.reference()
    before, values = policy.logprobs(FOREST), base_tensors(policy)
    shells = []
    for _ in range(2):
        shells.append(sampler_shell(policy.model, policy.dtype))
        share_inputs(shells[-1], lambda: run(shells[-1], [4]))
    assert all(torch.equal(values[n], t) for n, t in base_tensors(policy).items())
    assert torch.equal(policy.logprobs(FOREST), before)
    assert torch.equal(policy.logprobs(FOREST, reference=twin), before)
    if quantization == "none":
        layers = {n: m for n, m in shells[1].named_modules() if isinstance(m, SamplerLinear)}
        for name, layer in lora_layers(policy.model).items():
            assert layer.get_base_layer().weight.data_ptr() == layers[name].weight.data_ptr()
            assert layers[name].weight.data_ptr() == shells[0].get_submodule(name).weight.data_ptr()


def test_a_shell_may_share_the_four_bit_weights_themselves(llama):
    policy = tiny.policy_of(llama, quantization="nf4")
    dense = sampler_shell(policy.model, policy.dtype)
    packed = sampler_shell(policy.model, policy.dtype, packed=True)
    share_inputs(packed, lambda: run(packed, [4]))
    mine = {layer.weight.data_ptr() for layer in four_bit_layers(policy.model).values()}
    assert {layer.weight.data_ptr() for layer in four_bit_layers(packed).values()} == mine
    assert len(mine) == 14
    torch.testing.assert_close(run(packed, [1, 2, 3]), run(dense, [1, 2, 3]), atol=1e-4, rtol=1e-4)
    step(policy)
    for shell in (dense, packed):
        publish(policy.model, shell)
    torch.testing.assert_close(run(packed, [1, 2, 3]), run(dense, [1, 2, 3]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_head_that_is_trained_whole_is_published_too(tmp_path, dtype):
    policy = tiny.policy_of(tiny.build(tmp_path / "model", tiny.llama_config(tie_word_embeddings=False)), dtype=dtype)
    wrapped = PeftLora(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"])
    policy.peft = get_peft_model(policy.peft.unload(), wrapped).eval()
    for parameter in policy.trainable().values():
        parameter.data = parameter.data.float()
    shell = sampler_shell(policy.model, policy.dtype)
    with policy.autocast():
        apart = run(shell, [1, 2, 3])
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter += 0.1
    with policy.autocast():
        assert torch.equal(run(shell, [1, 2, 3]), apart), "weights must not move before they are published"
        publish(policy.model, shell)
        moved = run(shell, [1, 2, 3])
        assert not torch.allclose(moved, apart, atol=1e-2)
        expected = tiny.plain(policy)(torch.tensor([[1, 2, 3]])).logits[0]
    tolerance = 1e-5 if dtype is torch.float32 else 0.1
    torch.testing.assert_close(moved.float(), expected.float(), atol=tolerance, rtol=tolerance)


def test_biases_are_shared_too(tmp_path):
    config = tiny.llama_config(attention_bias=True)
    policy = tiny.policy_of(tiny.build(tmp_path / "model", config))
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if name.endswith("bias") and "k_proj" not in name:
                parameter.normal_()
    shell = sampler_shell(policy.model, policy.dtype)
    apart = run(shell, [1, 2, 3])
    share_inputs(shell, lambda: run(shell, [4]))
    torch.testing.assert_close(run(shell, [1, 2, 3]), apart, atol=1e-5, rtol=1e-5)


def test_a_shared_product_is_made_anew_for_another_tensor(policy):
    shell = sampler_shell(policy.model, policy.dtype)
    share_inputs(shell, lambda: run(shell, [4]))
    attention = shell.model.layers[0].self_attn
    x, y = torch.randn(2, 3, 64)
    expected = attention.k_proj(y.clone())
    attention.q_proj(x)
    torch.testing.assert_close(attention.k_proj(y), expected)
