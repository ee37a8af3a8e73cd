import pytest
import torch

from homeground.base.errors import HomegroundError
from homeground.policy import LoraConfig
from homeground.policy.shared_base import SharedBase
from homeground.rollouts import Sampler, SamplingParams

from . import tiny

GREEDY = SamplingParams(temperature=0)
PROMPT = [70, 71, 72, 73]


def shared(folder, quantization="none", dtype=torch.float32):
    return SharedBase(tiny.settings_of(folder, quantization=quantization, dtype=dtype))


def said(policy):
    with Sampler(policy, rows=2, cache_mb=1) as sampler:
        done = sampler.submit(PROMPT, 12, GREEDY).result(timeout=60)
    return done.ids, done.logprobs


@pytest.fixture
def adapters(llama, tmp_path):
    """Two trained adapters of one base, and what each says alone."""
    found = {}
    for seed in (1, 2):
        policy = tiny.policy_of(llama, seed=seed)
        with torch.no_grad():
            for parameter in policy.trainable().values():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        policy.save_adapter(tmp_path / str(seed))
        found[tmp_path / str(seed)] = said(policy)
    return found


def test_adapters_on_one_base_say_what_each_says_alone(llama, adapters):
    base = shared(llama)
    policies = {folder: base.policy(folder) for folder in adapters}
    alone = base.policy()
    for folder, policy in policies.items():
        assert said(policy) == adapters[folder]
    assert said(alone) == said(tiny.policy_of(llama, shaken=False))
    assert len({tuple(ids) for ids, _ in [*adapters.values(), said(alone)]}) == 3


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_bases_tensors_are_held_once(llama, tmp_path, quantization):
    tiny.policy_of(llama, seed=1).save_adapter(tmp_path / "one")
    base = shared(llama, quantization, torch.bfloat16)
    policies = [base.policy(), base.policy(tmp_path / "one")]
    with Sampler(policies[0], rows=2, cache_mb=1) as first, Sampler(policies[1], rows=2, cache_mb=1) as second:
        held = [
            {name: t for name, t in sampler._shell.state_dict(keep_vars=True).items() if "lora" not in name}
            for sampler in (first, second)
        ]
        weights = [
            {name: m.weight for name, m in sampler._shell.named_modules() if name.endswith("_proj")}
            for sampler in (first, second)
        ]
    assert len(weights[0]) == 14
    for group in (held, weights):
        mine, theirs = group
        assert mine.keys() == theirs.keys()
        assert all(mine[name].data_ptr() == theirs[name].data_ptr() for name in mine)


def test_an_adapter_that_moved_its_base_gets_a_base_of_its_own(llama, tmp_path):
    trained = tiny.policy_of(llama, lora=LoraConfig(r=4, alpha=8, init="pissa"))
    trained.save_adapter(tmp_path / "pissa")
    base = shared(llama)
    before = said(base.policy())
    assert said(base.policy(tmp_path / "pissa"))[0] == said(trained)[0]
    assert said(base.policy()) == before


def test_what_is_no_adapter_is_refused(llama, tmp_path):
    with pytest.raises(HomegroundError, match=r"adapter_config\.json is missing"):
        shared(llama).policy(tmp_path)
