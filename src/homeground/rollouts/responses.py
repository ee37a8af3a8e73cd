"""Answers as OpenAI's clients read them: whole, or in pieces while they are sampled."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from homeground.rollouts.conversation import Answer
from homeground.rollouts.engine import Generation
from homeground.rollouts.stopping import Reader


class Response:
    """One response being made.

    Args:
        model: its name.
        tokenizer: of the model.
        chat: chat completions; else completions.
        likeliest: how many alternatives of each token are told, None without log-probabilities.
        ids: token ids are told as well.
    """

    def __init__(
        self, model: str, tokenizer: PreTrainedTokenizerBase, *, chat: bool, likeliest: int | None, ids: bool
    ) -> None:
        self._model, self._tokenizer, self._chat, self._likeliest, self._ids = model, tokenizer, chat, likeliest, ids
        self._number = uuid.uuid4().hex
        self._created = int(time.time())

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Everything at once."""
        first = answers[0].generation
        made = {
            **self._head("chat.completion" if self._chat else "text_completion"),
            "choices": [self._choice(index, answer) for index, answer in enumerate(answers)],
            "usage": usage(answers),
            "weights_version": first.weights_version,
        }
        if self._ids:
            made["prompt_token_ids"] = first.prompt_ids
        return made

    def opening(self, index: int) -> str:
        """The first event of an answer."""
        return self._event(index, {"role": "assistant", "content": ""} if self._chat else "")

    def piece(self, index: int, text: str) -> str:
        """An event with more text."""
        return self._event(index, {"content": text} if self._chat else text)

    def closing(self, index: int, answer: Answer) -> str:
        """The last event of an answer: its calls, and why it ended."""
        version = answer.generation.weights_version
        if not self._chat:
            return self._event(index, "", answer.finish_reason, weights_version=version)
        message = answer.message(self._call_name(index))
        calls = [{**call, "index": number} for number, call in enumerate(message.get("tool_calls", []))]
        return self._event(index, {"tool_calls": calls} if calls else {}, answer.finish_reason, weights_version=version)

    def counted(self, answers: Sequence[Answer]) -> str:
        """The event with the usage, behind all answers."""
        head = self._head("chat.completion.chunk" if self._chat else "text_completion")
        return event({**head, "choices": [], "usage": usage(answers)})

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self._chat else "cmpl"
        head = {"id": f"{prefix}-{self._number}", "object": kind, "created": self._created, "model": self._model}
        return {**head, "request_id": self._number}

    def _call_name(self, index: int) -> str:
        return f"call_{self._number[:12]}_{index}"

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        generation = answer.generation
        choice: dict[str, Any] = {"index": index, "finish_reason": answer.finish_reason, "logprobs": None}
        choice |= {"message": answer.message(self._call_name(index))} if self._chat else {"text": answer.text}
        if self._likeliest is not None:
            choice["logprobs"] = self._chat_logprobs(generation) if self._chat else self._text_logprobs(generation)
        if self._ids:
            choice["token_ids"] = generation.ids
        return choice

    def _chat_logprobs(self, generation: Generation) -> dict[str, Any]:
        others = generation.likeliest or [[]] * len(generation.ids)
        return {
            "content": [
                {**self._scored(token, logprob), "top_logprobs": [self._scored(*one) for one in alternatives]}
                for token, logprob, alternatives in zip(generation.ids, generation.logprobs, others, strict=True)
            ]
        }

    def _scored(self, token: int, logprob: float) -> dict[str, Any]:
        return {"token": self._text(token), "logprob": logprob, "bytes": None}

    def _text_logprobs(self, generation: Generation) -> dict[str, Any]:
        return {
            "tokens": [self._text(token) for token in generation.ids],
            "token_logprobs": generation.logprobs,
            "top_logprobs": [
                {self._text(token): logprob for token, logprob in alternatives} for alternatives in generation.likeliest
            ],
            "text_offset": [],
        }

    def _text(self, token: int) -> str:
        text = self._tokenizer.decode([token])
        assert isinstance(text, str)
        return text

    def _event(self, index: int, content: Any, finish_reason: str | None = None, **more: Any) -> str:
        choice = {"index": index, "delta" if self._chat else "text": content, "finish_reason": finish_reason}
        head = self._head("chat.completion.chunk" if self._chat else "text_completion")
        return event({**head, "choices": [{**choice, "logprobs": None}], **more})


class Pieces:
    """The text of one answer while it is sampled, as far as nothing can be taken back.

    Args:
        tokenizer: decodes; special tokens have no text.
        stops: strings that end the answer and are no part of it: what may begin one waits.
        whole: hold everything back until the end: calls are told from text by what follows.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str], *, whole: bool) -> None:
        self._reader = Reader(tokenizer)
        self._stops, self._whole = stops, whole
        self._ids: list[int] = []
        self._waiting = ""
        self._stopped = False
        self.told = ""

    def add(self, token: int) -> str:
        """What can be told after one more token."""
        self._ids.append(token)
        text, finished = self._reader.read(self._ids)
        if not finished or self._whole or self._stopped:
            return ""
        self._waiting += text
        ends = [at for stop in self._stops if (at := self._waiting.find(stop)) >= 0]
        self._stopped = bool(ends)
        keep = len(self._waiting) - min(ends) if ends else max((self._begun(stop) for stop in self._stops), default=0)
        told, self._waiting = self._waiting[: len(self._waiting) - keep], self._waiting[len(self._waiting) - keep :]
        self.told += told
        return told

    def _begun(self, stop: str) -> int:
        """How much of a stop string the text ends with."""
        lengths = range(min(len(stop) - 1, len(self._waiting)), 0, -1)
        return next((n for n in lengths if self._waiting.endswith(stop[:n])), 0)


def usage(answers: Sequence[Answer]) -> dict[str, int]:
    """Tokens of a response."""
    prompt = len(answers[0].generation.prompt_ids)
    written = sum(len(answer.generation.ids) for answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def event(data: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


DONE = "data: [DONE]\n\n"
