"""The example of off-policy rollouts: LUFFY's and ExGRPO's sums, and both through a whole run."""

import json
import math
from dataclasses import replace

import pytest
import torch
from examples.off_policy import KEPT, ReplayBuffer, Trace, WithReplay, WithTraces, rollout_of, shaped_ratio, shaping

from examples import off_policy
from homeground.policy import LoraConfig, TokenPath, row_logprobs
from homeground.policy.chat import render
from homeground.rollouts import Sampler, sampled_paths
from homeground.runs.rolloutlog import read_rollouts
from homeground.runs.workspace import RunFolder
from homeground.training import GrpoConfig, Kl, LossTerms, Scale, policy_loss

from ..policy import tiny
from ..policy.conftest import llama, policy
from ..training.conftest import sampler
from ..training.test_grpo import TASKS, Replay, gradient_of, groups_of, recorded, step_of, train

__all__ = ["llama", "policy", "sampler"]

pytestmark = pytest.mark.filterwarnings("ignore:the sampler's log-probabilities")

ADD = [
    {"role": "user", "content": "one and one?"},
    {"role": "assistant", "content": "search: sums"},
    {"role": "user", "content": "hits"},
    {"role": "assistant", "content": "two"},
]


@pytest.mark.parametrize("gamma", [0.1, 0.3])
@pytest.mark.parametrize("author", [0.0, -2.0])
def test_policy_shaping_is_the_papers_function_and_weighs_tokens_as_it_says(gamma, author):
    logprobs = torch.tensor([-9.0, -2.3, -0.7, -0.01], dtype=torch.float64, requires_grad=True)
    shaped = shaped_ratio(logprobs, torch.full((4,), author, dtype=torch.float64), gamma)
    shaped.sum().backward()
    for i, value in enumerate(logprobs.tolist()):
        r = math.exp(value - author)
        assert shaped[i].item() == pytest.approx(r / (r + gamma), rel=1e-12)
        assert float(logprobs.grad[i]) == pytest.approx(gamma * r / (r + gamma) ** 2, rel=1e-12)


def test_a_ratio_that_would_overflow_stays_finite():
    far = torch.tensor([0.0, -2000.0], requires_grad=True)
    shaped = shaped_ratio(far, torch.tensor([-2000.0, 0.0]), 0.1)
    shaped.sum().backward()
    assert shaped.tolist() == [1.0, 0.0]
    assert torch.isfinite(far.grad).all()


@pytest.mark.parametrize("kl", Kl)
def test_the_loss_is_the_mixed_sum_term_by_term(kl):
    """Terms 0 to 2 are the policy's, 3 and 4 an expert's: clip and KL there, shaping here."""
    objective = GrpoConfig(objective=shaping(0.2), kl=kl, kl_coef=0.3, importance_cap=1.5)
    old = torch.tensor([-1.0, -2.0, -0.5, -1.5, -3.0], dtype=torch.float64)
    logprobs = (old + torch.tensor([0.5, -0.4, 0.1, 0.2, -0.2])).requires_grad_(True)
    sampled = torch.tensor([-1.2, -1.9, -0.6, 0.0, -1.0], dtype=torch.float64)
    reference = old - 0.3
    advantage = torch.tensor([1.0, 1.0, -1.0, 0.8, 0.8], dtype=torch.float64)
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    off_policy = torch.tensor([False, False, False, True, True])
    terms = LossTerms(old, sampled, reference, advantage, weight, torch.tensor([0, 0, 1, 2, 2]), off_policy)
    value = policy_loss(logprobs, terms, objective)
    expected = clipped = divergence = 0.0
    for i in range(5):
        lp, a, w = float(logprobs[i].detach()), float(advantage[i]), float(weight[i])
        if i >= 3:
            r = math.exp(lp - float(sampled[i]))
            expected -= w * r / (r + 0.2) * a
            continue
        r = math.exp(lp - float(old[i]))
        bounded = min(max(r, 0.8), 1.2)
        trust = min(math.exp(float(old[i] - sampled[i])), 1.5)
        d = float(reference[i]) - lp
        k3 = math.exp(d) - d - 1
        term = {Kl.K1: 0.0, Kl.K2: d * d / 2}.get(kl, k3)
        expected += w * (0.3 * term - trust * min(r * a, bounded * a))
        clipped += bounded * a < r * a
        divergence += k3
    assert float(value.loss.detach()) == pytest.approx(expected, rel=1e-9)
    assert (float(value.clipped), float(value.kl)) == (clipped, pytest.approx(divergence, rel=1e-9))


def by_the_book(policy, reference, trajectories, *, beta, gamma):
    """The papers' sums with plain rows, one rollout after the other, and grpo's normaliser."""
    twin, lora = tiny.trainable_plain(policy)
    total = 0.0
    for t in trajectories:
        rewards = torch.tensor([o.reward for o in trajectories if o.task == t.task], dtype=torch.float64)
        advantage = (t.reward - rewards.mean()) / rewards.std(correction=0)
        losses = []
        for turn in t.turns:
            ids = [*turn.prompt_ids, *turn.ids]
            path = [TokenPath(ids, list(range(len(turn.prompt_ids), len(ids))))]
            mine = row_logprobs(twin, path, 1.0)
            with torch.no_grad():
                theirs = row_logprobs(reference, path, 1.0)
            if t.off_policy:
                r = torch.exp(mine - torch.tensor(turn.logprobs))
                losses.append(-advantage * r / (r + gamma))
            else:
                kl = torch.exp(theirs - mine) - (theirs - mine) - 1
                losses.append(beta * kl - torch.exp(mine - mine.detach()) * advantage)
        total = total + torch.cat(losses).mean() / len(trajectories)
    total.backward()
    return tiny.gradient_of(lora)


def expert(policy, task=0, reward=1.0):
    return rollout_of(policy.tokenizer, Trace(ADD, reward), "expert", task)


@pytest.mark.parametrize("forest_tokens", [1, 10_000])
def test_the_gradient_of_a_guided_step_is_the_papers(policy, sampler, forest_tokens):
    """A trace and a replayed success in one step, told apart from the six rollouts beside them."""
    own = step_of()
    past = replace(recorded("b", 1, 0, 7, reward=1.2), origin="replayed")
    trajectories = [*own, expert(policy, reward=1.5), past]
    reference = tiny.plain(policy)
    module = gradient_of(
        policy, sampler, trajectories, kl_coef=0.3, forest_tokens=forest_tokens, objective=shaping(0.2)
    )
    expected = by_the_book(policy, reference, trajectories, beta=0.3, gamma=0.2)
    assert (module.gradient - expected).norm() / expected.norm() < 1e-4
    assert module.metrics["rollouts_off_policy"] == 2
    alone = gradient_of(tiny.policy_of(policy.folder), sampler, own, kl_coef=0.3)
    assert (module.gradient - alone.gradient).norm() / alone.gradient.norm() > 0.05
    # What is logged is of the policy's own tokens.
    for name in ("entropy", "logprob_gap", "kl", "reward_mean", "response_tokens"):
        assert module.metrics[name] == pytest.approx(alone.metrics[name], rel=1e-4)


def test_a_group_that_never_succeeds_learns_from_its_expert(policy, sampler):
    dull = [recorded("a", 0, 0, s, reward=0.0) for s in range(3)]
    alone = gradient_of(policy, sampler, dull, kl_coef=0.0, objective=shaping())
    assert alone.gradient.norm() == 0
    other = tiny.policy_of(policy.folder)
    module = gradient_of(other, sampler, [*dull, expert(other)], kl_coef=0.0, objective=shaping())
    assert module.gradient.norm() > 0


def test_k1_is_taken_from_the_reward_of_sampled_rollouts_alone(policy, sampler):
    trajectories = [t for t in step_of() if t.task == 0]
    reference = tiny.plain(policy)
    rewards = []
    for t in trajectories:
        with torch.no_grad():
            theirs = row_logprobs(reference, [p.tokens for p in t.paths])
        sampled = torch.tensor([lp for p in t.paths for lp in p.logprobs])
        rewards.append(t.reward - 0.05 * float((sampled - theirs).sum()))
    module = gradient_of(
        policy, sampler, [*trajectories, expert(policy, reward=0.9)], kl=Kl.K1, kl_coef=0.05, advantage=Scale.NONE,
        objective=shaping(),
    )  # fmt: skip
    mean = (sum(rewards) + 0.9) / 4
    expected = [reward - mean for reward in [*rewards, 0.9]]
    assert module.advantages_PG[0].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_trace_is_trained_as_the_turns_that_would_have_been_sampled(policy):
    rollout = expert(policy, task=2, reward=0.7)
    rendered = render(policy.tokenizer, ADD)
    (path,) = sampled_paths(rollout.turns)
    assert (list(path.tokens.ids), list(path.tokens.trained)) == (rendered.ids, rendered.trained)
    assert set(path.logprobs) == {0.0}
    assert len(rollout.turns) == 2
    assert (rollout.task, rollout.reward, rollout.origin) == (2, 0.7, "expert")


def test_traces_are_read_by_task(tmp_path):
    file = tmp_path / "traces.jsonl"
    rows = [{"task": "t1", "messages": ADD, "reward": 0.5}, {"task": "t1", "messages": ADD[:2]}]
    file.write_text("\n".join(map(json.dumps, rows)))
    traces = off_policy.read_traces(file)
    assert [(len(t.messages), t.reward) for t in traces["t1"]] == [(4, 0.5), (2, 1.0)]
    assert traces["t2"] == []


def test_experts_join_the_groups_of_their_tasks_and_are_logged(policy, sampler, tmp_path):
    def traces(task):
        return [Trace(ADD), Trace(ADD[:2])] if task == "a" else []

    replay = Replay()
    replay.sampler = sampler
    steps = train(policy, sampler, WithTraces(replay, policy.tokenizer, traces), tmp_path, steps=5, objective=shaping())
    joined = [s.get("rollouts_off_policy", 0) for s in steps]
    assert sum(joined) == 2, "task a comes twice in ten draws of five"
    for step in range(1, 6):
        for group in read_rollouts(RunFolder(tmp_path), step):
            origins = [r["origin"] for r in group["rollouts"]]
            assert origins == ["sampled"] * 3 + ["expert"] * (group["task"] == "a")
            assert all(r["advantage"] is not None for r in group["rollouts"])


def group(task, wins, size=4, step=0):
    (made,) = groups_of([recorded(str(task), task, step, s, reward=float(s < wins)) for s in range(size)])
    return made


def buffer(**changes):
    return ReplayBuffer(TASKS, seed=3, **changes)


def see(kept, *groups):
    """A step that rolled out these groups."""
    for each in groups:
        kept.saw(each)


def replayed(kept, count):
    kept.draw(count)
    return kept.replayed


def test_nothing_is_replayed_before_a_step_succeeds_often_enough():
    kept = buffer(start=0.4)
    see(kept, group(0, 1), group(1, 2))
    assert len(kept.successes) == 2
    assert replayed(kept, 4) == []
    see(kept, group(2, 2))
    assert len(replayed(kept, 4)) == 2
    see(kept, group(3, 0))
    assert len(replayed(kept, 4)) == 2, "once begun it goes on"


def test_tasks_that_succeed_every_time_leave_and_failures_never_enter():
    kept = buffer(start=0.0)
    see(kept, group(0, 2), group(1, 0), group(2, 4))
    assert replayed(kept, 4) == [0]
    see(kept, group(0, 4))
    assert len(kept.successes) == 0
    assert replayed(kept, 4) == []


def test_a_bucket_is_drawn_by_the_gaussian_of_its_success_rate_and_then_any_of_its_tasks():
    kept = buffer(start=0.0, share=1.0)
    wins = {0: 4, 1: 1, 2: 1, 3: 1, 4: 7}
    see(kept, *(group(task, won, size=8) for task, won in wins.items()))
    counts = dict.fromkeys(wins, 0)
    for _ in range(4000):
        (task,) = replayed(kept, 1)
        counts[task] += 1
    buckets = {won: math.exp(-((won / 8 - 0.5) ** 2) / 2) for won in (1, 4, 7)}
    # Three tasks share a bucket, and with it the weight that another task has alone.
    for task, won in wins.items():
        expected = buckets[won] / sum(buckets.values()) / sum(other == won for other in wins.values())
        assert counts[task] / 4000 == pytest.approx(expected, abs=0.02)
    assert sorted(replayed(kept, 5)) == [0, 1, 2, 3, 4], "each at most once"
    assert sorted(replayed(kept, 9)) == [0, 1, 2, 3, 4]


def test_the_last_try_of_a_task_says_in_which_bucket_it_is():
    kept = buffer(start=0.0, share=1.0)
    see(kept, group(0, 7, size=8), group(1, 1, size=8), group(0, 1, size=8, step=1))
    counts = [0, 0]
    for _ in range(1000):
        counts[replayed(kept, 1)[0]] += 1
    assert counts[0] == pytest.approx(500, abs=60), "one bucket, both as likely"


def test_the_success_with_the_lowest_entropy_is_chosen_among_the_newest(monkeypatch):
    kept = buffer(start=0.0, share=1.0)
    see(kept, group(0, 3), group(0, 3, step=1))
    asked = []

    def entropies(policy, found, temperature):
        asked.extend(t.rollout_id for t in found)
        return [3.0, 2.0, 1.0, 4.0]

    monkeypatch.setattr(off_policy, "entropies", entropies)
    assert replayed(kept, 1) == [0]
    (*_, joined) = WithReplay(Replay(), kept, None).collect(["a"], 3, 2)
    assert asked == ["0-0-2", "1-0-0", "1-0-1", "1-0-2"]
    assert len(asked) == KEPT
    assert (joined.rollout_id, joined.task, joined.origin) == ("1-0-1", 0, "replayed")


def test_a_restored_buffer_is_the_same():
    kept = buffer(start=0.0)
    see(kept, group(0, 3), group(4, 1))
    again = buffer(start=0.0)
    again.restore(kept.state())
    assert [again.draw(4) for _ in range(9)] == [kept.draw(4) for _ in range(9)]
    assert again.successes == kept.successes


def test_entropy_is_the_mean_surprise_of_its_own_tokens_under_the_policy_as_it_is(llama):
    policy = tiny.policy_of(llama, lora=LoraConfig(r=4, alpha=8, dropout=0.5))
    policy.drop_out(True)
    tiny.shake(policy, seed=5)
    found = [recorded("a", 0, 0, sibling) for sibling in range(3)]
    mine = off_policy.entropies(policy, found, 0.7)
    twin = tiny.plain(policy)
    for t, entropy in zip(found, mine, strict=True):
        with torch.no_grad():
            logprobs = row_logprobs(twin, [p.tokens for p in t.paths], 0.7)
        assert entropy == pytest.approx(-float(logprobs.mean()), rel=1e-4)
    assert len({round(entropy, 4) for entropy in mine}) == 3


def half(task, index, step, sibling):
    """Every task succeeds in one of its three rollouts."""
    return recorded(task, index, step, sibling, reward=float(sibling == 0))


def train_with_replay(policy, sampler, folder, *, tasks=TASKS, log=None, steps=6):
    replay, kept = Replay(half), ReplayBuffer(tasks, seed=1, start=0.3)
    replay.sampler = sampler
    source = WithReplay(replay, kept, policy)
    return train(policy, sampler, source, folder, tasks=kept, log=log, steps=steps, objective=shaping())


def test_past_successes_join_the_groups_of_their_tasks(policy, sampler, tmp_path):
    steps = train_with_replay(policy, sampler, tmp_path)
    assert [s.get("rollouts_off_policy", 0) for s in steps] == [0, 1, 1, 1, 1, 1]
    seen = {group["task"] for group in read_rollouts(RunFolder(tmp_path), 1)}
    for step in range(2, 7):
        first, second = read_rollouts(RunFolder(tmp_path), step)
        (old,) = [r for r in first["rollouts"] if r["origin"] == "replayed"]
        assert first["task"] in seen
        assert (old["reward"], old["advantage"] > 0) == (1.0, True)
        assert int(old["id"].split("-")[0]) < step - 1, "it was sampled in an earlier step"
        assert all(r["origin"] == "sampled" for r in second["rollouts"])
        seen |= {first["task"], second["task"]}
    assert steps[-1]["tasks_replayable"] >= 2


def test_a_task_that_a_step_holds_twice_is_replayed_once(policy, sampler, tmp_path):
    train_with_replay(policy, sampler, tmp_path, tasks=TASKS[:2], steps=8)
    twice = 0
    for step in range(2, 9):
        first, second = read_rollouts(RunFolder(tmp_path), step)
        twice += first["task"] == second["task"]
        assert [r["origin"] for r in first["rollouts"]] == ["sampled"] * 3 + ["replayed"]
        assert all(r["origin"] == "sampled" for r in second["rollouts"])
    assert 0 < twice < 7


def test_a_resumed_run_replays_the_same(llama, tmp_path):
    def run(folder, interrupted_at=None):
        policy = tiny.policy_of(llama)

        def interrupt(step):
            if step["step"] == interrupted_at:
                raise KeyboardInterrupt

        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            try:
                train_with_replay(policy, sampler, folder, log=interrupt)
            except KeyboardInterrupt:
                assert interrupted_at
        return policy.adapter_state(), [read_rollouts(RunFolder(folder), step) for step in (5, 6) if not interrupted_at]

    whole, straight = run(tmp_path / "whole")
    run(tmp_path / "broken", interrupted_at=5)
    resumed, rest = run(tmp_path / "broken")
    assert rest == straight
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)


def test_the_program_trains_a_policy_with_both(policy, tmp_path, capsys):
    run = off_policy.main(policy, tmp_path / "run", steps=2)
    assert str(run.adapter) in capsys.readouterr().out
    assert run.adapter.is_dir()
    assert [step["step"] for step in run.history] == [1, 2]
    # All four tasks are in a step, and one of them has a trace.
    assert all(step["rollouts_off_policy"] >= 1 for step in run.history)
