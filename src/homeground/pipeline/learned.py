"""What a run has taught its model, and so what it may be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from homeground.recipe import load_recipe
from homeground.runs.workspace import RunFolder, Workspace


class Learned(StrEnum):
    """What the adapter of a run was trained on last.

    Values:
        LOOKUP: to search and pick; it writes calls, no prose.
        DATA: rows of one's own; it writes what they hold.
        AGENT: an agent of one's own, such as a calculator.
        NOTHING: there is no adapter.
    """

    LOOKUP = "lookup"
    DATA = "data"
    AGENT = "agent"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Roles:
    """Who answers.

    Attributes:
        writer: the run whose adapter writes; None is the base model.
        seeker: the run whose adapter searches in agentic mode; None where there is none.
        passed_over: newer runs that were not taken, and why, for people.
    """

    writer: RunFolder | None = None
    seeker: RunFolder | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def run(self) -> RunFolder | None:
        """Whose recipe counts."""
        return self.writer or self.seeker


def learned(run: RunFolder) -> Learned:
    """What a run was trained on last."""
    done = run.finished()
    if not {"sft", "rl"} & set(done) or not run.adapter.is_dir():
        return Learned.NOTHING
    recipe = load_recipe(str(run.recipe)) if run.recipe.is_file() else None
    if "rl" in done:
        return Learned.AGENT if recipe is not None and recipe.agent.code is not None else Learned.LOOKUP
    return Learned.DATA if recipe is not None and recipe.data.sources else Learned.LOOKUP


def roles(workspace: Workspace, named: RunFolder | None = None) -> Roles:
    """The newest run that learned to write, and the newest that learned to search.

    Args:
        workspace: holds the runs.
        named: a run that has to be used: one that learned to search does that, any other writes.
    """
    if named is not None and learned(named) is not Learned.LOOKUP:
        return Roles(writer=named, seeker=_newest(workspace, Learned.LOOKUP)[0])
    if named is not None:
        return Roles(seeker=named)
    writer, passed = _newest(workspace, Learned.DATA)
    return Roles(writer, _newest(workspace, Learned.LOOKUP)[0], tuple(passed))


def _newest(workspace: Workspace, what: Learned) -> tuple[RunFolder | None, list[str]]:
    """The newest run that learned something, and words on newer ones of agents of one's own."""
    folders = sorted(workspace.runs.iterdir()) if workspace.runs.is_dir() else []
    runs = [run for folder in folders if (run := RunFolder(folder)).finished()]
    passed: list[str] = []
    for run in sorted(runs, key=_when, reverse=True):
        kind = learned(run)
        if kind is what:
            return run, passed
        if kind is Learned.AGENT:
            passed.append(
                f"run '{run.name}' was trained on an agent of its own and is not asked; --run {run.name} does"
            )
    return None, passed


def _when(run: RunFolder) -> float:
    return max(float(facts["finished"]) for facts in run.finished().values())
