"""The bundled model as GGUF, read back with llama.cpp."""

import torch
from transformers import AutoTokenizer

from homeground.policy.export.check import CONVERSATIONS, check_gguf, plain_model
from homeground.policy.export.gguf_file import write_gguf
from homeground.policy.export.weights import MergedWeights


def test_llama_cpp_computes_tokenizes_and_renders_the_same(smollm, tmp_path):
    weights, tokenizer = MergedWeights(smollm), AutoTokenizer.from_pretrained(smollm)
    made = write_gguf(weights, tokenizer, tmp_path / "smollm.gguf")
    check = check_gguf(tmp_path / "smollm.gguf", plain_model(weights, torch.float32), tokenizer)
    assert made.pre == "smollm"
    assert check.problems() == []
    assert check.conversations == len(CONVERSATIONS)
    assert check.mean < 0.01
    assert check.max < 0.1
    assert check.greedy_same == check.greedy_steps
