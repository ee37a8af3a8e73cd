import json

import pytest

from homeground.base.errors import HomegroundError
from homeground.evaluate.agent import (
    METRICS,
    TaskOutcome,
    compare_rollouts,
    evaluate_rollouts,
    load_outcomes,
    save_outcomes,
)

OUTCOMES = [TaskOutcome("a", 0.7, 1.0, 0.5, 1.0), TaskOutcome("b", 0.1, 0.0, 0.0, 0.0)]


def test_every_metric_is_averaged_over_tasks():
    metrics = evaluate_rollouts(OUTCOMES, resamples=50)
    assert list(metrics) == list(METRICS)
    assert {name: interval["value"] for name, interval in metrics.items()} == pytest.approx(
        {"reward": 0.4, "success": 0.5, "reciprocal_rank": 0.25, "well_formed": 0.5}
    )
    assert all(interval["n"] == 2 for interval in metrics.values())


def test_two_outcomes_of_one_task_are_refused():
    with pytest.raises(HomegroundError, match="task a has more than one outcome") as error:
        evaluate_rollouts([OUTCOMES[0], OUTCOMES[0]])
    assert "one rollout a task" in str(error.value.hint)


def test_stages_are_compared_task_by_task():
    later = [TaskOutcome("b", 0.3, 0.0, 0.5, 1.0), TaskOutcome("a", 0.9, 1.0, 1.0, 1.0)]
    differences = compare_rollouts(later, OUTCOMES, resamples=50)
    assert {name: interval["value"] for name, interval in differences.items()} == pytest.approx(
        {"reward": 0.2, "success": 0.0, "reciprocal_rank": 0.5, "well_formed": 0.5}
    )


def test_stages_with_other_tasks_are_not_compared():
    with pytest.raises(HomegroundError, match="not evaluated on the same tasks"):
        compare_rollouts(OUTCOMES, OUTCOMES[:1])


def test_outcomes_come_back_from_disk_unchanged(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    save_outcomes(path, OUTCOMES)
    assert load_outcomes(path) == OUTCOMES
    assert len(path.read_text().splitlines()) == 2


def test_missing_outcomes_say_which_command_makes_them(tmp_path):
    with pytest.raises(HomegroundError, match="cannot be read") as error:
        load_outcomes(tmp_path / "none.jsonl")
    assert "homeground eval agent" in str(error.value.hint)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("not json", "Expecting value"),
        ("[1]", "expected an object"),
        (json.dumps({"task": "a"}), "expected an object"),
        (json.dumps({"task": "a", "reward": 2, "success": 0, "reciprocal_rank": 0, "well_formed": 0}), "outside"),
        (json.dumps({"task": "a", "reward": None, "success": 0, "reciprocal_rank": 0, "well_formed": 0}), "float"),
    ],
)
def test_a_broken_line_is_named_by_its_number(tmp_path, line, complaint):
    path = tmp_path / "outcomes.jsonl"
    save_outcomes(path, OUTCOMES)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(HomegroundError, match=complaint) as error:
        load_outcomes(path)
    assert error.value.where == f"{path}:3"
