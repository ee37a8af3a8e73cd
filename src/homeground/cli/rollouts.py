"""The verb `rollouts`: what a run tried, turn by turn, coloured by advantage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.terminal import printable_lines
from homeground.cli.complete import run_completion
from homeground.cli.verb import Common, verb
from homeground.runs.rolloutlog import GroupRecord, RolloutRecord, best_and_worst, logged_steps, read_rollouts, spread
from homeground.runs.workspace import RunFolder

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_READ_SHOWN = 700
"""Characters of what a turn read that are shown where two rollouts stand side by side."""
_SIDE = 72
"""Columns of one side where there is no terminal to measure."""
_STEPS_SHOWN = 12


@verb(example="homeground rollouts mine --step 5 --group 2")
def rollouts(
    common: Common,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run, or its folder; the last one trained if not given.",
            autocompletion=run_completion,
        ),
    ] = None,
    step: Annotated[int | None, typer.Option(help="Which step; the last one that was kept if not given.")] = None,
    group: Annotated[int | None, typer.Option(help="Best and worst rollout of this group, side by side.")] = None,
    rollout: Annotated[str | None, typer.Option(help="One rollout in full: its id, or its number in --group.")] = None,
) -> None:
    """Show what training tried: groups with rewards, best and worst side by side, any rollout turn by turn.

    Without --group the group whose rewards differ most is shown. Green is above the group's mean, red below.
    """
    run = _run(common, name)
    steps = logged_steps(run)
    if not steps:
        raise HomegroundError(
            "this run kept no rollouts", where=str(run.path), hint="train it with: homeground rl, or train_grpo(...)"
        )
    groups = read_rollouts(run, steps[-1] if step is None else step)
    chosen = _group(groups, group)
    one = None if rollout is None else _rollout(groups, chosen, rollout)
    shown = groups
    if one is not None:
        shown = [{**next(g for g in groups if one in g["rollouts"]), "rollouts": [one]}]
    elif group is not None:
        shown = [chosen]
    document = {"run": run.name, "path": str(run.path), "steps": steps, "groups": shown}
    common.show(document, *_for_people(name or run.name, steps, groups, chosen, one, alone=group is not None))


def _run(common: Common, name: str | None) -> RunFolder:
    if name is not None and common.run is not None and name != common.run:
        raise UsageError(f"two runs are named: {name} and {common.run}", where="--run", hint="name one of them")
    name = name or common.run
    if name is not None and Path(name).is_dir() and logged_steps(RunFolder(Path(name))):
        return RunFolder(Path(name))
    workspace = common.workspace(create=False)
    runs = [RunFolder(path) for path in sorted(workspace.runs.iterdir())] if workspace.runs.is_dir() else []
    kept = [run for run in runs if logged_steps(run)]
    if name is not None:
        run = workspace.run(name)
        if not run.path.is_dir():
            raise UsageError(
                f"there is no run '{name}'",
                where=str(workspace.runs),
                hint=f"runs with rollouts: {', '.join(r.name for r in kept)}" if kept else "train one: homeground rl",
            )
        return run
    if not kept:
        raise HomegroundError(
            "no run of this workspace kept rollouts", where=str(workspace.runs), hint="train one: homeground rl"
        )
    return max(kept, key=lambda run: (run.path / "rollouts").stat().st_mtime)


def _group(groups: list[GroupRecord], number: int | None) -> GroupRecord:
    if number is None:
        return max(groups, key=spread)
    found = next((g for g in groups if g["group"] == number), None)
    if found is None:
        raise UsageError(
            f"this step has no group {number}",
            where="--group",
            hint=f"groups: {', '.join(str(g['group']) for g in groups)}",
        )
    return found


def _rollout(groups: list[GroupRecord], chosen: GroupRecord, wanted: str) -> RolloutRecord:
    everyone = [r for g in groups for r in g["rollouts"]]
    if found := [r for r in everyone if r["id"] == wanted]:
        return found[0]
    siblings = chosen["rollouts"]
    if wanted.isdecimal() and int(wanted) < len(siblings):
        return siblings[int(wanted)]
    raise UsageError(
        f"there is no rollout '{wanted}' in group {chosen['group']} of step {chosen['step']}",
        where="--rollout",
        hint=f"0 to {len(siblings) - 1}, or an id such as {siblings[0]['id'] if siblings else 'none'}",
    )


def _for_people(
    run: str,
    steps: list[int],
    groups: list[GroupRecord],
    chosen: GroupRecord,
    one: RolloutRecord | None,
    *,
    alone: bool,
) -> list[RenderableType]:
    from rich.text import Text

    if one is not None:
        return [Text(_clean(chosen["task"])), *_turns(one, whole=True)]
    parts: list[RenderableType] = []
    if not alone:
        parts += [Text(f"run {run}, step {chosen['step']}; kept steps: {_listed(steps)}"), _overview(groups)]
    parts += [Text(f"\ngroup {chosen['group']}: {_clean(chosen['task'])}"), _side_by_side(chosen)]
    parts.append(
        Text(
            f"try: homeground rollouts {run} --step {chosen['step']} --group {chosen['group']} --rollout 0",
            style="dim",
        )
    )
    return parts


def _listed(steps: list[int]) -> str:
    if len(steps) <= _STEPS_SHOWN:
        return ", ".join(map(str, steps))
    return f"{', '.join(map(str, steps[:3]))} ... {', '.join(map(str, steps[-3:]))} ({len(steps)})"


def _overview(groups: list[GroupRecord]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("group", "task", "rewards", "tokens")
    for group in groups:
        rewards = Text(" ").join(_reward(rollout) for rollout in group["rollouts"])
        tokens = " ".join(str(_tokens(rollout)) for rollout in group["rollouts"])
        task = " ".join(_clean(group["task"]).split())
        table.add_row(str(group["group"]), Text(task if len(task) <= 60 else f"{task[:60]}..."), rewards, tokens)
    return table


def _reward(rollout: RolloutRecord) -> Text:
    from rich.text import Text

    if rollout["reward"] is None:
        return Text("failed", style="dim")
    return Text(f"{rollout['reward']:.2f}", style=_colour(rollout["advantage"]))


def _side_by_side(group: GroupRecord) -> RenderableType:
    import shutil
    import sys

    from rich.console import Group as Stack
    from rich.table import Table
    from rich.text import Text

    pair = best_and_worst(group)
    if pair is None:
        return Stack(*(part for rollout in group["rollouts"] for part in _turns(rollout, whole=False)))
    if spread(group) == 0:
        note = Text("all rewards of this group are equal: it taught nothing\n", style="yellow")
        return Stack(note, *_turns(pair[0], whole=False))
    width = max(30, (shutil.get_terminal_size().columns - 3) // 2) if sys.stdout.isatty() else _SIDE
    table = Table.grid(padding=(0, 3, 0, 0))
    for _ in pair:
        table.add_column(width=width, overflow="fold")
    table.add_row(
        *(
            Stack(Text(title, style="bold"), *_turns(rollout, whole=False))
            for title, rollout in zip(("best", "worst"), pair, strict=True)
        )
    )
    return table


def _turns(rollout: RolloutRecord, *, whole: bool) -> list[Text]:
    """A rollout, turn by turn: what it read in grey, what it wrote in the colour of its advantage."""
    from rich.text import Text

    colour = _colour(rollout["advantage"])
    head = Text(f"{_clean(rollout['id'])}: ", style="bold")
    if rollout["origin"] != "sampled":
        head.append(f"{rollout['origin']}, ", style="magenta")
    if rollout["reward"] is not None:
        head.append(f"reward {rollout['reward']:.3f}", style=colour)
    if rollout["advantage"] is not None:
        head.append(f", advantage {rollout['advantage']:+.2f}", style=colour)
    head.append(f", {_tokens(rollout)} tokens in {len(rollout['turns'])} turns", style="not bold")
    lines = [head]
    if rollout["parts"]:
        parts = ", ".join(f"{_clean(name)} {value:.3g}" for name, value in rollout["parts"].items())
        lines.append(Text(f"  {parts}"))
    if rollout["error"]:
        lines.append(Text(f"  failed: {_clean(rollout['error'])}", style="red"))
    for number, turn in enumerate(rollout["turns"], start=1):
        facts = f"turn {number}: read {turn['prompt_tokens']} tokens, wrote {turn['tokens']}, ended by "
        facts += f"{turn['finish_reason']}, weights {turn['weights_version']}"
        facts += ", a new path" if turn["new_path"] else ""
        malformed = turn.get("malformed_calls", 0)
        facts += f", {malformed} malformed tool calls" if malformed else ""
        read = turn["read"]
        if not whole and len(read) > _READ_SHOWN:
            read = f"{read[: _READ_SHOWN // 2]}\n[...]\n{read[-_READ_SHOWN // 2 :]}"
        lines += [
            Text(f"\n{facts}", style="cyan"),
            Text(_clean(read), style="dim"),
            Text(_clean(turn["wrote"]), style=colour),
        ]
        lines += [
            Text(f"call: {_clean(call['name'])}({_clean(call['arguments'])})", style="magenta")
            for call in turn["tool_calls"]
        ]
    return [*lines, Text("")]


def _tokens(rollout: RolloutRecord) -> int:
    return sum(turn["tokens"] for turn in rollout["turns"])


def _colour(advantage: float | None) -> str:
    """Green above the group's mean, red below, the stronger the further off; plain where nothing was learned."""
    if not advantage:
        return "default"
    strength = min(1.0, abs(advantage) / 1.5)
    bright, pale = round(150 + 105 * strength), round(150 - 110 * strength)
    return f"rgb({pale},{bright},{pale})" if advantage > 0 else f"rgb({bright},{pale},{pale})"


def _clean(text: str) -> str:
    return printable_lines(str(text))
