"""Verbs about the machine: `doctor` and `weights`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from homeground.base.errors import HomegroundError
from homeground.cli.complete import model_completion
from homeground.cli.option import RecipeOption
from homeground.cli.verb import Common, verb

if TYPE_CHECKING:
    from rich.table import Table

    from homeground.base.hardware import Hardware
    from homeground.base.weights import BundledWeights


_FETCH = "fetch"


@verb(example="homeground doctor")
def doctor(common: Common) -> None:
    """Look at this machine: what is there, what is missing, and what will be slow."""
    from rich.text import Text

    from homeground.base import hardware, weights

    machine = hardware.probe(common.home)
    models = weights.bundled()
    problems = [f"{model.name} is not installed: homeground weights fetch" for model in models if not model.present]
    problems += hardware.missing_parts()
    document = {
        **machine.to_json(),
        "weights": [weights.to_json(model) for model in models],
        "slow": machine.slow(),
        "problems": problems,
    }
    notes = [Text.assemble(("slow", "yellow"), "     ", note) for note in machine.slow()]
    notes += [Text.assemble(("problem", "red"), "  ", problem) for problem in problems]
    common.show(
        document,
        _machine_table(machine, models),
        *notes,
        *([] if problems else ["nothing is missing; try: homeground init"]),
    )
    if problems:
        raise typer.Exit(1)


@verb(example="homeground weights fetch")
def weights(
    common: Common,
    model: Annotated[
        str | None,
        typer.Argument(
            help="fetch: install what is missing of the small ones. A name, path or hub id: fetch (or convert) that "
            "model and print its folder.",
            autocompletion=model_completion,
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Quantize it as the recipe says, and show what that did to it.")
    ] = False,
    quantization: Annotated[str | None, RecipeOption("model.quantization", note="With --report: ")] = None,
) -> None:
    """List and verify the weights that need no network, fetch one model, or show what quantizing it loses."""
    from homeground.base.weights import bundled, resolve_model, to_json, verify

    if report:
        _show_quantization(common, model)
        return
    if model == _FETCH:
        _fetch(common)
        return
    if model is not None:
        if common.dry_run:
            common.show({"model": model, "path": None}, f"would look for '{model}', and fetch or convert it if needed")
            return
        with common.progress() as progress:
            bar = progress.bar(f"looking for {model}")
            path = resolve_model(model)
            bar.done("ready")
        common.show({"model": model, "path": str(path)}, str(path))
        return
    found = bundled()
    damage = {known.name: verify(known) for known in found if known.present}
    rows = [{**to_json(known), "problems": damage.get(known.name, [])} for known in found]
    common.show({"weights": rows}, _weights_table(found, damage))
    broken = [f"{name}: {problem}" for name, problems in damage.items() for problem in problems]
    if broken:
        raise HomegroundError("; ".join(broken), where="homeground weights", hint="install the package again")


def _fetch(common: Common) -> None:
    """Install the packages of bundled weights that are missing, and convert what needs converting."""
    from homeground.base.fetch import install, missing_weights
    from homeground.base.weights import bundled, resolve_model

    missing = missing_weights()
    names = ", ".join(f"{one.package}=={one.version}" for one in missing) or "nothing"
    if common.dry_run:
        common.show({"installed": [], "weights": {}}, f"would install {names}")
        return
    with common.progress() as progress:
        for one in missing:
            bar = progress.bar(f"installing {one.package}")
            install(one)
            bar.done(one.version)
        bar = progress.bar("making them ready")
        paths = {one.name: str(resolve_model(one.name)) for one in bundled()}
        bar.done(f"{len(paths)} models")
    document = {"installed": [one.name for one in missing], "weights": paths}
    common.show(document, *(f"{name}: {path}" for name, path in paths.items()), "try: homeground demo")


def _show_quantization(common: Common, name: str | None) -> None:
    model = common.load_recipe(model={"name": name}).model
    if common.dry_run:
        common.show({"model": model.name, "plan": model.quantization}, f"would quantize {model.name} in memory")
        return
    with common.progress() as progress:
        bar = progress.bar(f"quantizing {model.name}")
        from homeground.policy.base_model import load_base
        from homeground.policy.quantize_report import quantization_report

        found = quantization_report(load_base(model))
        bar.done(f"{len(found.packed)} layers at {found.bits:.3f} bits a parameter")
    kinds = [
        [kind, str(row["layers"]), row["storage"], f"{row['parameters'] / 1e6:.2f}", f"{row['bits']:.3f}",
         f"{row['error_mean']:.4f}", f"{row['error_worst']:.4f}"]
        for kind, row in found.kinds().items()
    ]  # fmt: skip
    plain = [
        [part.kind, str(part.modules), part.dtype, f"{part.parameters / 1e6:.2f}", part.why] for part in found.plain
    ]
    worst = ", ".join(f"{layer.name} {layer.error:.4f}" for layer in found.worst())
    common.show(
        {"model": model.name, "quantization": model.quantization, **found.to_json()},
        _plain_table(["quantized", "layers", "as", "M", "bits", "error", "worst"], kinds),
        "",
        _plain_table(["not quantized", "modules", "as", "M", "because"], plain),
        "",
        f"worst: {worst or 'nothing is quantized'}",
    )


def _machine_table(machine: Hardware, models: list[BundledWeights]) -> Table:
    cpu = [name for name, there in (("AMX", machine.amx), ("AVX512-BF16", machine.avx512_bf16)) if there]
    rows = {
        "Python": machine.python,
        "torch": machine.torch,
        "bitsandbytes": machine.bitsandbytes or "missing",
        "device": machine.device,
        "CUDA": f"{machine.cuda_name}, {machine.cuda_memory_mb:,.0f} MB" if machine.cuda_name else "none",
        "CPU": f"{machine.cpu}, {machine.cores} cores, {' and '.join(cpu) or 'no AMX, no AVX512-BF16'}",
        "bf16 / fp32": f"{machine.rates.bf16} / {machine.rates.fp32} TFLOP/s measured",
        "free memory": f"{machine.free_memory_mb:,.0f} MB",
        "free disk": f"{machine.free_disk_mb:,.0f} MB",
        "weights": ", ".join(f"{model.name} {'(installed)' if model.present else '(missing)'}" for model in models),
    }
    return _plain_table([], [[name, value] for name, value in rows.items()])


def _weights_table(found: list[BundledWeights], damage: dict[str, list[str]]) -> Table:
    def state(model: BundledWeights) -> str:
        if not model.present:
            return "missing: homeground weights fetch"
        return "; ".join(damage[model.name]) or "verified"

    columns = ["name", "kind", "package", "MB", "licence", "state"]
    rows = [
        [
            model.name,
            model.kind,
            f"{model.package} {model.version}",
            f"{model.size_mb:.0f}",
            model.licence,
            state(model),
        ]
        for model in found
    ]
    return _plain_table(columns, rows)


def _plain_table(columns: list[str], rows: list[list[str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=bool(columns), pad_edge=False)
    for column in columns or [""] * len(rows[0]):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
