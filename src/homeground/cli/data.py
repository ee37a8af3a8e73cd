"""Verbs for training data: `data` makes it from a corpus, `show-tokens` looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.base.errors import UsageError
from homeground.base.kinds import FORMER_NAMES, OF_CORPUS, DataKind
from homeground.base.terminal import printable
from homeground.cli.option import RecipeOption
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text
    from transformers import PreTrainedTokenizerBase

    from homeground.pipeline.sft_data import SftData
    from homeground.policy import TokenPath
    from homeground.recipe import Recipe
    from homeground.training import Example

_TRAINED, _SPECIAL, _CONTEXT = "bold green", "magenta", "dim"


def _kind(word: str) -> DataKind:
    if word in FORMER_NAMES:
        return FORMER_NAMES[word]
    if word not in [*DataKind]:
        raise UsageError(f"there is no kind of rows '{word}'", hint=f"choose among {', '.join(DataKind)}")
    return DataKind(word)


@verb(example="homeground data documentation completion", name="data")
def make_data(
    common: Common,
    kinds: Annotated[
        list[DataKind] | None,
        typer.Argument(
            parser=_kind,
            metavar=f"[{'|'.join(DataKind)}]",
            autocompletion=lambda: [*DataKind],
            help="What the rows teach (else every kind that the corpus gives; 'replay' only when named).",
        ),
    ] = None,
    root: Annotated[list[Path] | None, RecipeOption("corpus.roots")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the rows go (else 'data' in the workspace).")] = None,
    train: Annotated[
        int | None, typer.Option(min=1, help="Train rows of a kind, at most (else 600; of replay 100).")
    ] = None,
    heldout: Annotated[int, typer.Option(min=1, help="Held-out rows of a kind, at most; from other modules.")] = 160,
) -> None:
    """Make fine-tuning data from your own corpus (look-ups, documentation, completion, cited answers), or replay."""
    recipe = common.load_recipe()
    workspace = common.workspace()
    folder = out or workspace.path / "data"
    if common.dry_run:
        wanted = [*(kinds or OF_CORPUS)]
        words = f"would read {', '.join(recipe.corpus.roots)} and write {', '.join(wanted)} into {folder}"
        common.show({"folder": str(folder), "kinds": wanted, "plan": words}, words)
        return

    from homeground.pipeline.own_data import make_data_sets
    from homeground.pipeline.workbench import Workbench
    from homeground.runs.workspace import RunFolder

    with common.progress() as progress, Workbench(recipe, workspace, RunFolder(workspace.tasks), progress) as bench:
        report = make_data_sets(bench, kinds or (), folder, train=train, heldout=heldout)
    common.show(report, *_own_data_table(report))


def _own_data_table(report: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    table = Table("kind", "train", "held-out", "left out", title="rows from your corpus", title_justify="left")
    for kind, facts in report["kinds"].items():
        removed = ", ".join(f"{count} {reason}" for reason, count in facts["removed"].items()) or "-"
        table.add_row(kind, str(facts["train"]), str(facts["heldout"]), removed)
    split = f"{report['heldout_modules']} of {report['modules']} files are held out"
    left_out = [f"no {kind}: {reason}" for kind, reason in report["left_out"].items()]
    first = next(iter(report["kinds"].values()))["train_file"]
    return [table, split, *left_out, f"written to {report['folder']}", f"try: homeground sft --data {first} --run mine"]


@verb(example="homeground show-tokens examples.jsonl", name="show-tokens")
def show_tokens(
    common: Common,
    data: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="Examples, instead of the recipe's: a file, a folder, or OWNER/NAME."),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many examples.")] = 3,
) -> None:
    """Show examples as the recipe would train them: trained tokens green, context dim, special marks magenta."""
    from homeground.pipeline.planning import config_of, tokenizer_of
    from homeground.policy.rope import longest_path
    from homeground.training import render_examples

    recipe = common.load_recipe()
    examples, notes = _some_examples(common, recipe, data, count)
    tokenizer = tokenizer_of(recipe)
    rendering = render_examples(tokenizer, examples, recipe.sft, limit=longest_path(config_of(recipe)))
    shown = [_document(tokenizer, path) for path in rendering.paths]
    lines: list[Any] = []
    for number, path in enumerate(rendering.paths, start=1):
        head = f"example {number}: {len(path.ids)} tokens, {len(path.trained)} trained"
        lines += [head, coloured(tokenizer, path), ""]
    lines += [*notes, *(f"rejected: {row}" for row in rendering.rejected), rendering.describe()]
    common.show({"model": recipe.model.name, "examples": shown}, *lines)


def _some_examples(common: Common, recipe: Recipe, source: str | None, count: int) -> tuple[list[Example], list[str]]:
    """The first examples of a source, or of the recipe's mixture, and what to say of them."""
    from homeground.data import read_examples, redact_examples
    from homeground.pipeline.planning import tokenizer_of
    from homeground.pipeline.sft_data import sft_data

    if source is not None:
        reading = read_examples(source, limit=count)
        examples, secrets = redact_examples(reading.examples)
        notes = [f"rejected: {row}" for row in reading.rejected]
        notes += [f"replaced: {one.kind} in {one.place}" for one in secrets]
        return examples, [*map(printable, notes), reading.describe()]
    if not recipe.data.sources:
        raise UsageError("there is nothing to show", hint="name a FILE, or a --recipe with data.sources")
    with common.progress() as progress:
        made = sft_data(recipe, progress, tokenizer=tokenizer_of(recipe))
    return made.train[:count], [made.describe()]


def data_table(made: SftData) -> Table:
    """The realised mix: what became of each source's rows."""
    from rich.table import Table

    heads = ("rows", "rejected", "duplicates", "contaminated", "held out", "taken", "of examples", "of text")
    table = Table("source", title="training data", title_justify="left")
    for head in heads:
        table.add_column(head, justify="right")
    for one in made.sources:
        counts = (one.rows, one.rejected, one.duplicates, one.contaminated, one.heldout, one.taken)
        table.add_row(one.source, *map(str, counts), f"{one.share:.1%}", f"{one.text_share:.1%}")
    return table


def coloured(tokenizer: PreTrainedTokenizerBase, path: TokenPath) -> Text:
    """A path's text; neighbouring tokens of one kind are decoded together, so that no letter is torn."""
    from rich.text import Text

    text = Text()
    for style, ids in _runs(tokenizer, path):
        text.append(str(tokenizer.decode(ids)), style=style)
    return text


def _runs(tokenizer: PreTrainedTokenizerBase, path: TokenPath) -> list[tuple[str, list[int]]]:
    from homeground.policy.chat import marks

    special = marks(tokenizer)
    trained = set(path.trained)
    runs: list[tuple[str, list[int]]] = []
    for place, token in enumerate(path.ids):
        style = _TRAINED if place in trained else _CONTEXT
        if token in special:
            style = f"{_SPECIAL} bold" if place in trained else _SPECIAL
        if runs and runs[-1][0] == style:
            runs[-1][1].append(token)
        else:
            runs.append((style, [token]))
    return runs


def _document(tokenizer: PreTrainedTokenizerBase, path: TokenPath) -> dict[str, Any]:
    trained = list(path.trained)
    return {"ids": list(path.ids), "trained": trained, "tokens": tokenizer.convert_ids_to_tokens(list(path.ids))}
