"""One self-contained HTML page about a run: what was measured, how training went, what rollouts look like.

Everything on the page except the charts is escaped by Jinja2: rollouts hold text that a model wrote and names from
files that nobody vetted. The page loads nothing and runs no script; a content security policy says so too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from homeground.base.files import atomic_write_text
from homeground.evaluate.charts import bars_svg, curve_svg
from homeground.evaluate.curves import CURVES, MOVING_AVERAGE
from homeground.evaluate.metrics import METRIC_NAMES, STAGE_NAMES, STAGES, Metrics
from homeground.evaluate.tried import steps_tried
from homeground.evaluate.verdict import pair_marks, pair_rows, stage_rows, verdict
from homeground.runs.rolloutlog import GroupRecord

ROLLOUTS_SHOWN = 5


def write_report(
    path: Path,
    metrics: Metrics,
    steps: Sequence[Mapping[str, Any]],
    rollouts: Sequence[Mapping[str, Any]],
    *,
    recipe: Mapping[str, Any] | str | None = None,
    groups: Sequence[GroupRecord] = (),
) -> None:
    """Write `report.html`, whole or not at all; the arguments are those of `render_report`."""
    atomic_write_text(path, render_report(metrics, steps, rollouts, recipe=recipe, groups=groups))


def render_report(
    metrics: Metrics,
    steps: Sequence[Mapping[str, Any]],
    rollouts: Sequence[Mapping[str, Any]],
    *,
    recipe: Mapping[str, Any] | str | None = None,
    groups: Sequence[GroupRecord] = (),
) -> str:
    """The report as one HTML document.

    Args:
        metrics: the content of `metrics.json`.
        steps: rows of `metrics.jsonl`, in order; keys that are missing leave their chart out.
        rollouts: `{"task", "question", "gold", "stage", "messages": [{"role", "content"}], "reward", "parts"}`; those
            of one task are shown side by side, for the first five tasks.
        recipe: what the run was made with, as data or as YAML text.
        groups: rollouts that training tried, see :func:`~homeground.evaluate.tried.tried`.
    """
    sentences = verdict(metrics)
    return render_page(
        metrics,
        sentences,
        steps,
        rollouts,
        recipe=recipe,
        groups=groups,
        stage_rows=stage_rows(metrics),
        pair_rows=pair_rows(metrics),
        pair_marks=pair_marks(metrics),
        bars=[(METRIC_NAMES[name], _inline(bars_svg(metrics, name))) for name in METRIC_NAMES],
        scripted="scripted" in metrics["stages"],
        turns=True,
    )


def render_page(
    measured: Mapping[str, Any],
    sentences: Sequence[str],
    steps: Sequence[Mapping[str, Any]],
    rollouts: Sequence[Mapping[str, Any]],
    *,
    recipe: Mapping[str, Any] | str | None,
    groups: Sequence[GroupRecord],
    **shown: Any,
) -> str:
    """The page of any kind of run.

    Args:
        measured: `run`, `commit`, `machine`, `seed`, `seconds` and `peak_memory_mb`, as in `metrics.json`.
        sentences: the outcome, the most important first; one that is no gain says so.
        steps, rollouts, recipe, groups: see :func:`render_report`.
        shown: the tables and charts above the curves, by the template's names.
    """
    environment = Environment(
        loader=PackageLoader("homeground.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        run=measured["run"],
        commit=measured["commit"] or "unknown commit",
        seed=measured["seed"],
        gained=not sentences[0].startswith("No gain"),
        headline=sentences[0],
        details=sentences[1:],
        curves=[(curve, _inline(svg)) for curve in CURVES if (svg := curve_svg(steps, curve))],
        moving_average=MOVING_AVERAGE,
        warnings=[(row["stage"], row["step"], words) for row in steps for words in row.get("warnings", ())],
        tasks=_side_by_side(rollouts),
        tried=steps_tried(groups),
        costs=_costs(measured),
        recipe=recipe if isinstance(recipe, str) else yaml.safe_dump(dict(recipe), sort_keys=False) if recipe else "",
        machine=_machine(measured),
        **shown,
    )


def _inline(svg: str) -> Markup:
    """A chart of ours as markup: it holds numbers and fixed labels only."""
    return Markup(svg)


def _side_by_side(rollouts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first tasks, each with its rollouts in the order of the stages."""
    tasks: dict[str, dict[str, Any]] = {}
    for rollout in rollouts:
        task = tasks.setdefault(
            str(rollout["task"]), {"question": rollout["question"], "gold": rollout["gold"], "rollouts": []}
        )
        task["rollouts"].append(
            {
                "stage": str(rollout["stage"]),
                "name": STAGE_NAMES.get(str(rollout["stage"]), str(rollout["stage"])),
                "messages": rollout["messages"],
                "reward": float(rollout["reward"]),
                "parts": {name.replace("_", " "): float(value) for name, value in rollout["parts"].items()},
            }
        )
    order = {stage: place for place, stage in enumerate(STAGES)}
    shown = list(tasks.values())[:ROLLOUTS_SHOWN]
    for task in shown:
        task["rollouts"].sort(key=lambda rollout: order.get(rollout["stage"], len(order)))
    return shown


def _costs(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Time and peak memory of each stage of work, in the order in which they ran."""
    seconds, memory = metrics["seconds"], metrics["peak_memory_mb"]
    return [
        (
            stage,
            duration(seconds[stage]) if stage in seconds else "",
            f"{memory[stage] / 1024:.2f} GB" if stage in memory else "",
        )
        for stage in dict.fromkeys([*seconds, *memory])
    ]


def duration(seconds: float) -> str:
    """Seconds as `8.4 s`, `2 min 05 s` or `1 h 02 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _machine(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = metrics["machine"]
    if isinstance(machine, str):
        return [("machine", machine)]
    return [(name.replace("_", " "), str(value)) for name, value in machine.items()]
