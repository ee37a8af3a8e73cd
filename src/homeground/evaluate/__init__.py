"""Evaluation: success of agents with intervals, paired differences, `metrics.json`, and the report."""

from homeground.evaluate.agent import (
    METRICS,
    TaskOutcome,
    compare_rollouts,
    evaluate_rollouts,
    load_outcomes,
    outcome_of,
    rollout_record,
    save_outcomes,
)
from homeground.evaluate.metrics import Metrics, check_metrics, metrics_schema, read_metrics, write_metrics
from homeground.evaluate.prompts import Evaluation, evaluate
from homeground.evaluate.stats import Interval, mean_interval, paired_difference
from homeground.evaluate.verdict import pair_rows, stage_rows, verdict

__all__ = [
    "METRICS",
    "Evaluation",
    "Interval",
    "Metrics",
    "TaskOutcome",
    "check_metrics",
    "compare_rollouts",
    "evaluate",
    "evaluate_rollouts",
    "load_outcomes",
    "mean_interval",
    "metrics_schema",
    "outcome_of",
    "pair_rows",
    "paired_difference",
    "read_metrics",
    "rollout_record",
    "save_outcomes",
    "stage_rows",
    "verdict",
    "write_metrics",
]
