"""Which of llama.cpp's pre-tokenizers cuts text as a tokenizer does.

A GGUF file does not hold the pre-tokenizer of a byte-level BPE, only its name (``tokenizer.ggml.pre``), and the reader
has the patterns. A wrong name loads without a word and tokenizes digits, contractions or line ends otherwise than in
training. llama.cpp's own converter looks the name up by a hash of one text's token ids, which knows published
vocabularies only. Here behaviour decides: the tokenizer's pre-tokenizer and the one behind each name cut the same
probe texts, and the name is the first that cuts all of them alike.
"""

from __future__ import annotations

from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer

PROBES = (
    "Hello world!  It's 7 o'clock, I'LL pay $1234567.89 (or 12%).",
    "don't WON'T we've they'RE I'm he'd she'Ll 'tis",
    "def f(x_1, y2=None):\n\treturn x_1 ** 2  # comment\n\n\n    pass\r\n",
    "  leading, trailing  \t \n \n  ",
    "größer Straße naïve e\u0301te\u0301 ÅNGSTRÖM camelCase SCREAMING_SNAKE XMLHttpRequest",
    "日本語のテキスト 中文字符 한국어 ภาษาไทย हिन्दी Ελληνικά Привет МИР",
    "🙂👩‍💻 ½ ² ٣٤٥ Ⅻ 1st 2nd v1.2.3-rc4 0x1F 1e-9",
    "...!!! ??? --- === <<>> && || // /* */ \\n {}[]() @user #tag `code` a/b\n//c",
    "https://example.org/a?b=c&d=1#e mail@example.org 2026-11-23T12:34:56Z",
    "\n\nA\n\n\n B\u00a0C\u3000D\u200bE",
)

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _known() -> dict[tuple[str, bool], PreTokenizer]:
    """Names, and whether that reader looks a whole word up before it merges (``ignore_merges``), with what they do."""
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    llama3 = _split(rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}")
    return {
        ("gpt-2", False): gpt2,
        ("smollm", False): pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
        ("qwen2", False): _split(rf"{_WORDS}|\p{{N}}|{_REST}"),
        ("llama-bpe", True): llama3,
        ("smaug-bpe", False): llama3,
        ("tekken", True): _split(_CASED),
    }


def pretokenizer_name(given: PreTokenizer, ignore_merges: bool) -> str | None:
    """The name of a pre-tokenizer that cuts the probes alike; None when there is none among those known.

    Args:
        given: of the tokenizer.
        ignore_merges: whether its BPE takes a word that is in the vocabulary without merging.
    """
    for (name, looks_up), reference in _known().items():
        if looks_up == ignore_merges and all(
            given.pre_tokenize_str(text) == reference.pre_tokenize_str(text) for text in PROBES
        ):
            return name
    return None


def known_names() -> list[str]:
    """Those that can be recognised."""
    return sorted(name for name, _ in _known())
