"""One demo at reduced size, through the command line, killed on the way and resumed: what the tests here look at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from homeground.corpus import stdlib_root

PACKAGES = ("json", "http", "logging")
RECIPE = """
corpus: {{roots: [{roots}]}}
tasks: {{train: 24, heldout: 4, heldout_share: 0.3}}
sft: {{examples: 8, batch_size: 4, checkpoint_every: 1, probe: false}}
rl: {{steps: 2, tasks_per_step: 3, group_size: 4, checkpoint_every: 1}}
eval: {{tasks: 4, bootstrap: 200, batch: 4}}
ask: {{max_tokens: 64}}
run: demo
"""


@dataclass(frozen=True)
class SmallDemo:
    """A finished run of the command ``homeground demo``."""

    home: Path
    recipe: Path
    output: str
    killed_after: set[str]

    @property
    def run(self) -> Path:
        return self.home / "runs" / "demo"

    def homeground(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a verb in this workspace."""
        return subprocess.run(
            [sys.executable, "-m", "homeground", *arguments],
            env=environment(self.home),
            capture_output=True,
            text=True,
            timeout=timeout,
        )


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOMEGROUND_HOME": str(home), "HF_HUB_OFFLINE": "1"}


def stages_of(home: Path) -> set[str]:
    state = home / "runs" / "demo" / "state.json"
    return set(json.loads(state.read_text())) if state.exists() else set()


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> SmallDemo:
    folder = tmp_path_factory.mktemp("demo")
    home, recipe = folder / "home", folder / "small.yaml"
    recipe.write_text(RECIPE.format(roots=", ".join(str(stdlib_root() / package) for package in PACKAGES)))
    command = [sys.executable, "-m", "homeground", "demo", "--recipe", str(recipe)]
    first = subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while "sft" not in stages_of(home) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    killed_after = stages_of(home)
    done = subprocess.run(
        [*command, "--resume"], env=environment(home), capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    return SmallDemo(home, recipe, done.stdout + done.stderr, killed_after)
