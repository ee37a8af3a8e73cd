"""What fine-tuning makes a model forget: the general probe before and after, and what is said about it.

Tasks of lm-evaluation-harness (`sft.probe_tasks`) are measured beside it, where the recipe names some.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.files import atomic_write_json, read_json
from homeground.base.progress import Progress
from homeground.pipeline.workbench import Workbench
from homeground.recipe import Recipe
from homeground.runs.workspace import RunFolder, Workspace

if TYPE_CHECKING:
    from homeground.evaluate.general import GeneralOutcome
    from homeground.evaluate.harness import HarnessOutcome, HarnessTasks

ADVICE = "mix in a replay source: homeground data replay writes one, docs/data.md says how"


@contextmanager
def watched(bench: Workbench) -> Generator[None]:
    """Score the general probe around a training stage, and say what changed; the recipe's `sft.probe` turns it off."""
    if not bench.recipe.sft.probe:
        yield
        return
    fresh = bench.adapter is None and bench.recipe.model.adapter is None
    tasks = _tasks(bench.recipe, bench.progress)
    before = _measured(bench, "before", tasks, cached=fresh)
    yield
    result = _compared(bench.recipe, bench.run, before, _measured(bench, "after", tasks), tasks)
    for line in (general_line(result), *task_lines(result)):
        bench.progress.line(line)
    if warning := general_warning(result):
        bench.progress.line(warning)


def evaluate_general(recipe: Recipe, workspace: Workspace, run: RunFolder, progress: Progress) -> dict[str, Any]:
    """Measure the base model and a run's newest adapter on the general probe; keeps the result in the run.

    Raises:
        HomegroundError: one of `sft.probe_tasks` cannot be run (:func:`homeground.evaluate.harness.load_tasks`).
    """
    tasks = _tasks(recipe, progress)
    outcomes: list[_Measured] = []
    for stage, adapter in (("before", None), ("after", run.adapter)):
        with Workbench(recipe, workspace, run, progress) as bench:
            bench.start_from(adapter)
            outcomes.append(_measured(bench, stage, tasks, cached=adapter is None))
    before, after = outcomes
    return _compared(recipe, run, before, after, tasks)


def general_file(run: RunFolder) -> Path:
    """Where a run's result on the general probe is kept."""
    return run.path / "evaluations" / "general.json"


def general_line(result: dict[str, Any]) -> str:
    """What changed, on one line."""
    before, after, change = result["stages"]["before"], result["stages"]["after"], result["paired"]["after-before"]

    def part(name: str, form: str, scale: float = 1) -> str:
        low, high = (f"{scale * change[name][end]:+{form}}" for end in ("low", "high"))
        return f"{scale * before[name]['value']:{form}} -> {scale * after[name]['value']:{form}} [{low}, {high}]"

    return (
        f"general probe: text {part('text_bits_per_byte', '.3f')} bits/byte, "
        f"right answers {part('answer_bits', '.2f')} bits, chosen {part('answer_accuracy', '.0f', 100)} %"
    )


def task_lines(result: dict[str, Any]) -> list[str]:
    """What changed in tasks of lm-evaluation-harness, a line each; none when none were measured."""
    before, after, change = result["stages"]["before"], result["stages"]["after"], result["paired"]["after-before"]
    lines: list[str] = []
    for task in _task_table(result):
        parts = [
            f"{name.removeprefix(task + '/')} {before[name]['value']:.3f} -> {after[name]['value']:.3f} "
            f"[{change[name]['low']:+.3f}, {change[name]['high']:+.3f}]"
            for name in change
            if name.startswith(f"{task}/")
        ]
        lines.append(f"{task}: {', '.join(parts)}")
    return lines


def task_facts(result: dict[str, Any]) -> list[str]:
    """How tasks of lm-evaluation-harness were measured, a line each; none when none were."""
    return [
        f"{task} (version {facts['version']}): {facts['samples']} of {facts['of']} samples, {facts['shots']} shots"
        + (f"; without an interval, so left out: {', '.join(facts['left_out'])}" if facts["left_out"] else "")
        for task, facts in _task_table(result).items()
    ]


def _task_table(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return result.get("lm_eval", {"tasks": {}})["tasks"]


def general_warning(result: dict[str, Any]) -> str:
    """What got worse beyond its interval, and what to do; empty when nothing did."""
    from homeground.evaluate.general import worse

    names = {
        "text_bits_per_byte": "plain text is predicted worse",
        "answer_bits": "right answers to general questions became less likely",
        "answer_accuracy": "fewer right answers are preferred to wrong ones",
    }
    lost = [names[name] for name in worse(result["paired"]["after-before"])] + _worse_tasks(result)
    return f"warning: the model forgot something: {', '.join(lost)}; {ADVICE}" if lost else ""


def _worse_tasks(result: dict[str, Any]) -> list[str]:
    """Tasks of lm-evaluation-harness with a metric whose whole interval lies on the worse side of no change."""
    found: list[str] = []
    for task, facts in _task_table(result).items():
        for name, change in result["paired"]["after-before"].items():
            # A metric's name, of which a filter may have several.
            higher = facts["higher_is_better"].get(name.removeprefix(f"{task}/").split(",")[0])
            if name.startswith(f"{task}/") and higher is not None:
                ends = [change["low"], change["high"]]
                if (max(ends) < 0) if higher else (min(ends) > 0):
                    found.append(f"{name} is worse")
    return found


@dataclass(frozen=True)
class _Measured:
    """One side of the comparison."""

    general: GeneralOutcome
    tasks: HarnessOutcome | None


def _tasks(recipe: Recipe, progress: Progress) -> HarnessTasks | None:
    """The recipe's tasks of lm-evaluation-harness with their data; None when it names none."""
    if not recipe.sft.probe_tasks:
        return None
    from homeground.evaluate.harness import load_tasks

    bar = progress.bar("reading tasks of lm-eval")
    loaded = load_tasks(recipe.sft.probe_tasks, limit=recipe.eval.tasks, seed=recipe.seed)
    bar.done(", ".join(f"{name} ({len(drawn)} samples)" for name, drawn in loaded.samples.items()))
    return loaded


def _measured(bench: Workbench, stage: str, tasks: HarnessTasks | None, *, cached: bool = False) -> _Measured:
    """The policy as it is."""
    general = _probe(bench, stage, cached=cached)
    if tasks is None:
        return _Measured(general, None)
    from homeground.evaluate.harness import run_tasks

    bar = bench.progress.bar(f"tasks of lm-eval: {stage}")

    def answered(total: int) -> None:
        if bar.total is None:
            bar.expect(total)
        bar.advance()

    outcome = run_tasks(bench.policy, tasks, seed=bench.recipe.seed, on_done=answered)
    bar.done(f"{bar.completed} answers scored")
    return _Measured(general, outcome)


def _compared(
    recipe: Recipe, run: RunFolder, before: _Measured, after: _Measured, tasks: HarnessTasks | None
) -> dict[str, Any]:
    from homeground.evaluate.general import compare_general, general_metrics, probe_id

    how: dict[str, Any] = {"resamples": recipe.eval.bootstrap, "seed": recipe.seed}
    stages = {"before": general_metrics(before.general, **how), "after": general_metrics(after.general, **how)}
    change = compare_general(after.general, before.general, **how)
    path = general_file(run)
    result: dict[str, Any] = {"path": str(path), "run": run.name, "probe": probe_id()}
    if tasks is not None and before.tasks is not None and after.tasks is not None:
        from homeground.evaluate.harness import compare_harness, harness_metrics

        result["lm_eval"] = tasks.to_json()
        stages["before"] |= harness_metrics(before.tasks, **how)
        stages["after"] |= harness_metrics(after.tasks, **how)
        change |= compare_harness(after.tasks, before.tasks, **how)
    result |= {"stages": stages, "paired": {"after-before": change}}
    atomic_write_json(path, result)
    return result


def _probe(bench: Workbench, stage: str, *, cached: bool = False) -> GeneralOutcome:
    """The probe's outcome with the policy as it is; the base model's is kept in the workspace."""
    from homeground.evaluate.general import GeneralOutcome, paragraphs, probe_id, questions, run_general_probe

    policy = bench.policy
    number = str(policy.dtype).removeprefix("torch.")
    kept = bench.workspace.cache / "general" / f"{policy.base_fingerprint()}-{number}-{probe_id()}.json"
    if cached and kept.is_file():
        return GeneralOutcome.from_json(read_json(kept))
    bar = bench.progress.bar(f"general probe: {stage}", total=len(paragraphs()) + len(questions()))
    outcome = run_general_probe(policy, bar.advance)
    bar.done(f"{len(paragraphs())} texts and {len(questions())} questions scored")
    if cached:
        atomic_write_json(kept, outcome.to_json())
    return outcome
