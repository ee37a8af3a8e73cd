"""The chain from `init` to `eval` on a code base in Go, TypeScript and Rust, through the command line."""

import json
from collections import Counter
from pathlib import Path

import pytest

from homeground.base.files import read_jsonl
from homeground.cli import main
from homeground.evaluate import read_metrics
from homeground.tasks import TaskSet
from tests.corpus.hamlet import write_hamlet
from tests.policy import tiny
from tests.tasks.test_sections import SECTIONS

RECIPE = """
model: {{name: {model}, quantization: none, compute_dtype: fp32, device: cpu}}
corpus: {{roots: [{corpus}]}}
tasks: {{train: 18, heldout: 6, heldout_share: 0.3}}
sft: {{examples: 4, batch_size: 2, probe: false}}
rl: {{steps: 1, tasks_per_step: 1, group_size: 2, max_query_tokens: 8, max_answer_tokens: 8}}
eval: {{tasks: 2, bootstrap: 100, batch: 2}}
run: chain
"""
pytestmark = pytest.mark.timeout(300)


def test_every_step_from_init_to_eval_works_on_three_languages(tmp_path: Path, monkeypatch, capsys) -> None:
    corpus = write_hamlet(tmp_path / "hamlet")
    model = tiny.build(tmp_path / "model", tiny.llama_config(max_position_embeddings=4096))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=model, corpus=corpus))
    monkeypatch.setenv("HOMEGROUND_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(corpus)

    def homeground(*words: str):
        capsys.readouterr()
        assert main([*words, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    found = homeground("init", "--dry-run")["languages"]
    assert {name: found[name]["files"] for name in ("go", "typescript", "rust")} == dict.fromkeys(found, 4)
    given = ["--recipe", str(recipe)]
    assert homeground("index", *given)["files"] == 12
    assert main(["sft", *given, "--run", "early", "--force"]) == 1
    told = capsys.readouterr().err
    assert "there are no look-up tasks yet" in told
    assert "homeground tasks" in told
    assert homeground("tasks", *given)["heldout"] >= 2
    tasks = TaskSet.load(tmp_path / "home" / "tasks" / "tasks.jsonl")
    assert {Path(task.path).suffix for task in (*tasks.train, *tasks.heldout)} == {".go", ".ts", ".rs"}

    report = homeground("data", *given)
    assert set(report["kinds"]) == {"trajectories", "documentation", "completion", "answers"}
    assert not report["left_out"]
    for facts in report["kinds"].values():
        rows = [*read_jsonl(Path(facts["train_file"])), *read_jsonl(Path(facts["heldout_file"]))]
        languages = Counter(Path(row["source"].partition("::")[0]).suffix for row in rows)
        assert languages.keys() == {".go", ".ts", ".rs"}
    completions = read_jsonl(Path(report["kinds"]["completion"]["train_file"]))
    assert all(row["prefix"].startswith("// ") for row in completions)

    homeground("sft", *given, "--force")
    homeground("rl", "--run", "chain", "--force")
    homeground("eval", "agent", "--run", "chain")
    stages = read_metrics(tmp_path / "home" / "runs" / "chain" / "metrics.json")["stages"]
    assert stages.keys() == {"scripted", "base", "sft", "rl"}
    rows = report["kinds"]["documentation"]["heldout_file"]
    by_language = homeground("eval", "data", "--data", rows, "--run", "chain")["languages"]
    assert by_language
    for facts in by_language.values():
        assert facts["paired"]["after-before"].keys() == {"bits_per_byte", "exact_match", "edit_similarity"}
    searched = homeground("eval", "search", *given)
    assert searched["metrics"]


def test_a_folder_of_markdown_gives_tasks_look_ups_and_answers(tmp_path: Path, monkeypatch, capsys) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, sections in SECTIONS.items():
        body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
        (docs / f"{name}.md").write_text(f"# The {name}\n\n{body}\n")
    monkeypatch.setenv("HOMEGROUND_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(docs)
    assert main(["index", "--quiet"]) == 0
    assert main(["tasks", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["data", "trajectories", "answers", "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["kinds"]) == {"trajectories", "answers"}
    (first, *_) = read_jsonl(Path(report["kinds"]["trajectories"]["train_file"]))
    assert first["source"].partition("::")[0].endswith(".md")
