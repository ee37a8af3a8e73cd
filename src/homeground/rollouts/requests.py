"""OpenAI's requests as this server reads them: what is asked becomes a call, what we do not do is refused by name."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from homeground.base.errors import HomegroundError, clipped
from homeground.policy import chat
from homeground.rollouts.conversation import DEFAULT_MAX_TOKENS, MOST_CHOICES, Call, refused, stop_strings
from homeground.rollouts.messages import plain
from homeground.rollouts.sampling import SamplingParams

MOST_LIKELIEST = 20
COLDEST = 1e-3
"""A lower temperature is greedy: logits divided by it may not be finite."""
MOST_TOP_K = 2**31 - 1


class ApiError(Exception):
    """An error in the form that OpenAI's clients understand."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """What is sent."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        param = self.param and clipped(self.param, 100)
        return {"error": {"message": clipped(self.message), "type": kind, "param": param, "code": self.code}}


def in_words(error: HomegroundError) -> str:
    """Join an error's message and hint, for formats with one field for both."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


class Fields(BaseModel):
    """An object of a request; null counts as an absent field, because many clients send it."""

    @model_validator(mode="before")
    @classmethod
    def _given(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        return {name: value for name, value in cast("Mapping[Any, Any]", fields).items() if value is not None}


class Request(Fields):
    """A request; fields that it does not name are refused unless they change nothing."""

    model_config = ConfigDict(extra="allow")

    def check_others(self) -> None:
        """Refuse unsupported parameters.

        Raises:
            ApiError: names it.
        """
        if asked := refused(self.model_extra or {}):
            message = f"this server does not support {', '.join(asked)} yet"
            raise ApiError(400, message, "unsupported_parameter", param=asked[0])


class StreamOptions(Fields):
    """What a stream tells beside its text."""

    include_usage: bool = False


class Sampled(Request):
    """Parameters of both kinds of completion."""

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=-1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    seed: int | None = None
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False

    @model_validator(mode="before")
    @classmethod
    def _readable(cls, fields: Any) -> Any:
        """JSON may hold halves of a pair of surrogates, which are no text that a tokenizer could read."""
        try:
            json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text is no Unicode: it holds half of a surrogate pair") from None
        return fields

    def limit(self, default: int = DEFAULT_MAX_TOKENS) -> int:
        """Tokens of an answer at most; the default where the request names none."""
        return self.max_tokens or default

    @property
    def stops(self) -> list[str]:
        """Strings that end an answer."""
        return stop_strings(self.stop)

    @property
    @abstractmethod
    def likeliest(self) -> int | None:
        """How many alternatives of each token are told, None without log-probabilities."""

    def params(self, seed: int) -> SamplingParams:
        """How its answers are sampled."""
        temperature = self.temperature if self.temperature >= COLDEST else 0.0
        # In vLLM both -1 and 0 switch it off.
        top_k = max(0, min(self.top_k, MOST_TOP_K))
        return SamplingParams(temperature, self.top_p, top_k, seed, self.min_p, self.likeliest or 0)

    def check(self, models: Sequence[str]) -> None:
        """Refuse another model and what we do not do.

        Args:
            models: names that there are.

        Raises:
            ApiError: names it.
        """
        if self.model not in models:
            known = ", ".join(map(repr, models))
            message = f"the model {self.model!r:.100} does not exist; this server has {known}"
            raise ApiError(404, message, "model_not_found", param="model")
        best_of = (self.model_extra or {}).get("best_of")
        if best_of is not None and best_of == self.n and self.model_extra:
            # The best n of n answers are all of them.
            del self.model_extra["best_of"]
        self.check_others()


class ChatRequest(Sampled):
    """The part of OpenAI's chat completion request that this server does."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=MOST_LIKELIEST)
    tools: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    prompt_cache_key: str | None = None

    def limit(self, default: int = DEFAULT_MAX_TOKENS) -> int:
        return self.max_completion_tokens or super().limit(default)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self

    @property
    def likeliest(self) -> int | None:
        return self.top_logprobs if self.logprobs else None

    def call(self, owner: str, default_limit: int = DEFAULT_MAX_TOKENS) -> Call:
        """What is asked, but for how it is sampled: a seed may depend on the prompt.

        Args:
            owner: of the conversation.
            default_limit: tokens of an answer where the request names none.

        Raises:
            ApiError: what cannot be read or done.
            HomegroundError: a schema that cannot be used.
        """
        return Call(
            self.said(), self.limit(default_limit), stop=self.stops, n=self.n, owner=owner, tools=self.offered(),
            grammar=self.grammar(), one_call=self.parallel_tool_calls is False,
        )  # fmt: skip

    def said(self) -> list[chat.Message]:
        """The conversation.

        Raises:
            ApiError: a message that cannot be read.
        """
        found: list[chat.Message] = []
        for number, message in enumerate(self.messages):
            try:
                found.append(plain(message))
            except HomegroundError as error:
                raise ApiError(400, f"messages.{number}.{in_words(error)}", param=f"messages.{number}") from error
        return found

    def offered(self) -> list[dict[str, Any]]:
        """Functions that an answer may call.

        Raises:
            ApiError: a tool that is no function.
        """
        for number, tool in enumerate(self.tools):
            function = tool.get("function")
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise ApiError(400, f"tools.{number}: a tool is {{'type': 'function', 'function': {{'name': ...}}}}")
            if not isinstance(function.get("parameters") or {}, dict):
                raise ApiError(400, f"tools.{number}.function.parameters: a JSON schema is an object")
        return [] if self.tool_choice == "none" else self.tools

    def grammar(self) -> str:
        """What an answer must follow; empty when it is free.

        Raises:
            ApiError: a tool choice or a response format that there is not.
        """
        from homeground.rollouts.grammar import ANY_OBJECT, of_calls, of_schema

        wanted = self.response_format or {"type": "text"}
        kind, forced = wanted.get("type"), self._forced()
        if forced and kind != "text":
            raise ApiError(400, "response_format and a required tool call exclude each other")
        if forced:
            return of_calls(forced)
        if kind == "json_object":
            return of_schema(ANY_OBJECT)
        if kind == "json_schema":
            described = wanted.get("json_schema")
            schema = described.get("schema") if isinstance(described, dict) else None
            if not isinstance(schema, dict):
                raise ApiError(400, "response_format.json_schema.schema: an object is needed")
            return of_schema(schema)
        if kind != "text":
            raise ApiError(400, "response_format.type: text, json_object or json_schema")
        return ""

    def _forced(self) -> Sequence[dict[str, Any]]:
        choice = self.tool_choice
        if choice in ("auto", "none"):
            return []
        if choice == "required":
            if not self.tools:
                raise ApiError(400, "tool_choice 'required' needs tools")
            return self.tools
        function = choice.get("function") if isinstance(choice, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        found = [tool for tool in self.tools if tool["function"]["name"] == name]
        if not found:
            raise ApiError(400, f"tool_choice: there is no tool {name or choice!r}")
        return found


class CompletionRequest(Sampled):
    """The part of OpenAI's completion request that this server does: text, or token ids, goes on."""

    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: int | None = Field(default=None, ge=0, le=MOST_LIKELIEST)

    @field_validator("logprobs", mode="before")
    @classmethod
    def _none(cls, asked: Any) -> Any:
        """False, in the words of the chat's parameter, is none; to an integer it would be 0."""
        return None if asked is False else asked

    @property
    def likeliest(self) -> int | None:
        return self.logprobs

    def ids(self, tokenizer: Any) -> list[int]:
        """The prompt as ids.

        Raises:
            ApiError: several prompts, or none.
        """
        prompt: Any = self.prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
            if len(prompt) > 1:
                raise ApiError(400, "prompt: one at a time; send the others as requests of their own", param="prompt")
            prompt = prompt[0]
        if not prompt:
            raise ApiError(400, "prompt: it is empty", param="prompt")
        if isinstance(prompt, str):
            return chat.encode_text(tokenizer, prompt)
        ids = [int(token) for token in prompt]
        if any(not 0 <= token < len(tokenizer) for token in ids):
            raise ApiError(400, f"prompt: token ids lie between 0 and {len(tokenizer) - 1}")
        return ids
