"""Before and after: the stages' outcomes as metrics.json, report.html and a table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from homeground.base import hardware
from homeground.base.errors import HomegroundError
from homeground.base.files import read_jsonl
from homeground.corpus.git import Repository
from homeground.evaluate import Metrics, compare_rollouts, evaluate_rollouts, load_outcomes, write_metrics
from homeground.evaluate.charts import report_png
from homeground.evaluate.report import write_report
from homeground.evaluate.tried import tried
from homeground.pipeline.stages import evaluation_file, rollout_rows
from homeground.recipe import Recipe
from homeground.runs.workspace import RunFolder

STAGES = ("scripted", "base", "sft", "rl")
PAIRS = (("sft", "base"), ("rl", "sft"))


def write_results(run: RunFolder, recipe: Recipe) -> Metrics:
    """Write ``metrics.json``, ``report.html`` and ``report.png`` of a run from what its stages left.

    Raises:
        HomegroundError: no stage has been evaluated.
    """
    outcomes = {s: load_outcomes(evaluation_file(run, s)) for s in STAGES if evaluation_file(run, s).is_file()}
    if not outcomes:
        raise HomegroundError(
            "no stage of this run has been evaluated", where=str(run.path), hint="run: homeground eval agent"
        )
    resampling: dict[str, Any] = {"resamples": recipe.eval.bootstrap, "seed": recipe.seed}
    finished = run.finished()
    metrics: Metrics = {
        "run": run.name,
        "commit": source_commit(),
        "machine": machine(),
        "seed": recipe.seed,
        "stages": {stage: evaluate_rollouts(rows, **resampling) for stage, rows in outcomes.items()},  # type: ignore[typeddict-item]
        "paired": {
            f"{later}-{earlier}": compare_rollouts(outcomes[later], outcomes[earlier], **resampling)  # type: ignore[misc]
            for later, earlier in PAIRS
            if later in outcomes and earlier in outcomes
        },
        "seconds": {stage: facts["seconds"] for stage, facts in finished.items() if "seconds" in facts},
        "peak_memory_mb": {s: facts["peak_memory_mb"] for s, facts in finished.items() if "peak_memory_mb" in facts},
    }
    write_metrics(run.metrics, metrics)
    steps = read_jsonl(run.metrics_jsonl) if run.metrics_jsonl.exists() else []
    rollouts = rollout_rows(run, [stage for stage in outcomes if stage != "scripted"])
    write_report(run.report, metrics, steps, rollouts, recipe=yaml.safe_load(recipe.to_yaml()), groups=tried(run))
    report_png(metrics, steps, run.report.with_suffix(".png"))
    return metrics


def machine() -> dict[str, Any]:
    """What ran, as results files keep it."""
    seen = asdict(hardware.probe())
    kept = ("cpu", "cores", "device", "cuda_name", "amx", "avx512_bf16", "platform", "python", "torch", "bitsandbytes")
    return {name: seen[name] for name in kept}


def source_commit() -> str | None:
    """The commit of the source tree that runs; None for an installed package."""
    source = Path(__file__).resolve()
    repository = Repository.around(source.parent)
    if repository is None or source.relative_to(repository.top).as_posix() not in repository.tracked():
        return None
    return repository.head()[:12] or None
