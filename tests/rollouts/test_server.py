import asyncio
import threading
import time

import httpx
import openai
import pytest

from homeground.policy import chat
from homeground.rollouts import FinishReason, Generation, ModelServer, Sampler, SamplingParams
from homeground.rollouts.conversation import Answer, Call

from ..policy import tiny

ASK = [{"role": "user", "content": "Which function parses a date?"}]
IDS = {"return_token_ids": True}


def complete(served, messages=ASK, *, client=None, **options):
    extra = IDS | options.pop("extra_body", {})
    fields = {"model": "policy", "messages": messages, "max_tokens": 12, "extra_body": extra}
    return (client or served.client()).chat.completions.create(**(fields | options))


def sampled(answer):
    return answer.choices[0].model_extra["token_ids"]


def prompt_ids(answer):
    return answer.model_extra["prompt_token_ids"]


def refusal(served, error=openai.BadRequestError, **options):
    with pytest.raises(error) as caught:
        complete(served, **options)
    return caught.value


def test_an_answer_carries_the_ids_the_logprobs_and_the_version(served):
    answer = complete(served, logprobs=True, seed=1)
    choice = answer.choices[0]
    prompt = chat.encode(served.policy.tokenizer, chat.prompt_text(served.policy.tokenizer, ASK))
    assert prompt_ids(answer) == prompt
    assert len(choice.logprobs.content) == len(sampled(answer))
    assert all(entry.logprob <= 0 for entry in choice.logprobs.content)
    assert answer.model_extra["weights_version"] == served.sampler.weights_version
    assert choice.message.content == served.policy.tokenizer.decode(sampled(answer), skip_special_tokens=True)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), len(sampled(answer)))
    assert answer.usage.total_tokens == len(prompt) + len(sampled(answer))
    assert choice.finish_reason == ("stop" if sampled(answer)[-1] == 264 else "length")


def test_ids_and_logprobs_come_only_when_asked_for(served):
    answer = served.client().chat.completions.create(model="policy", messages=ASK, max_tokens=3)
    assert answer.choices[0].logprobs is None
    assert "prompt_token_ids" not in answer.model_extra
    assert "token_ids" not in answer.choices[0].model_extra


def test_the_sampler_s_own_answer_is_what_is_served(served):
    answer = complete(served, temperature=0, logprobs=True)
    greedy = SamplingParams(temperature=0)
    direct = served.sampler.submit(prompt_ids(answer), 12, greedy, stop_ids=[264]).result(timeout=30)
    assert sampled(answer) == direct.ids
    assert [entry.logprob for entry in answer.choices[0].logprobs.content] == pytest.approx(direct.logprobs, abs=1e-5)


def test_the_async_client_gets_the_same_answer(served):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{served.server.root}/v1", api_key=served.server.secret) as client:
            return await client.chat.completions.create(
                model="policy", messages=ASK, max_tokens=12, seed=5, extra_body=IDS
            )

    assert sampled(asyncio.run(ask())) == sampled(complete(served, seed=5))


def test_the_end_token_is_in_the_ids_and_not_in_the_text(served):
    for seed in range(60):
        answer = complete(served, seed=seed, max_tokens=60)
        if answer.choices[0].finish_reason == "stop":
            assert sampled(answer)[-1] == 264
            assert "<|im_end|>" not in answer.choices[0].message.content
            return
    raise AssertionError("no seed of 60 ended by itself")


def test_a_second_turn_keeps_the_ids_that_were_sampled(served):
    drifted = 0
    for seed in range(12):
        first = complete(served, seed=seed)
        history = [*ASK, {"role": "assistant", "content": first.choices[0].message.content}]
        second = complete(served, [*history, {"role": "user", "content": "and?"}], seed=seed)
        kept = prompt_ids(first) + sampled(first)
        assert prompt_ids(second)[: len(kept)] == kept
        text = chat.prompt_text(served.policy.tokenizer, [*history, {"role": "user", "content": "and?"}])
        drifted += prompt_ids(second) != chat.encode(served.policy.tokenizer, text)
    assert drifted > 0, "encoding the text again gave the same ids every time, so nothing was tested"


def test_a_history_that_was_edited_is_read_as_text(served):
    first = complete(served, seed=1)
    edited = [*ASK, {"role": "assistant", "content": first.choices[0].message.content + "!"}, ASK[0]]
    answer = complete(served, edited)
    text = chat.prompt_text(served.policy.tokenizer, edited)
    assert prompt_ids(answer) == chat.encode(served.policy.tokenizer, text)


def test_the_key_may_stand_in_the_path(served):
    answer = complete(served, client=served.client(base_url=served.server.endpoint, api_key="ignored"))
    assert answer.choices


@pytest.mark.parametrize("way", ["wrong key", "wrong path", "no key", "models"])
def test_a_wrong_key_is_401(served, way):
    if way == "no key":
        response = httpx.post(f"{served.server.root}/v1/chat/completions", json={"model": "policy", "messages": ASK})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
        return
    base = f"{served.server.root}/{'not-the-secret/' if way == 'wrong path' else ''}v1"
    client = served.client(base_url=base, api_key="wrong")
    with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer") as caught:
        _ = client.models.list() if way == "models" else complete(served, client=client)
    assert caught.value.code == "invalid_api_key"


def test_health_needs_no_key_and_tells_the_version(served):
    found = httpx.get(f"{served.server.root}/healthz").json()
    assert found == {"status": "ok", "weights_version": served.sampler.weights_version}


def test_the_models_are_listed(served):
    assert [m.id for m in served.client().models.list()] == ["policy"]


def test_an_unknown_model_is_404_and_names_the_one_there_is(served):
    error = refusal(served, openai.NotFoundError, model="gpt-9")
    assert "'gpt-9' does not exist; this server has 'policy'" in str(error)
    assert error.code == "model_not_found"


@pytest.mark.parametrize(("body", "words"), [
    (b"{", "the body is not JSON: "),
    (b'{"messages": [{"role": "user", "content": "x"}]}', "model: Field required"),
    (b'{"model": "policy", "messages": []}', "messages: List should have at least 1 item"),
    (b'{"model": "policy", "messages": [{"role": "user", "content": 3}]}', "messages.0.content: "),
    (b'{"model": "policy", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}', "temperature: "),
    (b'{"model": "policy", "messages": [{"role": "user", "content": "x"}], "temperature": -1}', "temperature: "),
    (b'{"model": "policy", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens: "),
    (b'{"model": "policy", "messages": [{"role": "user", "content": "x"}], "top_p": 0}', "top_p: "),
    (b'{"model": "policy", "messages": [{"role": "user", "content": "x"}], "n": 0}', "n: "),
    (b'{"model": "policy", "messages": [{"role": "user", "content": "x"}], "stop": [3]}', "stop."),
    (b'{"model": "policy", "messages": [{"role": "user", "content": "x"}], "stop": ["a", ""]}', "non-empty strings"),
])  # fmt: skip
def test_a_malformed_request_is_400_and_says_where(served, body, words):
    headers = {"Authorization": f"Bearer {served.server.secret}", "Content-Type": "application/json"}
    response = httpx.post(f"{served.server.root}/v1/chat/completions", content=body, headers=headers)
    error = response.json()["error"]
    assert response.status_code == 400
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(("options", "name"), [
    ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"frequency_penalty": 0.5}, "frequency_penalty"),
    ({"logit_bias": {"5": 10}}, "logit_bias"),
    ({"extra_body": {"best_of": 2}}, "best_of"),
])  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(served, options, name):
    error = refusal(served, **options)
    assert f"does not support {name} yet" in str(error)
    assert error.code == "unsupported_parameter"


@pytest.mark.parametrize("options", [
    {"frequency_penalty": 0, "logit_bias": {}, "stop": None, "n": 1, "tools": []},
    {"user": "somebody", "metadata": {"k": "v"}, "response_format": {"type": "text"}},
    {"max_completion_tokens": 4, "extra_body": {"top_k": 5, "min_p": 0.1}, "top_p": 0.9},
])  # fmt: skip
def test_neutral_and_supported_parameters_are_taken(served, options):
    assert complete(served, **options).choices


def test_max_completion_tokens_is_the_newer_name_of_max_tokens(served):
    answer = complete(served, max_completion_tokens=3, seed=1)
    assert len(sampled(answer)) <= 3


def test_a_conversation_longer_than_the_context_is_400_with_openai_s_code(served):
    error = refusal(served, messages=[{"role": "user", "content": "x" * 300}])
    assert error.code == "context_length_exceeded"
    assert "exceed the context of 256" in str(error)


def test_a_template_that_refuses_is_400(served):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with ModelServer(served.sampler, tokenizer) as server:
        client = served.client(base_url=f"{server.root}/v1", api_key=server.secret)
        with pytest.raises(openai.BadRequestError, match="roles must alternate"):
            complete(served, client=client)


def test_a_run_repeats_itself_whatever_order_requests_arrive_in(served):
    def run(order):
        found = {}
        with (
            Sampler(served.policy, rows=4, cache_mb=1) as sampler,
            ModelServer(sampler, served.policy.tokenizer, seed=3) as server,
            served.client(base_url=f"{server.root}/v1", api_key=server.secret) as client,
        ):
            for name in order:
                answer = complete(served, [{"role": "user", "content": name}], client=client)
                found.setdefault(name, []).append(sampled(answer))
        return found

    first, turned = run(["a", "b", "a", "c"]), run(["c", "a", "a", "b"])
    assert first == turned
    assert first["a"][0] != first["a"][1], "two siblings of one prompt must differ"


def test_a_client_that_hangs_up_cancels_its_request(llama):
    lock = threading.Lock()
    policy = tiny.policy_of(llama)
    with (
        Sampler(policy, rows=1, cache_mb=1, compute=lock) as sampler,
        ModelServer(sampler, policy.tokenizer) as server,
        openai.OpenAI(base_url=server.endpoint, api_key="-", max_retries=0) as client,
    ):
        with lock:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(model="policy", messages=ASK, max_tokens=150, timeout=0.3)
            time.sleep(0.3)
        client.chat.completions.create(model="policy", messages=ASK, max_tokens=1)
        assert sampler.sampled_tokens < 50


def test_many_clients_at_once_are_answered(served):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{served.server.root}/v1", api_key=served.server.secret) as client:
            calls = [
                client.chat.completions.create(
                    model="policy", messages=[{"role": "user", "content": f"{i}"}], max_tokens=5, seed=i, extra_body=IDS
                )
                for i in range(40)
            ]
            return await asyncio.gather(*calls)

    answers = asyncio.run(ask())
    assert len({tuple(sampled(a)) for a in answers}) > 30


def test_a_closed_server_is_gone(served):
    with ModelServer(served.sampler, served.policy.tokenizer) as server:
        root = server.root
        assert httpx.get(f"{root}/healthz").status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{root}/healthz")


def test_servers_listen_on_loopback_with_secrets_of_their_own(served):
    with ModelServer(served.sampler, served.policy.tokenizer) as other:
        assert other.root.startswith("http://127.0.0.1:")
        assert other.secret != served.server.secret
        assert len(other.secret) >= 32


def test_a_stop_string_ends_the_answer_before_it(served):
    whole = complete(served, seed=3, max_tokens=40)
    text = whole.choices[0].message.content
    stop = next(c for c in text[2:] if c.isascii() and c.isprintable())
    for given in (stop, ["never seen", stop]):
        answer = complete(served, seed=3, max_tokens=40, stop=given)
        assert answer.choices[0].message.content == text[: text.index(stop)]
        assert answer.choices[0].finish_reason == "stop"
        ids = sampled(answer)
        assert ids == sampled(whole)[: len(ids)]
        assert stop in served.policy.tokenizer.decode(ids)


def test_a_second_turn_after_a_stop_string_keeps_the_sampled_ids(served):
    stop = next(c for c in complete(served, seed=3).choices[0].message.content[1:] if c.isascii() and c.isprintable())
    first = complete(served, seed=3, stop=stop)
    history = [*ASK, {"role": "assistant", "content": first.choices[0].message.content}, ASK[0]]
    kept = prompt_ids(first) + sampled(first)
    assert prompt_ids(complete(served, history))[: len(kept)] == kept


def test_several_answers_are_several_samples_of_one_prompt(served):
    answer = complete(served, seed=5, n=4, logprobs=True)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    ids = [c.model_extra["token_ids"] for c in answer.choices]
    assert len(set(map(tuple, ids))) > 2
    assert ids == [c.model_extra["token_ids"] for c in complete(served, seed=5, n=4).choices]
    assert ids[0] == sampled(complete(served, seed=5))
    assert answer.usage.completion_tokens == sum(map(len, ids))
    assert all(len(c.logprobs.content) == len(i) for c, i in zip(answer.choices, ids, strict=True))


def test_min_p_of_one_is_greedy(served):
    greedy = complete(served, temperature=0)
    assert sampled(complete(served, seed=9, extra_body={"min_p": 1.0})) == sampled(greedy)


def test_a_conversation_keeps_its_own_ids_when_another_owner_wrote_the_same_text(served):
    """Two rollouts, the same text by other ids (planted): each history continues its own."""
    conversations = served.server.conversations["policy"]
    messages = [*ASK, {"role": "assistant", "content": "abc"}]
    first = served.policy.tokenizer("abc")["input_ids"]
    second = served.policy.tokenizer("a")["input_ids"] + served.policy.tokenizer("bc")["input_ids"]
    assert first != second
    prompt = conversations.prompt(ASK)
    for owner, ids in (("r1", first), ("r2", second)):
        generation = Generation(prompt, ids, [0.0] * len(ids), FinishReason.LENGTH, 0)
        conversations._remember(Call(ASK, owner=owner), Answer("abc", generation))
    for owner, ids in (("r1", first), ("r2", second)):
        found = conversations.prompt([*messages, ASK[0]], owner)
        assert found[: len(prompt) + len(ids)] == prompt + ids
    assert conversations.prompt([*messages, ASK[0]], "r3")[: len(prompt)] == prompt


def test_what_is_remembered_of_prompts_is_bounded(served, monkeypatch):
    monkeypatch.setattr("homeground.rollouts.server.REMEMBERED_PROMPTS", 3)
    with ModelServer(served.sampler, served.policy.tokenizer, seed=3) as server:
        client = served.client(base_url=f"{server.root}/v1", api_key=server.secret)
        for i in range(6):
            complete(served, [{"role": "user", "content": str(i % 5)}], client=client, max_tokens=1)
        assert len(server._asked) == 3


@pytest.mark.parametrize("place", ["messages", "tools", "prompt"])
def test_what_is_far_too_long_is_refused_before_it_is_tokenized(served, place):
    words = "word " * 2_000_000
    tool = {"type": "function", "function": {"name": "f", "description": words}}
    chat_of = {
        "messages": {"messages": [{"role": "user", "content": words}]},
        "tools": {"messages": ASK, "tools": [tool]},
    }
    sent, client, started = chat_of.get(place, {"prompt": words}), served.client(), time.monotonic()
    create = client.completions.create if place == "prompt" else client.chat.completions.create
    with pytest.raises(openai.BadRequestError, match="characters exceeds the context of 256 tokens") as caught:
        create(model="policy", **sent)
    assert caught.value.code == "context_length_exceeded"
    assert time.monotonic() - started < 2  # tokenizing takes four times as long


def test_a_refused_role_comes_with_those_that_there_are(served):
    assert "roles: system, developer" in str(refusal(served, messages=[{"role": "wizard", "content": "x"}]))
