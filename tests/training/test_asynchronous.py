"""The logic of sampling ahead, on tiny models: a CPU refuses it, so the module is run without the check at the door."""

import threading

import pytest
import torch

from homeground.base.errors import HomegroundError
from homeground.rollouts import DirectSource, Sampler
from homeground.training.checkpoints import newest_checkpoint
from homeground.training.grpo import GrpoModule
from homeground.training.loop import fit
from homeground.training.losses import policy_loss
from homeground.training.task_stream import TaskStream

from ..policy import tiny
from .test_grpo import TASKS, Replay, settings, train

pytestmark = pytest.mark.filterwarnings("ignore:the sampler's log-probabilities")


def varied(prompt, text):
    return float(sum(map(ord, text)) % 7)


def train_ahead(policy, sampler, source, folder, *, log=None, module=GrpoModule, **changes):
    """`train_grpo` without its refusal."""
    steps = []

    def keep(step):
        steps.append(step)
        if log is not None:
            log(step)

    rl = settings(**({"asynchronous": True, "importance_cap": 2.0} | changes))
    if isinstance(source, Replay):
        source.sampler = sampler
    trained = module(policy, TaskStream(TASKS, seed=1), source, rl, keep)
    fit(trained, steps=rl.steps, checkpoints=folder, every=rl.checkpoint_every)
    return steps


def test_a_cpu_that_sampler_and_trainer_would_share_is_refused(policy, sampler, tmp_path):
    with pytest.raises(HomegroundError, match="sampler and trainer would share the CPU") as caught:
        train(policy, sampler, Replay(), tmp_path, asynchronous=True, importance_cap=2.0)
    assert (caught.value.where, caught.value.hint) == ("rl.asynchronous", "set it to false, or train on a GPU")


def test_it_wants_the_correction():
    with pytest.raises(ValueError, match="set importance_cap"):
        settings(asynchronous=True)


def test_the_next_step_is_sampled_while_this_one_updates(policy, sampler, tmp_path):
    updating = threading.Event()
    began = []

    class Slow(GrpoModule):
        def optimizer_step_now(self):
            updating.set()
            # It ends only when the sampling of the next step has begun: without an overlap, never.
            assert self.global_step + 1 == 4 or wait_for(lambda: len(began) > self.global_step + 1)
            return super().optimizer_step_now()

    class Source(Replay):
        def collect(self, tasks, group_size, step):
            began.append(threading.current_thread().name)
            return super().collect(tasks, group_size, step)

    source = Source()
    steps = train_ahead(policy, sampler, source, tmp_path, module=Slow, steps=4)
    assert [s["step"] for s in steps] == [1, 2, 3, 4]
    assert len(source.asked) == 4, "nothing is sampled for a step that will not come"
    assert began[0] == "MainThread"
    assert all(name.startswith("homeground-ahead") for name in began[1:])
    # What is asked with n publications is trained after n: the first step on policy, the others one step off it.
    assert [published for _, _, published in source.asked] == [1, 1, 2, 3]


def wait_for(condition):
    for _ in range(500):
        if condition():
            return True
        threading.Event().wait(0.01)
    return False


def test_weights_are_published_only_when_no_rollout_is_in_flight(policy, sampler, tmp_path):
    in_flight = []

    class Source(Replay):
        def collect(self, tasks, group_size, step):
            in_flight.append(step)
            threading.Event().wait(0.05)
            found = super().collect(tasks, group_size, step)
            in_flight.remove(step)
            return found

        def publish(self):
            assert not in_flight
            return super().publish()

    train_ahead(policy, sampler, Source(), tmp_path, steps=3)


def test_every_rollout_keeps_one_version_and_is_one_step_stale_at_most(policy, sampler, tmp_path):
    versions = []

    class Source(DirectSource):
        def collect(self, tasks, group_size, step):
            found = super().collect(tasks, group_size, step)
            versions.append({turn.weights_version for t in found for turn in t.turns})
            return found

    source = Source(policy, sampler, varied, max_tokens=6)
    steps = train_ahead(policy, sampler, source, tmp_path, steps=4)
    assert versions == [{1}, {1}, {2}, {3}]
    assert [s["staleness"] for s in steps] == [0, 1, 1, 1]
    # The distance to the sampler is what one update moved, and no alarm.
    assert steps[0]["logprob_gap"] < 1e-4 < steps[1]["logprob_gap"]
    assert not any(s["gap_alarm"] for s in steps)


def test_stale_tokens_are_weighed_by_truncated_importance_sampling(policy, sampler, tmp_path, monkeypatch):
    seen = []

    def spy(logprobs, terms, objective):
        value = policy_loss(logprobs, terms, objective)
        rho = torch.exp(terms.old - terms.sampled)
        by_hand = -(terms.weight * rho.clamp(max=1.02) * terms.advantage).sum()
        seen.append((float(rho.max()), float(value.loss.detach() - by_hand)))
        return value

    monkeypatch.setattr("homeground.training.grpo.policy_loss", spy)
    source = DirectSource(policy, sampler, varied, max_tokens=6)
    train_ahead(policy, sampler, source, tmp_path, steps=3, kl_coef=0.0, importance_cap=1.02, forest_tokens=10_000)
    assert seen[0][0] == pytest.approx(1, abs=1e-3)
    assert max(largest for largest, _ in seen) > 1.02, "nothing was truncated"
    assert all(abs(error) < 1e-6 for _, error in seen)


def test_a_resumed_run_trains_on_every_task_that_the_straight_one_did(llama, tmp_path):
    def run(folder, interrupted_at=None):
        policy = tiny.policy_of(llama)
        source = Replay()

        def interrupt(step):
            if step["step"] == interrupted_at:
                raise KeyboardInterrupt

        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            try:
                train_ahead(policy, sampler, source, folder, log=interrupt)
            except KeyboardInterrupt:
                assert interrupted_at
        return policy.adapter_state(), [(step, tasks) for step, tasks, _ in source.asked]

    whole, straight = run(tmp_path / "whole")
    _, begun = run(tmp_path / "broken", interrupted_at=5)
    assert newest_checkpoint(tmp_path / "broken").stem == "step-000004"
    assert len(begun) == 6, "step 6 was sampled ahead, and is lost"
    resumed, rest = run(tmp_path / "broken")
    assert rest == straight[4:]
    # These rollouts are played back, so that the weights that sampled them make no difference.
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)


def test_what_fails_ahead_is_raised_in_its_own_step(policy, sampler, tmp_path):
    class Source(Replay):
        def collect(self, tasks, group_size, step):
            if step == 2:
                raise HomegroundError("the gateway is gone")
            return super().collect(tasks, group_size, step)

    steps = []
    with pytest.raises(HomegroundError, match="the gateway is gone"):
        train_ahead(policy, sampler, Source(), tmp_path, log=steps.append)
    assert [s["step"] for s in steps] == [1, 2]
