"""`examples/notebook.ipynb` runs from its first cell to its last, at tiny size."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.policy import tiny

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook.ipynb"
SETTINGS = """
from pathlib import Path

CODE, MODEL, STEPS, GROUP, FOLDER = Path("code"), "model", 1, 2, Path("notebook")
"""


@pytest.fixture
def place(tmp_path):
    tiny.build(tmp_path / "model", tiny.llama_config())
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "escapes.py").write_text(
        'def unescape(text):\n    """Turn escapes into text."""\n    return text\n'
    )
    return tmp_path


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")


def test_the_notebook_runs(place):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert notebook.cells[1].source.startswith("# What to read")
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    notebook.cells[1].source = SETTINGS
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(place)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "1 files, 1 chunks" in printed(code[1])
    assert "escapes.py:1-3" in printed(code[1])
    assert "adapter of" in printed(code[2])
    assert "gain" in printed(code[-2])
    assert (place / "notebook" / "grpo" / "adapter" / "adapter_config.json").is_file()
    assert (place / "notebook" / "sft" / "metrics.jsonl").is_file()
