"""The fault run at reduced size: whatever is killed, every rollout ends once and nothing is left."""

import pytest

from benchmarks import rollouts as bench
from benchmarks.sides import rollouts
from homeground.rollouts import Trajectory, Turn

from ..policy import tiny


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_every_rollout_ends_once_whatever_is_killed(llama):
    campaign = rollouts.Campaign(inline=(3, 16), process=(3, 4), faults=(2, 3))
    found = rollouts.under_fire(tiny.policy_of(llama), campaign)
    assert found["faults"] == {"gateway": 2, "server": 2, "agent": 1}
    assert (found["gateway_restarts"], found["server_revivals"]) == (2, 2)
    assert found["rollouts"] == 3 * 16 + 3 * 4
    assert bench.bad(found) == 0
    assert found["endings"] == {"succeeded": 59, "crashed": 1}, "the killed agent alone has failed"
    assert found["left_behind"] == {"processes": [], "ports": [], "files": []}


def test_a_call_costs_little_beside_sampling(llama):
    found = rollouts.overhead(tiny.policy_of(llama), at_once=2, calls=10, words=4)
    assert found["calls"] >= 10
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["worst_ms"]


def test_a_tally_notices(llama):
    policy = tiny.policy_of(llama)
    tokenizer = policy.tokenizer

    def made(name, task, text, turns=2):
        turn = Turn(tokenizer.encode(text), [1], [-1.0], "stop", 0)
        return Trajectory(name, task, [turn] * turns, 1.0)

    tally = rollouts.Tally()
    tally.add([made("a", 0, "task-0."), made("b", 1, "task-1.")], policy, 2)
    assert bench.bad(tally.told()) == 0
    tally.add([made("a", 0, "task-0."), made("c", 1, "task-0."), made("d", 0, "task-0.", turns=1)], policy, 4)
    assert (tally.lost, tally.doubled, tally.mixed_up) == (1, 1, 2)


def test_claims_are_met_only_when_nothing_is_wrong():
    told = {"lost": 0, "doubled": 0, "mixed_up": 0, "endings": {"succeeded": 1000}, "rollouts": 1000}
    good = {
        "overhead-1": {"p50_ms": 5.0, "p95_ms": 14.0},
        "crowd": {"inline": {**told, "at_once": 64}, "process": {**told, "at_once": 8}},
        "faults": {**told, "faults": {"gateway": 20}, "left_behind": {"ports": []}},
    }
    assert all(row["met"] for row in bench.rows_of(good))
    for part, change in [
        ("overhead-1", {"p95_ms": 15.1}),
        ("crowd", {"process": {**told, "at_once": 7}}),
        ("faults", {"lost": 1}),
        ("faults", {"faults": {"gateway": 19}}),
        ("faults", {"left_behind": {"ports": ["x"]}}),
        ("faults", {"endings": {"crashed": 1}}),
    ]:
        rows = bench.rows_of(good | {part: good[part] | change})
        assert [row["met"] for row in rows].count(False) == 1
