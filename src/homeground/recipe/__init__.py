"""Recipes: everything a run depends on, as data, one section a file."""

from homeground.recipe.agent import AgentSection, RewardSection
from homeground.recipe.ask import AskSection
from homeground.recipe.corpus import CorpusSection
from homeground.recipe.data import DataSection, DuplicatesSection, HeldoutSection, SourceSection
from homeground.recipe.eval import EvalSection
from homeground.recipe.index import IndexSection
from homeground.recipe.load import PROJECT_RECIPE, bundled_recipes, load_recipe
from homeground.recipe.recipe import Recipe
from homeground.recipe.rl import RlSection
from homeground.recipe.serve import ServeSection
from homeground.recipe.sft import SftSection
from homeground.recipe.tasks import TasksSection
from homeground.recipe.tune import TuneSection

__all__ = [
    "PROJECT_RECIPE",
    "AgentSection",
    "AskSection",
    "CorpusSection",
    "DataSection",
    "DuplicatesSection",
    "EvalSection",
    "HeldoutSection",
    "IndexSection",
    "Recipe",
    "RewardSection",
    "RlSection",
    "ServeSection",
    "SftSection",
    "SourceSection",
    "TasksSection",
    "TuneSection",
    "bundled_recipes",
    "load_recipe",
]
