import json

import pytest
import yaml

from homeground.cli import main
from homeground.index import Index
from homeground.pipeline.tuning import tune_data
from homeground.recipe import Recipe
from homeground.tasks import QueryKind, TasksConfig
from tests.pipeline.test_documents import check
from tests.training.tiny_encoder import write_encoder

VERBS = "bake sell weigh shoe bend count heat sharpen open close".split()
THINGS = "bread horse iron spark crumb table nail coin basket anvil blade door".split()


def write_corpus(folder):
    for thing in THINGS:
        functions = [
            f'def {verb}_{at}(x):\n    """Helps to {verb} the {thing} early."""\n    return {thing}_{verb}(x)\n'
            for at, verb in enumerate(VERBS)
        ]
        folder.mkdir(exist_ok=True)
        (folder / f"{thing}.py").write_text("\n\n".join(functions))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A workspace with an index made by a tiny encoder, and the recipe that made it."""
    folder = tmp_path_factory.mktemp("tune")
    write_corpus(folder / "src")
    words = [*VERBS, *THINGS, *"helps to the of village early def return x py _ . ( ) :".split(), *map(str, range(10))]
    encoder = write_encoder(folder, words)
    recipe = {
        "corpus": {"roots": [str(folder / "src")]},
        "index": {"embedder": str(encoder), "max_tokens": 64},
        "tasks": {"min_chars": 10, "heldout_share": 0.3, "near_duplicate": 1.0},
        "tune": {"batch_size": 8, "models": ["bi-encoder", "cross-encoder"]},
        "eval": {"bootstrap": 200},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    common = ["--home", str(folder / "home"), "--recipe", str(folder / "recipe.yaml"), "--quiet"]
    assert main(["index", *common]) == 0
    return folder, common


def test_each_step_is_judged_and_the_recipe_says_what_was_kept(home, capsys):
    folder, common = home
    assert main(["tune", *common, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    check("tune", document)
    found = document["metrics"]
    assert [step["name"] for step in found["steps"]] == ["fusion weights", "bi-encoder", "cross-encoder"]
    for step in found["steps"]:
        assert step["kept"] == (step["gain"]["low"] > 0)
    tuned = yaml.safe_load((folder / "home" / "runs" / "tune" / "recipe.yaml").read_text())["index"]
    kept = [step for step in found["steps"] if step["kept"]]
    assert bool(found["index"]) == bool(kept)
    if kept:
        assert {name: tuned[name] for name in found["index"]} == found["index"]
    models = folder / "home" / "runs" / "tune" / "models"
    assert {one.name for one in models.iterdir()} == {"bi-encoder", "cross-encoder"}
    assert not (folder / "home" / "runs" / "tune" / "work").exists()


def test_tuning_a_finished_run_again_is_refused(home, capsys):
    _, common = home
    assert main(["tune", *common]) == 2
    assert "has tuned already" in capsys.readouterr().err


def test_too_little_to_learn_from_is_an_error_that_says_so(tmp_path, capsys):
    for name in "ab":
        text = f'def f_{name}(x):\n    """Turns the {name} of the village into bread."""\n    return x\n'
        (tmp_path / f"{name}.py").write_text(text)
    common = ["--home", str(tmp_path / "home"), "--quiet"]
    assert main(["index", str(tmp_path / "a.py"), str(tmp_path / "b.py"), *common]) == 0
    assert main(["tune", *common]) == 1
    assert "8 of each are needed" in capsys.readouterr().err


def test_a_folder_of_markdown_asks_and_own_questions_judge(tmp_path):
    for thing in THINGS:
        sections = [
            f"## {verb} the {thing}\n\n{' '.join(f'{verb}{thing}{at}{at % 7}' for at in range(12))}\n" for verb in VERBS
        ]
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / f"{thing}.md").write_text(f"# {thing}\n\n" + "\n".join(sections))
    own = tmp_path / "own.jsonl"
    rows = [{"question": f"where is it {at}?", "places": [f"{at}.md::{at} > bake the {at}"]} for at in THINGS]
    own.write_text("\n".join(map(json.dumps, rows)))
    index, _ = Index.build(tmp_path / "index", [tmp_path / "docs"])
    plain = tune_data(index, Recipe())
    assert min(map(len, (plain.tasks.learn, plain.tasks.fit, plain.tasks.heldout))) >= 8
    found = tune_data(index, Recipe(tasks=TasksConfig(questions=str(own))))
    assert [task for task in found.tasks.heldout if task.kind is QueryKind.OWN] == found.tasks.heldout[-len(THINGS) :]
    learned = {task.query for task in (*found.tasks.learn, *found.tasks.fit)}
    assert {task.query for task in (*plain.tasks.learn, *plain.tasks.fit)} - learned
    assert not any(query.startswith("bake ") for query in learned)


def test_a_dry_run_names_what_would_be_trained(home, capsys):
    _, common = home
    assert main(["tune", *common, "--run", "other", "--dry-run"]) == 0
    assert "bi-encoder, cross-encoder" in capsys.readouterr().out
