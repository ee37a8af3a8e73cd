"""The model card: what a model is made of, for whoever finds the folder later. It names nothing of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

PACKAGES = ("homeground", "torch", "transformers", "peft", "bitsandbytes")
_PATH = re.compile(r"(?<![\w.~/:\\])(?:~|[A-Za-z]:)?(?:[/\\][\w.@+~ -]*[\w.@+~-])+[/\\]?")


@dataclass(frozen=True)
class Card:
    """What a card says.

    Attributes:
        name: of the model.
        base: the model that was trained, as the user named it.
        kind: what the folder holds, in a sentence.
        use: code that loads it.
        recipe: of the run, every key.
        data: what it was trained on (the run's ``data.json``), where that is known.
        metrics: the run's results (``metrics.json``), where it was measured.
        steps: the last training step of each stage.
        commit: of Homeground.
        errors: what the export measured, as rows (what, value).
        library: of the hub: "peft" for an adapter, "transformers", or "gguf".
    """

    name: str
    base: str
    kind: str
    use: str
    recipe: Mapping[str, Any]
    library: str
    data: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    commit: str | None = None
    errors: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        """The card in Markdown, with the header that hubs read."""
        base = public_name(self.base)
        header = {"library_name": self.library, "pipeline_tag": "text-generation", "tags": ["homeground", "lora"]}
        if "/" in base:
            header["base_model"] = base
        parts = [
            f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n",
            f"# {self.name}\n\n{self.kind} Base model: `{base}`.\n",
            f"```\n{self.use}\n```\n",
            _section("Training data", _yaml(self.data) if self.data else ""),
            _section("Results", _results(self.metrics) if self.metrics else ""),
            _section("Last training steps", "\n".join(f"- {_step(step)}" for step in self.steps)),
            _section("What the export measured", "\n".join(f"- {what}: {value}" for what, value in self.errors)),
            _section("Recipe", _yaml(self.recipe)),
            _section("Made with", "\n".join(f"- {row}" for row in self._versions())),
        ]
        return without_paths("\n".join(part for part in parts if part))

    def _versions(self) -> list[str]:
        rows = [f"{package} {version(package)}" for package in PACKAGES]
        return [f"{rows[0]} (commit {self.commit})" if self.commit else rows[0], *rows[1:]]


def public_name(base: str) -> str:
    """A model's name as others know it: a hub id or bundled name as it is, a path by its last part."""
    path = Path(base).expanduser()
    local = base.startswith((".", "/", "~")) or path.exists() or base.endswith(".gguf")
    return path.resolve().name if local else base


def without_paths(text: str) -> str:
    """A text with absolute paths cut down to their last part.

    Example: ``roots: [/home/ada/code/]`` gives ``roots: [code]``; ``https://example.org/a`` and ``and/or`` stay.
    """
    return _PATH.sub(lambda match: re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], text)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body.strip()}\n" if body.strip() else ""


def _yaml(value: Mapping[str, Any]) -> str:
    return f"```yaml\n{yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True).strip()}\n```"


def _results(metrics: Mapping[str, Any]) -> str:
    rows = ["| stage | metric | mean | 95% interval | tasks |", "| --- | --- | --- | --- | --- |"]
    for group in ("stages", "paired"):
        for stage, values in metrics.get(group, {}).items():
            rows += [
                f"| {stage} | {name} | {v['value']:.3f} | {v['low']:.3f} to {v['high']:.3f} | {v['n']} |"
                for name, v in values.items()
            ]
    return "\n".join(rows) if len(rows) > 2 else ""


def _step(step: Mapping[str, Any]) -> str:
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in step.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items())
