"""What fine-tuning makes a model forget: the general probe before and after, and what is said about it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.files import atomic_write_json, read_json
from homeground.base.progress import Progress
from homeground.base.recipe import Recipe
from homeground.base.workspace import RunFolder, Workspace
from homeground.pipeline.workbench import Workbench

if TYPE_CHECKING:
    from homeground.evaluate.general import GeneralOutcome

ADVICE = "mix in a replay source: homeground data replay writes one, docs/data.md says how"


@contextmanager
def watched(bench: Workbench) -> Generator[None]:
    """Score the general probe around a training stage, and say what changed; the recipe's `sft.probe` turns it off."""
    if not bench.recipe.sft.probe:
        yield
        return
    fresh = bench.adapter is None and bench.recipe.model.adapter is None
    before = _probe(bench, "before", cached=fresh)
    yield
    result = _compared(bench.recipe, bench.run, before, _probe(bench, "after"))
    bench.progress.line(general_line(result))
    if warning := general_warning(result):
        bench.progress.line(warning)


def evaluate_general(recipe: Recipe, workspace: Workspace, run: RunFolder, progress: Progress) -> dict[str, Any]:
    """Measure the base model and a run's newest adapter on the general probe; keeps the result in the run."""
    outcomes: list[GeneralOutcome] = []
    for stage, adapter in (("before", None), ("after", run.adapter)):
        with Workbench(recipe, workspace, run, progress) as bench:
            bench.start_from(adapter)
            outcomes.append(_probe(bench, stage, cached=adapter is None))
    return _compared(recipe, run, *outcomes)


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


def general_warning(result: dict[str, Any]) -> str:
    """What got worse beyond its interval, and what to do; empty when nothing did."""
    from homeground.evaluate.general import worse

    names = {
        "text_bits_per_byte": "plain text is predicted worse",
        "answer_bits": "right answers to general questions became less likely",
        "answer_accuracy": "fewer right answers are preferred to wrong ones",
    }
    lost = [names[name] for name in worse(result["paired"]["after-before"])]
    return f"warning: the model forgot something: {', '.join(lost)}; {ADVICE}" if lost else ""


def _compared(recipe: Recipe, run: RunFolder, before: GeneralOutcome, after: GeneralOutcome) -> dict[str, Any]:
    from homeground.evaluate.general import compare_general, general_metrics, probe_id

    how: dict[str, Any] = {"resamples": recipe.eval.bootstrap, "seed": recipe.seed}
    path = general_file(run)
    result = {
        "path": str(path),
        "run": run.name,
        "probe": probe_id(),
        "stages": {"before": general_metrics(before, **how), "after": general_metrics(after, **how)},
        "paired": {"after-before": compare_general(after, before, **how)},
    }
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
    bar.done(f"general probe scored: {stage}")
    if cached:
        atomic_write_json(kept, outcome.to_json())
    return outcome
