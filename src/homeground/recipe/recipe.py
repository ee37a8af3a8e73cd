"""The whole recipe."""

from __future__ import annotations

from pydantic import Field

from homeground.base.config import Config
from homeground.policy.config import ModelConfig
from homeground.recipe.agent import AgentSection
from homeground.recipe.ask import AskSection
from homeground.recipe.corpus import CorpusSection
from homeground.recipe.data import DataSection
from homeground.recipe.eval import EvalSection
from homeground.recipe.index import IndexSection
from homeground.recipe.rl import RlSection
from homeground.recipe.serve import ServeSection
from homeground.recipe.sft import SftSection
from homeground.recipe.tasks import TasksSection
from homeground.recipe.tune import TuneSection
from homeground.recipe.yaml_text import dump


class Recipe(Config):
    """Everything a run depends on. The defaults are a whole recipe."""

    corpus: CorpusSection = CorpusSection()
    index: IndexSection = IndexSection()
    tasks: TasksSection = TasksSection()
    model: ModelConfig = ModelConfig()
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
