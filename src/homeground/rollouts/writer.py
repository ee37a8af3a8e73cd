"""A model that writes: messages in, text while it is sampled. What answers questions, in process, is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.rollouts.conversation import Call, Conversations
from homeground.rollouts.responses import Pieces
from homeground.rollouts.sampling import SamplingParams


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
        sampled: tokens so far.
        finish_reason: in OpenAI's words; "stop" for one that was not read to its end.
    """

    def __init__(self, conversations: Conversations, call: Call) -> None:
        self._conversations, self._call = conversations, call
        self.prompt_tokens = self.sampled = 0
        self.finish_reason = "stop"

    async def pieces(self) -> AsyncGenerator[str]:
        """Its text, piece by piece; closing the generator ends the sampling.

        Raises:
            HomegroundError: prompt and answer do not fit the model's context, or the template refuses the messages.
        """
        sampled: asyncio.Queue[int | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listen(_: int, token: int) -> None:
            loop.call_soon_threadsafe(sampled.put_nowait, token)

        prompt = self._conversations.prompt(self._call.messages)
        self.prompt_tokens = len(prompt)
        work = asyncio.create_task(self._conversations.answer(replace(self._call, listen=listen), prompt))
        work.add_done_callback(lambda _: sampled.put_nowait(None))
        pieces = Pieces(self._conversations.tokenizer, self._call.stop, whole=False)
        try:
            while (token := await sampled.get()) is not None:
                self.sampled += 1
                if text := pieces.add(token):
                    yield text
            (answer,) = work.result()
            self.finish_reason = answer.finish_reason
            if rest := answer.text[len(pieces.told) :]:
                yield rest
        except ValueError as error:
            raise HomegroundError(
                str(error), where="the model", hint="ask something shorter, or for a shorter answer"
            ) from error
        finally:
            work.cancel()

    async def whole(self) -> str:
        """All of its text."""
        async with aclosing(self.pieces()) as pieces:
            return "".join([piece async for piece in pieces])
