"""Reward against wall time on a task of `reasoning-gym`, our trainer and TRL's, three fixed seeds.

Run as ``make bench-learning`` (under an hour; not a part of ``make bench``). Both trainers get the same model,
adapter, prompts in the same order, reward, learning rate, beta, group size and sampling temperature, and a fixed time.
Each (trainer, seed) is a process of its own and is kept in ``benchmarks/results/learning.json`` as soon as it ends, so
that the bench can be run in pieces::

    python -m benchmarks.learning --trainers ours --seeds 0

The claim: our trainer reaches the reward that TRL reached in at most a third of the time. "Reached" is read off the
mean reward of the last WINDOW steps; time starts with the first step, models loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.sides import results
from benchmarks.sides.children import Child, run_bench
from benchmarks.sides.puzzles import PUZZLE, Puzzle, make_puzzles
from benchmarks.sides.workload import MODEL
from homeground.base.hardware import usable_cores

BENCH = "learning"
TRAINERS = ("ours", "peer")
SEEDS = (0, 1, 2)
MINUTES = {"ours": 5.0, "peer": 12.0}
TARGET = 3.0
WINDOW = 10
GROUP = 8
TASKS_PER_STEP = 2
LEARNING_RATE = 3e-4
BETA = 0.01
MAX_STEPS = 400
DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    """Measure what was asked for, merge, write, plot, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainers", default=",".join(TRAINERS))
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--minutes", type=float, help="of each run, instead of the bench's own")
    parser.add_argument("--one", nargs=2, metavar=("TRAINER", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        trainer, seed = options.one[0], int(options.one[1])
        torch.set_num_threads(usable_cores())
        puzzles = make_puzzles(PUZZLE, TASKS_PER_STEP * MAX_STEPS, seed)
        train = train_ours if trainer == "ours" else train_peer
        options.out.write_text(json.dumps(train(puzzles, seed, 60 * options.minutes)))
        return
    minutes = {trainer: options.minutes or MINUTES[trainer] for trainer in options.trainers.split(",")}
    children = [
        Child(f"{trainer}, seed {seed}", "benchmarks.learning", ("--one", trainer, seed, "--minutes", minutes[trainer]))
        for trainer in minutes
        for seed in options.seeds.split(",")
    ]
    run_bench(BENCH, children, rows_of, limit_s=60 * max(minutes.values()) + 180, report=plot)


def train_ours(puzzles: Sequence[Puzzle], seed: int, seconds: float) -> dict[str, Any]:
    """Reward of each step and when it ended."""
    from benchmarks.sides.ours import bench_policy
    from homeground.rollouts import DirectSource, Sampler
    from homeground.training import GrpoConfig, StepMetrics, train_grpo

    policy = bench_policy(MODEL)
    of_prompt = {puzzle.prompt: puzzle for puzzle in puzzles}
    steps: list[dict[str, float]] = []
    began = 0.0

    def note(metrics: StepMetrics) -> None:
        steps.append({"seconds": time.perf_counter() - began, "reward": metrics["reward_mean"]})
        if steps[-1]["seconds"] > seconds:
            raise _TimeOver

    settings = GrpoConfig(
        steps=MAX_STEPS,
        tasks_per_step=TASKS_PER_STEP,
        group_size=GROUP,
        learning_rate=LEARNING_RATE,
        kl_coef=BETA,
        checkpoint_every=10**9,
    )
    with Sampler(policy) as sampler, tempfile.TemporaryDirectory() as folder:
        source = DirectSource(
            policy,
            sampler,
            lambda prompt, completion: of_prompt[prompt].score(completion),
            max_tokens=PUZZLE.max_tokens,
            seed=seed,
        )
        began = time.perf_counter()
        with contextlib.suppress(_TimeOver):
            train_grpo(
                policy,
                list(of_prompt),
                source=source,
                config=settings,
                folder=Path(folder),
                on_step=note,
                quiet=True,
                seed=seed,
            )
    return {"steps": steps}


class _TimeOver(Exception):  # noqa: N818
    pass


def train_peer(puzzles: Sequence[Puzzle], seed: int, seconds: float) -> dict[str, Any]:
    """The same by TRL."""
    from benchmarks.peers.trl_learning import train

    return train(
        puzzles,
        seed,
        seconds,
        model=MODEL,
        max_steps=MAX_STEPS,
        max_completion_length=PUZZLE.max_tokens,
        num_generations=GROUP,
        generation_batch_size=TASKS_PER_STEP * GROUP,
        per_device_train_batch_size=GROUP,
        gradient_accumulation_steps=TASKS_PER_STEP,
        learning_rate=LEARNING_RATE,
        beta=BETA,
    )


def smoothed(steps: Sequence[dict[str, float]]) -> tuple[list[float], list[float]]:
    """Seconds and mean reward of the last WINDOW steps, from the first step that has as many."""
    rewards = [step["reward"] for step in steps]
    ends = range(WINDOW, len(steps) + 1)
    return [steps[end - 1]["seconds"] for end in ends], [sum(rewards[end - WINDOW : end]) / WINDOW for end in ends]


def seconds_to(level: float, steps: Sequence[dict[str, float]]) -> float | None:
    """When the smoothed reward first reached a level; None if it never did."""
    return next((second for second, reward in zip(*smoothed(steps), strict=True) if reward >= level), None)


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """One claim a seed that both trainers ran: the time to the best smoothed reward that TRL reached."""
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        pair = [measurements.get(f"{trainer}, seed {seed}") for trainer in TRAINERS]
        if any(one is None or len(one["steps"]) < WINDOW for one in pair):
            continue
        mine, other = pair
        rewards = smoothed(other["steps"])[1]
        level = max(rewards)
        theirs = seconds_to(level, other["steps"])
        found = seconds_to(level, mine["steps"])
        assert theirs is not None
        metric = f"seconds to reward {level:.2f} (TRL began at {rewards[0]:.2f})"
        if found is None:
            rows.append(results.row(f"seed {seed}", metric, "s", float("inf"), theirs, other["peer"], 0.0, TARGET))
            rows[-1]["ours"] = None
        else:
            rows.append(results.smaller(f"seed {seed}", metric, "s", found, theirs, other["peer"], TARGET))
        rows[-1] |= {"commit": mine["commit"], "peer_commit": other["commit"], "steps": [len(p["steps"]) for p in pair]}
    return rows


def plot(measurements: dict[str, Any], file: Path = DOCS / "bench-learning.png") -> None:
    """Smoothed reward against minutes, a thin line a seed."""
    if not measurements:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    styles = {"ours": ("#1f8f5f", "Homeground"), "peer": ("#c98a1b", "TRL")}
    for trainer, (colour, label) in styles.items():
        for seed in SEEDS:
            if one := measurements.get(f"{trainer}, seed {seed}"):
                seconds, rewards = smoothed(one["steps"])
                axes.plot([s / 60 for s in seconds], rewards, color=colour, linewidth=1.4, label=label)
                label = None
    axes.set(xlabel="minutes of training", ylabel=f"reward (mean of {WINDOW} steps)")
    axes.set_title(f"{PUZZLE.title}: reward against wall time, seeds {', '.join(map(str, SEEDS))}", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file)


if __name__ == "__main__":
    main()
