import random

import pytest
import torch

from homeground.base.errors import HomegroundError
from homeground.policy import TokenPath, row_logprobs
from homeground.rollouts import DirectSource, Sampler, Trajectory, Turn, sampled_paths
from homeground.training import GrpoSettings, Scale, grpo_loss, train_grpo_steps
from homeground.training.grpo import GrpoModule
from homeground.training.module import OptimizerSettings, checkpoint_step, newest_checkpoint

from ..policy import tiny

TASKS = ["a", "b", "c", "d", "e"]


def settings(**changes):
    fields = {
        "steps": 6,
        "tasks_per_step": 2,
        "group_size": 3,
        "optimizer": OptimizerSettings(2e-3),
        "kl_coef": 0.1,
        "checkpoint_every": 2,
        "seed": 1,
    }
    return GrpoSettings(**(fields | changes))


def recorded(task, index, step, sibling, *, reward=None, error=None):
    """A rollout of two turns that is a function of its arguments; the siblings share their prompt."""
    prompt = random.Random(f"{task}-{step}").choices(range(250), k=6)
    rng = random.Random(f"{task}-{step}-{sibling}")
    first, between, second = (rng.choices(range(250), k=rng.randint(2, 5)) for _ in range(3))
    turns = [
        Turn(prompt, first, [-1.0] * len(first), "stop", 0),
        Turn([*prompt, *first, *between], second, [-1.0] * len(second), "length", 0),
    ]
    value = rng.random() if reward is None else reward
    return Trajectory(
        f"{step}-{index}-{sibling}", index, turns, None if error else value, {"form": value / 2}, error=error
    )


class Replay:
    """A source that plays rollouts back, and remembers what it was asked."""

    def __init__(self, make=recorded):
        self.make = make
        self.asked = []
        self.publications = 0

    def collect(self, tasks, group_size, step):
        self.asked.append((step, list(tasks), self.publications))
        return [self.make(task, i, step, sibling) for i, task in enumerate(tasks) for sibling in range(group_size)]

    def published(self):
        self.publications += 1


def train(policy, sampler, source, folder, *, log=None, tasks=TASKS, **changes):
    steps = []

    def keep(step):
        steps.append(step)
        if log is not None:
            log(step)

    train_grpo_steps(policy, sampler, source, tasks, settings(**changes), folder, keep)
    return steps


class Gradients(GrpoModule):
    """Keeps the gradient of a step in place of taking it; needs no Lightning trainer."""

    def manual_backward(self, loss, *_, **__):
        loss.backward()

    def optimizer_step_now(self):
        parameters = list(self.policy.trainable().values())
        self.gradient = tiny.gradient_of(parameters)
        for parameter in parameters:
            parameter.grad = None
        return {}


def gradient_of(policy, sampler, trajectories, **changes):
    module = Gradients(policy, sampler, Replay(), TASKS, settings(**changes), lambda step: None)
    # A reference that differs, so that the KL term has a gradient.
    tiny.shake(policy, seed=77)
    module.train_on(trajectories)
    return module


def step_of(**failures):
    """Two tasks with three rollouts each; some fail."""
    return [
        recorded(task, i, 0, sibling, error=failures.get(f"{task}{sibling}"))
        for i, task in enumerate("ab")
        for sibling in range(3)
    ]


def test_the_first_step_has_ratio_one_no_kl_and_moves_the_adapter(policy, sampler, tmp_path, monkeypatch):
    ratios = []

    def spy(*arguments, **options):
        value = grpo_loss(*arguments, **options)
        ratios.append(value.ratio)
        return value

    monkeypatch.setattr("homeground.training.grpo.grpo_loss", spy)
    before = policy.adapter_state()
    (step,) = train(policy, sampler, Replay(), tmp_path, steps=1)
    assert torch.equal(torch.cat(ratios), torch.ones(len(torch.cat(ratios))))
    assert step["kl"] == 0
    assert step["clip_share"] == 0
    assert step["grad_norm"] > 0
    assert step["weight_change"] > 0
    after = policy.adapter_state()
    assert all(not torch.equal(before[n], after[n]) for n in before)


def test_the_kl_is_to_the_adapter_that_rl_started_from_and_grows(policy, sampler, tmp_path):
    steps = train(policy, sampler, Replay(), tmp_path, optimizer=OptimizerSettings(1e-2))
    assert steps[0]["kl"] == 0
    assert all(s["kl"] > 0 for s in steps[1:])


def by_the_book(policy, reference, trajectories, *, temperature, beta, scale):
    """Equation 3 with plain rows, one rollout after the other, in the paper's own normalisation."""
    alive = [t for t in trajectories if t.reward is not None]
    twin, lora = tiny.trainable_plain(policy)
    total = 0.0
    for t in alive:
        rewards = torch.tensor([o.reward for o in alive if o.task == t.task], dtype=torch.float64)
        advantage = t.reward - rewards.mean()
        if scale is Scale.STD:
            advantage = advantage / rewards.std(correction=0)
        losses = []
        for turn in t.turns:
            ids = [*turn.prompt_ids, *turn.ids]
            path = [TokenPath(ids, list(range(len(turn.prompt_ids), len(ids))))]
            mine = row_logprobs(twin, path, temperature)
            with torch.no_grad():
                theirs = row_logprobs(reference, path, temperature)
            ratio = torch.exp(mine - mine.detach())
            kl = torch.exp(theirs - mine) - (theirs - mine) - 1
            losses.append(beta * kl - ratio * advantage)
        total = total + torch.cat(losses).mean() / len(alive)
    total.backward()
    return tiny.gradient_of(lora)


@pytest.mark.parametrize("scale", Scale)
def test_the_gradient_of_a_step_is_the_paper_s(policy, sampler, scale):
    trajectories = step_of(a1="ValueError: broke")
    reference = tiny.plain(policy)
    module = gradient_of(policy, sampler, trajectories, temperature=0.7, kl_coef=0.3, scale=scale)
    expected = by_the_book(policy, reference, trajectories, temperature=0.7, beta=0.3, scale=scale)
    assert (module.gradient - expected).norm() / expected.norm() < 1e-4


@pytest.mark.parametrize("forest_tokens", [1, 45, 60, 10_000])
def test_any_split_into_forests_gives_the_same_gradient(llama, forest_tokens):
    found = []
    for budget in (10_000, forest_tokens):
        policy = tiny.policy_of(llama)
        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            found.append(gradient_of(policy, sampler, step_of(b2="x"), forest_tokens=budget).gradient)
    assert (found[0] - found[1]).norm() / found[0].norm() < 1e-5


def test_a_history_that_was_not_continued_is_trained_as_rows_of_its_own(policy, sampler):
    trajectories = step_of()
    broken = trajectories[0]
    second = broken.turns[1]
    moved = Turn([7, *second.prompt_ids[1:]], second.ids, second.logprobs, "stop", 0)
    trajectories[0] = Trajectory("r", 0, [broken.turns[0], moved], broken.reward)
    assert len(sampled_paths(trajectories[0].turns)) == 2
    reference = tiny.plain(policy)
    module = gradient_of(policy, sampler, trajectories, kl_coef=0.3)
    expected = by_the_book(policy, reference, trajectories, temperature=1.0, beta=0.3, scale=Scale.STD)
    assert (module.gradient - expected).norm() / expected.norm() < 1e-4
    assert module._metrics["new_paths"] == 1


@pytest.mark.parametrize("kl_coef", [0.0, 0.3])
def test_groups_without_a_difference_give_no_gradient_but_the_kl_s(policy, sampler, kl_coef):
    same = [recorded(task, i, 0, s, reward=0.5) for i, task in enumerate("ab") for s in range(3)]
    assert bool(gradient_of(policy, sampler, same, kl_coef=kl_coef).gradient.norm() > 0) is (kl_coef > 0)


def test_a_step_says_what_happened(policy, sampler, tmp_path):
    def one_fails(task, index, step, sibling):
        return recorded(task, index, step, sibling, error="ValueError: broke" if (index, sibling) == (0, 1) else None)

    source = Replay(one_fails)
    (step,) = train(policy, sampler, source, tmp_path, steps=1)
    rolled = [one_fails(t, i, 0, s) for i, t in enumerate(source.asked[0][1]) for s in range(3)]
    alive = [t for t in rolled if t.error is None]
    rewards = torch.tensor([t.reward for t in alive])
    assert step["stage"] == "rl"
    assert step["step"] == 1
    assert (step["rollouts"], step["failed"]) == (6, 1)
    assert step["reward_mean"] == pytest.approx(float(rewards.mean()), rel=1e-5)
    assert step["reward_std"] == pytest.approx(float(rewards.std(correction=0)), rel=1e-5)
    assert step["groups_with_signal"] == 1.0
    assert step["truncated"] == pytest.approx(0.5)
    assert step["reward/form"] == pytest.approx(sum(t.parts["form"] for t in rolled) / 6)
    assert step["new_paths"] == 0
    paths = [p.tokens for t in alive for p in sampled_paths(t.turns)]
    assert step["path_tokens"] == sum(len(p.ids) for p in paths)
    assert step["forest_tokens"] < step["path_tokens"], "shared prompts were not merged"
    with torch.no_grad():
        fresh = row_logprobs(tiny.plain(tiny.policy_of(policy.folder)), paths)
    assert step["entropy"] == pytest.approx(float(-fresh.mean()), rel=1e-4)
    assert step["logprob_gap"] == pytest.approx(float((fresh + 1).abs().mean()), rel=1e-4)


def test_sampled_rollouts_have_no_gap_to_the_trainer(policy, sampler, tmp_path):
    source = DirectSource(policy, sampler, lambda prompt, text: float(len(text)), max_tokens=6, temperature=0.8)
    steps = train(policy, sampler, source, tmp_path, steps=3, temperature=0.8)
    assert all(s["logprob_gap"] < 1e-4 for s in steps)


def test_weights_are_published_before_each_rollout(policy, sampler, tmp_path):
    source = Replay()
    train(policy, sampler, source, tmp_path, steps=3)
    assert [(step, published) for step, _, published in source.asked] == [(0, 1), (1, 2), (2, 3)]
    assert source.publications == sampler.weights_version == 4


def test_a_planted_bandit_is_learned(llama, tmp_path):
    """One token is worth 1, every other 0; the policy that finds it at one draw in thirty ends up writing it."""
    policy = tiny.policy_of(llama, shaken=False)
    with Sampler(policy, rows=64, cache_mb=4) as sampler:

        def source(reward, seed=0):
            return DirectSource(policy, sampler, reward, max_tokens=1, seed=seed)

        texts = [t.outcome for t in source(lambda *_: 0.0, seed=9).collect(TASKS, 60, 0)]
        counts = {text: texts.count(text) for text in texts if len(text) == 1 and text.isascii()}
        prize = min((c for c in counts if counts[c] >= 5), key=counts.get)

        def reward(prompt, text):
            return float(text == prize)

        steps = train(
            policy, sampler, source(reward), tmp_path, steps=30, tasks_per_step=5, group_size=12,
            optimizer=OptimizerSettings(2e-2), kl_coef=0.0, checkpoint_every=100,
        )  # fmt: skip
        after = source(reward, seed=10).collect(TASKS, 20, 0)
    assert counts[prize] / len(texts) < 0.2
    assert sum(s["reward_mean"] for s in steps[:3]) / 3 < 0.3
    assert sum(t.reward for t in after) / len(after) > 0.9


def test_every_task_is_visited_before_any_comes_again(policy, sampler):
    module = GrpoModule(policy, sampler, Replay(), TASKS, settings(), lambda step: None)
    stream = [task for step in range(10) for task in module.tasks_of(step)]
    rounds = [stream[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(r) == TASKS for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1, "the order never changes"
    other = GrpoModule(policy, sampler, Replay(), TASKS, settings(seed=2), lambda step: None)
    assert [other.tasks_of(s) for s in range(5)] != [module.tasks_of(s) for s in range(5)]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_resumed_run_ends_bit_equal(llama, tmp_path, quantization):
    def run(folder, log=None):
        policy = tiny.policy_of(llama, quantization=quantization)
        source = Replay()
        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            try:
                steps = train(policy, sampler, source, folder, log=log)
            except KeyboardInterrupt:
                steps = None
        return policy.adapter_state(), steps, source

    def interrupt(step):
        if step["step"] == 5:
            raise KeyboardInterrupt

    whole, straight, source = run(tmp_path / "whole")
    _, none, _ = run(tmp_path / "broken", interrupt)
    assert none is None
    assert checkpoint_step(newest_checkpoint(tmp_path / "broken")) == 4
    resumed, rest, again = run(tmp_path / "broken")
    assert [s["step"] for s in rest] == [5, 6]
    assert [tasks for _, tasks, _ in again.asked] == [tasks for _, tasks, _ in source.asked[4:]]
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)
    for name in ("loss", "kl", "entropy", "grad_norm"):
        assert [s[name] for s in rest] == [s[name] for s in straight[4:]]
    assert rest[0]["kl"] > 0, "the reference moved to the checkpoint"


def test_a_step_in_which_everything_failed_says_why(policy, sampler, tmp_path):
    source = Replay(lambda *a: recorded(*a, error="TimeoutError: too slow"))
    with pytest.raises(HomegroundError, match="every rollout of the step failed: TimeoutError: too slow") as caught:
        train(policy, sampler, source, tmp_path)
    assert "rl.timeout_s" in caught.value.hint


def test_rollouts_that_never_called_the_model_say_so(policy, sampler, tmp_path):
    source = Replay(lambda task, i, step, sibling: Trajectory(f"{i}-{sibling}", i, [], 1.0))
    with pytest.raises(HomegroundError, match="no model call"):
        train(policy, sampler, source, tmp_path)


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_stops_the_run_before_it_does_harm(policy, sampler, tmp_path, reward):
    before = policy.adapter_state()
    source = Replay(lambda *a: recorded(*a, reward=reward))
    with pytest.raises(HomegroundError, match=f"got the reward {reward}") as caught:
        train(policy, sampler, source, tmp_path)
    assert caught.value.where == "rollout 0-0-0"
    assert "finite number" in caught.value.hint
    assert all(torch.equal(t, before[n]) for n, t in policy.adapter_state().items())


def test_fewer_tasks_than_a_step_takes_are_refused(policy, sampler, tmp_path):
    with pytest.raises(HomegroundError, match="1 tasks are fewer than the 2 of one step") as caught:
        train(policy, sampler, Replay(), tmp_path, tasks=["a"])
    assert "rl.tasks_per_step" in caught.value.hint
