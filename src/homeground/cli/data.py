"""Verbs that look at training data: `show-tokens`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.text import Text
    from transformers import PreTrainedTokenizerBase

    from homeground.policy import TokenPath

_TRAINED, _SPECIAL, _CONTEXT = "bold green", "magenta", "dim"


@verb(example="homeground show-tokens examples.jsonl", name="show-tokens")
def show_tokens(
    common: Common,
    data: Annotated[str, typer.Argument(metavar="FILE", help="Examples: a file, a folder, or OWNER/NAME of the hub.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many examples.")] = 3,
    only_last: Annotated[bool, typer.Option("--only-last", help="Train the last answer alone.")] = False,
) -> None:
    """Show examples as they would be trained: trained tokens green, context dim, special marks magenta."""
    from transformers import AutoTokenizer

    from homeground.base.weights import resolve_model
    from homeground.data import read_examples, render_examples

    recipe = common.load_recipe()
    tokenizer = AutoTokenizer.from_pretrained(str(resolve_model(recipe.model.name)))
    reading = read_examples(data, limit=count)
    rendering = render_examples(tokenizer, reading.examples, limit=1 << 30, only_last=only_last)
    shown = [_document(tokenizer, path) for path in rendering.paths]
    lines: list[Any] = []
    for number, path in enumerate(rendering.paths, start=1):
        head = f"example {number}: {len(path.ids)} tokens, {len(path.trained)} trained"
        lines += [head, coloured(tokenizer, path), ""]
    lines += [f"rejected: {row}" for row in reading.rejected]
    lines += [reading.describe(), rendering.describe()]
    common.show({"model": recipe.model.name, "examples": shown}, *lines)


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
