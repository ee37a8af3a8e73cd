"""Settings, the recipe and the command start without the libraries that only some work needs."""

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
CONFIGS = sorted(".".join(file.relative_to(SRC).with_suffix("").parts) for file in SRC.glob("homeground/*/config.py"))
PACKAGES = sorted(f"homeground.{file.parent.name}" for file in SRC.glob("homeground/*/__init__.pyi"))
HEAVY = (
    "chromadb datasets fastapi lightning numpy openai peft scipy sentence_transformers torch transformers tree_sitter"
)


def test_every_package_of_the_search_wing_has_settings():
    assert {f"homeground.{name}.config" for name in ("agents", "corpus", "data", "evaluate", "index", "tasks")} <= {
        *CONFIGS
    }


@pytest.mark.parametrize("code", [
    "import homeground",
    "from homeground import GrpoConfig, IndexConfig, SftConfig, DpoConfig",
    "import homeground.recipe",
    "from homeground.cli import main; main(['--help'])",
    *(f"import {name}" for name in (*CONFIGS, *PACKAGES)),
])  # fmt: skip
def test_no_heavy_library_is_imported_before_it_is_needed(code):
    code = f"import sys; {code}; sys.exit(', '.join(set('{HEAVY}'.split()) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
