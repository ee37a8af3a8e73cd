"""Options that set a key of the recipe: their help is the field's, and their values are laid over the recipe."""

import inspect
from pathlib import Path
from typing import Annotated, get_args

import pytest

from homeground.cli import main
from homeground.cli.option import RecipeArgument, RecipeOption, overrides, with_meaning
from homeground.cli.verb import app
from homeground.recipe import load_recipe


def keyed():
    for command in app.registered_commands:
        for name, parameter in inspect.signature(command.callback).parameters.items():
            for one in get_args(parameter.annotation):
                if isinstance(one, RecipeOption | RecipeArgument):
                    yield pytest.param(one, id=f"{command.name} {name}")


def laid(key, value, kind=RecipeOption):
    parameter = inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[object, kind(key)])
    return overrides({"x": parameter}, {"x": value})


@pytest.mark.parametrize("option", [*keyed()])
def test_the_help_of_an_option_is_its_keys_meaning_and_default(option):
    words = with_meaning(option.help)
    assert f"recipe key {option.key}" in words
    assert "{" not in words


def test_the_help_that_is_shown_follows_the_field(capsys):
    assert main(["rl", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for word in ("(recipe key agent.runner, default inline).", "(recipe key seed, default 0).", "With 'run': "):
        assert word in shown


@pytest.mark.parametrize(
    ("key", "value", "recipe"),
    [
        ("seed", 3, {"seed": 3}),
        ("seed", 0, {"seed": 0}),
        ("agent.code", "a.py:agent", {"agent": {"code": "a.py:agent"}}),
        ("corpus.roots", [Path("src"), Path("docs")], {"corpus": {"roots": ["src", "docs"]}}),
        ("sft.probe_tasks", "hellaswag, arc_easy,", {"sft": {"probe_tasks": ["hellaswag", "arc_easy"]}}),
        ("data.sources.source", "a.jsonl", {"data": {"sources": [{"source": "a.jsonl"}]}}),
        ("agent.rewards.reward", ["r:a", "r:b"], {"agent": {"rewards": [{"reward": "r:a"}, {"reward": "r:b"}]}}),
        ("seed", None, {}),
        ("corpus.roots", [], {}),
    ],
)  # fmt: skip
def test_a_value_is_laid_over_its_key(key, value, recipe):
    assert laid(key, value) == laid(key, value, RecipeArgument) == recipe
    load_recipe(None, recipe)
