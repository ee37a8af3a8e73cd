"""The standard library of the running Python: a code base that everybody has."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from homeground.base.errors import HomegroundError

STDLIB_EXCLUDES: tuple[str, ...] = (
    "test/", "tests/", "idle_test/", "lib2to3/", "turtledemo/", "pydoc_data/", "ensurepip/_bundled/", "lib-dynload/",
    "config-*/", "_sysconfigdata_*", "__phello__/",
)  # fmt: skip
"""Tests, demonstrations, build leftovers and tables: nothing that anyone looks up."""


def stdlib_root() -> Path:
    """Folder of the running interpreter's standard library.

    Raises:
        HomegroundError: this Python carries no source files (a frozen or zipped build).
    """
    root = Path(sysconfig.get_paths()["stdlib"]).resolve()
    if not (root / "os.py").is_file():
        raise HomegroundError(
            "this Python has its standard library without source files",
            where=str(root),
            hint="use a Python from python.org, pyenv, uv or the system, or index a folder of your own",
        )
    return root
