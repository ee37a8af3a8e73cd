"""`homeground sft --data`: what the command makes of rows, and that Python makes the same of them."""

import json

import pytest
import torch
from safetensors.torch import load_file

from homeground import train_sft
from homeground.base.files import read_jsonl
from homeground.base.progress import Progress
from homeground.cli import main
from homeground.data import read_examples
from homeground.pipeline.sft_data import sft_data
from homeground.pipeline.workbench import policy_of
from homeground.recipe import load_recipe
from homeground.runs.workspace import RunFolder
from homeground.training import rendering

from ..policy.conftest import llama

__all__ = ["llama"]

TRAIN, HELDOUT = (
    [{"prompt": f"What is {n}?", "completion": "abc " * (n + 1)} for n in numbers]
    for numbers in (range(5), range(90, 92))
)


@pytest.fixture
def recipe(tmp_path, llama):
    """Of a mixture in which every row comes twice."""
    for name, rows in (("train", TRAIN), ("heldout", HELDOUT)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"model: {{name: {llama}, quantization: none, compute_dtype: fp32, lora: {{r: 4}}}}\n"
        "sft: {batch_size: 4, learning_rate: 0.02, probe: false, sample_tokens: 8}\n"
        f"data: {{sources: [{{source: {tmp_path / 'train.jsonl'}, epochs: 2}}], duplicates: {{near: null}},\n"
        f"  heldout: {{source: {tmp_path / 'heldout.jsonl'}}}}}\n"
    )
    return file


def sft(recipe, tmp_path):
    assert main(["sft", "--recipe", str(recipe), "--home", str(tmp_path / "home"), "--run", "r", "--quiet"]) == 0
    return RunFolder(tmp_path / "home" / "runs" / "r")


def test_each_row_is_rendered_once_a_run(recipe, tmp_path, monkeypatch):
    original, rendered = rendering.render, []

    def counted(tokenizer, messages, **options):
        rendered.append(messages[0]["content"])
        return original(tokenizer, messages, **options)

    monkeypatch.setattr(rendering, "render", counted)
    run = sft(recipe, tmp_path)
    assert sorted(rendered) == sorted(row["prompt"] for row in TRAIN + HELDOUT)
    assert [step["step"] for step in read_jsonl(run.metrics_jsonl)] == [1, 2, 3]


def test_the_command_and_python_train_the_same_adapter(recipe, tmp_path):
    run = sft(recipe, tmp_path)
    loaded = load_recipe(str(recipe))
    assert json.loads(run.data.read_text())["train"] == 2 * len(TRAIN)
    mix = sft_data(loaded, Progress(quiet=True))
    heldout = read_examples(str(tmp_path / "heldout.jsonl")).examples
    again = train_sft(policy_of(loaded, None), mix.train, loaded.sft, tmp_path / "python", heldout=heldout, quiet=True)
    files = [folder / "adapter_model.safetensors" for folder in (run.adapter, run.path / "adapter-sft", again.adapter)]
    first, *others = map(load_file, files)
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    assert len(read_jsonl(again.folder / "samples.jsonl")) == 2 == len(read_jsonl(run.path / "samples.jsonl"))
