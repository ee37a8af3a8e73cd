"""A transformers tokenizer in the terms of GGUF: tokens, their types, merges or scores, special ids, chat template.

Two kinds of BPE are known, and both are told from how the tokenizer is made, not from the model's name:

- *byte-level* (Llama 3, Qwen, SmolLM, Mistral's Tekken): ``gpt2`` in GGUF, with merges and a named pre-tokenizer;
- *SentencePiece-like* (Llama 2, Mistral, Gemma): ``llama`` in GGUF. Readers merge the pair whose product has the
  highest score, where this tokenizer merges the pair of the lowest rank: a token's score is the rank of its first
  merge, negated. That is the same when every pair that makes a token may be merged, and when the merges of a token
  follow each other; where they do not, the export says so.

A GGUF file does not hold the pre-tokenizer of a byte-level BPE, only its name (``tokenizer.ggml.pre``), and the reader
has the patterns. A wrong name loads without a word and tokenizes digits, contractions or line ends otherwise than in
training. llama.cpp's own converter looks the name up by a hash of one text's token ids, which knows published
vocabularies only. Here the tokenizer's pre-tokenizer and the one behind each name cut the same probe texts, and the
name is the first that cuts all of them alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.policy.chat import end_token, prompt_text, token_text

if TYPE_CHECKING:
    import gguf


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


_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}


@dataclass(frozen=True)
class GgufTokenizer:
    """What goes into a GGUF file.

    Attributes:
        model: ``gpt2`` or ``llama``.
        pre: the pre-tokenizer's name (``default`` for ``llama``).
        tokens, types: of each id.
        merges: pairs joined by a space; byte-level only.
        scores: SentencePiece-like only.
        special: ids by GGUF's names: bos, eos, eot, unk, pad.
        add_bos, add_eos: what the tokenizer puts around a plain text.
        add_space: a text gets a space in front.
        template: of conversations.
        notes: where readers are known to differ.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    special: dict[str, int]
    add_bos: bool
    add_eos: bool
    add_space: bool
    template: str | None
    notes: list[str] = field(default_factory=list)

    def write(self, writer: gguf.GGUFWriter) -> None:
        """Add the tokenizer's keys."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.model == "gpt2":
            writer.add_token_merges(self.merges)
        else:
            writer.add_token_scores(self.scores)
            writer.add_add_space_prefix(self.add_space)
        for name, token in self.special.items():
            getattr(writer, f"add_{name}_token_id")(token)
        writer.add_add_bos_token(self.add_bos)
        writer.add_add_eos_token(self.add_eos)
        if self.template is not None:
            writer.add_chat_template(self.template)


def gguf_tokenizer(tokenizer: PreTrainedTokenizerBase, rows: int) -> GgufTokenizer:
    """A tokenizer as GGUF has it.

    Args:
        tokenizer: a fast one.
        rows: of the model's embedding; ids beyond the vocabulary become unused tokens.

    Raises:
        HomegroundError: its kind or its pre-tokenizer is not known, or it has more tokens than the model.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _cannot(tokenizer, "it has no tokenizer.json")
    written: dict[str, Any] = json.loads(backend.to_str())
    model: dict[str, Any] = written["model"]
    if model["type"] != "BPE":
        raise _cannot(tokenizer, f"its kind is {model['type']}, not BPE")
    tokens, types = _tokens(tokenizer, written, rows)
    notes: list[str] = []
    kinds = {part["type"] for part in _parts(written["normalizer"])}
    if "ByteLevel" in {part["type"] for part in _parts(written["pre_tokenizer"])}:
        pre = pretokenizer_name(backend.pre_tokenizer, bool(model.get("ignore_merges")))
        if pre is None:
            raise _cannot(tokenizer, f"it cuts text otherwise than {', '.join(known_names())}")
        if kinds:
            notes.append(f"readers of GGUF do not normalise text first ({', '.join(sorted(kinds))})")
        kind, merges, scores, add_space = "gpt2", [" ".join(pair) for pair in _pairs(model)], [], False
    elif model.get("byte_fallback") and (kinds & {"Replace"} or _metaspace(written)):
        kind, pre, merges = "llama", "default", []
        scores, notes = _scores(model, rows, {token["content"] for token in written["added_tokens"]})
        add_space = "Prepend" in kinds or _metaspace(written).get("prepend_scheme", "never") != "never"
    else:
        raise _cannot(tokenizer, "it is neither a byte-level BPE nor one with bytes to fall back on")
    plain = list(tokenizer("a").input_ids)
    beginning = added_beginning(tokenizer)
    if beginning and tokenizer.chat_template and not _begins(tokenizer, beginning):
        notes.append("readers put the mark of the beginning before conversations; the chat template has none")
    return GgufTokenizer(
        model=kind,
        pre=pre,
        tokens=tokens,
        types=types,
        merges=merges,
        scores=scores,
        special=_special(tokenizer),
        add_bos=bool(beginning),
        add_eos=bool(plain) and plain[-1] == tokenizer.eos_token_id,
        add_space=add_space,
        template=tokenizer.get_chat_template() if tokenizer.chat_template else None,
        notes=notes,
    )


def added_beginning(tokenizer: PreTrainedTokenizerBase) -> str:
    """The mark that the tokenizer puts before every plain text; empty when it puts none."""
    first = next(iter(tokenizer("a").input_ids), None)
    bos: Any = tokenizer.bos_token_id
    return token_text(tokenizer, bos) if bos is not None and first == bos else ""


def _begins(tokenizer: PreTrainedTokenizerBase, beginning: str) -> bool:
    return prompt_text(tokenizer, [{"role": "user", "content": "a"}]).startswith(beginning)


def _parts(node: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, sequences laid flat."""
    if node is None:
        return []
    inner = node.get("normalizers") or node.get("pretokenizers")
    return [step for part in inner for step in _parts(part)] if inner else [node]


def _metaspace(written: dict[str, Any]) -> dict[str, Any]:
    return next((part for part in _parts(written["pre_tokenizer"]) if part["type"] == "Metaspace"), {})


def _pairs(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Merges in order; files of older libraries have them as one text."""
    merges: list[Any] = model["merges"]
    split = (m.split(" ", 1) if isinstance(m, str) else m for m in merges)
    return [(left, right) for left, right in split]


def _scores(model: dict[str, Any], rows: int, added: set[str]) -> tuple[list[float], list[str]]:
    """A score for each id, and where merging by scores differs from merging by ranks."""
    vocabulary: dict[str, int] = model["vocab"]
    ranks = {pair: rank for rank, pair in enumerate(_pairs(model))}
    scores = [0.0] * rows
    products: dict[str, int] = {}
    apart: list[str] = []
    last = ""
    for rank, (left, right) in enumerate(ranks):
        product = left + right
        if products.setdefault(product, rank) == rank:
            scores[vocabulary[product]] = -float(rank)
        elif product != last:
            apart.append(product)
        last = product
    extra = [
        token
        for token in vocabulary
        if token not in added
        and any(
            (token[:cut], token[cut:]) not in ranks and token[:cut] in vocabulary and token[cut:] in vocabulary
            for cut in range(1, len(token))
        )
    ]
    notes = (
        [f"readers merge {len(extra)} tokens in ways that this tokenizer does not, such as {extra[0]!r}"]
        if extra
        else []
    )
    if apart:
        notes.append(f"the merges of {len(apart)} tokens, such as {apart[0]!r}, have ranks that scores cannot say")
    return scores, notes


def _tokens(tokenizer: PreTrainedTokenizerBase, written: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    by_id = {index: token for token, index in written["model"]["vocab"].items()}
    added = {token["id"]: token for token in written["added_tokens"]}
    if (most := max([*by_id, *added])) >= rows:
        raise HomegroundError(
            f"the tokenizer has the id {most}, and the model's embedding {rows} rows",
            where=str(tokenizer.name_or_path),
            hint="give the tokenizer that belongs to the model",
        )
    unknown = written["model"].get("unk_token")
    tokens: list[str] = []
    types: list[int] = []
    for index in range(rows):
        if index in added:
            token, kind = (
                added[index]["content"],
                TokenType.CONTROL if added[index]["special"] else TokenType.USER_DEFINED,
            )
        elif index in by_id:
            token, kind = by_id[index], TokenType.NORMAL
        else:
            token, kind = f"[PAD{index}]", TokenType.UNUSED
        if written["model"].get("byte_fallback") and token in _BYTES:
            kind = TokenType.BYTE
        elif token == unknown:
            kind = TokenType.UNKNOWN
        tokens.append(token)
        types.append(int(kind))
    return tokens, types


def _special(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    ids: dict[str, Any] = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unk": tokenizer.unk_token_id,
        "pad": tokenizer.pad_token_id,
    }
    if tokenizer.chat_template:
        ids["eot"] = end_token(tokenizer)
    return {name: int(token) for name, token in ids.items() if token is not None}


def _cannot(tokenizer: PreTrainedTokenizerBase, why: str) -> HomegroundError:
    return HomegroundError(
        f"this tokenizer cannot be written as GGUF exactly: {why}",
        where=str(tokenizer.name_or_path),
        hint="export it as 'merged', and convert that with llama.cpp's own script",
    )
