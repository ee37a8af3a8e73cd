"""The verb `mcp`."""

from __future__ import annotations

from typing import Annotated

import typer

from homeground.cli.verb import Common, verb


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

    from homeground.serve.listening import serve_forever

    token = secrets.token_urlsafe(24)

    def announce(address: str) -> None:
        event = {"event": "listening", "url": f"{address}/mcp", "key": token}
        common.show(event, f"listening on {address}/mcp, key {token}; Ctrl-C ends")

    waiting = common.load_recipe(None).serve.waiting
    serve_forever(create_http_app(tools, token, waiting), port, announce, lifespan="on")
