"""A run's model for others: written whole or not at all, measured against what was trained, described by a card."""

from __future__ import annotations

import shutil
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.exports import Format, Onto
from homeground.base.files import atomic_write_json, atomic_write_text, read_json, read_jsonl, read_text, staged_folder
from homeground.base.weights import resolve_model
from homeground.corpus import stdlib_root
from homeground.pipeline.measured import source_commit
from homeground.pipeline.workbench import Workbench
from homeground.policy.adapters import AdapterWarning, refuse_other_base
from homeground.policy.export.card import Card, public_name
from homeground.policy.export.check import (
    Check,
    Difference,
    check_gguf,
    compare,
    fill,
    held_out,
    plain_logprobs,
    plain_model,
    reader_missing,
    trained_logprobs,
)
from homeground.policy.export.folders import generation_config, write_adapter, write_merged
from homeground.policy.export.gguf_config import differences, family_of
from homeground.policy.export.gguf_file import check_type, gguf_bytes, write_gguf
from homeground.policy.export.ollama import chat_form, write_modelfile
from homeground.policy.export.weights import MergedWeights
from homeground.policy.originals import WeightFiles

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from homeground.policy import Policy

RECORD = "export.json"
_TEXTS = ("argparse", "csv", "json/decoder", "logging/handlers", "shelve", "textwrap", "uuid", "zipapp")
_BROKEN_MEAN = 1.0
"""Nats a token between a file and its own weights: more is no rounding, and the file is thrown away."""


@dataclass(frozen=True)
class ExportSettings:
    """How to export.

    Attributes:
        format: see there.
        onto: what the adapter is merged into; None takes what it was trained on.
        type: how a GGUF file stores matrices.
        shard_size: of one safetensors file at most.
        text: a file whose text the merge is measured on; None takes some of the standard library's.
        check: whether to measure and to read back.
        force: replace an earlier export.
    """

    format: Format
    onto: Onto | None = None
    type: str = "f16"
    shard_size: str = "5GB"
    text: Path | None = None
    check: bool = True
    force: bool = False


@dataclass
class Exported:
    """What came out.

    Attributes:
        folder: where it lies.
        files: names and bytes.
        onto: what the adapter was merged into; None for an adapter by itself.
        measured: of each base it may be merged into, the difference from what was trained.
        check: what another reader made of the file.
        warnings: what a user should know.
        seconds: it took.
    """

    folder: Path
    files: dict[str, int] = field(default_factory=dict)
    onto: Onto | None = None
    measured: dict[Onto, Difference] = field(default_factory=dict)
    check: Check | None = None
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """What was measured, as JSON."""
        return {
            "onto": self.onto,
            "measured": {onto.value: difference.to_json() for onto, difference in self.measured.items()},
            "check": self.check.to_json() if self.check else None,
            "warnings": self.warnings,
        }


def plan_export(bench: Workbench, settings: ExportSettings, folder: Path) -> dict[str, int]:
    """What an export needs, before anything is loaded: `{"bytes", "free_bytes"}`.

    Raises:
        HomegroundError: no adapter, another base's adapter, a family that cannot be written, not enough disk.
        UsageError: the folder holds something already, the type is unknown, or the text cannot be read.
    """
    _refuse_what_is_there(folder, settings.force)
    _texts(settings.text)
    if not (bench.run.adapter / "adapter_config.json").is_file():
        raise HomegroundError(
            f"the run '{bench.run.name}' has no adapter to export",
            where=str(bench.run.adapter),
            hint=f"train one: homeground sft --run {bench.run.name}",
        )
    base = resolve_model(bench.recipe.model.name)
    weights = MergedWeights(base, bench.run.adapter)
    with warnings.catch_warnings(action="ignore", category=AdapterWarning):
        refuse_other_base(bench.run.adapter, WeightFiles(base))
    if settings.format in (Format.GGUF, Format.OLLAMA):
        check_type(settings.type)
        family_of(weights.config)
        needed = gguf_bytes(weights, settings.type)
    elif settings.format is Format.MERGED:
        needed = sum(_bytes(weights, name) for name in weights.names) + (16 << 20)
    else:
        needed = sum(file.stat().st_size for file in bench.run.adapter.iterdir())
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise HomegroundError(
            f"not enough disk: about {needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free",
            where=str(there),
            hint="free some, or name a folder on another disk with --out",
        )
    return {"bytes": needed, "free_bytes": free}


def export(bench: Workbench, settings: ExportSettings, folder: Path) -> Exported:
    """Export a run's adapter into a folder.

    Raises:
        HomegroundError, UsageError: see :func:`plan_export`; a file that another reader finds broken.
    """
    began = time.monotonic()
    plan_export(bench, settings, folder)
    exported = Exported(folder)
    with staged_folder(folder) as staging:
        if settings.format is Format.ADAPTER:
            write_adapter(bench.run.adapter, staging, public_name(bench.recipe.model.name))
        else:
            _Export(bench, settings, staging, exported).run()
        atomic_write_text(staging / "README.md", _card(bench, settings, exported).text())
        record = {"run": bench.run.name, "format": settings.format, "commit": source_commit(), **exported.facts()}
        atomic_write_json(staging / RECORD, record)
        exported.files = {path.name: path.stat().st_size for path in sorted(staging.rglob("*")) if path.is_file()}
    exported.seconds = time.monotonic() - began
    return exported


class _Export:
    """One export of a merged model, in whatever format."""

    def __init__(self, bench: Workbench, settings: ExportSettings, staging: Path, exported: Exported) -> None:
        self._bench, self._settings, self._staging, self._exported = bench, settings, staging, exported
        bench.start_from(bench.run.adapter)
        bar = bench.progress.bar("loading what was trained")
        self._policy: Policy = bench.policy
        bar.done(self._policy.describe())
        self._merges = {Onto.ORIGINAL: MergedWeights(self._policy.folder, bench.run.adapter)}
        if self._policy.quantization != "none":
            self._merges[Onto.QUANTIZED] = MergedWeights(self._policy.folder, bench.run.adapter, self._policy)
        wanted = settings.onto or (Onto.QUANTIZED if Onto.QUANTIZED in self._merges else Onto.ORIGINAL)
        if wanted not in self._merges:
            raise UsageError(
                "this run's base was not quantized", where="--onto quantized", hint="leave --onto out, or give original"
            )
        exported.onto = wanted
        self._weights = self._merges[wanted]

    def run(self) -> None:
        if self._settings.format is Format.MERGED:
            self._merged()
        else:
            self._gguf()

    def _merged(self) -> None:
        bar = self._bench.progress.bar("merging", total=len(self._weights.names))
        write_merged(self._weights, self._policy.tokenizer, self._staging, self._settings.shard_size, bar.advance)
        bar.done(f"{bar.completed} tensors, onto the {self._exported.onto} base")
        if self._settings.check:
            self._measure(
                self._weights.model_class.from_pretrained(
                    str(self._staging), dtype=self._policy.dtype, use_safetensors=True, trust_remote_code=False
                ).eval()
            )

    def _gguf(self) -> None:
        settings, tokenizer = self._settings, self._policy.tokenizer
        if settings.format is Format.OLLAMA:
            chat_form(tokenizer)  # refused before the work, not after it
        name = f"{public_name(self._policy.name).lower()}-{self._bench.run.name}".replace("/", "-").replace(" ", "-")
        file = self._staging / f"{name}-{settings.type.lower()}.gguf"
        bar = self._bench.progress.bar(f"writing {file.name}", total=len(self._weights.names))
        made = write_gguf(self._weights, tokenizer, file, settings.type, name, bar.advance)
        bar.done(f"{file.stat().st_size / 1e6:,.0f} MB, pre-tokenizer '{made.pre}'")
        self._exported.warnings += [*made.notes, *differences(self._weights.config)]
        if settings.format is Format.OLLAMA:
            write_modelfile(
                self._staging / "Modelfile", file.name, tokenizer, generation_config(self._policy.folder, tokenizer)
            )
        if settings.check:
            model = plain_model(self._weights, self._wide())
            self._read_back(file, model)
            model.to(dtype=self._policy.dtype)  # pyright: ignore[reportArgumentType,reportCallIssue]
            self._measure(model)

    def _wide(self) -> torch.dtype:
        """Float32 where the model fits in it beside what is loaded."""
        values = sum(torch.Size(self._weights.shape(name)).numel() for name in self._weights.names)
        return torch.float32 if 8 * values < psutil.virtual_memory().available else self._policy.dtype

    def _read_back(self, file: Path, model: PreTrainedModel) -> None:
        if missing := reader_missing():
            self._exported.warnings.append(missing)
            return
        bar = self._bench.progress.bar("reading it back with llama.cpp")
        check = check_gguf(file, model, self._policy.tokenizer, threads=torch.get_num_threads())
        if check.mean > _BROKEN_MEAN:
            raise HomegroundError(
                f"{check.reader} computes something else from this file: log-probabilities differ by {check.mean:.3g} "
                f"nats on average, at most {check.max:.3g}",
                where=self._weights.config.model_type,
                hint="nothing was exported; please report the model's config.json",
            )
        bar.done(
            f"log-probs differ by {check.mean:.4f} nats (at most {check.max:.3f}), greedy text the same in "
            f"{check.greedy_same} of {check.greedy_steps} tokens, {check.texts - len(check.other_tokens)} of "
            f"{check.texts} texts and {check.conversations - len(check.other_prompts)} of {check.conversations} "
            "conversations tokenized and rendered alike"
        )
        self._exported.check = check
        self._exported.warnings += check.problems()

    def _measure(self, model: PreTrainedModel) -> None:
        """Compare each way to merge with what was trained; ``model`` holds the wanted one."""
        exported = self._exported
        assert exported.onto is not None
        rows = held_out(self._policy.tokenizer, _texts(self._settings.text))
        bar = self._bench.progress.bar("measuring", total=1 + len(self._merges))
        trained = trained_logprobs(self._policy, rows)
        bar.advance()
        for onto in sorted(self._merges, key=lambda onto: onto is not exported.onto):
            if onto is not exported.onto:
                fill(model, self._merges[onto])
            exported.measured[onto] = compare(trained, plain_logprobs(model, rows))
            bar.advance()
        bar.done("; ".join(_words(onto, difference) for onto, difference in exported.measured.items()))
        ours = exported.measured[exported.onto]
        if ours.large:
            elsewhere = exported.onto is Onto.ORIGINAL and Onto.QUANTIZED in exported.measured
            exported.warnings.append(
                f"the exported model is {ours.mean:.3f} nats a token from what was trained, at most {ours.max:.2f}: "
                + ("--onto quantized is what it was trained on" if elsewhere else "its number format rounds the sum")
            )


def _words(onto: Onto, difference: Difference) -> str:
    return (
        f"onto the {onto} base {difference.mean:.4f} nats a token from what was trained, at most {difference.max:.3f}"
    )


def _texts(file: Path | None) -> list[str]:
    if file is None:
        return [(stdlib_root() / f"{name}.py").read_text(encoding="utf-8") for name in _TEXTS]
    try:
        text = read_text(file)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the text cannot be read: {error}", where=f"--text {file}", hint="give a text file") from None
    return [text[start : start + 2000] for start in range(0, min(len(text), 16000), 2000)]


def _bytes(weights: MergedWeights, name: str) -> int:
    return torch.Size(weights.shape(name)).numel() * weights.dtype(name).itemsize


def _refuse_what_is_there(folder: Path, force: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / RECORD).is_file():
        raise UsageError(
            "there is something else, which is never replaced", where=str(folder), hint="name another with --out"
        )
    if not force:
        raise UsageError(
            "there is an export already", where=str(folder), hint="replace it with --force, or name another with --out"
        )


def _mix(account: dict[str, Any]) -> dict[str, Any]:
    """What a run's data came to: its sources, and of what was removed the number alone."""
    return {
        key: len(value) if isinstance(value, list) and key != "sources" else value for key, value in account.items()
    }


def _card(bench: Workbench, settings: ExportSettings, exported: Exported) -> Card:
    run, base = bench.run, bench.recipe.model.name
    kinds: dict[Format, tuple[str, str, str]] = {
        Format.ADAPTER: (
            "A LoRA adapter in PEFT's format.",
            f'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{public_name(base)}"), FOLDER)',
            "peft",
        ),
        Format.MERGED: (
            f"A fine-tuned model, its adapter merged onto the {exported.onto} base.",
            "AutoModelForCausalLM.from_pretrained(FOLDER); AutoTokenizer.from_pretrained(FOLDER)",
            "transformers",
        ),
        Format.GGUF: (
            f"A fine-tuned model as GGUF ({settings.type}), its adapter merged onto the {exported.onto} base.",
            "llama-cli -m FILE.gguf",
            "gguf",
        ),
        Format.OLLAMA: (
            f"A fine-tuned model for Ollama ({settings.type}), its adapter merged onto the {exported.onto} base.",
            f"ollama create {run.name} -f Modelfile",
            "gguf",
        ),
    }
    kind, use, library = kinds[settings.format]
    last = {step["stage"]: step for step in (read_jsonl(run.metrics_jsonl) if run.metrics_jsonl.is_file() else [])}
    errors = [(f"merged onto the {onto} base", f"{d.mean:.4f} nats a token, at most {d.max:.3f}, from what was trained")
              for onto, d in exported.measured.items()]  # fmt: skip
    if exported.check:
        errors.append((f"read back with {exported.check.reader}", f"{exported.check.mean:.4f} nats on average"))
    return Card(
        name=run.name,
        base=base,
        kind=kind,
        use=use,
        library=library,
        recipe=bench.recipe.model_dump(mode="json"),
        data=_mix(read_json(run.data)) if run.data.is_file() else None,
        metrics=read_json(run.metrics) if run.metrics.is_file() else None,
        steps=list(last.values()),
        commit=source_commit(),
        errors=errors,
    )
