"""Recipes: everything a run depends on, as data, composed of the settings of the packages below."""

from homeground.recipe.load import PROJECT_RECIPE, bundled_recipes, load_recipe
from homeground.recipe.recipe import Recipe
from homeground.recipe.reference import commented_yaml
from homeground.recipe.rl import RlSection
from homeground.recipe.sections import AskSection, ServeSection, TuneSection
from homeground.recipe.sft import SftSection

__all__ = [
    "PROJECT_RECIPE",
    "AskSection",
    "Recipe",
    "RlSection",
    "ServeSection",
    "SftSection",
    "TuneSection",
    "bundled_recipes",
    "commented_yaml",
    "load_recipe",
]
