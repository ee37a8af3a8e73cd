import re
import warnings

import pytest

from homeground.training.rl_watch import RlWatch

GOOD = {
    "groups_with_signal": 0.8,
    "reward_mean": 0.4,
    "entropy": 1.2,
    "kl": 0.02,
    "truncated": 0.1,
    "length_correlation": 0.3,
    "logprob_gap": 0.004,
    "gap_alarm": 0.0,
    "tasks_never": 0,
    "tasks_always": 0,
}


def words(steps):
    watch = RlWatch(0.1)
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in steps:
            said += watch(step)
    assert [str(w.message) for w in caught] == said, "what is warned of is what is logged"
    return said


def steps(count=30, **changes):
    """Steps of a healthy run; a change is a value or a function of the number of the step."""
    return [
        GOOD | {name: change(n) if callable(change) else change for name, change in changes.items()}
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "run",
    [
        steps(),
        steps(groups_with_signal=lambda n: (0.25, 1.0)[n % 2]),
        steps(entropy=lambda n: 1.2 - 0.025 * n),
        steps(entropy=0.02),
        steps(kl=lambda n: 0.01 * n),
        steps(kl=lambda n: 3.0 if n == 12 else 0.02),
        steps(truncated=0.4),
        steps(length_correlation=lambda n: (0.95, 0.6)[n % 2]),
        steps(length_correlation=lambda n: (1.0, -1.0)[n % 2]),
        [{"groups_with_signal": 1.0, "reward_mean": 0.1, "truncated": 0.0}] * 30,
        steps(count=5, groups_with_signal=0.0, truncated=1.0, kl=9.0),
    ],
)  # fmt: skip
def test_a_run_that_learns_or_is_young_is_left_alone(run):
    assert words(run) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"groups_with_signal": 0.2, "tasks_never": 5}, "differed in 20% of the groups only .* never succeed: give"),
        ({"groups_with_signal": 0.2, "tasks_always": 5}, "always succeed: take harder tasks.* rl.curriculum.rate"),
        ({"entropy": lambda n: 1.2 if n < 10 else 0.1}, "entropy has fallen from 1.200 to .* rl.clip_high"),
        ({"kl": lambda n: 0.1 * n}, "nats a token away .* raise rl.kl_coef"),
        ({"truncated": 0.9}, "90% of the calls .* cut .* raise the limit"),
        ({"length_correlation": 0.97}, r"length alone \(correlation 0.97 .* write longer .*`homeground rollouts`"),
        ({"length_correlation": -0.97}, "write shorter answers"),
        ({"gap_alarm": 1.0, "logprob_gap": 0.4}, r"differ from the trainer's by 0.4 .* \(expected below 0.1\)"),
    ],
)
def test_each_sign_is_said_once_with_what_to_change(changes, expected):
    (said,) = words(steps(count=60, **changes))
    assert re.search(expected, said)
