"""The README names only targets, verbs and options that there are; tests/test_docs.py parses its commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_options_and_verbs_of_the_readme_are_known() -> None:
    verbs = re.findall(r"^\| `([a-z]+)` \|", README, re.MULTILINE)
    assert len(verbs) >= 10
    pages = {verb: help_of(verb) for verb in verbs}
    assert all("Example:" in page for page in pages.values())
    options = set(re.findall(r"`(--[a-z-]+)", README))
    assert not [option for option in options if not any(option in page for page in pages.values())]


def help_of(verb: str) -> str:
    from typer.testing import CliRunner

    import homeground.cli  # noqa: F401  (adds the verbs)
    from homeground.cli.verb import app

    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [verb, "--help"]).output
