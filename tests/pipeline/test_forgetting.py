import json

import datasets
import pytest

from homeground.cli import main
from homeground.evaluate import general

from ..evaluate.colours import write_task
from ..policy.conftest import llama
from .test_documents import check

__all__ = ["llama"]

ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": "abc " * (n + 1)}]}
    for n in range(6)
]


@pytest.fixture(scope="module", autouse=True)
def _short_probe():
    """Two paragraphs and two questions: a tiny model's tokens are bytes."""
    texts, asked = general.paragraphs()[:2], general.questions()[:2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(general, "paragraphs", lambda: texts)
        patch.setattr(general, "questions", lambda: asked)
        yield


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """What `datasets` makes of a task's rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, llama):
    """Home and rows of a tiny model's run, by the command line."""
    folder = tmp_path_factory.mktemp("forgetting")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "recipe.yaml").write_text(
        f"model: {{name: {llama}, quantization: none, compute_dtype: fp32, lora: {{r: 4}}}}\n"
        "sft: {epochs: 2, batch_size: 3, learning_rate: 0.02, "
        f"probe_tasks: [{write_task(folder)}]}}\n"
        "eval: {bootstrap: 200, completion_tokens: 8}\n"
    )
    code = main(["sft", "--data", str(folder / "rows.jsonl"), "--recipe", str(folder / "recipe.yaml"),
                 "--home", str(folder / "home"), "--run", "tiny", "--quiet"])  # fmt: skip
    assert code == 0
    return folder


def test_a_run_keeps_what_the_probe_said_before_and_after(trained):
    kept = json.loads((trained / "home" / "runs" / "tiny" / "evaluations" / "general.json").read_text())
    check("comparison", kept)
    assert kept["paired"]["after-before"]["text_bits_per_byte"]["value"] != 0
    assert len(list((trained / "home" / "cache" / "general").iterdir())) == 1


def test_the_probe_by_itself_says_the_same(trained, capsys):
    kept = json.loads((trained / "home" / "runs" / "tiny" / "evaluations" / "general.json").read_text())
    assert main(["eval", "general", "--run", "tiny", "--home", str(trained / "home"), "--quiet", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    check("comparison", again)
    value = again["stages"]["after"]["text_bits_per_byte"]["value"]
    assert value == pytest.approx(kept["stages"]["after"]["text_bits_per_byte"]["value"], rel=1e-4)
    assert again["lm_eval"] == kept["lm_eval"]
    assert again["stages"]["before"]["colours/acc"] == kept["stages"]["before"]["colours/acc"]


def test_tasks_of_the_harness_are_measured_before_and_after_every_run(trained):
    kept = json.loads((trained / "home" / "runs" / "tiny" / "evaluations" / "general.json").read_text())
    assert kept["lm_eval"]["tasks"]["colours"]["samples"] == 6
    for measured in (*kept["stages"].values(), *kept["paired"].values()):
        assert {"colours/acc", "colours/acc_norm"} < set(measured)
        assert measured["colours/acc"]["n"] == 6


def test_tasks_named_on_the_command_line_replace_the_recipe_s(trained, capsys):
    write_task(trained, "paints")
    arguments = ["--run", "tiny", "--home", str(trained / "home"), "--quiet"]
    assert main(["eval", "general", "--tasks", str(trained / "paints.yaml"), *arguments]) == 0
    told, noise = capsys.readouterr()
    assert "Running loglikelihood" not in noise
    assert "paints/acc_norm" in told
    assert "colours/" not in told
    assert "paints (version 1.5): 6 of 6 samples, 0 shots" in told


def test_a_task_that_cannot_be_found_ends_in_words_before_anything_is_measured(trained, capsys):
    arguments = ["--run", "tiny", "--home", str(trained / "home"), "--json"]
    assert main(["eval", "general", "--tasks", "./none.yaml", *arguments]) == 2
    told = capsys.readouterr()
    check("error", json.loads(told.out))
    assert "no such task file" in told.err
    assert "general probe" not in told.err


def test_tasks_are_for_the_general_probe_only(trained, capsys):
    assert main(["eval", "data", "--tasks", "arc_easy", "--run", "tiny", "--home", str(trained / "home")]) == 2
    assert "--tasks says nothing about an evaluation of data" in capsys.readouterr().err


def test_held_out_rows_are_measured_before_and_after(trained, capsys):
    arguments = ["--data", str(trained / "rows.jsonl"), "--run", "tiny", "--home", str(trained / "home"), "--quiet"]
    assert main(["eval", "data", *arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    check("comparison", told)
    assert told["rows"] == 6
    # It was trained on these very rows.
    assert told["paired"]["after-before"]["bits_per_byte"]["high"] < 0


def test_eval_data_wants_rows(trained, capsys):
    assert main(["eval", "data", "--run", "tiny", "--home", str(trained / "home")]) == 2
    assert "no held-out rows were named" in capsys.readouterr().err
