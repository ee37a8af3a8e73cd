"""A response in pieces: what is sampled reaches the client while the rest is computed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from homeground.rollouts.conversation import Answer, Call, Conversations
from homeground.rollouts.responses import DONE, Pieces, Response


class Stream:
    """Answers a call piece by piece.

    Args:
        conversations: answer it.
        call: its listener is this stream's.
        prompt: of the call.
        response: writes the events.
        done: called once when nothing more is computed, which may be long before a slow reader has it all.
    """

    def __init__(
        self,
        conversations: Conversations,
        call: Call,
        prompt: list[int],
        response: Response,
        done: Callable[[], None] | None = None,
    ) -> None:
        self._conversations, self._call, self._prompt, self._response = conversations, call, prompt, response
        self._done = done or (lambda: None)
        self._sampled: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
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
            loop.call_soon_threadsafe(self._sampled.put_nowait, (index, token))

        call = replace(self._call, listen=listen)
        self._work = asyncio.create_task(self._conversations.answer(call, self._prompt))
        self._work.add_done_callback(lambda _: self._end())
        try:
            self._first = await self._sampled.get()
        except BaseException:
            self._work.cancel()
            raise
        if self._first is None:
            self._work.result()

    def _end(self) -> None:
        self._sampled.put_nowait(None)
        self._done()

    async def events(self, counted: bool) -> AsyncIterator[str]:
        """Server-sent events to the end; closing the iterator ends the work.

        Args:
            counted: the last event tells the usage.
        """
        assert self._work is not None, "begin first"
        call, told = self._call, self._response
        pieces = [Pieces(self._conversations.tokenizer, call.stop, whole=bool(call.tools)) for _ in range(call.n)]
        try:
            for index in range(call.n):
                yield told.opening(index)
            sampled = self._first
            while sampled is not None:
                index, token = sampled
                if text := pieces[index].add(token):
                    yield told.piece(index, text)
                sampled = await self._sampled.get()
            answers = self._work.result()
            for index, answer in enumerate(answers):
                yield told.closing(index, answer, answer.text[len(pieces[index].told) :])
            if counted:
                yield told.counted(answers)
            yield DONE
        finally:
            self._work.cancel()
