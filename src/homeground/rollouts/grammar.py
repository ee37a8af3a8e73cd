"""Answers that follow a JSON schema: which tokens may come next, by llguidance.

The sampler rules out the others when it draws. Log-probabilities stay those of the policy, before anything is ruled
out, as with every truncation (:mod:`homeground.rollouts.sampling`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from homeground.base.errors import HomegroundError
from homeground.policy.tool_text import CALL, CALL_END

ANY_OBJECT = {"type": "object"}
_SPACING = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
"""As json.dumps writes: a model that may write any white space may never end."""


class Grammar:
    """What one answer may say.

    Args:
        tokenizer: of the model.
        grammar: as llguidance's own text; see :func:`of_schema` and :func:`of_calls`.
        end: the token that ends an answer.

    Raises:
        HomegroundError: a schema that is none.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, grammar: str, end: int) -> None:
        self._tokens = _tokens(tokenizer, end)
        self._matcher = LLMatcher(self._tokens, grammar)
        if problem := self._matcher.get_error():
            raise HomegroundError(
                f"the schema cannot be used: {problem.splitlines()[0]}",
                where="response_format",
                hint="check it with a JSON schema validator, or leave it out",
            )

    def allowed(self, vocabulary: int) -> Tensor:
        """Which tokens may come next, (vocabulary,), bool."""
        words = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(words, bitorder="little")[:vocabulary].astype(bool)
        # A model's head may be padded to more rows than there are tokens.
        return torch.from_numpy(np.pad(bits, (0, vocabulary - len(bits))))

    def add(self, token: int) -> None:
        """Go on behind a token that was sampled."""
        self._matcher.consume_token(token)


def of_schema(schema: Mapping[str, Any]) -> str:
    """A grammar of the JSON values that fit a schema."""
    return LLMatcher.grammar_from_json_schema(json.dumps({**schema, **_SPACING}))


def of_calls(tools: Sequence[Mapping[str, Any]]) -> str:
    """A grammar of one call of one of these functions, in the form of :mod:`homeground.policy.tool_text`."""
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                "arguments": tool["function"].get("parameters") or ANY_OBJECT,
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    schema = json.dumps({**(calls[0] if len(calls) == 1 else {"anyOf": calls}), **_SPACING})
    return LLMatcher.grammar_from_lark(f'start: "{CALL}\\n" call "\\n{CALL_END}"\ncall: %json {schema}')


@functools.lru_cache(maxsize=4)
def _tokens(tokenizer: PreTrainedTokenizerBase, end: int) -> Any:
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise HomegroundError(
            "a response format needs a fast tokenizer", where=str(tokenizer.name_or_path), hint="add a tokenizer.json"
        )
    return from_tokenizer(tokenizer, eos_token=end)
