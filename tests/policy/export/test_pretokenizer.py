import pytest
from tokenizers import pre_tokenizers

from homeground.base.errors import HomegroundError
from homeground.policy.export.gguf_tokenizer import gguf_tokenizer, pretokenizer_name

from . import models

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES])


@pytest.mark.parametrize(
    ("given", "ignore_merges", "name"),
    [
        (BYTES, False, "gpt-2"),
        (DIGITS, False, "smollm"),
        (models.split(models.QWEN), False, "qwen2"),
        (models.split(models.LLAMA_3), True, "llama-bpe"),
        (models.split(models.LLAMA_3), False, "smaug-bpe"),
        # The same pattern spelled otherwise: what it does counts.
        (models.split(models.QWEN.replace("(?i:'s|", "(?i:'[s]|")), False, "qwen2"),
        (models.split(models.QWEN), True, None),
        (models.split(r"\p{L}+|\p{N}{1,2}|\s+|[^\s\p{L}\p{N}]"), False, None),
        (pre_tokenizers.ByteLevel(add_prefix_space=True), False, None),
    ],
)
def test_the_name_is_of_what_cuts_alike(given, ignore_merges, name):
    assert pretokenizer_name(given, ignore_merges) == name


def test_the_bundled_model_cuts_digits(smollm):
    from transformers import AutoTokenizer

    assert gguf_tokenizer(AutoTokenizer.from_pretrained(smollm), 49152).pre == "smollm"


def test_an_unknown_one_is_refused_with_those_known():
    tokenizer = models.byte_level(models.split(r"\p{L}+|\p{N}{1,2}|\s+|[^\s\p{L}\p{N}]"))
    with pytest.raises(HomegroundError, match="it cuts text otherwise than gpt-2, llama-bpe, qwen2, smaug-bpe, smollm"):
        gguf_tokenizer(tokenizer, 400)
