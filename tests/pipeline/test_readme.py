"""Every command and flag that the README shows runs, in its order, on a part of this repository and a tiny model.

The small demo (`tests/small_demo.py`) does the same with the bundled weights.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.policy import tiny
from tests.small_demo import environment

ROOT = Path(__file__).resolve().parents[2]
SMALL = """
model: {{name: {model}}}
tasks: {{train: 40, heldout: 6}}
sft: {{examples: 8, batch_size: 4, probe: false}}
rl: {{steps: 1, tasks_per_step: 2, group_size: 2}}
eval: {{tasks: 6, bootstrap: 200, batch: 6}}
"""


def commands() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def options() -> set[str]:
    return set(re.findall(r"`(--[a-z-]+)", (ROOT / "README.md").read_text()))


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [line.split()[1] for line in commands() if line.startswith("make")]
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_homeground_commands_of_the_readme_run(tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    model = tiny.build(tmp_path / "model", tiny.llama_config(max_position_embeddings=8192))
    recipe.write_text(SMALL.format(model=model))
    project = tmp_path / "project"
    for room in ("base", "corpus"):
        shutil.copytree(ROOT / "src" / "homeground" / room, project / "src" / room)
    (project / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "search.md", project / "docs")
    shown = [line for line in commands() if line.startswith("homeground")]
    assert len(shown) >= 7
    for line in shown:
        words = shlex.split(line.replace("my.yaml", str(recipe)))[1:]
        if words[0] in ("sft", "tasks") and "--recipe" not in words:
            words += ["--recipe", str(recipe)]
        done = subprocess.run(
            [sys.executable, "-m", "homeground", *words],
            cwd=project, env=environment(tmp_path / "home"), capture_output=True, text=True, timeout=250,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_options_and_verbs_of_the_readme_are_known() -> None:
    text = (ROOT / "README.md").read_text()
    verbs = re.findall(r"^\| `([a-z]+)` \|", text, re.MULTILINE)
    assert len(verbs) >= 10
    pages = {verb: help_of(verb) for verb in verbs}
    assert all("Example:" in page for page in pages.values())
    assert not [option for option in options() if not any(option in page for page in pages.values())]


def help_of(verb: str) -> str:
    from typer.testing import CliRunner

    import homeground.cli  # noqa: F401  (adds the verbs)
    from homeground.cli.verb import app

    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [verb, "--help"]).output
