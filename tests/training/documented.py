"""Functions as docs/grpo.md writes them."""

import ast
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "grpo.md"


def documented(name):
    """The function of that name, from a block of code of the page."""
    for block in PAGE.read_text("utf-8").split("```python\n")[1:]:
        tree = ast.parse(block.split("```")[0])
        if any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body):
            kept = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ImportFrom)]
            space = {}
            exec(compile(ast.Module(kept, []), str(PAGE), "exec"), space)
            return space[name]
    raise LookupError(f"{PAGE} has no function {name}")
