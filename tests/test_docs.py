"""The documentation: its site builds strictly, and what it shows exists."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml
from pydantic import BaseModel

from homeground.cli.verb import app
from homeground.index import Index, Stage
from homeground.recipe import Recipe, bundled_recipes, load_recipe
from tests.corpus.village import write_village

IMPORTS = re.compile(r"\bfrom homeground[\w.]* import (?:\([^)]*\)|[\w, ]+)")
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("verbs/*.md"))


def module(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


tutorial = module("run_tutorial")
reference = module("recipe_page")


def commands(page):
    """Commands of `homeground` in a page's blocks of shell, as words."""
    for _, block in tutorial.blocks(page.read_text("utf-8")):
        for line in block.splitlines():
            words = shlex.split(line.split(" > ")[0], comments=True)
            if words[:1] == ["homeground"]:
                yield words[1:]


def keys_of(section, above):
    """Dotted keys of all settings of a recipe."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, f"{above}{name}.")
        else:
            yield f"{above}{name}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_holds_every_key_of_a_recipe_with_its_meaning(site):
    page = (site / "recipe.html").read_text("utf-8")
    keys = [*keys_of(Recipe, "")]
    assert len(keys) > 100
    for key in keys:
        section, _, name = key.rpartition(".")
        assert f'<h2 id="{section.replace(".", "")}">' in page or not section
        assert f"<code>{name}</code>" in page, key
    for words in ("8 to 64 is usual", "number, at least 0, less than 1", "each of data.sources", "<code>k3_st</code>"):
        assert words in page


def test_the_reference_and_the_schema_of_the_recipe_are_those_of_its_fields():
    stale = "run: python docs/site/recipe_page.py"
    assert (DOCS / "recipe.md").read_text("utf-8") == reference.recipe_page(), stale
    assert (DOCS / "schemas" / "recipe.json").read_text("utf-8") == reference.recipe_schema(), stale
    record = reference.RECORD.read_text("utf-8")
    assert record == reference.with_todays_defaults(record), stale


def test_the_schema_accepts_the_bundled_recipes_and_refuses_what_loading_refuses():
    schema = json.loads((DOCS / "schemas" / "recipe.json").read_text("utf-8"))
    for name in bundled_recipes():
        jsonschema.validate(load_recipe(name).model_dump(mode="json"), schema)
    for wrong in ({"sft": {"epochz": 1}}, {"sft": {"epochs": 0}}, {"model": {"quantization": "int4"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_formulas_are_mathml_and_nothing_is_fetched(site):
    page = (site / "maths.html").read_text("utf-8")
    assert page.count("<math") > 25
    assert "arithmatex" not in page
    fetched = re.findall(
        r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)|<link[^>]+href="(https?:[^"]+)"[^>]*stylesheet', page
    )
    assert fetched == []


def test_how_tos_show_the_options_of_their_verbs(site):
    page = (site / "verbs" / "runs.html").read_text("utf-8")
    assert "Do not ask." in page
    assert "<code>--home</code>" in page
    assert "runs.html" in (site / "verbs" / "index.html").read_text("utf-8")


def test_every_verb_has_a_how_to():
    from homeground.cli import main  # noqa: F401  (adds the verbs)

    verbs = {str(command.name) for command in app.registered_commands}
    pages = {page.stem.removesuffix("-verb") for page in PAGES if page.stem != "index"}
    assert verbs <= pages


@pytest.mark.parametrize("page", [*PAGES, DOCS / "tutorial.md", ROOT / "README.md"], ids=lambda page: page.stem)
def test_commands_that_are_shown_can_be_parsed(page):
    group = typer.main.get_command(app)
    for verb, *words in commands(page):
        if verb.startswith("--"):
            continue
        known = group.commands.get(verb)
        if known is None:
            assert page.stem == verb, f"{page.name} shows the unknown verb {verb}"
            continue
        known.make_context(verb, list(words))


def test_the_tutorial_runs_what_the_readme_begins_with():
    """`make docs-test` runs the tutorial, so the first steps that the README shows are run with it."""
    block = next(text for _, text in tutorial.blocks((ROOT / "README.md").read_text("utf-8")) if "init" in text)
    shown = {line.split()[1] for line in block.splitlines() if line.startswith("homeground")}
    assert shown == {"init", "index", "search", "tasks", "sft", "rl", "eval", "ask"}
    assert shown <= {verb for verb, *_ in commands(DOCS / "tutorial.md")}


def test_the_tutorial_is_one_script_that_stops_at_the_first_failure(tmp_path):
    found = tutorial.blocks((DOCS / "tutorial.md").read_text("utf-8"))
    assert len(found) >= 9
    program = tutorial.script(found, full=False)
    assert subprocess.run(["bash", "-n", "-c", program]).returncode == 0
    assert program.count("--reduce homeground.yaml") == 1
    assert "--reduce" not in tutorial.script(found, full=True)
    stopped = subprocess.run(
        ["bash", "-c", tutorial.script([(3, "false\n"), (9, "echo on\n")], full=True)], capture_output=True, text=True
    )
    assert stopped.returncode == 1
    assert "tutorial.md:3" in stopped.stderr
    assert "echo on" not in stopped.stdout + stopped.stderr


def test_what_the_tutorial_test_reduces_is_a_recipe(tmp_path):
    recipe = tmp_path / "homeground.yaml"
    recipe.write_text("model: {quantization: nf4}\nsft: {examples: 64, learning_rate: 0.0005}\n")
    tutorial.reduce(recipe)
    made = load_recipe(recipe)
    assert (made.sft.examples, made.sft.learning_rate) == (4, 0.0005)
    assert set(tutorial.REDUCED) <= set(yaml.safe_load(recipe.read_text()))


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.stem)
def test_what_pages_import_exists(page):
    for line in IMPORTS.findall(page.read_text("utf-8")):
        exec(line, {})


def test_pages_show_imports_of_what_users_need():
    shown = {line for page in (ROOT / "README.md", *DOCS.glob("*.md")) for line in IMPORTS.findall(page.read_text())}
    assert len(shown) > 10
    assert {"from homeground import Index", "from homeground import evaluate_policy"} <= shown


def test_the_embedder_that_the_docs_show_finds_what_shares_words(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "search.md").read_text("utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_village(tmp_path / "src")
    names = {}
    exec(next(block for block in blocks if "class WordEmbedder" in block), names)
    index = names["index"]
    (hit,) = index.search("place one loaf of bread on a free shelf", 1, stages=[Stage.DENSE])
    assert hit.path == "bakery/oven.py"
    index.close()
    again = Index.open(tmp_path / "index", embedder=names["WordEmbedder"]())
    assert again.search("place one loaf of bread on a free shelf", 1, stages=[Stage.DENSE]) == [hit]
