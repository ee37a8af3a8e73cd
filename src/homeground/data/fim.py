r"""Fill-in-the-middle: a span of a text moved behind what follows it (Bavarian et al. 2022, arXiv 2207.14255).

A tokenizer that was trained for it has marks for the three parts; a text is written prefix, suffix, middle::

    <|fim_prefix|>def area(w, h):\n<|fim_suffix|>    return a\n<|fim_middle|>    a = w * h\n
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from homeground.policy.chat import defuse, encode


@dataclass(frozen=True, slots=True)
class FimMarks:
    """The marks of one family of models; ``end`` closes the middle where the end of text does not."""

    prefix: str
    suffix: str
    middle: str
    end: str = ""

    def prompt(self, before: str, after: str) -> str:
        """What the model continues with the middle."""
        return f"{self.prefix}{before}{self.suffix}{after}{self.middle}"


FAMILIES = (
    FimMarks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma
    FimMarks("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, StarCoder2, Granite code
    FimMarks("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),  # CodeLlama
    FimMarks("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder
)


def fim_marks(tokenizer: PreTrainedTokenizerBase) -> FimMarks | None:
    """The marks that this tokenizer has as tokens of their own; None when it has none."""

    def known(mark: str) -> bool:
        ids = encode(tokenizer, mark)
        return len(ids) == 1 and tokenizer.convert_ids_to_tokens(ids) == [mark]

    for family in FAMILIES:
        if all(known(mark) for mark in (family.prefix, family.suffix, family.middle, family.end) if mark):
            return family
    return None


def safe(tokenizer: PreTrainedTokenizerBase, marks: FimMarks | None, text: str) -> str:
    """A corpus's text in which no mark can be recognised: a file that quotes one cannot move the middle."""
    for mark in (marks.prefix, marks.suffix, marks.middle, marks.end) if marks is not None else ():
        if mark:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return defuse(tokenizer, text)
