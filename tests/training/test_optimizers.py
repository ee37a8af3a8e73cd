"""Optimizers, schedules and noise: what each does, and that a resumed run cannot tell."""

import dataclasses
import math
import warnings

import pytest
import torch

from homeground.policy import TokenForest
from homeground.policy.noise import longest_paths
from homeground.training import SftConfig
from homeground.training.config import OptimizerConfig
from homeground.training.optimizers import (
    Optimizer,
    OptimizerWarning,
    Schedule,
    build_optimizer,
    chosen,
    learning_rate,
)

from ..policy import tiny
from .fitting import fit_sft

EXAMPLES = tiny.random_paths(0, roots=4, depth=1)
CPU = torch.device("cpu")


def train(policy, folder, *, epochs, steps=None, **settings):
    """Steps of two examples: two an epoch."""
    found = []
    sft = SftConfig(epochs=epochs, batch_size=2, learning_rate=1e-3, checkpoint_every=2, **settings)
    fit_sft(policy, EXAMPLES, sft, folder, found.append)
    return found


@pytest.mark.filterwarnings("ignore::homeground.training.optimizers.OptimizerWarning")
@pytest.mark.parametrize("kind", [kind for kind in Optimizer if kind is not Optimizer.AUTO])
def test_every_optimizer_learns_and_goes_on_after_a_resume_to_the_last_bit(llama, tmp_path, kind):
    straight, halved = tiny.policy_of(llama), tiny.policy_of(llama)
    losses = [step["loss"] for step in train(straight, tmp_path / "one", epochs=4, optimizer=kind)]
    assert losses[-1] < losses[0]
    train(halved, tmp_path / "two", epochs=2, optimizer=kind)
    resumed = tiny.policy_of(llama)
    train(resumed, tmp_path / "two", epochs=4, optimizer=kind)
    assert all(torch.equal(t, straight.adapter_state()[n]) for n, t in resumed.adapter_state().items())


@pytest.mark.parametrize("kind", ["adamw-8bit", "lion-8bit"])
def test_eight_bit_states_have_eight_bits(kind):
    weight = torch.nn.Parameter(torch.randn(128, 64))
    optimizer = build_optimizer([weight], OptimizerConfig(optimizer=kind), CPU)
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    assert optimizer.state[weight]["state1"].dtype is torch.uint8


@pytest.mark.parametrize("kind", ["paged-adamw-8bit", "paged-adamw-32bit"])
def test_a_paged_optimizer_says_that_a_cpu_pages_nothing(kind):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        build_optimizer([torch.nn.Parameter(torch.ones(2))], OptimizerConfig(optimizer=kind), CPU)
    assert [w.category for w in seen] == [OptimizerWarning]
    assert kind.removeprefix("paged-") in str(seen[0].message)


def test_auto_pages_on_cuda_alone():
    assert chosen(Optimizer.AUTO, torch.device("cuda")) is Optimizer.PAGED_ADAMW_8BIT
    assert chosen(Optimizer.AUTO, CPU) is Optimizer.ADAMW
    assert chosen(Optimizer.LION, torch.device("cuda")) is Optimizer.LION


def test_weight_decay_reaches_every_optimizer():
    for kind in ("adamw", "adamw-8bit", "lion"):
        weight = torch.nn.Parameter(torch.ones(8))
        optimizer = build_optimizer([weight], OptimizerConfig(learning_rate=0.1, weight_decay=0.5, optimizer=kind), CPU)
        weight.grad = torch.zeros(8)
        optimizer.step()
        torch.testing.assert_close(weight.detach(), torch.full((8,), 0.95), rtol=1e-5, atol=1e-5)


def test_the_rate_is_that_of_the_schedule():
    def rates(steps=8, **settings):
        config = OptimizerConfig(learning_rate=2.0, **settings)
        return [learning_rate(config, step, steps) for step in range(steps)]

    assert rates() == [2.0] * 8
    assert rates(warmup_steps=4) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert rates(warmup_share=0.25) == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert rates(schedule="linear") == [2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25]
    assert rates(schedule="linear", warmup_steps=4) == [0.5, 1.0, 1.5, 2.0, 2.0, 1.5, 1.0, 0.5]
    expected = [1 + math.cos(math.pi * step / 8) for step in range(8)]
    assert rates(schedule="cosine") == pytest.approx(expected)
    for schedule in (Schedule.LINEAR, Schedule.COSINE):
        assert all(rate > 0 for rate in rates(schedule=schedule, warmup_share=0.5))


def test_the_loop_tells_the_schedule_how_long_the_run_is(llama, tmp_path):
    found = train(tiny.policy_of(llama), tmp_path, epochs=2, schedule="linear", warmup_steps=1)
    assert [step["learning_rate"] for step in found] == pytest.approx([1e-3, 1e-3, 2e-3 / 3, 1e-3 / 3])


def test_noise_is_of_the_paper_s_size_and_in_training_alone(policy):
    forest = TokenForest.build(EXAMPLES)
    quiet = policy.logprobs(forest).detach()
    policy.add_noise(5.0)
    assert torch.equal(policy.logprobs(forest), quiet), "noise while nothing trains"
    twin = policy.reference()
    policy.drop_out(True)
    outputs = []
    table = policy.model.get_input_embeddings()
    hook = table.register_forward_hook(lambda _, __, out: outputs.append(out))
    noisy = [policy.logprobs(forest).detach() for _ in range(2)]
    hook.remove()
    assert not torch.equal(noisy[0], quiet)
    assert not torch.equal(noisy[0], noisy[1])
    assert torch.equal(policy.logprobs(forest, reference=twin), quiet)
    with torch.no_grad():
        assert torch.equal(policy.logprobs(forest), quiet), "noise in an evaluation"
    drawn = (outputs[0] - table.weight[forest.ids]).detach()[0]
    limits = 5.0 / (longest_paths(forest) * drawn.shape[1]).sqrt()
    share = drawn.abs() / limits[:, None]
    assert 0.95 < float(share.max()) <= 1 + 1e-4
    assert 0.45 < float(share.mean()) < 0.55
    policy.drop_out(False)
    assert torch.equal(policy.logprobs(forest), quiet)


def test_a_token_s_row_is_the_longest_path_through_it():
    rows = [[5, 6, 7], [5, 6, 8, 9], [4, 2]]
    forest = TokenForest.build([dataclasses.replace(EXAMPLES[0], ids=row, trained=[1]) for row in rows])
    assert longest_paths(forest).tolist() == [4, 4, 3, 4, 4, 2, 2]


def test_noise_goes_on_after_a_resume_to_the_last_bit(llama, tmp_path):
    straight, halved, resumed = (tiny.policy_of(llama) for _ in range(3))
    for policy, name, epochs in ((straight, "one", 4), (halved, "two", 2)):
        torch.manual_seed(0)
        train(policy, tmp_path / name, epochs=epochs, neftune_alpha=5.0)
    torch.manual_seed(1)
    train(resumed, tmp_path / "two", epochs=4, neftune_alpha=5.0)
    assert all(torch.equal(t, straight.adapter_state()[n]) for n, t in resumed.adapter_state().items())
    quiet = tiny.policy_of(llama)
    train(quiet, tmp_path / "three", epochs=4)
    assert not all(torch.equal(t, straight.adapter_state()[n]) for n, t in quiet.adapter_state().items())
