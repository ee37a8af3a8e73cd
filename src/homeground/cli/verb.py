"""What every verb shares: the app, the common options, and how results are printed."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, TextIO

import typer

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.terminal import json_line
from homeground.cli.complete import recipe_completion, run_completion
from homeground.cli.option import RecipeCommand, RecipeOption, overrides

if TYPE_CHECKING:
    from rich.console import RenderableType

    from homeground.base.progress import Progress
    from homeground.recipe import Recipe
    from homeground.runs.workspace import RunFolder, Workspace

app = typer.Typer(
    help="Train a small local model on your own code and docs, with every gain measured. Nothing leaves the machine.",
    epilog="Start with: homeground demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None: ...  # pyright: ignore[reportUnusedFunction] # Typer keeps verbs as sub-commands even while there is only one


_COMMON = "Common options"
_resumable: set[str] = set()


@dataclass(frozen=True)
class Common:
    """The options that every verb takes."""

    home: Path | None
    recipe: str | None
    run: str | None
    seed: int | None
    dry_run: bool
    quiet: bool
    json: bool
    given: dict[str, Any]
    """Values of the command's options that set keys of the recipe, nested like a recipe."""

    def load_recipe(self, default: str | None = None, **overrides: Any) -> Recipe:
        """Load the recipe of `--recipe` (else the one named `default`, else that of the current folder, else the
        defaults), with the command's options and `overrides` over it.

        Raises:
            RecipeError: see `homeground.recipe.load_recipe`.
        """
        from homeground.base.files import refuse_foreign
        from homeground.recipe import PROJECT_RECIPE, load_recipe
        from homeground.recipe.load import merge

        source = self.recipe or default
        if source is None and os.path.lexists(PROJECT_RECIPE):
            refuse_foreign(Path(PROJECT_RECIPE).absolute(), "--recipe")
            source = PROJECT_RECIPE
        return load_recipe(source, merge(self.given, overrides))

    def workspace(self, create: bool = True) -> Workspace:
        """The workspace of `--home`; a dry run makes none, and plans as if it were there."""
        from homeground.runs.workspace import open_workspace

        return open_workspace(self.home, create=create, pretend=create and self.dry_run)

    def trained_run(self, stage: str | None = None) -> RunFolder:
        """The run of `--run`, else the newest that finished `stage`.

        Raises:
            HomegroundError: there is none.
        """
        workspace = self.workspace(create=False)
        if self.run is None:
            try:
                return workspace.newest_run(stage)
            except HomegroundError:
                self.load_recipe()  # an unreadable recipe is the first error to fix
                raise
        run = workspace.run(self.run)
        if not run.path.is_dir():
            names = sorted(folder.name for folder in workspace.runs.iterdir()) if workspace.runs.is_dir() else []
            known = f"runs here: {', '.join(names)}" if names else "make one with 'homeground demo'"
            raise UsageError(f"there is no run '{self.run}'", where=str(workspace.runs), hint=known)
        return run

    def progress(self) -> Progress:
        """Bars on stderr, none with `--quiet`."""
        from homeground.base.progress import Progress

        return Progress(quiet=self.quiet)

    def show(self, document: dict[str, Any], *people: RenderableType) -> None:
        """Print a verb's result: `document` as JSON with `--json`, else what is made for people to read."""
        if self.json:
            print(json_line(document), flush=True)
            return
        _print(sys.stdout, *people)

    def tell(self, *people: RenderableType) -> None:
        """Print what people should see while the verb still works, on stderr; nothing with `--quiet`."""
        if not self.quiet:
            _print(sys.stderr, *people)


def _print(stream: TextIO, *people: RenderableType) -> None:
    from homeground.base.console import Console

    console = Console(stream)
    for part in people:
        console.print(part)


def _common_parameters(
    home: Annotated[
        Path | None,
        typer.Option(help="The workspace (else HOMEGROUND_HOME, else .homeground).", rich_help_panel=_COMMON),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A YAML file, or a bundled recipe: default, demo; else the run's own, else homeground.yaml here.",
            rich_help_panel=_COMMON,
            autocompletion=recipe_completion,
        ),
    ] = None,
    run: Annotated[str | None, RecipeOption("run", panel=_COMMON, completion=run_completion)] = None,
    seed: Annotated[int | None, RecipeOption("seed", panel=_COMMON, least=0)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.", rich_help_panel=_COMMON)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=_COMMON)] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=_COMMON)] = False,
) -> Common:
    return Common(home, recipe, run, seed, dry_run, quiet, json, {})


def verb[**P](
    *, example: str, name: str | None = None, resumable: bool = False
) -> Callable[[Callable[Concatenate[Common, P], None]], Callable[..., None]]:
    """Add a function to the command line as a verb; its first parameter is `Common`, its docstring the help.

    Args:
        example: a command shown by `--help`; it must run as it stands.
        name: the verb (the function's name when None).
        resumable: the verb takes `--resume`, and Ctrl-C says so.
    """

    def add(function: Callable[Concatenate[Common, P], None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        shared = inspect.signature(_common_parameters, eval_str=True).parameters
        kinds = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shared.values()]
        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in list(own.parameters.values())[1:]
        ]
        every = {parameter.name: parameter for parameter in (*parameters, *kinds)}

        @functools.wraps(function)
        def call(**values: Any) -> None:
            given = overrides(every, values)
            common = replace(_common_parameters(**{key: values.pop(key) for key in shared}), given=given)
            if common.recipe is not None:
                common.load_recipe()  # also for commands without a recipe: a wrong one is the first error
            function(common, **values)  # pyright: ignore[reportCallIssue] # Typer has checked them against the signature

        call.__signature__ = inspect.Signature([*every.values()])  # pyright: ignore[reportAttributeAccessIssue]
        call.__annotations__ = {name: parameter.annotation for name, parameter in every.items()}
        del call.__wrapped__  # Typer would read the hints of what it wraps
        verb_name = name or function.__name__
        if resumable:
            _resumable.add(verb_name)
        app.command(verb_name, cls=RecipeCommand, epilog=f"Example: {example}")(call)
        return call

    return add


def is_resumable(verb_name: str) -> bool:
    """Whether the verb goes on with `--resume` after an interruption."""
    return verb_name in _resumable
