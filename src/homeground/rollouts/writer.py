"""A model that writes: messages in, text while it is sampled. What answers questions, in process, is made of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.rollouts.conversation import Call, Conversations
from homeground.rollouts.sampling import SamplingParams
from homeground.rollouts.stream import Stream


class Writer:
    """Writes with one model.

    Args:
        conversations: of the model.
        context: tokens that the model can hold, prompt and answer together.
    """

    def __init__(self, conversations: Conversations, context: int) -> None:
        self.context = context
        self._conversations = conversations

    def count(self, messages: Sequence[chat.Message]) -> int:
        """Tokens of a prompt.

        Raises:
            HomegroundError: the chat template refuses the messages.
        """
        return len(self._conversations.prompt(messages))

    def write(
        self,
        messages: Sequence[chat.Message],
        max_tokens: int,
        params: SamplingParams | None = None,
        stop: Sequence[str] = (),
    ) -> Writing:
        """One answer; nothing is sampled before it is read.

        Args:
            messages: the last is not the assistant's.
            max_tokens: most to sample.
            params: greedy when not given.
            stop: strings that end the answer and are no part of it.
        """
        call = Call(messages, max_tokens, params or SamplingParams(temperature=0), stop)
        return Writing(self._conversations, call)


class Writing:
    """One answer.

    Attributes:
        prompt_tokens: known once :meth:`pieces` has begun.
    """

    def __init__(self, conversations: Conversations, call: Call) -> None:
        self._conversations, self._call = conversations, call
        self._stream: Stream | None = None
        self.prompt_tokens = 0

    @property
    def sampled(self) -> int:
        """Tokens so far."""
        return self._stream.sampled if self._stream is not None else 0

    @property
    def finish_reason(self) -> str:
        """In OpenAI's words; "stop" for one that was not read to its end."""
        answers = self._stream.answers if self._stream is not None else []
        return answers[0].finish_reason if answers else "stop"

    async def pieces(self) -> AsyncGenerator[str]:
        """Its text, piece by piece; closing the generator ends the sampling.

        Raises:
            HomegroundError: prompt and answer do not fit the model's context, or the template refuses the messages.
        """
        prompt = self._conversations.prompt(self._call.messages)
        self.prompt_tokens = len(prompt)
        self._stream = Stream(self._conversations, self._call, prompt)
        try:
            async with aclosing(self._stream.pieces()) as pieces:
                async for _, text in pieces:
                    yield text
        except ValueError as error:
            raise HomegroundError(
                str(error), where="the model", hint="ask something shorter, or for a shorter answer"
            ) from error

    async def whole(self) -> str:
        """All of its text."""
        async with aclosing(self.pieces()) as pieces:
            return "".join([piece async for piece in pieces])
