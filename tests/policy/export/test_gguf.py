"""GGUF files against transformers, with llama.cpp as the reader."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from homeground.base.errors import HomegroundError, UsageError
from homeground.policy.export.check import Check, check_gguf
from homeground.policy.export.gguf_config import differences
from homeground.policy.export.gguf_file import interleaved, write_gguf
from homeground.policy.export.gguf_tokenizer import gguf_tokenizer
from homeground.policy.export.weights import MergedWeights

from . import models


@pytest.fixture
def write(tmp_path):
    """Write a family's tiny model; returns (file, model, tokenizer)."""

    def written(family, kind="f32", **changes):
        folder = models.build(tmp_path / "model", family, **changes)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        write_gguf(MergedWeights(folder), tokenizer, tmp_path / "model.gguf", kind)
        return tmp_path / "model.gguf", AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer

    return written


@pytest.mark.parametrize("family", models.FAMILIES)
def test_llama_cpp_computes_tokenizes_and_renders_the_same(write, family):
    check = check_gguf(*write(family))
    assert check.problems() == []
    assert check.values >= 200
    # The reader keeps keys and values in f16.
    assert check.mean < 2e-3
    assert check.max < 2e-2
    assert check.greedy_same == check.greedy_steps


@pytest.mark.parametrize(("kind", "mean"), [("f16", 3e-3), ("bf16", 3e-2), ("q8_0", 5e-2)])
def test_narrower_types_are_nearly_the_same(write, kind, mean):
    file, model, tokenizer = write("qwen2", kind)
    check = check_gguf(file, model, tokenizer)
    assert check.problems() == []
    assert 0 < check.mean < mean


def test_a_wrong_pre_tokenizer_is_found(tmp_path, monkeypatch):
    folder = models.build(tmp_path / "model", "qwen2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    monkeypatch.setattr("homeground.policy.export.gguf_tokenizer.pretokenizer_name", lambda *_: "gpt-2")
    write_gguf(MergedWeights(folder), tokenizer, tmp_path / "model.gguf", "f32")
    check = check_gguf(tmp_path / "model.gguf", AutoModelForCausalLM.from_pretrained(folder), tokenizer)
    (problem,) = check.problems()
    assert "tokenizes" in problem
    assert "otherwise" in problem


def test_wrong_weights_are_found(write):
    file, model, tokenizer = write("llama")
    model.model.layers[0].self_attn.q_proj.weight.data.neg_()
    check = check_gguf(file, model, tokenizer)
    assert check.mean > 0.1


def test_another_template_is_a_problem_in_words():
    check = Check("llama.cpp", 1, [], 1, [("ours", "theirs")], 1, 0.0, 0.0, 1, 1)
    assert check.problems() == ["llama.cpp renders 1 of 1 conversations otherwise: 'theirs', not 'ours'"]


def test_a_file_that_cannot_be_read_is_an_error(write):
    file, model, tokenizer = write("llama")
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(HomegroundError, match=r"llama\.cpp cannot read the file back"):
        check_gguf(file, model, tokenizer)


def test_rows_that_turn_together_become_neighbours():
    rows = torch.arange(8)[:, None]
    assert interleaved(rows, heads=1)[:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert interleaved(rows, heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(
    ("family", "changes", "what"),
    [
        ("llama", {"hidden_act": "gelu"}, "its activation is gelu"),
        ("gemma2", {"query_pre_attn_scalar": 7}, "its query_pre_attn_scalar is 7, and readers assume 32"),
        ("gemma", {"tie_word_embeddings": False}, "its head was trained"),
        ("gemma3", {"layer_types": ["full_attention"] * 7}, "its layer_types"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "its rotary embedding is scaled by 'dynamic'",
        ),
    ],
)
def test_what_a_file_cannot_say_is_refused(write, family, changes, what):
    with pytest.raises(HomegroundError, match="cannot be written as GGUF exactly") as caught:
        write(family, **changes)
    assert what in caught.value.message


def test_an_unknown_family_is_refused_with_those_known(tmp_path, write, monkeypatch):
    monkeypatch.delitem(__import__("homeground.policy.export.gguf_config", fromlist=["x"]).FAMILIES, "llama")
    with pytest.raises(HomegroundError, match="models of the family 'llama' cannot be written") as caught:
        write("llama")
    assert "gemma2, gemma3_text, mistral, qwen2, qwen3" in str(caught.value.where)


def test_an_unknown_type_names_those_made_here_and_what_makes_others(write, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"the type 'q4_k_m' is made by llama\.cpp's llama-quantize") as caught:
        write("llama", "q4_k_m")
    assert "f32, f16, bf16, q8_0" in str(caught.value.hint)


def test_other_types_go_through_llama_quantize(write, monkeypatch, tmp_path):
    program = tmp_path / "llama-quantize"
    program.write_text('#!/bin/sh\ncp "$1" "$2"; echo "$3" > "$2.type"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    file, _, _ = write("llama", "q4_k_m")
    assert file.read_bytes()[:4] == b"GGUF"
    assert (tmp_path / "model.gguf.type").read_text() == "Q4_K_M\n"
    assert not (tmp_path / "model.f16.gguf").exists()
    program.write_text("#!/bin/sh\necho no such type >&2; exit 1\n")
    with pytest.raises(HomegroundError, match="llama-quantize failed: no such type"):
        write("llama", "q4_k_x")


def test_values_beyond_f16_are_refused_and_bf16_is_named(tmp_path):
    folder = models.build(tmp_path / "model", "llama")
    weights = MergedWeights(folder)
    large = weights.tensor

    def one_large(name):
        return large(name) * (1e6 if name.endswith("o_proj.weight") else 1)

    weights.tensor = one_large
    with pytest.raises(HomegroundError, match="values that f16 cannot hold") as caught:
        write_gguf(weights, AutoTokenizer.from_pretrained(folder), tmp_path / "model.gguf")
    assert "--type bf16" in str(caught.value.hint)


def test_a_window_that_readers_do_not_have_is_said():
    kind, fields, _ = models.FAMILIES["mistral"]
    assert differences(kind(**fields)) == []
    assert differences(kind(sliding_window=4096)) == [
        "readers attend to everything; the model, to the last 4096 tokens"
    ]


def test_scores_follow_the_order_of_merges():
    made = gguf_tokenizer(models.gemma(), 400)
    score = {token: made.scores[i] for i, token in enumerate(made.tokens)}
    assert score["de"] > score["def"] > score["re"] > score["▁the"]
    assert made.notes == []
    assert np.unique([score[t] for t in ("de", "def", "re", "th", "the")]).size == 5


def test_tokens_that_are_never_merged_are_noted(monkeypatch):
    monkeypatch.setattr(models, "halves", lambda token: [(token[:1], token[1:])])
    (note,) = gguf_tokenizer(models.gemma(), 400).notes
    assert note.startswith("readers merge ")
    assert "in ways that this tokenizer does not, such as 'def'" in note


def test_a_tokenizer_of_another_kind_is_refused(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(kinds.WordLevel({"a": 0, "b": 1}, unk_token="a")))
    with pytest.raises(HomegroundError, match="its kind is WordLevel, not BPE"):
        gguf_tokenizer(words, 10)


def test_more_tokens_than_rows_are_refused():
    with pytest.raises(HomegroundError, match="the model's embedding 10 rows"):
        gguf_tokenizer(models.byte_level(), 10)
