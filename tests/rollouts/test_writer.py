import asyncio
from contextlib import aclosing

import pytest

from homeground.base.errors import HomegroundError
from homeground.rollouts import SamplingParams
from homeground.rollouts.conversation import Conversations
from homeground.rollouts.stream import Writer

SAID = [{"role": "user", "content": "Say something."}]


@pytest.fixture
def writer(sampler, policy):
    return Writer(Conversations(sampler, policy.tokenizer), context=256)


async def read(writing):
    async with aclosing(writing.pieces()) as pieces:
        return [piece async for piece in pieces]


def test_pieces_are_the_whole_and_are_counted(writer):
    params = SamplingParams(seed=3)
    writing = writer.write(SAID, 12, params)
    pieces = asyncio.run(read(writing))
    assert len(pieces) > 1
    assert "".join(pieces) == asyncio.run(writer.write(SAID, 12, params).whole())
    assert writing.prompt_tokens == writer.count(SAID)
    assert (writing.sampled, writing.finish_reason) == (12, "length")


def test_a_stop_string_ends_it_and_is_no_part_of_it(writer):
    params = SamplingParams(seed=3)
    text = asyncio.run(writer.write(SAID, 12, params).whole())
    stop = text[len(text) // 2]
    assert asyncio.run(writer.write(SAID, 12, params, [stop]).whole()) == text[: text.index(stop)]


def test_a_reader_that_leaves_ends_the_sampling(writer, sampler):
    async def leave():
        writing = writer.write(SAID, 200, SamplingParams(seed=3))
        async with aclosing(writing.pieces()) as pieces:
            async for _ in pieces:
                break
        # The next one has the sampler for itself at once.
        await writer.write(SAID, 2).whole()
        return writing

    writing = asyncio.run(leave())
    assert writing.sampled < 200
    assert sampler.sampled_tokens < 200


def test_what_does_not_fit_says_what_to_do(writer):
    with pytest.raises(HomegroundError, match="exceed the context of 256") as error:
        asyncio.run(writer.write(SAID, 250).whole())
    assert "shorter" in error.value.hint
