import random

import pytest
import torch

from homeground.base.errors import HomegroundError, UsageError
from homeground.policy import TokenPath, row_logprobs
from homeground.rollouts import DirectSource, Sampler, Trajectory, TrajectoryGroup, Turn, sampled_paths
from homeground.training import (
    GrpoConfig,
    Kl,
    Loss,
    LossValue,
    Overlong,
    Scale,
    TaskStream,
    policy_loss,
    train_grpo,
)
from homeground.training.checkpoints import checkpoint_step, newest_checkpoint
from homeground.training.grpo import GrpoModule
from homeground.training.losses import OBJECTIVES

from ..policy import tiny

# Recorded rollouts carry made-up log-probabilities.
pytestmark = pytest.mark.filterwarnings("ignore:the sampler's log-probabilities")

TASKS = ["a", "b", "c", "d", "e"]


def settings(**changes):
    fields = {
        "steps": 6,
        "tasks_per_step": 2,
        "group_size": 3,
        "learning_rate": 2e-3,
        "kl_coef": 0.1,
        "checkpoint_every": 2,
    }
    return GrpoConfig(**(fields | changes))


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

    def __init__(self, make=recorded, limit=20):
        self.make = make
        self.max_tokens = limit
        self.asked = []
        self.publications = 0
        self.sampler = None

    def collect(self, tasks, group_size, step):
        self.asked.append((step, list(tasks), self.publications))
        return [self.make(task, i, step, sibling) for i, task in enumerate(tasks) for sibling in range(group_size)]

    def publish(self):
        self.publications += 1
        return self.sampler.publish() if self.sampler else self.publications


def train(policy, sampler, source, folder, *, log=None, tasks=TASKS, **changes):
    steps = []

    def keep(step):
        steps.append(step)
        if log is not None:
            log(step)

    if isinstance(source, Replay):
        source.sampler = sampler
    config = settings(**changes)
    train_grpo(
        policy, tasks, source=source, config=config, folder=folder, resume=True, on_step=keep, quiet=True, seed=1
    )
    return steps


def checkpoints(folder):
    return folder / "checkpoints" / "rl"


def groups_of(trajectories):
    tasks = dict.fromkeys(t.task for t in trajectories)
    return [TrajectoryGroup(task, TASKS[task], [t for t in trajectories if t.task == task]) for task in tasks]


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


def gradient_of(policy, sampler, trajectories, limit=20, **changes):
    source = Replay(limit=limit)
    source.sampler = sampler
    module = Gradients(policy, TaskStream(TASKS), source, settings(**changes), lambda step: None)
    # A reference that differs, so that the KL term has a gradient.
    tiny.shake(policy, seed=77)
    module.advantages_PG, module.metrics = module.train_on(groups_of(trajectories))
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
        value = policy_loss(*arguments, **options)
        ratios.append(value.ratio)
        return value

    monkeypatch.setattr("homeground.training.grpo.policy_loss", spy)
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
    steps = train(policy, sampler, Replay(), tmp_path, learning_rate=1e-2)
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
    module = gradient_of(policy, sampler, trajectories, temperature=0.7, kl_coef=0.3, advantage=scale)
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
    assert module.metrics["new_paths"] == 1


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
            learning_rate=2e-2, kl_coef=0.0, checkpoint_every=100,
        )  # fmt: skip
        after = source(reward, seed=10).collect(TASKS, 20, 0)
    assert counts[prize] / len(texts) < 0.2
    assert steps[0]["reward_mean"] < 0.3
    assert sum(t.reward for t in after) / len(after) > 0.9


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
    assert checkpoint_step(newest_checkpoint(checkpoints(tmp_path / "broken"))) == 4
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


def test_of_fewer_tasks_than_a_step_takes_it_takes_all(policy, sampler, tmp_path):
    source = Replay()
    steps = train(policy, sampler, source, tmp_path, steps=2, tasks=["a"])
    assert [step["rollouts"] for step in steps] == [3, 3]


def test_a_rollout_that_comes_twice_is_refused(policy, sampler, tmp_path):
    source = Replay(lambda task, i, step, sibling: recorded(task, i, step, 0))
    with pytest.raises(HomegroundError, match="a rollout would be trained twice") as caught:
        train(policy, sampler, source, tmp_path)
    assert caught.value.where == "rollout 0-0-0"


def test_a_trajectory_s_paths_are_found_once(policy, sampler, tmp_path, monkeypatch):
    calls = []

    def counted(turns):
        calls.append(turns)
        return sampled_paths(turns)

    monkeypatch.setattr("homeground.rollouts.trajectory.sampled_paths", counted)
    train(policy, sampler, Replay(), tmp_path, steps=2, updates_per_step=2)
    assert len(calls) == 2 * 6


def test_k1_is_taken_from_the_reward_and_leaves_the_loss(policy, sampler):
    """With a reference that thinks a rollout unlikely, its reward sinks by beta times its log-ratio."""
    trajectories = step_of()
    reference = tiny.plain(policy)
    module = gradient_of(policy, sampler, trajectories, kl=Kl.K1, kl_coef=0.05)
    shaped = []
    for t in trajectories:
        paths = sampled_paths(t.turns)
        with torch.no_grad():
            theirs = row_logprobs(reference, [p.tokens for p in paths])
        sampled = torch.tensor([lp for p in paths for lp in p.logprobs])
        cost = float((sampled - theirs).sum())
        shaped.append(Trajectory(t.rollout_id, t.task, t.turns, t.reward - 0.05 * cost))
    expected = gradient_of(tiny.policy_of(policy.folder), sampler, shaped, kl_coef=0.0)
    assert (module.gradient - expected.gradient).norm() / expected.gradient.norm() < 1e-4


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("forest_tokens", [1, 45])
def test_every_loss_is_indifferent_to_the_split(llama, loss, forest_tokens):
    found = []
    for budget in (10_000, forest_tokens):
        policy = tiny.policy_of(llama)
        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            module = gradient_of(policy, sampler, step_of(b2="x"), forest_tokens=budget, loss=loss, importance_cap=2.0)
            found.append(module.gradient)
    assert (found[0] - found[1]).norm() / found[0].norm() < 1e-5


def test_on_policy_gspo_is_grpo_and_the_others_weigh_tokens_differently(llama):
    found = {}
    for loss in Loss:
        policy = tiny.policy_of(llama)
        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            found[loss] = gradient_of(policy, sampler, step_of(), loss=loss, kl_coef=0.0).gradient
    norm = found[Loss.GRPO].norm()
    assert (found[Loss.GSPO] - found[Loss.GRPO]).norm() / norm < 1e-5
    for loss in (Loss.DR_GRPO, Loss.DAPO):
        direction = torch.nn.functional.cosine_similarity(found[loss], found[Loss.GRPO], dim=0)
        assert 0.5 < float(direction) < 0.9999


def test_a_loss_and_an_advantage_of_one_s_own_train_what_their_formulas_say(policy, sampler):
    """Plain policy gradient with a part of the reward as the advantage, beside the same gradient from plain rows."""
    seen = []

    def reinforce(logprobs, terms):
        seen.extend(zip(terms.advantage.tolist(), terms.weight.tolist(), strict=True))
        ratio = (logprobs - terms.old).exp().detach()
        return LossValue(-(terms.weight * terms.advantage * logprobs).sum(), ratio, torch.zeros(()))

    def form(groups):
        assert groups.names == ("form",)
        return groups.parts_PGK[..., 0]

    trajectories = step_of()
    gradient_of(
        policy,
        sampler,
        trajectories,
        kl_coef=0.0,
        objective=(reinforce, lambda counts: counts.tokens / 2),
        advantage=form,
    )
    expected = [
        (t.parts["form"], sum(len(turn.ids) for turn in t.turns) / 2)
        for t in trajectories
        for turn in t.turns
        for _ in turn.ids
    ]
    assert sorted(seen) == [pytest.approx(pair) for pair in sorted(expected)]


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ((lambda logprobs, terms: logprobs.sum(), lambda counts: 1.0), "returned a Tensor, not a LossValue"),
        ((OBJECTIVES[Loss.GRPO][0], lambda counts: None), "returned a NoneType, not a number"),
    ],
)
def test_an_objective_of_one_s_own_that_returns_something_else_is_told(policy, sampler, objective, message):
    with pytest.raises(UsageError, match=message) as caught:
        gradient_of(policy, sampler, step_of(), objective=objective)
    assert caught.value.where == "GrpoConfig.objective"


def test_further_updates_hold_on_to_the_old_log_probabilities(policy, sampler, tmp_path, monkeypatch):
    ratios = []

    def spy(*arguments, **options):
        value = policy_loss(*arguments, **options)
        ratios.append(value.ratio)
        return value

    monkeypatch.setattr("homeground.training.grpo.policy_loss", spy)
    source = Replay()
    steps = train(
        policy, sampler, source, tmp_path, steps=2, updates_per_step=3, forest_tokens=10_000,
        learning_rate=2e-2,
    )  # fmt: skip
    assert [s["step"] for s in steps] == [1, 2]
    assert len(ratios) == 6
    for first in (0, 3):
        assert torch.equal(ratios[first], torch.ones(len(ratios[first])))
        assert all(bool((r - 1).abs().max() > 1e-4) for r in ratios[first + 1 : first + 3])
    assert [published for _, _, published in source.asked] == [1, 2], "rollouts see only what a step ended with"
    assert checkpoint_step(newest_checkpoint(checkpoints(tmp_path))) == 6


def test_rollouts_cut_at_the_limit_can_be_left_out_of_the_loss(policy, sampler):
    trajectories = [t for t in step_of() if t.task == 0]
    whole = trajectories[:2] + [
        Trajectory(t.rollout_id, t.task, [Turn(u.prompt_ids, u.ids, u.logprobs, "stop", 0) for u in t.turns], t.reward)
        for t in trajectories[2:]
    ]
    # Only the last one is whole: its advantage still comes from all three, its weight from itself alone.
    module = gradient_of(policy, sampler, whole, overlong=Overlong.FILTER, kl_coef=0.0)
    alone = tiny.policy_of(policy.folder)
    rewards = torch.tensor([t.reward for t in whole], dtype=torch.float64)
    advantage = float((rewards[2] - rewards.mean()) / rewards.std(correction=0))
    twin, lora = tiny.trainable_plain(alone)
    paths = [p.tokens for p in sampled_paths(whole[2].turns)]
    (-advantage * row_logprobs(tiny_shaken(twin, lora), paths).mean()).backward()
    expected = tiny.gradient_of(lora)
    assert (module.gradient - expected).norm() / expected.norm() < 1e-4


def tiny_shaken(twin, lora):
    """The values that `gradient_of` gives the adapter."""
    generator = torch.Generator().manual_seed(77)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    assert lora
    return twin


def test_the_soft_penalty_lowers_the_reward_of_long_rollouts(policy, sampler):
    trajectories = step_of()
    longest = max(len(u.ids) for t in trajectories for u in t.turns)
    module = gradient_of(
        policy, sampler, trajectories, overlong=Overlong.SOFT, overlong_buffer=3, kl_coef=0.0, limit=longest
    )
    shaped = [
        Trajectory(
            t.rollout_id, t.task, t.turns,
            t.reward - min(1.0, max(0.0, (max(len(u.ids) for u in t.turns) - longest + 3) / 3)),
        )
        for t in trajectories
    ]  # fmt: skip
    expected = gradient_of(tiny.policy_of(policy.folder), sampler, shaped, kl_coef=0.0)
    plain = gradient_of(tiny.policy_of(policy.folder), sampler, trajectories, kl_coef=0.0)
    assert (module.gradient - expected.gradient).norm() / expected.gradient.norm() < 1e-5
    assert (module.gradient - plain.gradient).norm() / plain.gradient.norm() > 1e-2


def test_dynamic_sampling_rolls_out_more_tasks_where_groups_have_no_signal(policy, sampler, tmp_path):
    def dull(task, index, step, sibling):
        return recorded(task, index, step, sibling, reward=0.5 if task in "abc" else None)

    source = Replay(dull)
    steps = train(policy, sampler, source, tmp_path, steps=4, dynamic_sampling=4)
    assert all(s["groups_with_signal"] == 1.0 for s in steps)
    assert all(s["rollouts"] == 6 for s in steps)
    assert sum(s["groups_passed_over"] for s in steps) > 0
    assert [collection for collection, _, _ in source.asked] == list(range(len(source.asked)))
    drawn = [task for _, tasks, _ in source.asked for task in tasks]
    assert all(sorted(drawn[i : i + 5]) == TASKS for i in range(0, len(drawn) - 4, 5)), "a task was skipped"


def test_dynamic_sampling_gives_up_after_its_rounds_and_trains_on_what_there_is(policy, sampler, tmp_path):
    source = Replay(lambda *a: recorded(*a, reward=0.5))
    (step,) = train(policy, sampler, source, tmp_path, steps=1, dynamic_sampling=2)
    assert len(source.asked) == 3
    assert (step["groups_with_signal"], step["rollouts"], step["groups_passed_over"]) == (0, 6, 4)


def test_a_planted_temperature_fault_trips_the_alarm(policy, sampler, tmp_path):
    source = DirectSource(policy, sampler, lambda prompt, text: float(len(text)), max_tokens=6, temperature=0.8)
    with pytest.warns(UserWarning, match="differ from the trainer's .* same temperature"):
        (step,) = train(policy, sampler, source, tmp_path / "fault", steps=1, temperature=1.0)
    assert step["gap_alarm"] == 1.0
    (step,) = train(policy, sampler, source, tmp_path / "right", steps=1, temperature=0.8)
    assert step["gap_alarm"] == 0.0


def test_without_a_kl_no_reference_is_made(policy, sampler, tmp_path):
    (step,) = train(policy, sampler, Replay(), tmp_path, steps=1, kl_coef=0.0)
    assert "kl" not in step


@pytest.mark.parametrize("changes", [{"overlong": "soft"}, {"objective": "dr_grpo"}])
def test_what_measures_by_the_longest_response_needs_it(policy, sampler, changes):
    with pytest.raises(ValueError, match="the source must have max_tokens"):
        GrpoModule(policy, TaskStream(TASKS), Replay(limit=None), settings(**changes), lambda step: None)
