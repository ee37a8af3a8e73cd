"""`homeground init`: what it finds, what it chooses, and that what it writes is a recipe."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import torch
from transformers import AutoModelForCausalLM

from homeground.base.sizes import target
from homeground.cli import main
from homeground.pipeline.first_recipe import corpus_words, look_around, recipe_text
from homeground.pipeline.model_choice import CANDIDATES, PATIENCE_S, Considered, best, consider, larger
from homeground.recipe import load_recipe
from homeground.tasks.contents import Contents

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "init.json"
SMALL, *LARGER = CANDIDATES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("def f():\n    return 1\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / "notes.md").write_text("# Notes\n\nSome.\n")
    (tmp_path / "photo.jpg").write_bytes(b"x")
    return tmp_path


def considered(seconds, here):
    return [
        Considered(one, 1000.0, 8000, taken, there)
        for one, taken, there in zip(CANDIDATES, seconds, here, strict=False)
    ]


@pytest.mark.parametrize("candidate", LARGER, ids=lambda one: one.name)
def test_the_shapes_of_known_models_have_their_parameters(candidate):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(candidate.config())
    assert model.num_parameters() == candidate.parameters


@pytest.mark.parametrize(
    ("seconds", "here", "chosen"),
    [
        ([60.0, 600.0, None], [True, False, False], 0),
        ([60.0, 600.0, None], [True, True, True], 1),
        ([60.0, 2 * PATIENCE_S], [True, True], 0),
        ([None], [True], 0),
    ],
)
def test_the_largest_model_that_is_here_and_fits_in_time_is_taken(seconds, here, chosen):
    assert best(considered(seconds, here)).candidate is CANDIDATES[chosen]


def test_a_larger_model_that_fits_but_is_not_here_is_named():
    assert larger(considered([60.0, 600.0, 900.0, None], [True, True, False, False])).candidate is CANDIDATES[2]
    assert larger(considered([60.0, 600.0, None], [True, True, False])) is None
    assert larger(considered([60.0, 2 * PATIENCE_S], [True, False])) is None
    assert larger(considered([None], [False])) is None


def test_a_folder_says_what_it_will_give(folder):
    (folder / "c.go").write_text(
        "package c\n\n// Sum adds the prices of everything in a basket.\nfunc Sum() int {\n\treturn 0\n}\n"
    )
    (folder / "c_test.go").write_text("package c\n\nfunc TestSum() {\n}\n")
    for command in (["init", "-q"], ["add", "c.go"], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    found = look_around(load_recipe())
    assert found.languages["go"] == Contents(
        files=2, bytes=found.languages["go"].bytes, tests=1, definitions=1, documented=1
    )
    assert (found.languages["markdown"].sections, found.commits) == (1, 1)
    words = "\n".join(corpus_words(found))
    assert "go: 2 files (1 of them tests), 1 definition, 1 with a usable comment" in words
    assert "git history: 1 commit" in words
    (folder / "c.go").unlink()
    assert "No definition has a usable comment" in "\n".join(corpus_words(look_around(load_recipe())))


def test_a_small_card_is_planned_up_to_the_first_model_that_does_not_fit():
    names = [(one.candidate.name, one.fits) for one in consider(load_recipe(), target("2GB"))]
    assert names[0] == (SMALL.name, True)
    assert [fits for _, fits in names] == [True] * (len(names) - 1) + [False]


def test_what_is_written_reads_back_as_the_recipe_it_shows(folder):
    recipe = load_recipe(overrides={"rl": {"steps": 7}, "seed": 3})
    text = recipe_text(recipe, look_around(recipe), considered([60.0, 600.0], [True, False]))
    (folder / "homeground.yaml").write_text(text)
    assert load_recipe("homeground.yaml") == recipe
    assert "python" in text
    assert "markdown" in text
    assert "Left out: 1 unsupported" in text
    assert f"{SMALL.name}: 1,000 MB, about 1 minutes of training (taken)" in text
    assert f"homeground weights {LARGER[0].name}" in text


def test_an_empty_folder_is_told_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = recipe_text(load_recipe(), look_around(load_recipe()), considered([60.0], [True]))
    assert "No file that can be read was found here" in text


def test_init_writes_a_recipe_that_verbs_then_read_by_themselves(folder, capsys):
    assert main(["init", "--device", "1GB", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert document["languages"]["python"]["files"] == 2
    assert (document["model"], document["models"][0]["fits"]) == (SMALL.name, False)
    written = folder / "homeground.yaml"
    assert written.read_text() == document["recipe"]
    written.write_text(written.read_text().replace("exclude: []", "exclude: [b.py]"))
    assert main(["index", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 2  # b.py is left out, and so is homeground.yaml
    assert main(["index", "--dry-run", "--json", "--recipe", "default"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 3


def test_init_writes_every_key_when_asked(folder, capsys):
    assert main(["init", "--device", "1GB", "--all", "--quiet"]) == 0
    capsys.readouterr()
    text = (folder / "homeground.yaml").read_text()
    assert "# Found 3 files" in text
    assert "  checkpoint_every: 4 # " in text
    assert load_recipe("homeground.yaml") == load_recipe()


def test_a_recipe_that_is_there_is_kept(folder, capsys):
    (folder / "homeground.yaml").write_text("seed: 1\n")
    assert main(["init"]) == 2
    err = capsys.readouterr().err
    assert "this folder has a recipe already" in err
    assert "--force" in err
    assert (folder / "homeground.yaml").read_text() == "seed: 1\n"
