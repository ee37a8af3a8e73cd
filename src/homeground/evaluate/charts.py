"""The report's charts, drawn with matplotlib: inline SVG that follows the page's colours, and one PNG for a README."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from homeground.evaluate.curves import CURVES, MOVING_AVERAGE, Curve
from homeground.evaluate.metrics import METRIC_NAMES, STAGE_NAMES, Metrics, evaluated

# Colours that stand for CSS variables: the SVG's hex codes are replaced by `var(...)` after drawing.
_VARIABLES = {
    "#010203": "var(--ink)",
    "#010204": "var(--muted)",
    "#010205": "var(--line)",
    "#010211": "var(--scripted)",
    "#010212": "var(--base)",
    "#010213": "var(--sft)",
    "#010214": "var(--rl)",
}


@dataclass(frozen=True)
class Palette:
    """Colours of one output: text, quiet text, grid lines, and each stage."""

    ink: str
    muted: str
    line: str
    stages: Mapping[str, str]


PAGE = Palette(
    ink="#010203",
    muted="#010204",
    line="#010205",
    stages={"scripted": "#010211", "base": "#010212", "sft": "#010213", "rl": "#010214"},
)
PRINT = Palette(
    ink="#1c2128",
    muted="#5b6470",
    line="#d9dee4",
    stages={"scripted": "#8a939e", "base": "#c98a1b", "sft": "#3b76c4", "rl": "#1f8f5f"},
)


def points(steps: Sequence[Mapping[str, Any]], curve: Curve) -> tuple[list[float], list[float]]:
    """Steps and finite values of a curve, in order; rows of other stages or without the key are left out."""
    xs: list[float] = []
    ys: list[float] = []
    for row in steps:
        value = row.get(curve.key)
        if row.get("stage") == curve.stage and isinstance(value, int | float) and math.isfinite(value):
            xs.append(float(row.get("step", len(xs) + 1)))
            ys.append(float(value))
    return xs, ys


def moving_average(values: Sequence[float], window: int = MOVING_AVERAGE) -> list[float]:
    """Mean of each value and up to `window - 1` before it."""
    return [sum(values[max(0, i + 1 - window) : i + 1]) / (i + 1 - max(0, i + 1 - window)) for i in range(len(values))]


def bars_svg(metrics: Metrics, metric: str) -> str:
    """Bars of one metric, a bar a stage, with 95% intervals; "" when no stage was evaluated."""
    stages = evaluated(metrics)
    if not stages:
        return ""
    figure = Figure(figsize=(3.7, 0.5 + 0.36 * len(stages)))
    axes = plain_axes(figure.add_subplot(), PAGE)
    for row, stage in enumerate(reversed(stages)):
        interval = metrics["stages"][stage][metric]
        axes.barh(row, interval["value"], height=0.62, color=PAGE.stages[stage], alpha=0.85)
        axes.plot([interval["low"], interval["high"]], [row, row], color=PAGE.ink, linewidth=1.6)
        axes.plot([interval["low"], interval["high"]], [row, row], "|", color=PAGE.ink, markersize=8)
        axes.text(
            max(interval["high"], interval["value"]) + 0.025,
            row,
            f"{interval['value']:.3f}",
            color=PAGE.ink,
            va="center",
            fontsize=9,
        )
    axes.set_yticks(range(len(stages)), [STAGE_NAMES[stage] for stage in reversed(stages)])
    axes.set_xlim(0, 1.16)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.grid(axis="y", visible=False)
    return _svg(figure, f"bars-{metric}", f"{METRIC_NAMES[metric]} of each stage with 95% intervals")


def curve_svg(steps: Sequence[Mapping[str, Any]], curve: Curve) -> str:
    """One curve over its stage's steps; "" when nothing was logged for it."""
    xs, ys = points(steps, curve)
    if not ys:
        return ""
    figure = Figure(figsize=(4.2, 2.3))
    axes = plain_axes(figure.add_subplot(), PAGE)
    _draw_curve(axes, xs, ys, PAGE, curve)
    return _svg(figure, f"curve-{curve.stage}-{curve.key}", f"{curve.title} over {curve.stage} steps")


def report_png(metrics: Metrics, steps: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw bars of every stage and metric, and the reward over GRPO steps, into one PNG (1760 x 672 pixels)."""
    figure = Figure(figsize=(11, 4.2), dpi=160, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.75, 1))
    stages = evaluated(metrics)
    width = 0.8 / max(1, len(stages))
    plain_axes(left, PRINT)
    for index, stage in enumerate(stages):
        for group, metric in enumerate(METRIC_NAMES):
            interval = metrics["stages"][stage][metric]
            x = group - 0.4 + width * (index + 0.5)
            label = STAGE_NAMES[stage] if group == 0 else None
            left.bar(x, interval["value"], width * 0.9, color=PRINT.stages[stage], label=label)
            below, above = interval["value"] - interval["low"], interval["high"] - interval["value"]
            left.errorbar(x, interval["value"], [[below], [above]], color=PRINT.ink, linewidth=1.2, capsize=2.5)
            left.text(
                x, interval["high"] + 0.015, f"{interval['value']:.2f}", color=PRINT.ink, fontsize=7.5, ha="center"
            )
    left.set_xticks(range(len(METRIC_NAMES)), list(METRIC_NAMES.values()))
    left.set_ylim(0, 1.12)
    left.grid(axis="x", visible=False)
    tasks = max((measured["reward"]["n"] for measured in metrics["stages"].values()), default=0)
    left.set_title(f"{tasks} held-out tasks, greedy, 95% intervals", loc="left", color=PRINT.ink, fontsize=10.5)
    if stages:
        left.legend(frameon=False, ncols=len(stages), fontsize=8.5, labelcolor=PRINT.ink, loc="upper left")
    plain_axes(right, PRINT)
    xs, ys = points(steps, CURVES[0])
    _draw_curve(right, xs, ys, PRINT, CURVES[0])
    right.set_title(
        f"Training reward over GRPO steps (bold: mean of {MOVING_AVERAGE})", loc="left", color=PRINT.ink, fontsize=10.5
    )
    figure.savefig(path, format="png")


def _draw_curve(axes: Axes, xs: Sequence[float], ys: Sequence[float], palette: Palette, curve: Curve) -> None:
    color = palette.stages[curve.stage]
    dot = "o" if len(xs) == 1 else ""
    if curve.averaged and len(ys) > 1:
        axes.plot(xs, ys, color=color, linewidth=1, alpha=0.45)
        axes.plot(xs, moving_average(ys), color=color, linewidth=2.2)
    else:
        axes.plot(xs, ys, marker=dot, color=color, linewidth=1.8)
    if ys and min(ys) >= 0:
        axes.set_ylim(0, max(ys) * 1.12 or 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))


def plain_axes(axes: Axes, palette: Palette) -> Axes:
    """The axes without frame and ticks, with a quiet grid, in the palette's colours."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(palette.line)
    axes.tick_params(colors=palette.muted, labelcolor=palette.ink, length=0, labelsize=9)
    axes.grid(visible=True, color=palette.line, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.patch.set_alpha(0)
    return axes


def _svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an inline `<svg>` element whose colours are the page's CSS variables; equal figures, equal text."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.patch.set_alpha(0)
        figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.04, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    for code, variable in _VARIABLES.items():
        text = text.replace(code, variable)
    return text
