import json

import pytest

from homeground.cli import main
from homeground.cli.verb import Common

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
    from homeground.data import read_examples, render_examples

    tokenizer = AutoTokenizer.from_pretrained(str(resolve_model(Common(*[None] * 7).load_recipe().model.name)))
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
