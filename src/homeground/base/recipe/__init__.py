"""Recipes: everything a run depends on, as data, one section a file."""

from homeground.base.recipe.agent import AgentSection, RewardSection
from homeground.base.recipe.ask import AskSection
from homeground.base.recipe.corpus import CorpusSection
from homeground.base.recipe.data import DataSection, DuplicatesSection, HeldoutSection, SourceSection
from homeground.base.recipe.eval import EvalSection
from homeground.base.recipe.index import IndexSection
from homeground.base.recipe.load import PROJECT_RECIPE, bundled_recipes, load_recipe
from homeground.base.recipe.model import LoraSection, ModelSection
from homeground.base.recipe.recipe import Recipe
from homeground.base.recipe.rl import RlSection
from homeground.base.recipe.serve import ServeSection
from homeground.base.recipe.sft import SftSection
from homeground.base.recipe.tasks import TasksSection
from homeground.base.recipe.tune import TuneSection

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
    "LoraSection",
    "ModelSection",
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
