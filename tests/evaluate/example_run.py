"""A made-up run for the report's tests. Every number here is synthetic and measured nothing."""

import math
import random

from homeground.evaluate.agent import TaskOutcome, compare_rollouts, evaluate_rollouts
from homeground.evaluate.metrics import Metrics

SUCCESS_RATES = {"scripted": 0.55, "base": 0.02, "sft": 0.2, "rl": 0.34}
HEADER = "SYNTHETIC EXAMPLE, NOT A MEASUREMENT"


def example_outcomes(stage: str, tasks: int = 160) -> list[TaskOutcome]:
    """Outcomes whose success follows `SUCCESS_RATES`; the same tasks at every stage."""
    rng = random.Random(stage)
    outcomes: list[TaskOutcome] = []
    for number in range(tasks):
        success = float(rng.random() < SUCCESS_RATES[stage])
        reciprocal = 1 / rng.randint(1, 5) if success or rng.random() < 0.3 else 0.0
        formed = float(stage != "base" or rng.random() < 0.1)
        reward = 0.2 * formed + 0.3 * reciprocal + 0.5 * success
        outcomes.append(TaskOutcome(f"task-{number:03d}", reward, success, reciprocal, formed))
    return outcomes


def example_metrics() -> Metrics:
    outcomes = {stage: example_outcomes(stage) for stage in SUCCESS_RATES}
    return {
        "run": HEADER,
        "commit": "0000000",
        "machine": {"cpu": "an example processor", "cores": 2, "memory_gb": 16},
        "seed": 0,
        "stages": {
            "scripted": evaluate_rollouts(outcomes["scripted"], resamples=500),
            "base": evaluate_rollouts(outcomes["base"], resamples=500),
            "sft": evaluate_rollouts(outcomes["sft"], resamples=500),
            "rl": evaluate_rollouts(outcomes["rl"], resamples=500),
        },
        "paired": {
            "sft-base": compare_rollouts(outcomes["sft"], outcomes["base"], resamples=500),
            "rl-sft": compare_rollouts(outcomes["rl"], outcomes["sft"], resamples=500),
        },
        "seconds": {"index": 95.2, "tasks": 8.4, "base": 61.0, "sft": 74.5, "rl": 3725.0, "report": 2.0},
        "peak_memory_mb": {"index": 1890.0, "sft": 2700.5, "rl": 3104.0},
    }


def example_steps() -> list[dict[str, float | int | str | None]]:
    rng = random.Random(7)
    steps: list[dict[str, float | int | str | None]] = [
        {"step": n, "stage": "sft", "loss": 2.4 * math.exp(-n / 3) + 0.5, "grad_norm": 3.0 / n} for n in range(1, 9)
    ]
    steps.extend(
        {
            "step": n,
            "stage": "rl",
            "loss": 0.0,
            "reward_mean": 0.28 + 0.004 * n + rng.gauss(0, 0.06),
            "reward_std": 0.2,
            "groups_with_signal": rng.choice([0.5, 0.75, 1.0]),
            "kl": 0.002 * n,
            "entropy": 1.9 - 0.02 * n + rng.gauss(0, 0.05),
            "clip_share": 0.0,
            "logprob_gap": None if n == 1 else abs(rng.gauss(0, 0.01)),
            "response_tokens": 9 + rng.random(),
            "grad_norm": 0.5 + rng.random(),
        }
        for n in range(1, 26)
    )
    return steps


def example_rollouts(tasks: int = 5) -> list[dict[str, object]]:
    said = {
        "base": ("To find the function, look at the documentation of the module.", "The answer is 3."),
        "sft": ("search: daemon threads exit", "answer: [2]"),
        "rl": ("search: join daemon threads at interpreter exit", "answer: [1]"),
    }
    rollouts: list[dict[str, object]] = []
    for number in range(tasks):
        for stage, (query, answer) in said.items():
            reached = {"base": 0.0, "sft": 0.35, "rl": 1.0}[stage]
            rollouts.append(
                {
                    "task": f"task-{number:03d}",
                    "question": f"{HEADER} {number}: wait for the daemon threads that are still alive at exit.",
                    "gold": "threading.py::_shutdown",
                    "stage": stage,
                    "messages": [
                        {"role": "system", "content": "You find functions in a code base."},
                        {"role": "user", "content": "Which function does this? Wait for the daemon threads."},
                        {"role": "assistant", "content": query},
                        {"role": "user", "content": "[1] threading _shutdown\n[2] threading Thread.join"},
                        {"role": "assistant", "content": answer},
                    ],
                    "reward": reached,
                    "parts": {"search_form": 0.1 * (reached > 0), "reciprocal_rank": 0.3 * (reached > 0.5)},
                }
            )
    return rollouts


def example_group(
    step: int, number: int, rewards: list[float], *, text: str = "search: join threads"
) -> dict[str, object]:
    """A group of training as `homeground.runs.rolloutlog` keeps it; the spread of rewards shrinks with its number."""
    mean = sum(rewards) / len(rewards)
    std = (sum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5 or 1.0
    turn = {
        "read": f"{HEADER}: wait for the daemon threads",
        "wrote": text,
        "tool_calls": [{"name": "find", "arguments": '{"q": 1}'}],
        "prompt_tokens": 40,
        "tokens": 6,
        "finish_reason": "stop",
        "weights_version": step,
        "new_path": False,
    }
    return {
        "step": step,
        "group": number,
        "task": f"{HEADER}, task {number}",
        "rollouts": [
            {
                "id": f"{step}-{number}-{sibling}",
                "origin": "sampled",
                "reward": mean + (reward - mean) / (1 + number),
                "parts": {"search_form": 0.1},
                "advantage": (reward - mean) / std,
                "error": None,
                "turns": [turn],
            }
            for sibling, reward in enumerate(rewards)
        ],
    }
