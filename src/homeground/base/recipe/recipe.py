"""The whole recipe."""

from __future__ import annotations

from pydantic import Field

from homeground.base.recipe.agent import AgentSection
from homeground.base.recipe.ask import AskSection
from homeground.base.recipe.corpus import CorpusSection
from homeground.base.recipe.data import DataSection
from homeground.base.recipe.eval import EvalSection
from homeground.base.recipe.index import IndexSection
from homeground.base.recipe.model import ModelSection
from homeground.base.recipe.rl import RlSection
from homeground.base.recipe.section import Section
from homeground.base.recipe.serve import ServeSection
from homeground.base.recipe.sft import SftSection
from homeground.base.recipe.tasks import TasksSection
from homeground.base.recipe.tune import TuneSection
from homeground.base.recipe.yaml_text import dump


class Recipe(Section):
    """Everything a run depends on. The defaults are a whole recipe."""

    corpus: CorpusSection = CorpusSection()
    index: IndexSection = IndexSection()
    tasks: TasksSection = TasksSection()
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    sft: SftSection = SftSection()
    rl: RlSection = RlSection()
    agent: AgentSection = AgentSection()
    tune: TuneSection = TuneSection()
    eval: EvalSection = EvalSection()
    ask: AskSection = AskSection()
    serve: ServeSection = ServeSection()
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of every random choice")
    run: str | None = Field(default=None, description="the run's name; null lets the verb choose")

    def to_yaml(self) -> str:
        """The recipe as YAML that `load_recipe` reads back to an equal one."""
        return dump(self.model_dump(mode="json"))
