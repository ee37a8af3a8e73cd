"""The sampler on CUDA. What the CPU's tests say of values must hold there; nothing here needs a network."""

import random

import pytest
import torch

from homeground.rollouts import Sampler, SamplingParams

from ..policy import tiny
from ..rollouts.test_families import FAMILIES, fields, roll_out

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def policy_of(folder, config, dtype=torch.float32):
    targets = ["q_proj", "v_proj", "o_proj"] if "oss" in str(folder) else "all-linear"
    lora = tiny.LoraConfig(r=4, alpha=8, targets=targets)
    return tiny.policy_of(tiny.build(folder, config), dtype=dtype, lora=lora, device="cuda")


def gaps(policy, generations, temperature=1.0):
    """Absolute differences to the log-probabilities of the model's own forward."""
    twin = tiny.plain(policy)
    found = []
    for g in generations:
        ids = torch.tensor([[*g.prompt_ids, *g.ids]], device="cuda")
        with torch.no_grad():
            logits = twin(input_ids=ids, use_cache=False).logits[0, len(g.prompt_ids) - 1 : -1].float() / temperature
        expected = torch.log_softmax(logits, -1).gather(1, ids[0, len(g.prompt_ids) :, None])[:, 0]
        found.append((expected.cpu() - torch.tensor(g.logprobs)).abs())
    return torch.cat(found)


@pytest.mark.parametrize("name", ["llama", *FAMILIES])
def test_logprobs_are_those_of_the_model_s_own_forward(tmp_path, name):
    config = tiny.llama_config() if name == "llama" else FAMILIES[name]()
    policy = policy_of(tmp_path / name, config)
    with Sampler(policy, rows=16, cache_mb=4) as sampler:
        generations = roll_out(sampler, 1.0)
    found = gaps(policy, generations)
    assert found.mean() < 1e-4
    assert found.max() < 1e-3


def test_bf16_stays_near(tmp_path):
    policy = policy_of(tmp_path / "llama", tiny.llama_config(), torch.bfloat16)
    with Sampler(policy, rows=16, cache_mb=4) as sampler:
        assert gaps(policy, roll_out(sampler, 1.0)).mean() < 0.05


def test_a_publish_is_seen_and_the_cache_stays_under_its_budget(tmp_path):
    policy = policy_of(tmp_path / "llama", tiny.llama_config())
    rng = random.Random(0)
    with Sampler(policy, rows=8, cache_mb=1) as sampler:
        for _ in range(20):
            prompts = [[rng.randrange(250) for _ in range(100)] for _ in range(8)]
            for future in [sampler.submit(p, 20) for p in prompts]:
                future.result(timeout=60)
            assert sampler._decoder.cache.bytes <= 1 << 20
        with torch.no_grad():
            for parameter in policy.trainable().values():
                parameter += 0.05
        sampler.publish()
        assert gaps(policy, [sampler.submit([1, 2, 3], 20).result(timeout=60)]).max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_deterministic_sampling_repeats_its_bits(tmp_path, dtype):
    policy = policy_of(tmp_path / "llama", tiny.llama_config(**fields(num_hidden_layers=3)), dtype)
    requests = [([5, 6, 7, *range(i)], 12, SamplingParams(seed=i)) for i in range(12)]
    found = []
    for order in (range(12), reversed(range(12))):
        with Sampler(policy, rows=5, cache_mb=4, deterministic=True) as sampler:
            futures = {i: sampler.submit(*requests[i]) for i in order}
            found.append([futures[i].result(timeout=60) for i in range(12)])
    assert found[0] == found[1]
