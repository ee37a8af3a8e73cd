"""`evaluate` as it is called from Python."""

import pytest

from homeground.base.errors import UsageError
from homeground.evaluate import Evaluation, evaluate_policy, mean_interval

from ..policy import tiny
from ..policy.conftest import _one_thread, llama

__all__ = ["_one_thread", "llama"]


@pytest.fixture
def policy(llama):
    return tiny.policy_of(llama, shaken=False)


def short(prompt, completion):
    return 1.0 / (1 + len(completion))


def test_a_policy_is_evaluated_greedily_and_compared_with_itself(policy):
    prompts = ["ab", "the", "abc"]
    first, again = (evaluate_policy(policy, prompts, short, max_tokens=6) for _ in range(2))
    assert first.outcomes == again.outcomes
    assert first.rewards == [short(prompt, outcome) for prompt, outcome in zip(prompts, first.outcomes, strict=True)]
    assert (first.reward["n"], first.failed) == (3, 0)
    assert again.gain(first) == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 3}


def test_an_agent_that_fails_counts_as_nothing(policy):
    async def broken(task, client):
        raise RuntimeError("lost")

    found = evaluate_policy(policy, ["a", "b"], agent=broken)
    assert (found.failed, found.rewards) == (2, [0.0, 0.0])


def test_a_wrong_call_is_told_with_what_to_do(policy):
    with pytest.raises(UsageError, match="wants a reward or an agent"):
        evaluate_policy(policy, ["a"])
    with pytest.raises(UsageError, match="has no prompts"):
        evaluate_policy(policy, [], short)
    one = Evaluation([1.0], ["a"], 0, mean_interval([1.0]))
    two = Evaluation([1.0, 0.0], ["a", "b"], 0, mean_interval([1.0, 0.0]))
    with pytest.raises(UsageError, match="2 prompts cannot be paired with 1"):
        two.gain(one)
