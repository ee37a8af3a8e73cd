"""``deterministic`` sampling: the same bits whatever the order, the delays and the company."""

import random
import time

import pytest
import torch

from homeground.rollouts import Sampler, SamplingParams
from homeground.rollouts.fixed import FixedDecoder

from ..policy import tiny
from .test_families import assert_drawn_from

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 40, 41], list(range(30, 63)), [9]]
REQUESTS = [(prompt, 5 + 3 * sibling, 10 * i + sibling) for i, prompt in enumerate(PROMPTS) for sibling in range(3)]


def run(policy, order, *, rows=5, delays=0.0, temperature=1.0, **options):
    """Sample all requests, submitted in some order with random pauses, and a second turn of each."""
    rng = random.Random(sum(order))
    with Sampler(policy, rows=rows, cache_mb=4, deterministic=True, **options) as sampler:
        first = {}
        for index in order:
            prompt, n, seed = REQUESTS[index]
            first[index] = sampler.submit(prompt, n, SamplingParams(temperature, seed=seed))
            time.sleep(rng.random() * delays)
        done = {index: future.result(timeout=60) for index, future in first.items()}
        again = {
            index: sampler.submit([*g.prompt_ids, *g.ids, 77], 4, SamplingParams(temperature, seed=index))
            for index, g in done.items()
        }
        later = {index: future.result(timeout=60) for index, future in again.items()}
    return [(done[i], later[i]) for i in range(len(REQUESTS))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_order_delays_and_company_change_no_bit(llama, dtype):
    policy = tiny.policy_of(llama, dtype=dtype)
    order = list(range(len(REQUESTS)))
    expected = run(policy, order)
    for seed in range(3):
        shuffled = random.Random(seed).sample(order, len(order))
        assert run(policy, shuffled, delays=0.01) == expected
    few = [3, 8]
    with Sampler(policy, rows=5, cache_mb=4, deterministic=True) as sampler:
        for index in few:
            prompt, n, seed = REQUESTS[index]
            alone = sampler.submit(prompt, n, SamplingParams(seed=seed)).result(timeout=60)
            assert alone == expected[index][0]


def test_without_it_company_does_change_bits(llama):
    """If it never did, the test above would prove nothing."""
    policy = tiny.policy_of(llama, dtype=torch.bfloat16)

    def alone_and_together(**options):
        with Sampler(policy, rows=12, cache_mb=4, **options) as sampler:
            alone = [sampler.submit(p, n, SamplingParams(seed=s)).result(timeout=60) for p, n, s in REQUESTS]
            together = [sampler.submit(p, n, SamplingParams(seed=s)) for p, n, s in REQUESTS]
            return alone, [f.result(timeout=60) for f in together]

    alone, together = alone_and_together()
    assert alone != together
    alone, together = alone_and_together(deterministic=True)
    assert alone == together


def test_it_samples_the_policy(llama):
    policy = tiny.policy_of(llama)
    for temperature in (0, 1.0):
        generations = [g for pair in run(policy, range(len(REQUESTS)), temperature=temperature) for g in pair]
        assert_drawn_from(policy, generations, temperature)


def test_where_products_round_by_place_rows_run_alone(llama, monkeypatch):
    monkeypatch.setattr(FixedDecoder, "_places_are_alike", lambda self, rows: False)
    policy = tiny.policy_of(llama)
    order = list(range(len(REQUESTS)))
    with Sampler(policy, rows=5, cache_mb=4, deterministic=True) as sampler:
        assert sampler._decoder.slots == 1
    expected = run(policy, order)
    assert run(policy, order[::-1]) == expected
    assert_drawn_from(policy, [g for pair in expected for g in pair])


def test_the_probe_of_places_notices_a_product_that_rounds_by_place(llama, monkeypatch):
    """The model is replaced by look-ups, since whether real products round by place is up to the machine."""
    from homeground.rollouts import fixed

    def looked_up(shell, ids, positions, layout):
        return shell.get_input_embeddings()(torch.tensor(ids))

    def uneven(shell, hidden):
        return torch.cat([hidden[:1] * (1 + 2**-20), hidden[1:]])

    policy = tiny.policy_of(llama)
    monkeypatch.setattr(fixed, "forward", looked_up)
    for head, slots in ((lambda shell, hidden: hidden, 5), (uneven, 1)):
        monkeypatch.setattr(fixed, "logits_of", head)
        with Sampler(policy, rows=5, cache_mb=4, deterministic=True) as sampler:
            assert sampler._decoder.slots == slots


def test_siblings_still_prefill_once_and_a_publish_forgets(llama):
    policy = tiny.policy_of(llama)
    with Sampler(policy, rows=8, cache_mb=4, deterministic=True) as sampler:
        for future in [sampler.submit(PROMPTS[0], 3, SamplingParams(seed=i)) for i in range(6)]:
            future.result(timeout=60)
        assert sampler.prefilled_tokens == len(PROMPTS[0]) - 1
        sampler.publish()
        sampler.submit(PROMPTS[0], 3).result(timeout=60)
        assert sampler.prefilled_tokens == 2 * (len(PROMPTS[0]) - 1)
