"""How long a planned stage will take: from a short measured probe, or from the rate of a device that is not here."""

from __future__ import annotations

from dataclasses import dataclass

from homeground.pipeline.planning import Plan, config_of, paths_of, settings_on
from homeground.recipe import Recipe

PROBE_TOKENS = 256
CARD_SHARE = 0.35
"""What training reaches of a card's matrix rate."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of a whole stage, without loading and evaluation, and where they come from."""

    seconds: float
    words: str


def estimate(recipe: Recipe, plan: Plan) -> Estimate:
    """Estimate the time of a stage; takes a few seconds where it measures."""
    if not plan.device.here:
        rate = plan.device.assumed_tflops
        return Estimate(
            plan.operations / (CARD_SHARE * rate * 1e12),
            f"assumed: a card of this size makes {rate:.0f} TFLOP/s, of which training reaches {CARD_SHARE:.0%}",
        )
    from homeground.policy.budget import step_of
    from homeground.policy.pace import seconds_of

    config, settings = config_of(recipe), settings_on(plan.device, recipe.model)
    length = min(PROBE_TOKENS, plan.forest)
    paths = paths_of([(length, length - 1)], config.vocab_size)
    _, seconds = seconds_of(config, settings, paths, "cuda" if plan.device.cuda else "cpu")
    step = step_of(config, settings, paths, cuda=plan.device.cuda)
    rate = (step.forward + step.backward) / seconds
    return Estimate(plan.operations / rate, f"measured here: layers of this model at {rate / 1e12:.2f} TFLOP/s")
