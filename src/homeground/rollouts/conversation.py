"""Chat completions over an engine: messages in, text and token ids out; shared by the server and the local client.

When a conversation comes back with an earlier answer of ours in it, its prompt is built from the ids that were
*sampled* then, so re-tokenization cannot drift.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.rollouts.engine import Engine, Generation
from homeground.rollouts.messages import plain
from homeground.rollouts.sampling import SamplingParams, call_seed
from homeground.rollouts.stopping import cut
from homeground.rollouts.tool_calls import ToolCall, begun_thinking, find_calls

if TYPE_CHECKING:
    from homeground.rollouts.grammar import Grammar

REMEMBERED_TURNS = 4096
DEFAULT_MAX_TOKENS = 256
MOST_CHOICES = 128
MOST_OF_A_TOKEN = 128
"""Longest token, in characters: runs of spaces in the families' vocabularies."""
# Parameters about the caller, storage and priority, and one of the gateway that only mixture-of-experts models have.
WITHOUT_EFFECT = {
    "user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "prompt_cache_options", "prediction", "service_tier", "cache_salt", "request_id", "priority", "rid",
    "return_routed_experts",
}  # fmt: skip
# Values besides null, false, 0 and empty ones that request the default behaviour, for OpenAI's parameters and those of
# vLLM, llama.cpp and their clients.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "repetition_penalty": (1,), "repeat_penalty": (1,), "length_penalty": (1,), "typical_p": (1,), "tfs_z": (1,),
    "best_of": (1,), "modalities": (["text"],), "function_call": ("auto", "none"), "verbosity": ("medium",),
    "reasoning_effort": ("medium",), "skip_special_tokens": (True,), "spaces_between_special_tokens": (True,),
    "add_generation_prompt": (True,), "include_reasoning": (True,), "detokenize": (True,), "cache_prompt": (True,),
    "truncation": (True,), "normalize": (True,), "normalized": (True,), "truncate_prompt_tokens": (-1,),
}  # fmt: skip
# An empty object requests the default search.
NEVER_NEUTRAL = {"web_search_options"}


@dataclass(frozen=True)
class Call:
    """One request for chat completions.

    Attributes:
        messages: as :mod:`homeground.rollouts.messages` makes them.
        max_tokens: longest answer, in tokens.
        params: sampling parameters of the first answer; the others differ in the seed.
        stop: strings that end an answer.
        n: how many answers.
        owner: who holds this conversation (a rollout), so that its history is built from its own sampled ids even
            when a sibling wrote the same text with other ids.
        tools: schemas of the functions that an answer may call.
        grammar: constrains the answer (:mod:`homeground.rollouts.grammar`); empty means no constraint.
        remembered: whether its answers may return as history.
        one_call: an answer has one call at most; further ones are dropped.
        listen: called from the sampler's thread with an answer's number and each of its tokens as it is sampled.
    """

    messages: Sequence[chat.Message]
    max_tokens: int = DEFAULT_MAX_TOKENS
    params: SamplingParams = field(default_factory=SamplingParams)
    stop: Sequence[str] = ()
    n: int = 1
    owner: str = ""
    tools: chat.Tools = ()
    grammar: str = ""
    listen: Callable[[int, int], None] | None = None
    remembered: bool = True
    one_call: bool = False


@dataclass(frozen=True)
class Answer:
    """One choice: its text without end token, stop string and calls; its calls; and what was sampled."""

    text: str
    generation: Generation
    calls: Sequence[ToolCall] = ()

    @property
    def finish_reason(self) -> str:
        """In OpenAI's words."""
        return "tool_calls" if self.calls else self.generation.finish_reason.value

    def message(self, name: str = "call") -> dict[str, Any]:
        """As OpenAI has it.

        Args:
            name: what the calls' ids begin with.
        """
        calls = [
            {
                "id": f"{name}_{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
            }
            for number, call in enumerate(self.calls)
        ]
        content = None if calls and not self.text else self.text
        return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


class Conversations:
    """Answers calls with an engine and remembers the ids of its answers.

    Args:
        engine: what samples.
        tokenizer: with a chat template.
    """

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerBase) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        # Thousands of histories: four bytes a token, where a list takes thirty-six.
        self._turns: OrderedDict[bytes, array[int]] = OrderedDict()

    def prompt(self, messages: Sequence[chat.Message], owner: str = "", tools: chat.Tools = ()) -> list[int]:
        """Prompt ids of a conversation; its last answered turn keeps its sampled ids.

        Raises:
            HomegroundError: the chat template refuses the messages, or they are far too long.
        """
        self.check_size([messages, tools])
        last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=None)
        if last is not None and (known := self._turns.get(_key(owner, messages[: last + 1]))) is not None:
            extended = chat.extend(self.tokenizer, messages[: last + 1], known.tolist(), messages, tools)
            if extended is not None:
                return extended
        return chat.encode(self.tokenizer, chat.prompt_text(self.tokenizer, messages, tools=tools))

    def check_size(self, prompt: Any) -> None:
        """Refuse what cannot fit before it is rendered and tokenized, which takes a second a megabyte.

        Args:
            prompt: a text, or what one will be made from.

        Raises:
            HomegroundError: it has more characters than any tokenizer could fit into the context.
        """
        size = len(prompt if isinstance(prompt, str) else str(prompt))
        if size > MOST_OF_A_TOKEN * self.engine.context:
            raise HomegroundError(
                f"a prompt of {size:,} characters exceeds the context of {self.engine.context} tokens",
                where="prompt", hint="send less",
            )  # fmt: skip

    async def answer(self, call: Call, prompt: list[int]) -> list[Answer]:
        """Sample the answers of a call; cancelling the task ends their requests.

        Args:
            call: see there.
            prompt: ids from :meth:`prompt`.

        Raises:
            ValueError: the engine cannot do this request.
        """
        end = chat.end_token(self.tokenizer)
        futures = []
        try:
            for number in range(call.n):
                seed = call.params.seed if number == 0 else call_seed(call.params.seed, 0, 0, number, 0)
                params = replace(call.params, seed=seed)
                listen = functools.partial(call.listen, number) if call.listen is not None else None
                grammar = self._grammar(call.grammar, end)
                futures.append(
                    self.engine.submit(
                        prompt, call.max_tokens, params, [end], call.stop, grammar=grammar, listen=listen
                    )
                )
            generations = await asyncio.gather(*(asyncio.wrap_future(f) for f in futures))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        answers: list[Answer] = []
        for generation in generations:
            answer = self._read(call, generation, end)
            if call.remembered:
                # All calls: a history with fewer calls was not sampled like this, and is tokenized as text.
                self._remember(call, answer)
            answers.append(replace(answer, calls=answer.calls[:1]) if call.one_call else answer)
        return answers

    def _grammar(self, text: str, end: int) -> Grammar | None:
        if not text:
            return None
        from homeground.rollouts.grammar import Grammar

        return Grammar(self.tokenizer, text, end)

    def _read(self, call: Call, generation: Generation, end: int) -> Answer:
        written = generation.ids[:-1] if generation.ids[-1] == end else generation.ids
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        assert isinstance(text, str)
        if call.tools:
            # Some families mark calls with special tokens.
            marked = self.tokenizer.decode(written)
            assert isinstance(marked, str)
            # A grammar begins with the call, even if the prompt has opened thoughts.
            thinking = not call.grammar and begun_thinking(self.tokenizer, generation.prompt_ids)
            found = find_calls(marked, {tool["function"]["name"] for tool in call.tools}, thinking=thinking)
            if found.calls:
                return Answer(cut(found.beside, call.stop), generation, found.calls)
        return Answer(cut(text, call.stop), generation)

    def _remember(self, call: Call, answer: Answer) -> None:
        """Keep a turn; where one owner was answered the same text with other ids, either is a valid history."""
        key = _key(call.owner, [*call.messages, plain(answer.message())])
        self._turns[key] = array("I", answer.generation.prompt_ids + answer.generation.ids)
        self._turns.move_to_end(key)
        if len(self._turns) > REMEMBERED_TURNS:
            self._turns.popitem(last=False)


def refused(fields: Mapping[str, Any]) -> list[str]:
    """Names among a request's other fields that ask for something we do not do.

    A neutral value (a penalty of 0, an empty bias) asks for what happens anyway.
    """
    return [
        name
        for name, value in fields.items()
        if value is not None
        and name not in WITHOUT_EFFECT
        and (value or name in NEVER_NEUTRAL)
        and value not in NEUTRAL.get(name, ())
    ]


def stop_strings(stop: str | Sequence[str] | None) -> list[str]:
    """OpenAI's ``stop``, one string or several, as a list."""
    if not stop:
        return []
    return [stop] if isinstance(stop, str) else list(stop)


def _key(owner: str, messages: Sequence[chat.Message]) -> bytes:
    told = [owner, *([m["role"], m["content"], _calls_of(m)] for m in messages)]
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).digest()


def _calls_of(message: chat.Message) -> list[list[Any]]:
    return [[call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls") or []]
