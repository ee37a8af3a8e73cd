"""The plot of a search measurement: MRR@10 by kind of query and stage, and recall over depth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from homeground.evaluate.charts import PRINT, plain_axes
from homeground.evaluate.search import ALL, HEADLINE, RECALLS, ByKind

_COLOURS = ("#8a939e", "#c98a1b", "#3b76c4", "#1f8f5f", "#8a4fb0")


def search_png(stages: Mapping[str, ByKind], path: Path) -> None:
    """Draw both into one PNG (1760 x 672 pixels).

    Args:
        stages: metrics of each stage, in the order in which they are drawn; at most five.
        path: of the PNG.
    """
    figure = Figure(figsize=(11, 4.2), dpi=160, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.75, 1))
    kinds = list(next(iter(stages.values())))
    width = 0.8 / len(stages)
    plain_axes(left, PRINT)
    for at, (stage, found) in enumerate(stages.items()):
        for group, kind in enumerate(kinds):
            interval = found[kind][HEADLINE]
            x = group - 0.4 + width * (at + 0.5)
            left.bar(x, interval["value"], width * 0.9, color=_COLOURS[at], label=stage if group == 0 else None)
            below, above = interval["value"] - interval["low"], interval["high"] - interval["value"]
            left.errorbar(x, interval["value"], [[below], [above]], color=PRINT.ink, linewidth=1.2, capsize=2.5)
            left.text(
                x, interval["high"] + 0.015, f"{interval['value']:.2f}", color=PRINT.ink, fontsize=7.5, ha="center"
            )
        depths = [found[ALL][f"recall@{k}"]["value"] for k in RECALLS]
        right.plot(range(len(RECALLS)), depths, marker="o", color=_COLOURS[at], linewidth=1.8)
    first = next(iter(stages.values()))
    left.set_xticks(range(len(kinds)), [f"{kind}\nn = {first[kind][HEADLINE]['n']}" for kind in kinds])
    left.set_ylim(0, 1.16)
    left.grid(axis="x", visible=False)
    left.set_title("MRR@10 by kind of query, 95% intervals", loc="left", color=PRINT.ink, fontsize=10.5)
    left.legend(frameon=False, ncols=len(stages), fontsize=8.5, labelcolor=PRINT.ink, loc="upper left")
    plain_axes(right, PRINT)
    right.set_xticks(range(len(RECALLS)), [str(k) for k in RECALLS])
    right.set_ylim(0, 1.02)
    right.set_xlabel("first hits looked at", color=PRINT.muted, fontsize=9)
    right.set_title("Recall, all queries", loc="left", color=PRINT.ink, fontsize=10.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
