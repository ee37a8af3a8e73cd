"""Verbs that use what was trained: `ask` and `serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from homeground.cli.verb import Common, verb


@verb(example='homeground ask "how are daemon threads joined at exit?"')
def ask(common: Common, question: Annotated[str, typer.Argument(help="In plain words.")]) -> None:
    """Answer a question from the index, with citations that exist, using the newest trained run."""
    run = common.trained_run("sft")
    recipe = common.load_recipe(str(run.recipe))
    if common.dry_run:
        common.show({"question": question, "run": run.name}, f"would ask the model of run '{run.name}'")
        return

    from homeground.pipeline.question import answer
    from homeground.pipeline.workbench import Workbench

    with common.progress() as progress, Workbench(recipe, common.workspace(create=False), run, progress) as bench:
        answered = answer(bench, question)
    places = [f"  [{n}] {c['path']}:{c['start']}-{c['end']}" for n, c in enumerate(answered["citations"], 1)]
    common.show(dict(answered), answered["answer"], *places)


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
    from homeground.serve import create_app, serve_forever

    with common.progress() as progress, Workbench(recipe, common.workspace(create=False), run, progress) as bench:
        bench.start_from(run.adapter)
        models, index = bench.server, bench.index.warm()

        def announce(address: str) -> None:
            event = {"event": "listening", "url": f"{address}/v1", "key": models.secret, "model": models.model}
            common.show(event, f"listening on {address}/v1, key {models.secret}, model '{models.model}'; Ctrl-C ends")

        serve_forever(create_app(models, index), port, announce)
