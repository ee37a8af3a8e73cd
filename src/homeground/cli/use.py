"""Verbs that serve what was made: `serve` and `mcp`."""

from __future__ import annotations

from typing import Annotated

import typer

from homeground.cli.verb import Common, verb


@verb(example="homeground serve --port 8642")
def serve(
    common: Common,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")] = 8642,
) -> None:
    """Serve the newest trained run: OpenAI-compatible /v1 and /search, on loopback, behind a random key."""
    run = common.trained_run("sft")
    recipe = common.load_recipe(str(run.recipe))
    if common.dry_run:
        common.show({"run": run.name, "port": port}, f"would serve run '{run.name}' on port {port}")
        return

    from homeground.pipeline.workbench import Workbench
    from homeground.serve.app import create_app
    from homeground.serve.loopback import serve_forever

    with common.progress() as progress, Workbench(recipe, common.workspace(create=False), run, progress) as bench:
        bench.start_from(run.adapter)
        models, index = bench.server, bench.index.warm()

        def announce(address: str) -> None:
            event = {"event": "listening", "url": f"{address}/v1", "key": models.secret, "model": models.model}
            common.show(event, f"listening on {address}/v1, key {models.secret}, model '{models.model}'; Ctrl-C ends")

        serve_forever(create_app(models, index), port, announce)


@verb(example="homeground mcp")
def mcp(
    common: Common,
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP on loopback instead of stdio.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --http; 0 takes a free one.")] = 8643,
) -> None:
    """Give agents search, read, symbols, trace and skeleton over the Model Context Protocol."""
    workspace = common.workspace(create=False)
    if common.dry_run:
        way = f"http://127.0.0.1:{port}/mcp" if http else "stdio"
        common.show({"transport": way, "index": str(workspace.index)}, f"would serve {workspace.index} over {way}")
        return

    from homeground.index import Index, Tools
    from homeground.serve.mcp_server import create_http_app, create_mcp_server

    tools = Tools(Index.open(workspace.index))
    if not http:
        create_mcp_server(tools).run("stdio")
        return
    import secrets

    from homeground.serve.loopback import serve_forever

    token = secrets.token_urlsafe(24)

    def announce(address: str) -> None:
        event = {"event": "listening", "url": f"{address}/mcp", "key": token}
        common.show(event, f"listening on {address}/mcp, key {token}; Ctrl-C ends")

    serve_forever(create_http_app(tools, token), port, announce, lifespan="on")
