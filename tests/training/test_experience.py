import math

import pytest
import torch

from homeground.policy import LoraConfig, row_logprobs
from homeground.rollouts import Sampler, sampled_paths
from homeground.training import ExgrpoConfig
from homeground.training.experience import KEPT, Experience
from homeground.training.grpo import GrpoModule

from ..policy import tiny
from . import test_grpo
from .test_grpo import TASKS, recorded, settings, train

pytestmark = pytest.mark.filterwarnings("ignore:the sampler's log-probabilities")


def group(task, wins, size=4, step=0):
    return [recorded(str(task), 0, step, s, reward=float(s < wins)) for s in range(size)]


def experience(**changes):
    return Experience(ExgrpoConfig(**({"share": 0.5} | changes)), seed=3)


def test_nothing_is_replayed_before_a_step_succeeds_often_enough():
    kept = experience(start=0.4)
    kept.saw([(0, group(0, 1)), (1, group(1, 2))])
    assert len(kept) == 2
    assert kept.propose(4, 1) == []
    kept.saw([(2, group(2, 2))])
    assert len(kept.propose(4, 2)) == 2
    kept.saw([(3, group(3, 0))])
    assert len(kept.propose(4, 3)) == 2, "once begun it goes on"


def test_tasks_that_succeed_every_time_leave_and_failures_never_enter():
    kept = experience(start=0.0)
    kept.saw([(0, group(0, 2)), (1, group(1, 0)), (2, group(2, 4))])
    assert kept.propose(8, 0) == [0]
    kept.saw([(0, group(0, 4))])
    assert len(kept) == 0
    assert kept.propose(8, 1) == []


def test_a_bucket_is_drawn_by_the_gaussian_of_its_success_rate_and_then_any_of_its_tasks():
    kept = experience(start=0.0, share=1.0)
    wins = {0: 4, 1: 1, 2: 1, 3: 1, 4: 7}
    kept.saw([(task, group(task, won, size=8)) for task, won in wins.items()])
    counts = dict.fromkeys(wins, 0)
    for step in range(4000):
        (task,) = kept.propose(1, step)
        counts[task] += 1
    buckets = {won: math.exp(-((won / 8 - 0.5) ** 2) / 2) for won in (1, 4, 7)}
    # Three tasks share a bucket, and with it the weight that another task has alone.
    for task, won in wins.items():
        expected = buckets[won] / sum(buckets.values()) / sum(other == won for other in wins.values())
        assert counts[task] / 4000 == pytest.approx(expected, abs=0.02)
    assert sorted(kept.propose(5, 0)) == [0, 1, 2, 3, 4], "each at most once"
    assert sorted(kept.propose(9, 0)) == [0, 1, 2, 3, 4]


def test_the_last_try_of_a_task_says_in_which_bucket_it_is():
    kept = experience(start=0.0, share=1.0)
    kept.saw([(0, group(0, 7, size=8)), (1, group(1, 1, size=8))])
    kept.saw([(0, group(0, 1, size=8, step=1))])
    counts = [0, 0]
    for step in range(1000):
        counts[kept.propose(1, step)[0]] += 1
    assert counts[0] == pytest.approx(500, abs=60), "one bucket, both as likely"


def test_the_success_with_the_lowest_entropy_is_chosen_among_the_newest():
    kept = experience(start=0.0)
    kept.saw([(0, group(0, 3))])
    kept.saw([(0, group(0, 3, step=1))])
    asked = []

    def entropies(found):
        asked.extend(t.rollout_id for t in found)
        return [1.0, 2.0, 3.0, 4.0]

    assert kept.choose(0, entropies).rollout_id == "0-0-2"
    assert asked == ["0-0-2", "1-0-0", "1-0-1", "1-0-2"]
    assert len(asked) == KEPT
    assert kept.choose(9, entropies) is None


def test_a_restored_experience_is_the_same():
    kept = experience(start=0.0)
    kept.saw([(0, group(0, 3)), (5, group(5, 1))])
    again = experience(start=0.0)
    again.restore(kept.state())
    assert [again.propose(4, n) for n in range(9)] == [kept.propose(4, n) for n in range(9)]
    mine, theirs = (x.choose(5, lambda found: [0.0] * len(found)) for x in (kept, again))
    assert theirs.reward == mine.reward
    assert [(t.prompt_ids, t.ids, t.logprobs) for t in theirs.turns] == [
        (t.prompt_ids, t.ids, t.logprobs) for t in mine.turns
    ]


def test_entropy_is_the_mean_surprise_of_its_own_tokens_under_the_policy_as_it_is(llama, sampler):
    policy = tiny.policy_of(llama, lora=LoraConfig(r=4, alpha=8, dropout=0.5))
    module = GrpoModule(policy, sampler, test_grpo.Replay(), TASKS, settings(temperature=0.7), lambda step: None)
    module.prepare(6)
    tiny.shake(policy, seed=5)
    found = [recorded("a", 0, 0, sibling) for sibling in range(3)]
    mine = module._entropies(found)
    twin = tiny.plain(policy)
    for t, entropy in zip(found, mine, strict=True):
        with torch.no_grad():
            logprobs = row_logprobs(twin, [p.tokens for p in sampled_paths(t.turns)], 0.7)
        assert entropy == pytest.approx(-float(logprobs.mean()), rel=1e-4)
    assert len({round(entropy, 4) for entropy in mine}) == 3


def half(task, index, step, sibling):
    """Every task succeeds in one of its three rollouts."""
    return recorded(task, index, step, sibling, reward=float(sibling == 0))


def test_past_successes_join_the_groups_of_their_tasks(policy, sampler, tmp_path):
    kept = {}
    source = test_grpo.Replay(half)
    steps = train(
        policy, sampler, source, tmp_path, steps=6, exgrpo=ExgrpoConfig(share=0.5, start=0.3),
        log_rollouts=lambda step, groups: kept.update({step: groups}),
    )  # fmt: skip
    assert [s.get("rollouts_replayed", 0) for s in steps] == [0, 1, 1, 1, 1, 1]
    seen = {group["task"] for group in kept[1]}
    for step in range(2, 7):
        first, second = kept[step]
        (old,) = [r for r in first["rollouts"] if r["origin"] == "replayed"]
        assert first["task"] in seen
        assert (old["reward"], old["advantage"] > 0) == (1.0, True)
        assert int(old["id"].split("-")[0]) < step - 1, "it was sampled in an earlier step"
        assert all(r["origin"] == "sampled" for r in second["rollouts"])
        seen |= {group["task"] for group in kept[step]}
    assert steps[-1]["tasks_replayable"] >= 2


def test_a_task_that_a_step_holds_twice_is_replayed_once(policy, sampler, tmp_path):
    kept = {}
    train(
        policy, sampler, test_grpo.Replay(half), tmp_path, steps=8, tasks=TASKS[:2],
        exgrpo=ExgrpoConfig(share=0.5, start=0.3), log_rollouts=lambda step, groups: kept.update({step: groups}),
    )  # fmt: skip
    twice = 0
    for step in range(2, 9):
        first, second = kept[step]
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

        source = test_grpo.Replay(half)
        kept = {}
        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            try:
                train(
                    policy, sampler, source, folder, log=interrupt, exgrpo=ExgrpoConfig(share=0.5, start=0.3),
                    log_rollouts=lambda step, groups: kept.update({step: groups}),
                )  # fmt: skip
            except KeyboardInterrupt:
                assert interrupted_at
        return policy.adapter_state(), kept

    whole, straight = run(tmp_path / "whole")
    run(tmp_path / "broken", interrupted_at=5)
    resumed, rest = run(tmp_path / "broken")
    assert list(rest) == [5, 6]
    assert [rest[n] for n in rest] == [straight[n] for n in rest]
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)
