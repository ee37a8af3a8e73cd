"""Two processes with a half of a step each take the step that one process with all of it takes."""

import functools

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError, UsageError
from homeground.training import Loss, SftConfig, TaskStream, train_sft
from homeground.training.processes import processes
from homeground.training.ranks import rank, share_of_rank

from ..policy import tiny
from .test_grpo import TASKS, Gradients, Replay, groups_of, settings, step_of

EXAMPLES = tiny.random_paths(0, roots=7, depth=1)
HELDOUT = EXAMPLES[:3]  # so that the last step is the best


class Stepping(Gradients):
    def optimizer_step_now(self):
        from homeground.training.ranks import add_up_gradients

        add_up_gradients(list(self.policy.trainable().values()))
        return super().optimizer_step_now()


def gradient(llama, trajectories, loss):
    policy = tiny.policy_of(llama)
    module = Stepping(policy, TaskStream(TASKS), Replay(), settings(loss=loss), lambda step: None)
    tiny.shake(policy, seed=77)
    module.train_on(groups_of(trajectories))
    return module.gradient


def one_rank(llama, folder, losses):
    # The second task lost a rollout, so the halves differ in size.
    mine = [t for t in step_of(b2="x") if t.task == rank()]
    for loss in losses:
        torch.save(gradient(llama, mine, loss), folder / f"{loss}-{rank()}")


def test_the_normaliser_is_the_whole_step_s_over_all_ranks(llama, tmp_path):
    losses = (Loss.GRPO, Loss.DAPO)
    with processes(2, one_rank, (llama, tmp_path, losses)):
        one_rank(llama, tmp_path, losses)
    assert not dist.is_initialized()
    for loss in losses:
        whole = gradient(llama, step_of(b2="x"), loss)
        for number in (0, 1):
            found = torch.load(tmp_path / f"{loss}-{number}")
            assert (found - whole).norm() / whole.norm() < 1e-5


@given(st.lists(st.integers(1, 99), max_size=12), st.integers(1, 4))
def test_shares_hold_every_piece_once_and_weigh_about_the_same(sizes, among):
    shares = [share_of_rank(sizes, number, among) for number in range(among)]
    assert sorted(index for share in shares for index in share) == list(range(len(sizes)))
    loads = [sum(sizes[index] for index in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


def train(llama, folder, epochs, devices=1, load=None):
    policy = tiny.policy_of(llama)
    config = SftConfig(
        epochs=epochs, batch_size=4, learning_rate=5e-3, checkpoint_every=2, eval_every=4, samples=0, devices=devices
    )
    load = load or functools.partial(tiny.policy_of, llama)
    run = train_sft(policy, EXAMPLES, config, folder, heldout=HELDOUT, resume=True, quiet=True, load=load)
    return run.history, policy


def fails():
    raise HomegroundError("no more", hint="mend it")


def test_two_processes_have_the_loss_curve_of_one_and_resume_its_checkpoints(llama, tmp_path):
    """Steps 1 and 2 alone, 3 and 4 in two processes, the rest alone again, against one process with all examples."""
    straight, whole = train(llama, tmp_path / "whole", epochs=3)
    first, _ = train(llama, tmp_path / "shared", epochs=1)
    shared, _ = train(llama, tmp_path / "shared", epochs=2, devices=2)
    assert not dist.is_initialized()
    rest, policy = train(llama, tmp_path / "shared", epochs=3)
    found = [*first, *shared, *rest]
    assert [s["step"] for s in shared] == [3, 4]
    for name in ("loss", "grad_norm", "heldout_loss", "tokens", "trained_tokens"):
        expected = {s["step"]: s[name] for s in straight if name in s}
        assert {s["step"]: s[name] for s in found if s["step"] in expected} == pytest.approx(expected, rel=1e-4), name
    for name, tensor in policy.adapter_state().items():
        assert torch.allclose(tensor, whole.adapter_state()[name], rtol=1e-3, atol=1e-5)


def test_what_another_process_says_when_it_fails_is_heard(llama, tmp_path):
    with pytest.raises(HomegroundError, match="no more") as caught:
        train(llama, tmp_path, epochs=1, devices=2, load=fails)
    assert caught.value.hint == "mend it"
    assert not dist.is_initialized()


def test_several_processes_need_a_way_to_load_the_policy(policy, tmp_path):
    with pytest.raises(UsageError, match="need a way to load the policy") as caught:
        train_sft(policy, EXAMPLES, SftConfig(devices=2), tmp_path, quiet=True)
    assert "load=" in caught.value.hint
