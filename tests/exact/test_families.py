"""Every family: log-probabilities and gradients of any tree are those of the model's own forward on plain rows."""

import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from transformers import AutoModelForCausalLM

from homeground.policy import Strategy, StrategyWarning, TokenForest, TokenPath, row_logprobs

from ..policy import tiny
from .families import FAMILIES
from .rows import assert_equal_rows, gradient, one_rounding, relative, trees, weighted

QUIET = pytest.mark.filterwarnings("ignore::homeground.policy.strategy.StrategyWarning")
DEEP = tiny.random_paths(7, depth=2, longest=8)[:8]
SHAPES = ["Llama", "Gemma 2 with soft caps and a window", "StableLM, which drops keywords", "Qwen 3 Next",
          "Falcon H1 with a logit scale", "Jamba, whose scan takes no state"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return lambda name: tiny.build(tmp_path_factory.getbasetemp() / name.replace(" ", "-"), FAMILIES[name].config)


@pytest.fixture(scope="module")
def policy_of(folder):
    """Loads a family once."""
    loaded = {}

    def load(name):
        if name not in loaded:
            loaded[name] = tiny.policy_of(folder(name), lora=FAMILIES[name].lora)
        return loaded[name]

    return load


@pytest.mark.parametrize("name", FAMILIES)
def test_it_gets_its_strategy_and_one_warning_if_that_costs(name, folder):
    family = FAMILIES[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        policy = tiny.policy_of(folder(name), lora=family.lora)
    assert policy.strategy is family.strategy
    said = [str(w.message) for w in caught if issubclass(w.category, StrategyWarning)]
    assert len(said) == (family.strategy is not Strategy.FOREST)
    assert all(text.startswith(f"{policy.name}: ") and "docs/models.md" in text for text in said)


@QUIET
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(paths=trees())
def test_any_tree_equals_its_own_forward_on_plain_rows(name, policy_of, paths):
    assert_equal_rows(policy_of(name), paths, temperature=0.8)


BADLY_CONDITIONED = [
    [TokenPath([128, 204, 232, 153, 13], range(2, 5))],
    [
        TokenPath([101, 254, 191], range(1, 3)),
        TokenPath([101, 254, 47, 137, 63], range(3, 5)),
        TokenPath([34, 195, 192, 1, 11, 167, 207], range(1, 7)),
        TokenPath([101, 254, 47, 245, 127, 39, 45, 171, 91, 86], range(9, 10)),
        TokenPath([101, 166, 115], range(1, 3)),
    ],
]


@QUIET
@pytest.mark.parametrize("paths", BADLY_CONDITIONED)
def test_a_tree_whose_own_rows_are_badly_conditioned(paths, policy_of):
    """Here plain rows move by 3e-5 to 1e-4 with the last bits of the weights; the forest is as near to them."""
    assert_equal_rows(policy_of("Qwen 3 Next"), paths, 0.8)


@pytest.mark.parametrize("paths", BADLY_CONDITIONED)
def test_one_rounding_hides_no_wrong_gradient(paths, policy_of):
    """A relative error of 1e-3, as of one token at the wrong position, is outside what rounding explains."""
    policy = policy_of("Qwen 3 Next")
    rounding = one_rounding(policy, paths, 0.8)
    assert 5 * rounding < 1e-3
    assert rounding == one_rounding(policy, paths, 0.8), "the weights were not put back"


@QUIET
@pytest.mark.parametrize("name", FAMILIES)
def test_a_tree_longer_than_windows_and_chunks_equals_plain_rows(name, policy_of):
    assert_equal_rows(policy_of(name), DEEP)


@QUIET
@pytest.mark.parametrize("name", SHAPES)
def test_gradient_checkpointing_changes_nothing(name, folder):
    policy = tiny.policy_of(folder(name), lora=FAMILIES[name].lora)
    forest = TokenForest.build(DEEP)
    policy.peft.train()
    plain = policy.logprobs(forest)
    weighted(plain).backward()
    expected = gradient(policy)
    calls = []
    layers = [m for m in policy.model.modules() if hasattr(m, "_can_checkpoint_with_cache")]
    handle = (
        layers[-1].mlp.register_forward_pre_hook(lambda *_: calls.append(1)) if hasattr(layers[-1], "mlp") else None
    )
    policy.model.activation_checkpointing_enable()
    mine = policy.logprobs(forest)
    forwards = len(calls)
    weighted(mine).backward()
    if handle is not None:
        assert len(calls) == 2 * forwards > 0, "nothing was recomputed: checkpointing was off"
        handle.remove()
    assert torch.equal(mine, plain)
    assert relative(gradient(policy), expected) < 1e-6


@QUIET
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_bf16_is_as_close_to_fp32_as_plain_bf16_rows_are(name, quantization, folder):
    load = {"quantization": quantization, "lora": FAMILIES[name].lora}
    exact = tiny.policy_of(folder(name), **load)
    policy = tiny.policy_of(folder(name), dtype=torch.bfloat16, **load)
    assert policy.strategy is exact.strategy is FAMILIES[name].strategy
    truth = row_logprobs(tiny.plain(exact), DEEP)
    twin = tiny.plain(policy)
    with policy.autocast():
        rows = row_logprobs(twin, DEEP)
    mine = policy.logprobs(TokenForest.build(DEEP))
    assert (mine - truth).abs().mean() <= 1.5 * (rows - truth).abs().mean()
    assert (mine - truth).abs().max() <= 2.0 * (rows - truth).abs().max()
    assert (mine - truth).abs().mean() > 0, "this ran in float32"


@QUIET
@pytest.mark.parametrize("name", SHAPES)
def test_four_bit_layers_equal_plain_rows(name, folder):
    policy = tiny.policy_of(folder(name), quantization="nf4", lora=FAMILIES[name].lora)
    assert_equal_rows(policy, DEEP)


@pytest.mark.parametrize("name", ["Mistral with a window", "Gemma 2 with soft caps and a window"])
def test_the_window_and_the_caps_matter_in_these_tests(name, policy_of):
    """Without this, the families' tests could pass while nothing of the kind was applied."""
    bare = AutoModelForCausalLM.from_pretrained(
        policy_of(name).folder, attn_implementation="eager", dtype=torch.float32
    )
    full = row_logprobs(bare, DEEP)
    for switch in ("sliding_window", "attn_logit_softcapping", "final_logit_softcapping"):
        kept = getattr(bare.config, switch, None)
        if kept is None:
            continue
        setattr(bare.config, switch, type(kept)(1_000_000))
        for layer in bare.model.layers:
            setattr(layer.self_attn, switch, type(kept)(1_000_000))
        assert (row_logprobs(bare, DEEP) - full).abs().max() > 1e-3, switch
        setattr(bare.config, switch, kept)
        for layer in bare.model.layers:
            setattr(layer.self_attn, switch, kept)
