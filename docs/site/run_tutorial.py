"""Runs every block of the tutorial, in its order, in one shell: `make docs-test`.

Blocks are taken from docs/tutorial.md as they stand. Unless --full is given, the recipe that `homeground init` writes
gets a tiny model of random weights and fewer steps before the next block runs; nothing else is changed. Each line is
printed with the time before it runs; the first that fails ends the walk.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
REDUCED: dict[str, dict[str, Any]] = {
    # Some modules with docstrings, and few enough that indexing takes seconds.
    "corpus": {"exclude": ["/tests/", "/misc/", "/docs/", "/boltons/[a-hj-rt-z]*"]},
    "tasks": {"train": 24, "heldout": 6},
    "sft": {"examples": 4, "batch_size": 4, "probe": False},
    "rl": {"steps": 1, "tasks_per_step": 2, "group_size": 2},
    "eval": {"tasks": 4, "bootstrap": 100, "batch": 4},
}
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_RECIPE = "homeground.yaml"
_TELL = r'printf "[%(%H:%M:%S)T] $ %s\n" -1 "$BASH_COMMAND" >&2'
_KEPT = {"XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config"}
"""Of the real home: converted models, and which package index pip asks."""


def blocks(text: str) -> list[tuple[int, str]]:
    """Line and content of each block of shell."""
    return [(text[: found.start()].count("\n") + 2, found[1]) for found in _BLOCK.finditer(text)]


def script(found: list[tuple[int, str]], *, full: bool) -> str:
    """One program of all blocks, which says where it is."""
    parts = ["set -euo pipefail", f"trap '{_TELL}' DEBUG"]
    for line, block in found:
        parts += [f": tutorial.md:{line}", block]
        if "homeground init" in block and not full:
            parts.append(f"PYTHONPATH={ROOT} {sys.executable} {Path(__file__)} --reduce {_RECIPE}")
    return "\n".join(parts) + "\n"


def reduce(recipe: Path) -> None:
    """Lay `REDUCED` over a recipe, with a tiny model beside it."""
    from tests.policy import tiny

    values = yaml.safe_load(recipe.read_text("utf-8"))
    model = tiny.build(recipe.absolute().parent / ".tiny-model", tiny.llama_config(max_position_embeddings=8192))
    for section, settings in {**REDUCED, "model": {"name": str(model)}}.items():
        values[section] = {**(values.get(section) or {}), **settings}
    recipe.write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")


def main() -> int:
    """The exit code of the walk."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="as written, nothing made smaller: half an hour")
    parser.add_argument("--reduce", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reduce is not None:
        reduce(given.reduce)
        return 0
    program = script(blocks(PAGE.read_text("utf-8")), full=given.full)
    kept = {name: os.environ.get(name) or str(Path.home() / folder) for name, folder in _KEPT.items()}
    with tempfile.TemporaryDirectory(prefix="homeground-tutorial-") as home:
        # A home of its own: the walk begins as a newcomer's does.
        environment = {**os.environ, **kept, "HOME": home}
        environment.pop("HOMEGROUND_HOME", None)
        return subprocess.run(["bash", "-c", program], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
