"""Ask the trained look-up agent about the indexed corpus."""

from __future__ import annotations

import asyncio

from homeground.agents import Answer, Message
from homeground.agents import ask as ask_agent
from homeground.pipeline.workbench import Workbench
from homeground.policy import chat
from homeground.rollouts import SamplingParams


def answer(bench: Workbench, question: str) -> Answer:
    """A cited answer from the full index, greedily, with the adapter of the bench's run."""
    bench.start_from(bench.run.adapter)
    bar = bench.progress.bar("loading the index and the model")
    index, sampler, tokenizer = bench.index.warm(), bench.sampler, bench.policy.tokenizer
    bar.done("ready")
    end = chat.end_token(tokenizer)

    async def complete(messages: list[Message], max_tokens: int) -> str:
        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        prompt = chat.encode(tokenizer, chat.prompt_text(tokenizer, plain))
        greedy = SamplingParams(temperature=0)
        done = await asyncio.wrap_future(sampler.submit(prompt, max_tokens, greedy, stop_ids=[end]))
        text = tokenizer.decode(done.ids, skip_special_tokens=True)
        assert isinstance(text, str)
        return text

    return asyncio.run(ask_agent(question, index.search, complete))
