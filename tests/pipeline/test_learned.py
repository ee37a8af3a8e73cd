import pytest

from homeground.agents import AgentConfig
from homeground.data import DataConfig, SourceConfig
from homeground.pipeline.learned import Learned, learned, roles
from homeground.recipe import Recipe
from homeground.runs.workspace import open_workspace

OWN = Recipe(data=DataConfig(sources=(SourceConfig(source="rows.jsonl"),)))
CALCULATOR = Recipe(agent=AgentConfig(code="calculator.py:agent", tasks="tasks.jsonl"))


@pytest.fixture
def workspace(tmp_path):
    return open_workspace(tmp_path / "home")


@pytest.fixture
def made(workspace, monkeypatch):
    """Makes a run that has finished some stages; the later it is made, the newer it is."""
    clock = iter(range(1000))
    monkeypatch.setattr("homeground.runs.workspace.time.time", lambda: float(next(clock)))

    def make(name, *stages, recipe=None, adapter=True):
        run = workspace.run(name).create()
        run.recipe.write_text((recipe or Recipe()).to_yaml())
        if adapter:
            run.adapter.mkdir()
        for stage in stages:
            run.finish(stage)
        return run

    return make


@pytest.mark.parametrize(
    ("stages", "recipe", "what"),
    [
        (["sft"], None, Learned.LOOKUP),
        (["sft"], OWN, Learned.DATA),
        (["sft", "rl"], OWN, Learned.LOOKUP),
        (["sft", "eval before", "rl"], CALCULATOR, Learned.AGENT),
        (["tune"], None, Learned.NOTHING),
        ([], None, Learned.NOTHING),
    ],
)
def test_a_run_is_known_by_what_it_was_trained_on_last(made, stages, recipe, what):
    assert learned(made("run", *stages, recipe=recipe)) is what


def test_a_run_without_an_adapter_has_learned_nothing(made):
    assert learned(made("run", "sft", adapter=False)) is Learned.NOTHING


def test_the_newest_of_each_kind_is_taken_and_a_calculator_is_passed_over(workspace, made):
    made("old", "sft", recipe=OWN)
    made("new", "sft", recipe=OWN)
    made("look", "sft", "rl")
    made("calc", "rl", recipe=CALCULATOR)
    chosen = roles(workspace)
    assert (chosen.writer.name, chosen.seeker.name) == ("new", "look")
    assert [words.partition(" was")[0] for words in chosen.passed_over] == ["run 'calc'"]
    assert "--run calc" in chosen.passed_over[0]


def test_an_older_calculator_is_not_worth_a_word(workspace, made):
    made("calc", "rl", recipe=CALCULATOR)
    made("mine", "sft", recipe=OWN)
    assert roles(workspace).passed_over == ()


def test_a_named_run_is_taken_for_what_it_can_do(workspace, made):
    calculator, look = made("calc", "rl", recipe=CALCULATOR), made("look", "sft")
    made("mine", "sft", recipe=OWN)
    assert (roles(workspace, calculator).writer, roles(workspace, calculator).seeker) == (calculator, look)
    assert (roles(workspace, look).writer, roles(workspace, look).seeker) == (None, look)


def test_without_runs_the_untrained_model_answers(workspace):
    chosen = roles(workspace)
    assert (chosen.writer, chosen.seeker, chosen.run) == (None, None, None)
