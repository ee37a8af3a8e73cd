"""Every key of a recipe is read by the program: a setting without a reader would be accepted and ignored."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import homeground
from homeground.base.config import Config
from homeground.recipe import Recipe
from homeground.recipe.reference import item_section, section_of

SOURCE = Path(homeground.__file__).parent
MODULES = [path for path in SOURCE.rglob("*.py") if path.name != "config.py" and path.parent.name != "recipe"]


def settings(section=Recipe, above=""):
    """Dotted key, section class and name of every setting, those of items of lists too."""
    for name, field in section.model_fields.items():
        below = section_of(field) or item_section(field)
        if below is not None:
            yield from settings(below, f"{above}{name}.")
        if section_of(field) is None:
            yield f"{above}{name}", section, name


def last_name(node):
    """`c` of the expression `a.b.c`, of `c`, and of a call of either."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def classes():
    """Every settings class by its name, with those it extends."""
    found, todo = {}, [Config]
    while todo:
        todo += (below := todo.pop().__subclasses__())
        found |= {
            one.__name__: {base for base in one.__mro__ if issubclass(base, Config) and base is not Config}
            for one in below
        }
    return found


def readers(tree, sections):
    """Pairs of a settings class and the name of an attribute that is read of a variable of that class.

    A variable is of a class if it is annotated so, if it is called like the section that has it, or if it was assigned
    from one of those.
    """
    known = classes()
    kinds = defaultdict(set)
    for name, kind in sections:
        kinds[name] |= known[kind.__name__]
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            name = node.arg if isinstance(node, ast.arg) else last_name(node.target)
            for word in ast.walk(node.annotation):
                kinds[name] |= known.get(last_name(word), set())
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.comprehension | ast.For)]
    for _ in range(2):
        for node in assigned:
            targets, value = (node.targets, node.value) if isinstance(node, ast.Assign) else ([node.target], node.iter)
            for target in targets:
                kinds[last_name(target)] |= kinds[last_name(value)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            for kind in kinds.get(last_name(node.value), ()):
                yield kind, node.attr


SECTIONS = [
    (name, kind)
    for section in [Recipe, *dict.fromkeys(kind for _, kind, _ in settings())]
    for name, field in section.model_fields.items()
    if (kind := section_of(field) or item_section(field)) is not None
]
READERS = {pair for path in MODULES for pair in readers(ast.parse(path.read_text("utf-8")), SECTIONS)}


@pytest.mark.parametrize(("section", "name"), [pytest.param(kind, name, id=key) for key, kind, name in settings()])
def test_a_setting_is_read_outside_of_the_module_that_declares_it(section, name):
    assert any((base, name) in READERS for base in section.__mro__)


def test_only_variables_that_hold_a_section_count_as_readers():
    source = """
def f(config: SftConfig, other):
    section = recipe.index
    return config.epochs, other.patience, section.top_k, [term.weight for term in recipe.agent.rewards]
"""
    read = {(kind.__name__, name) for kind, name in readers(ast.parse(source), SECTIONS)}
    assert read >= {("SftConfig", "epochs"), ("IndexConfig", "top_k"), ("RewardConfig", "weight")}
    assert ("SftConfig", "patience") not in read
    assert ("IndexConfig", "port") not in READERS
