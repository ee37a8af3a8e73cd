"""The verb `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from homeground.base.errors import UsageError
from homeground.base.exports import Format, Onto
from homeground.cli.stage import recipe_of
from homeground.cli.verb import Common, verb

_OPTIONS = {
    "--onto": {Format.MERGED, Format.GGUF, Format.OLLAMA},
    "--type": {Format.GGUF, Format.OLLAMA},
    "--shard-size": {Format.MERGED},
    "--text": {Format.MERGED, Format.GGUF, Format.OLLAMA},
    "--no-check": {Format.MERGED, Format.GGUF, Format.OLLAMA},
}


@verb(example="homeground export gguf --type q8_0")
def export(
    common: Common,
    kind: Annotated[Format, typer.Argument(metavar="FORMAT", help="adapter, merged, gguf or ollama.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write (else export/FORMAT in the run's).")] = None,
    onto: Annotated[
        Onto | None, typer.Option(help="Merge into these weights of the base (else those that were trained beside).")
    ] = None,
    gguf_type: Annotated[
        str | None,
        typer.Option("--type", help="f16 (default), q8_0, bf16 or f32; others through llama.cpp's llama-quantize."),
    ] = None,
    shard_size: Annotated[str | None, typer.Option(help="Largest safetensors file, such as 500MB; else 5GB.")] = None,
    text: Annotated[
        Path | None, typer.Option(help="Measure the merge on this text (else on parts of the standard library).")
    ] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Neither measure nor read back.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Write a run's model for others: its adapter, merged weights, a GGUF file, or an Ollama model, each measured."""
    given = {"--onto": onto, "--type": gguf_type, "--shard-size": shard_size, "--text": text, "--no-check": no_check}
    for option, value in given.items():
        if value and kind not in _OPTIONS[option]:
            raise UsageError(
                f"{option} says nothing about an export as {kind}",
                where=f"homeground export {kind}",
                hint=f"it belongs to {', '.join(sorted(_OPTIONS[option]))}",
            )
    run = common.trained_run()
    recipe = common.load_recipe(recipe_of(run))
    folder = (out or run.path / "export" / kind).expanduser().absolute()

    from homeground.pipeline.export import ExportSettings, plan_export
    from homeground.pipeline.export import export as export_run
    from homeground.pipeline.workbench import Workbench

    settings = ExportSettings(
        format=kind,
        onto=onto,
        type=(gguf_type or "f16").lower(),
        shard_size=shard_size or "5GB",
        text=text,
        check=not no_check,
        force=force,
    )
    head: dict[str, Any] = {"run": run.name, "format": kind.value, "folder": str(folder)}
    with common.progress() as progress, Workbench(recipe, common.workspace(create=False), run, progress) as bench:
        if common.dry_run:
            plan = plan_export(bench, settings, folder)
            words = f"would write about {plan['bytes'] / 1e6:,.0f} MB into {folder}"
            common.show({**head, **plan}, f"{words} ({plan['free_bytes'] / 1e6:,.0f} MB are free)")
            return
        exported = export_run(bench, settings, folder)
        for warning in exported.warnings:
            progress.line(f"warning: {warning}")
    files = [{"name": name, "bytes": size} for name, size in exported.files.items()]
    document = {**head, "files": files, **exported.facts(), "seconds": round(exported.seconds, 1)}
    lines = [f"{size / 1e6:10,.1f} MB  {name}" for name, size in exported.files.items()]
    common.show(document, f"{folder}", *lines)
