"""Operations are those of the products that a step really makes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from homeground.policy import TokenForest, TokenPath
from homeground.training.efficiency import machine_flops, memory_mb, model_cost

from ..policy import tiny


def test_operations_are_those_that_torch_counts_in_plain_rows(llama):
    """Transformers' own code on one row, through torch's counter; the head on every position."""
    policy = tiny.policy_of(llama)
    model, _ = tiny.trainable_plain(policy, attention="eager")
    ids = list(range(40))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.tensor([ids])).logits.sum().backward()
    cost = model_cost(policy)
    forest = TokenForest.build([TokenPath([*ids, 1], range(1, 41))])
    # Eager attention multiplies the masked half too, and the first layer's input wants no gradient.
    masked = 12 * cost.attention_width * (40 * 40 - 40 * 41 / 2)
    # The 41st token is computed by the forest alone.
    last = (4 * cost.frozen + 6 * cost.adapter) + 12 * cost.attention_width * 41
    assert cost.step_flops(forest) - last + masked == pytest.approx(counter.get_total_flops(), rel=0.06)


def test_a_shared_prefix_counts_once(policy):
    cost = model_cost(policy)
    alone = TokenForest.build([TokenPath([*range(30), 40], [30])])
    twice = TokenForest.build([TokenPath([*range(30), 40], [30]), TokenPath([*range(30), 50], [30])])
    fork = (4 * cost.frozen + 6 * cost.adapter) + 12 * cost.attention_width * 31
    assert cost.step_flops(twice) - cost.step_flops(alone) == pytest.approx(fork)


def test_packed_layers_count_as_the_weights_they_stand_for(llama):
    assert model_cost(tiny.policy_of(llama, quantization="nf4")) == model_cost(tiny.policy_of(llama))


def test_rates_are_per_second_and_memory_is_in_mb(policy):
    assert machine_flops(policy) > 1e8
    held = torch.ones(50_000_000)
    assert memory_mb(torch.device("cpu")) > held.numel() * 4 / 1e6
