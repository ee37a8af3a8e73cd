"""The whole recipe."""

from __future__ import annotations

from pydantic import Field

from homeground.agents.config import AgentConfig
from homeground.base.config import Config
from homeground.corpus.config import CorpusConfig
from homeground.data.config import DataConfig
from homeground.evaluate.config import EvalConfig
from homeground.index.config import IndexConfig
from homeground.policy.config import ModelConfig
from homeground.recipe.rl import RlSection
from homeground.recipe.sections import AskSection, ServeSection, TuneSection
from homeground.recipe.sft import SftSection
from homeground.recipe.yaml_text import dump
from homeground.tasks.config import TasksConfig


class Recipe(Config):
    """Everything a run depends on. The defaults are a whole recipe."""

    corpus: CorpusConfig = CorpusConfig()
    index: IndexConfig = IndexConfig()
    tasks: TasksConfig = TasksConfig()
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    sft: SftSection = SftSection()
    rl: RlSection = RlSection()
    agent: AgentConfig = AgentConfig()
    tune: TuneSection = TuneSection()
    eval: EvalConfig = EvalConfig()
    ask: AskSection = AskSection()
    serve: ServeSection = ServeSection()
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of all random number generators")
    run: str | None = Field(default=None, description="name of the run; null lets the command choose")

    def to_yaml(self) -> str:
        """The recipe as YAML that `load_recipe` reads back to an equal one."""
        return dump(self.model_dump(mode="json"))
