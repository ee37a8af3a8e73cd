"""The verb `serve`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeground.base.errors import HomegroundError, UsageError
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from homeground.pipeline.serving import Adapter
    from homeground.runs.workspace import RunFolder, Workspace


@verb(example="homeground serve --port 8642")
def serve(
    common: Common,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8642,
    host: Annotated[str, typer.Option(help="Address to listen on; another than this machine's own wants --token-file.")]
    = "127.0.0.1",
    token_file: Annotated[
        Path | None, typer.Option(help="Keeps the token from start to start; made if it is missing. Else a random one.")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="A further model over the same base: NAME=FOLDER, or the name of a run. May be repeated."),
    ] = None,
) -> None:  # fmt: skip
    """Serve models, search and a page: OpenAI-compatible /v1, on loopback, behind a token."""
    from homeground.pipeline.serving import INDEXED, Serving
    from homeground.serve.listening import fresh_token, is_loopback, serve_forever, token_of

    if token_file is None and not is_loopback(host):
        raise UsageError(
            f"serving on {host} lets others in, and they need a token that you give them",
            where="--host",
            hint="add --token-file FILE; a missing file is made, with a random token",
        )
    workspace = _workspace(common)
    run = _newest(common, workspace)
    recipe = common.load_recipe(str(run.recipe) if run is not None else None)
    adapters = _adapters(common, run, adapter or [])
    serving = Serving(recipe, workspace, adapters, common.progress())
    if common.dry_run:
        common.show(
            {"models": serving.names, "host": host, "port": port},
            f"would serve {', '.join(serving.names)} on {host}, port {port}",
        )
        return

    token = fresh_token() if token_file is None else token_of(token_file)
    from homeground.serve.app import create_app

    def announce(address: str) -> None:
        page, names = f"{address}/#key={token}", serving.names
        if serving.index is not None:
            names = [*names, *(name + INDEXED for name in names)]
        event = {"event": "listening", "url": f"{address}/v1", "key": token, "model": names[0]}
        common.show(
            {**event, "models": names, "page": page},
            f"listening on {address}/v1, key {token}, models {', '.join(names)}",
            f"open {page}",
            "Ctrl-C ends: running answers are finished first",
        )

    with serving:
        serve_forever(create_app(serving, token), port, announce, host=host, grace_s=recipe.serve.grace_s)


def _workspace(common: Common) -> Workspace:
    """Open the workspace; unless it is named, it may be missing: the base model needs none."""
    from homeground.runs.workspace import open_workspace

    workspace = open_workspace(common.home, create=False, pretend=common.home is None)
    if not workspace.path.is_dir():
        common.tell(f"there is no workspace at {workspace.path}: the base model is served, without index and runs")
    return workspace


def _newest(common: Common, workspace: Workspace) -> RunFolder | None:
    """The run that is served; without one, the base model alone is."""
    if common.run is not None:
        return common.trained_run()
    for stage in ("sft", "rl"):
        with contextlib.suppress(HomegroundError):
            return workspace.newest_run(stage)
    return None


def _adapters(common: Common, run: RunFolder | None, more: list[str]) -> dict[str, Adapter]:
    from homeground.pipeline.learned import Learned, learned
    from homeground.pipeline.serving import Adapter

    def of(run: RunFolder) -> Adapter:
        return Adapter(run.adapter, seeks=learned(run) is Learned.LOOKUP)

    found = {run.name: of(run)} if run is not None else {}
    for wish in more:
        name, _, folder = wish.partition("=")
        if name in found:
            raise UsageError(
                f"two models would be called '{name}'", where="--adapter", hint="give one another name: NAME=FOLDER"
            )
        found[name] = Adapter(Path(folder).expanduser()) if folder else of(common.workspace(create=False).run(name))
    return found
