"""`known_plans.json` is what planning says; `python -m tests.pipeline.test_known_plans` writes it anew."""

import json

import pytest

from homeground.base.sizes import Target, target
from homeground.pipeline import model_choice
from homeground.pipeline.model_choice import CANDIDATES, KNOWN_PLANS, consider, known_plans, planned_cost
from homeground.recipe import Recipe, load_recipe

KINDS = ("bf16", "fp32", "cuda")


def cost(candidate, kind):
    """MB and operations of a candidate at the default recipe."""
    recipe = Recipe()
    if kind != "cuda":
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"compute_dtype": kind})})
    return planned_cost(recipe, candidate, Target("any", 1e6, cuda=kind == "cuda", here=False))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("candidate", CANDIDATES[:2], ids=lambda one: one.name)
def test_saved_plans_are_current(candidate, kind):
    assert known_plans()[candidate.name][kind] == pytest.approx(cost(candidate, kind), rel=0.02)


def test_every_candidate_has_its_plans():
    assert {name: set(kinds) for name, kinds in known_plans().items()} == {one.name: {*KINDS} for one in CANDIDATES}


def test_only_a_recipe_with_other_settings_is_planned_anew(monkeypatch):
    asked = []
    monkeypatch.setattr(model_choice, "planned_cost", lambda recipe, candidate, device: asked.append(1) or (1e9, 1e9))
    first, *_ = consider(load_recipe(), target("8GB"))
    assert (first.fits, asked) == (True, [])
    assert [one.fits for one in consider(load_recipe(overrides={"rl": {"group_size": 8}}), target("8GB"))] == [False]
    assert asked == [1]


if __name__ == "__main__":
    costs = {one.name: {kind: cost(one, kind) for kind in KINDS} for one in CANDIDATES}
    rows = {
        name: {kind: {"total_mb": round(mb, 1), "operations": operations} for kind, (mb, operations) in kinds.items()}
        for name, kinds in costs.items()
    }
    KNOWN_PLANS.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
