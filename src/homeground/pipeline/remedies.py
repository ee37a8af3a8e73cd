"""A stage's plan with advice: changes of the recipe that would make it fit, cheapest first, each planned again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from homeground.base.sizes import Target
from homeground.pipeline.planning import Plan, Stage, Work, planned, rendered_work
from homeground.recipe import Recipe

if TYPE_CHECKING:
    from homeground.training import Example

SHOWN = 3
_LEAST_SAVING = 0.01


@dataclass(frozen=True)
class Remedy:
    """One change.

    Attributes:
        change: of the recipe, nested like it; None where it would change nothing.
        words: the setting as a person writes it.
        cost: what is lost.
    """

    change: dict[str, Any]
    words: str
    cost: str


def plan_stage(recipe: Recipe, stage: Stage, device: Target, work: Work | None = None) -> Plan:
    """Plan a stage from its recipe alone; no weights are read.

    Args:
        recipe: of the run.
        stage: `sft` or `rl`.
        device: what it has to fit.
        work: what it trains on; look-ups of the usual length when None.

    Raises:
        HomegroundError: the model is unknown, or of a family that cannot be planned.
    """
    plan = planned(recipe, stage, device, work)
    if plan.fits:
        return plan
    return replace(plan, advice=advise(recipe, plan, work))


def refuse_what_cannot_fit(recipe: Recipe, stage: Stage, examples: Sequence[Example] | None = None) -> None:
    """Plan a stage for the device that it will run on; warns where its family of models cannot be planned.

    Raises:
        HomegroundError: it does not fit; names the largest parts and the first change that would help.
    """
    from homeground.base.sizes import target
    from homeground.policy.budget import NoPlanError

    work = rendered_work(recipe, examples) if examples is not None else None
    try:
        plan = plan_stage(recipe, stage, target(recipe.model.device), work)
    except NoPlanError as cause:
        warnings.warn(str(cause), stacklevel=2)
        return
    plan.refuse()


def advise(recipe: Recipe, plan: Plan, work: Work | None) -> list[str]:
    """At most three lines: changes that make it fit, cheapest first; where none does alone, those that do together."""

    def replan(changed: Recipe) -> Plan:
        return planned(changed, plan.stage, plan.device, work)

    helpful: list[tuple[Remedy, float, bool]] = []
    for remedy in remedies(recipe, plan.stage, cuda=plan.device.cuda):
        found = replan(changed(recipe, remedy))
        if found.total_mb < (1 - _LEAST_SAVING) * plan.total_mb:
            helpful.append((remedy, found.total_mb, found.fits))
    alone = [entry for entry in helpful if entry[2]]
    if alone:
        return [_line(remedy, total, "fits") for remedy, total, _ in alone[:SHOWN]]
    lines = [_line(remedy, total, "not enough alone") for remedy, total, _ in helpful[: SHOWN - 1]]
    return [*lines, _together(recipe, plan, [remedy for remedy, _, _ in helpful], replan)]


def remedies(recipe: Recipe, stage: Stage, *, cuda: bool) -> list[Remedy]:
    """What could be changed, cheapest first."""
    model, section = recipe.model, recipe.sft if stage == "sft" else recipe.rl
    found: list[Remedy] = []
    if section.forest_tokens > 256:
        half = section.forest_tokens // 2
        change = {stage: {"forest_tokens": half}}
        found.append(Remedy(change, f"{stage}.forest_tokens: {half}", "smaller forwards, up to a tenth slower"))
    fits_nf4 = not (model.lora.dora and model.lora.dropout)
    if model.quantization != "nf4" and fits_nf4 and (cuda or stage == "sft"):
        cost = "4-bit weights: a little precision of the base, and time to unpack them"
        found.append(Remedy({"model": {"quantization": "nf4"}}, "model.quantization: nf4", cost))
    if not model.gradient_checkpointing:
        change = {"model": {"gradient_checkpointing": True}}
        found.append(Remedy(change, "model.gradient_checkpointing: true", "about a third more time"))
    if not section.optimizer.endswith("8bit") and (section.optimizer != "auto" or not cuda):
        cost = "states of 8 bits: a little noise in the steps"
        found.append(Remedy({stage: {"optimizer": "adamw-8bit"}}, f"{stage}.optimizer: adamw-8bit", cost))
    if stage == "rl" and recipe.rl.group_size > 2:
        half = max(2, recipe.rl.group_size // 2)
        found.append(Remedy({"rl": {"group_size": half}}, f"rl.group_size: {half}", "noisier advantages"))
    if model.lora.r > 4:
        half = model.lora.r // 2
        found.append(Remedy({"model": {"lora": {"r": half}}}, f"model.lora.r: {half}", "a smaller adapter learns less"))
    return found


def changed(recipe: Recipe, remedy: Remedy) -> Recipe:
    """The recipe with one remedy."""
    return Recipe.model_validate(_merged(recipe.model_dump(), remedy.change))


def _merged(values: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return values | {k: _merged(values[k], v) if isinstance(v, dict) else v for k, v in change.items()}


def _together(recipe: Recipe, plan: Plan, helpful: list[Remedy], replan: Callable[[Recipe], Plan]) -> str:
    taken: list[str] = []
    best = plan
    for remedy in helpful:
        recipe = changed(recipe, remedy)
        best = replan(recipe)
        taken.append(remedy.words)
        if best.fits:
            return f"together {', '.join(taken)}: {best.total_mb:,.0f} MB, fits"
    everything = f"all of {', '.join(taken)}: {best.total_mb:,.0f} MB, " if taken else ""
    return f"{everything}still too large for {plan.device.name}: take a smaller model or a larger device"


def _line(remedy: Remedy, total: float, verdict: str) -> str:
    return f"{remedy.words}: {total:,.0f} MB, {verdict}; costs {remedy.cost}"
