"""Answers in pieces: what is sampled reaches the reader while the rest is computed.

`Stream` and `events` are for clients of the server, `Writer` for programs in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.rollouts.conversation import Answer, Call, Conversations
from homeground.rollouts.responses import DONE, Pieces, Response
from homeground.rollouts.sampling import SamplingParams


class Stream:
    """Answers a call piece by piece.

    Args:
        conversations: answer it.
        call: its listener is this stream's.
        prompt: of the call.
        done: called once when nothing more is computed, which may be long before a slow reader has it all.

    Attributes:
        sampled: tokens so far, of all answers.
        answers: whole; empty before they have been read to their end.
    """

    def __init__(
        self, conversations: Conversations, call: Call, prompt: list[int], done: Callable[[], None] | None = None
    ) -> None:
        self.call, self.sampled = call, 0
        self.answers: list[Answer] = []
        self._conversations, self._prompt = conversations, prompt
        self._done = done or (lambda: None)
        self._tokens: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
        self._work: asyncio.Task[list[Answer]] | None = None
        self._first: tuple[int, int] | None = None

    async def begin(self) -> None:
        """Wait for the first token, so that what cannot be done is an error and no stream.

        Raises:
            ValueError: the engine cannot do this request.
            HomegroundError: a schema that cannot be used.
        """
        loop = asyncio.get_running_loop()

        def listen(index: int, token: int) -> None:
            loop.call_soon_threadsafe(self._tokens.put_nowait, (index, token))

        call = replace(self.call, listen=listen)
        self._work = asyncio.create_task(self._conversations.answer(call, self._prompt))
        self._work.add_done_callback(lambda _: self._end())
        try:
            self._first = await self._tokens.get()
        except BaseException:
            self._work.cancel()
            raise
        if self._first is None:
            self._work.result()

    def _end(self) -> None:
        self._tokens.put_nowait(None)
        self._done()

    async def pieces(self) -> AsyncGenerator[tuple[int, str]]:
        """Numbers of answers and more of their text, to the end; closing the generator ends the work.

        Raises:
            ValueError, HomegroundError: see :meth:`begin`, which this does where nobody has.
        """
        if self._work is None:
            await self.begin()
        assert self._work is not None
        readers = [
            Pieces(self._conversations.tokenizer, self.call.stop, whole=bool(self.call.tools))
            for _ in range(self.call.n)
        ]
        try:
            sampled = self._first
            while sampled is not None:
                index, token = sampled
                self.sampled += 1
                if text := readers[index].add(token):
                    yield index, text
                sampled = await self._tokens.get()
            self.answers = self._work.result()
            for index, (reader, answer) in enumerate(zip(readers, self.answers, strict=True)):
                if rest := answer.text[len(reader.told) :]:
                    yield index, rest
        finally:
            self.close()

    def close(self) -> None:
        """End the work."""
        if self._work is not None:
            self._work.cancel()


async def events(stream: Stream, response: Response, *, counted: bool) -> AsyncGenerator[str]:
    """Server-sent events of a stream that has begun; closing the generator ends the work.

    Args:
        stream: what is told.
        response: writes it.
        counted: the last event tells the usage.
    """
    try:
        for index in range(stream.call.n):
            yield response.opening(index)
        async with aclosing(stream.pieces()) as pieces:
            async for index, text in pieces:
                yield response.piece(index, text)
        for index, answer in enumerate(stream.answers):
            yield response.closing(index, answer)
        if counted:
            yield response.counted(stream.answers)
        yield DONE
    finally:
        stream.close()


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
