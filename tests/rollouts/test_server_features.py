"""What chat clients ask for beside plain answers, checked with the official client."""

import asyncio
import json
import threading

import httpx
import jsonschema
import openai
import pytest

from homeground.policy import TokenForest, TokenPath, chat
from homeground.rollouts import ModelServer, Sampler

from ..policy import tiny
from .conftest import Served

ASK = [{"role": "user", "content": "Add."}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "sure": {"type": "boolean"}},
    "required": ["a", "sure"],
    "additionalProperties": False,
}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA}}
FIND = {"type": "function", "function": {"name": "find", "parameters": {**SCHEMA}}}
ROOM = 200


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """As the other file's, with room for the schemas of tools, which take a token a byte."""
    config = tiny.llama_config(max_position_embeddings=2048)
    policy, lock = tiny.policy_of(tiny.build(tmp_path_factory.mktemp("roomy"), config)), threading.Lock()
    with (
        Sampler(policy, rows=16, cache_mb=4, compute=lock) as sampler,
        ModelServer(sampler, policy.tokenizer, seed=7) as server,
    ):
        yield Served(policy, sampler, server, lock)


def complete(served, **fields):
    given = {"model": "policy", "messages": ASK, "max_tokens": 60, "seed": 3, **fields}
    return served.client().chat.completions.create(**given)


def text_of(events):
    return "".join(event.choices[0].delta.content or "" for event in events if event.choices)


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_has_the_text_of_the_whole_answer(served, seed):
    whole = complete(served, seed=seed).choices[0]
    events = list(complete(served, seed=seed, stream=True))
    assert text_of(events) == whole.message.content
    assert [e.choices[0].finish_reason for e in events] == [None] * (len(events) - 1) + [whole.finish_reason]
    assert events[0].choices[0].delta.role == "assistant"
    assert len(events) > 3, "it came in one piece"
    assert len({event.model_extra["request_id"] for event in events}) == 1
    assert events[-1].model_extra["weights_version"] == served.sampler.weights_version


def test_a_stream_ends_before_a_stop_string(served):
    free = complete(served).choices[0].message.content
    # A character that comes first in the middle, and the one behind it.
    at = next(at for at in range(len(free) // 3, len(free)) if free.find(free[at]) == at)
    middle = free[at : at + 2]
    whole = complete(served, stop=[middle]).choices[0]
    events = list(complete(served, stop=[middle], stream=True))
    assert text_of(events) == whole.message.content
    assert middle not in whole.message.content
    assert events[-1].choices[0].finish_reason == whole.finish_reason == "stop"


def test_a_stream_of_several_answers_counts_its_tokens_at_the_end(served):
    events = list(complete(served, n=2, max_tokens=5, stream=True, stream_options={"include_usage": True}))
    whole = complete(served, n=2, max_tokens=5)
    for index in (0, 1):
        own = [e for e in events if e.choices and e.choices[0].index == index]
        assert text_of(own) == whole.choices[index].message.content
    assert events[-1].usage == whole.usage


def test_the_async_client_streams_too(served):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{served.server.root}/v1", api_key=served.server.secret) as client:
            stream = await client.chat.completions.create(
                model="policy", messages=ASK, max_tokens=60, seed=3, stream=True
            )
            return [event async for event in stream]

    assert text_of(asyncio.run(ask())) == complete(served).choices[0].message.content


def test_what_cannot_be_done_is_an_error_and_no_stream(served):
    with pytest.raises(openai.BadRequestError, match="exceed the context") as caught:
        complete(served, max_tokens=5000, stream=True)
    assert caught.value.code == "context_length_exceeded"


def test_a_reader_that_leaves_ends_the_work(served):
    stream = complete(served, max_tokens=ROOM, stream=True, logit_bias=None)
    next(iter(stream))
    before = served.sampler.sampled_tokens
    stream.close()
    complete(served, max_tokens=2)
    assert served.sampler.sampled_tokens - before < ROOM


def test_an_answer_follows_its_schema_and_keeps_the_policys_own_logprobs(served):
    answer = complete(
        served,
        response_format={"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}},
        logprobs=True,
        extra_body={"return_token_ids": True},
    )
    choice = answer.choices[0]
    jsonschema.validate(json.loads(choice.message.content), SCHEMA)
    assert choice.finish_reason == "stop"
    # What a trainer computes for these ids knows of no schema.
    prompt = answer.model_extra["prompt_token_ids"]
    ids = prompt + choice.model_extra["token_ids"]
    path = TokenPath(ids, range(len(prompt), len(ids)))
    own = served.policy.logprobs(TokenForest.build([path])).tolist()
    assert [entry.logprob for entry in choice.logprobs.content] == pytest.approx(own, abs=2e-4)


def test_an_object_when_no_schema_is_given(served):
    text = complete(served, response_format={"type": "json_object"}, max_tokens=8).choices[0].message.content
    assert text.startswith("{")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "find"}}])
def test_a_required_call_is_made_and_its_history_keeps_the_sampled_ids(served, choice):
    tools = [ADD, FIND]
    extra = {"return_token_ids": True}
    first = complete(served, tools=tools, tool_choice=choice, extra_body=extra, max_tokens=80)
    (call,) = first.choices[0].message.tool_calls
    assert first.choices[0].finish_reason == "tool_calls"
    assert first.choices[0].message.content is None
    assert call.function.name == "find" if choice != "required" else call.function.name in ("add", "find")
    jsonschema.validate(json.loads(call.function.arguments), SCHEMA)
    history = [
        *ASK,
        first.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "2"},
    ]
    second = complete(served, messages=history, tools=tools, extra_body=extra, max_tokens=4)
    sampled = first.model_extra["prompt_token_ids"] + first.choices[0].model_extra["token_ids"]
    assert second.model_extra["prompt_token_ids"][: len(sampled)] == sampled
    assert "<tool_response>\n2" in served.policy.tokenizer.decode(second.model_extra["prompt_token_ids"])


def test_calls_are_streamed_as_the_client_expects(served):
    with served.client().chat.completions.stream(
        model="policy", messages=ASK, max_tokens=80, seed=3, tools=[ADD], tool_choice="required"
    ) as stream:
        final = stream.get_final_completion()
    whole = complete(served, tools=[ADD], tool_choice="required", max_tokens=80)
    made, expected = (answer.choices[0].message.tool_calls[0].function for answer in (final, whole))
    assert (made.name, made.arguments) == (expected.name, expected.arguments)


def test_tools_are_not_shown_when_none_may_be_called(served):
    extra = {"return_token_ids": True}
    shown, hidden, bare = (
        complete(served, max_tokens=1, extra_body=extra, **more).model_extra["prompt_token_ids"]
        for more in ({"tools": [ADD]}, {"tools": [ADD], "tool_choice": "none"}, {})
    )
    assert hidden == bare != shown


@pytest.mark.parametrize(("fields", "words"), [
    ({"tools": [{"type": "function"}]}, "tools.0: "),
    ({"tool_choice": "required"}, "'required' needs tools"),
    ({"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "sub"}}}, "there is no tool 'sub'"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"tools": [ADD], "tool_choice": "required", "response_format": {"strict": True}}, "exclude each other"),
    ({"response_format": {"type": "json_schema"}}, "schema: an object is needed"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "nonsense"}}}},
     "the schema cannot be used"),
    ({"tools": [ADD], "tool_choice": "required", "response_format": {"type": "json_object"}}, "exclude each other"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "parts of text"),
    ({"messages": [{"role": "assistant", "tool_calls": [
        {"type": "function", "function": {"name": "f", "arguments": "{"}}]}]}, "arguments are not JSON"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
])  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_mistakes_are_400_and_say_where(served, fields, words, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(served, stream=stream, **fields)
    assert words in str(caught.value)


def test_the_likeliest_tokens_of_each_step(served):
    entries = complete(served, temperature=0, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    for entry in entries:
        logprobs = [one.logprob for one in entry.top_logprobs]
        assert logprobs == sorted(logprobs, reverse=True)
        assert entry.logprob == pytest.approx(logprobs[0], abs=1e-5)


def test_plain_completions_go_on_from_text_or_ids(served):
    text = served.client().completions.create(model="policy", prompt="abc", max_tokens=9, seed=1, logprobs=2)
    ids = served.policy.tokenizer("abc")["input_ids"]
    same = served.client().completions.create(model="policy", prompt=ids, max_tokens=9, seed=1)
    assert text.choices[0].text == same.choices[0].text
    assert text.usage.prompt_tokens == len(ids)
    assert len(text.choices[0].logprobs.token_logprobs) == text.usage.completion_tokens
    pieces = served.client().completions.create(model="policy", prompt=ids, max_tokens=9, seed=1, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == text.choices[0].text


def test_parts_of_text_and_developers_are_understood(served):
    extra = {"return_token_ids": True}
    parts = [{"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]}]
    plain = [{"role": "system", "content": "Be brief."}]
    found, expected = (
        complete(served, messages=[*first, *ASK], max_tokens=1, extra_body=extra).model_extra["prompt_token_ids"]
        for first in (parts, plain)
    )
    assert found == expected


def test_a_full_queue_refuses_direct_clients_and_never_the_gateway(served):
    tokenizer = served.policy.tokenizer
    with ModelServer(served.sampler, tokenizer, most_direct=1) as server, served.compute:
        waiting = threading.Thread(target=lambda: httpx.post(
            f"{server.root}/v1/completions", json={"model": "policy", "prompt": "a", "max_tokens": 1},
            headers={"Authorization": f"Bearer {server.secret}"}, timeout=60,
        ))  # fmt: skip
        waiting.start()
        body = {"model": "policy", "messages": ASK, "max_tokens": 1}
        deadline = 200
        while server._direct < 1 and deadline:
            deadline -= 1
            threading.Event().wait(0.02)
        refused = httpx.post(
            f"{server.root}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {server.secret}"}
        )
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        past = []
        gateway = threading.Thread(
            target=lambda: past.append(httpx.post(f"{server.endpoint}/chat/completions", json=body, timeout=60))
        )
        gateway.start()
        served.compute.release()
        try:
            gateway.join(30)
            waiting.join(30)
        finally:
            served.compute.acquire()
    assert past[0].status_code == 200


def test_the_gateway_is_answered_before_it_gives_up(served, monkeypatch):
    monkeypatch.setattr("homeground.rollouts.server.GATEWAY_S", 0.3)
    body = {"model": "policy", "messages": ASK, "max_tokens": 1}
    with served.compute:
        late = httpx.post(f"{served.server.endpoint}/chat/completions", json=body, timeout=30)
    assert late.status_code == 503
    assert "no answer within" in late.json()["error"]["message"]


def test_the_prompt_of_a_chat_is_the_renderers(served):
    answer = complete(served, tools=[ADD], max_tokens=1, extra_body={"return_token_ids": True})
    text = chat.prompt_text(served.policy.tokenizer, ASK, tools=[ADD])
    assert answer.model_extra["prompt_token_ids"] == chat.encode(served.policy.tokenizer, text)
