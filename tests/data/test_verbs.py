import json
from pathlib import Path

import pytest

from homeground.cli import main
from homeground.recipe import load_recipe

ROWS = [
    {"messages": [{"role": "user", "content": "Which one?"}, {"role": "assistant", "content": "größer"}]},
    {"question": "x"},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def test_show_tokens_says_what_is_trained_and_what_was_rejected(file, capsys):
    assert main(["show-tokens", str(file)]) == 0
    out = capsys.readouterr().out
    assert "größer<|im_end|>" in out
    assert f"rejected: {file}:2: no known format: its fields are question" in out
    assert "1 of 2 rows rejected (50.0%)" in out


def test_show_tokens_gives_ids_and_their_mask_as_json(file, capsys):
    assert main(["show-tokens", str(file), "--json"]) == 0
    (example,) = json.loads(capsys.readouterr().out)["examples"]
    assert len(example["ids"]) == len(example["tokens"])
    assert example["tokens"][example["trained"][-1]] == "<|im_end|>"


def test_trained_tokens_are_coloured_and_no_letter_is_torn(file, tmp_path):
    from transformers import AutoTokenizer

    from homeground.base.weights import resolve_model
    from homeground.cli.data import coloured
    from homeground.data import read_examples
    from homeground.training import render_examples

    tokenizer = AutoTokenizer.from_pretrained(str(resolve_model(load_recipe().model.name)))
    (path,) = render_examples(tokenizer, read_examples(str(file)).examples, limit=1000).paths
    text = coloured(tokenizer, path)
    green = [text.plain[span.start : span.end] for span in text.spans if span.style == "bold green"]
    assert green == ["größer"]


@pytest.mark.parametrize("arguments", [["--strict"], ["--strict", "--dry-run"]])
def test_sft_names_the_row_that_does_not_fit(file, tmp_path, capsys, arguments):
    assert main(["sft", "--data", str(file), "--home", str(tmp_path / "home"), *arguments]) == 1
    assert f"where: {file}:2" in capsys.readouterr().err


def test_sft_says_how_many_examples_it_would_take(file, tmp_path, capsys):
    assert main(["sft", "--data", str(file), "--home", str(tmp_path / "home"), "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "on 1 examples" in told.out
    assert "rejected" in told.err
    assert not (tmp_path / "home").exists()


REFUSED = {"messages": [{"role": "assistant", "content": "Hi."}, *ROWS[0]["messages"]], "system": "s"}
THOUGHT = {"messages": [ROWS[0]["messages"][0], {"role": "assistant", "content": "yes", "thinking": "hm"}]}


def test_what_the_template_cannot_show_is_found_by_a_plan_and_by_a_look(file, tmp_path, capsys):
    file.write_text("\n".join(map(json.dumps, [REFUSED, THOUGHT, {"messages": [*ROWS[0]["messages"]] * 2}])))
    reason = f"rejected: {file}:2: the chat template leaves out the thoughts of an answer"
    assert main(["sft", "--data", str(file), "--home", str(tmp_path / "home"), "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "on 2 examples" in told.out
    assert reason in told.err
    assert main(["show-tokens", str(file)]) == 0
    assert reason in capsys.readouterr().out
    assert main(["sft", "--data", str(file), "--home", str(tmp_path / "home"), "--dry-run", "--strict"]) == 1
    assert f"where: {file}:2" in capsys.readouterr().err


def test_a_plan_fetches_no_model_and_says_what_it_did_not_try(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {name: nobody/nothing}\n")
    arguments = ["--recipe", str(recipe), "--home", str(tmp_path / "home"), "--dry-run"]
    assert main(["sft", "--data", str(file), *arguments]) == 0
    assert "nobody/nothing is not on this machine: whether its chat template" in capsys.readouterr().err


RECIPE = """
model: {{name: smollm2-135m-instruct}}
data:
  sources:
    - source: {file}
      epochs: 2
sft: {{train_on: last answer, overlong: cut-end}}
"""


@pytest.fixture
def recipe(file, tmp_path):
    two = [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "kleiner"}]
    file.write_text("\n".join(map(json.dumps, [{"messages": [*ROWS[0]["messages"], *two]}, ROWS[1], ROWS[0]])))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(file=file))
    return path


def trained(example):
    return "".join(example["tokens"][i] for i in example["trained"])


def test_show_tokens_trains_what_the_recipe_says(recipe, file, capsys):
    assert main(["show-tokens", str(file), "-n", "1", "--json"]) == 0
    (every,) = json.loads(capsys.readouterr().out)["examples"]
    assert main(["show-tokens", str(file), "-n", "1", "--recipe", str(recipe), "--json"]) == 0
    (last,) = json.loads(capsys.readouterr().out)["examples"]
    assert every["ids"] == last["ids"]
    assert trained(every) == trained(every).partition("<|im_end|>")[0] + "<|im_end|>" + trained(last)
    assert trained(last).count("<|im_end|>") == 1


def test_show_tokens_without_a_file_shows_the_recipe_s_mixture(recipe, capsys):
    assert main(["show-tokens", "-n", "9", "--recipe", str(recipe)]) == 0
    out = capsys.readouterr().out
    assert "example 4:" in out
    assert "4 examples to train on, 0 held out (1 rejected)" in out
    assert main(["show-tokens"]) == 2
    assert "there is nothing to show" in capsys.readouterr().err


def test_no_verb_shows_a_secret(file, tmp_path, capsys):
    token = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0" * 2
    file.write_text(json.dumps({"prompt": "Which token?", "completion": f"It is {token}."}))
    assert main(["show-tokens", str(file)]) == 0
    shown = capsys.readouterr()
    assert main(["sft", "--data", str(file), "--home", str(tmp_path / "home"), "--dry-run", "--json"]) == 0
    planned = capsys.readouterr()
    assert "It is <secret>.<|im_end|>" in shown.out
    assert f"replaced: GitHub Token in {file}:1" in shown.out
    assert json.loads(planned.out)["data"]["secrets"] == [{"place": f"{file}:1", "kind": "GitHub Token"}]
    assert not any(token in text for told in (shown, planned) for text in (told.out, told.err))


def test_sft_shows_the_mix_before_it_trains_and_the_command_line_s_source_wins(recipe, file, tmp_path, capsys):
    home = str(tmp_path / "home")
    assert main(["sft", "--recipe", str(recipe), "--home", home, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "on 4 examples" in out
    assert f"│ {file} │    3 │        1 │" in out
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(ROWS[0]))
    assert main(["sft", "--recipe", str(recipe), "--data", str(other), "--home", home, "--dry-run"]) == 0
    assert "on 1 examples" in capsys.readouterr().out


def test_the_example_recipe_mixes_as_it_says(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(Path(__file__).parents[2])
    arguments = ["--recipe", "examples/sft/mixture.yaml", "--home", str(tmp_path / "home"), "--dry-run", "--json"]
    assert main(["sft", *arguments]) == 0
    made = json.loads(capsys.readouterr().out)["data"]
    one, two = made["sources"]
    assert abs(one["taken"] - 2 * two["taken"]) <= 1
    assert len(made["exact_duplicates"]) == len(made["contaminated"]) == 1
    assert made["heldout"] > 0


def test_sft_trains_on_the_mix_judges_by_what_is_held_out_and_keeps_the_account(file, tmp_path, capsys, monkeypatch):
    given = {}

    def fine_tune(bench, examples, heldout=()):
        given.update(train=examples, heldout=heldout, account=json.loads(bench.run.data.read_text()))
        bench.run.metrics_jsonl.write_text("")
        return "done"

    monkeypatch.setattr("homeground.pipeline.finetune.fine_tune", fine_tune)
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"prompt": "And this one?", "completion": "kleiner"}))
    path = tmp_path / "recipe.yaml"
    path.write_text(f"data:\n  sources: [{{source: {file}}}]\n  heldout: {{source: {held}}}\n")
    assert main(["sft", "--recipe", str(path), "--run", "r", "--home", str(tmp_path / "home")]) == 0
    told = capsys.readouterr()
    assert [e.question() for e in given["train"]] == ["Which one?"]
    assert [e.question() for e in given["heldout"]] == ["And this one?"]
    assert (given["account"]["train"], given["account"]["heldout"]) == (1, 1)
    assert "training data" in told.err
    assert f"data: {tmp_path}/home/runs/r/data.json" in told.out
