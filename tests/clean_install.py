"""Installs the wheel into an environment of its own and walks what it promises: `make wheel-test`.

Run: python tests/clean_install.py dist/homeground-0.1.0-py3-none-any.whl
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).parent / "uv"
SMALL = """
corpus: {{roots: [{roots}]}}
tasks: {{train: 16, heldout: 4, heldout_share: 0.3}}
sft: {{examples: 4, batch_size: 4, probe: false}}
rl: {{steps: 1, tasks_per_step: 2, group_size: 2}}
eval: {{tasks: 4, bootstrap: 100, batch: 4}}
"""


def main(wheel: Path) -> None:
    """Raise CalledProcessError at the first step that fails."""
    with tempfile.TemporaryDirectory(prefix="homeground-wheel-", dir=os.environ.get("TMPDIR")) as folder:
        here = Path(folder)
        python = here / "venv" / "bin" / "python"
        call([str(UV), "venv", "--quiet", "--python", sys.executable, str(here / "venv")], here)
        constraints = ["-c", str(ROOT / "constraints.txt")]
        call([str(UV), "pip", "install", "--quiet", "--python", str(python), *constraints, str(wheel)], here)
        homeground = str(python.parent / "homeground")
        call([homeground, "--help"], here)
        call([homeground, "weights", "fetch"], here)
        call([homeground, "doctor"], here)
        library = Path(os.__file__).parent
        roots = ", ".join(str(library / package) for package in ("email", "json", "logging", "importlib"))
        (here / "small.yaml").write_text(SMALL.format(roots=roots))
        call([homeground, "demo", "--recipe", "small.yaml"], here)


def call(command: list[str], place: Path) -> None:
    """One step, in a folder that is not the source tree."""
    print("$", *command, flush=True)
    # uv makes environments without pip: `weights fetch` finds it on the PATH.
    environment = {**os.environ, "PATH": f"{UV.parent}:{os.environ['PATH']}"}
    subprocess.run(command, cwd=place, env=environment, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
