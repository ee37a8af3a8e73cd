"""Every parameter of OpenAI's requests and of those who add to them: null, a neutral value, one that changes things."""

import threading

import httpx
import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from homeground.rollouts import ModelServer, Sampler
from homeground.rollouts.requests import ChatRequest

from ..policy import tiny
from .conftest import Served

CONTEXT = 512
ASK = [{"role": "user", "content": "a"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SAME = object()
"""In the place of values that are not supported: there are none."""

SAMPLED = {
    "frequency_penalty": ([0, 0.0], [0.5, -1]),
    "logit_bias": ([{}], [{"5": 10}]),
    "logprobs": ([False], SAME),
    "max_tokens": ([1, 1.0], [0, -1, "many"]),
    "n": ([1], [0, 1000]),
    "presence_penalty": ([0], [0.1]),
    "seed": ([0, 7, -1, 2**63, 10**300], ["x", 1.5]),
    "stop": (["", [], "x", ["x", "y"]], [3, [3], {"a": 1}]),
    "stream": ([False], ["maybe"]),
    "stream_options": ([{}, {"include_usage": None}, {"include_usage": False, "include_obfuscation": False}], ["x"]),
    "temperature": ([0, 1, 0.5, 1e-300], ["hot", -1, 3, []]),
    "top_p": ([1, 0.5], [0, 2]),
    "user": (["me", ""], SAME),
    # What others add.
    "best_of": ([1], [2]),
    "repetition_penalty": ([1, 1.0], [1.1]),
    "repeat_penalty": ([1.0], [1.1]),
    "length_penalty": ([1.0], [0.5]),
    "top_k": ([-1, 0, 5], [-2, "x"]),
    "min_p": ([0, 0.0, 0.1], [2]),
    "typical_p": ([1.0], [0.5]),
    "ignore_eos": ([False], [True]),
    "min_tokens": ([0], [5]),
    "use_beam_search": ([False], [True]),
    "skip_special_tokens": ([True], SAME),
    "spaces_between_special_tokens": ([True], SAME),
    "stop_token_ids": ([[]], [[5]]),
    "bad_words": ([[]], [["x"]]),
    "include_stop_str_in_output": ([False], [True]),
    "guided_json": ([], [{"type": "object"}]),
    "prompt_logprobs": ([], [1]),
    "cache_prompt": ([True, False], SAME),
    "request_id": (["x"], SAME),
    "priority": ([0, 1], SAME),
    "mirostat": ([0], [2]),
    "options": ([{}], [{"num_ctx": 5}]),
}
CHAT = {
    **SAMPLED,
    "audio": ([], [{"voice": "x", "format": "mp3"}]),
    "function_call": (["auto", "none"], [{"name": "f"}]),
    "functions": ([[]], [[{"name": "f"}]]),
    "logprobs": ([False, True], ["x"]),
    "max_completion_tokens": ([1], [0]),
    "metadata": ([{}, {"a": "b"}], SAME),
    "modalities": ([["text"]], [["text", "audio"], ["audio"]]),
    "moderation": ([], [{"model": "x"}]),
    "parallel_tool_calls": ([True, False], ["x"]),
    "prediction": ([{"type": "content", "content": "x"}], SAME),
    "prompt_cache_key": (["x"], [3]),
    "prompt_cache_options": ([{"ttl": "30m"}], SAME),
    "prompt_cache_retention": (["24h"], SAME),
    "reasoning_effort": (["medium"], ["high", "none"]),
    "response_format": ([{"type": "text"}], [{"type": "xml"}]),
    "safety_identifier": (["x"], SAME),
    "service_tier": (["auto", "default", "flex"], SAME),
    "store": ([False, True], SAME),
    "tool_choice": (["auto", "none"], ["f", "required"]),
    "tools": ([[], [TOOL]], [["x"], [{"type": "web_search"}]]),
    "top_logprobs": ([0], [5, 21]),
    "verbosity": (["medium"], ["low"]),
    "web_search_options": ([], [{}, {"search_context_size": "low"}]),
    "chat_template": ([], ["{{ messages }}"]),
    "chat_template_kwargs": ([{}], [{"enable_thinking": False}]),
    "add_generation_prompt": ([True], SAME),
    "continue_final_message": ([False], [True]),
    "documents": ([[]], [[{"text": "x"}]]),
    "include_reasoning": ([True], SAME),
}
TEXT = {
    **SAMPLED,
    "logprobs": ([False, 0, 1], [21, "x"]),
    "echo": ([False], [True]),
    "suffix": ([""], ["x"]),
    "prompt": (["a", ["a"], [97], [[97]]], ["", [], ["a", "b"], [[97], [98]], {"a": 1}, [-1]]),
}
REQUIRED = {"model", "messages", "prompt"}


def every(table, which):
    return [(name, value) for name, values in table.items() if values[which] is not SAME for value in values[which]]


def given(cls):
    return set(cls.__annotations__)


def test_the_tables_name_all_that_openais_client_can_send():
    assert given(chat_create_params.CompletionCreateParamsBase) - CHAT.keys() - REQUIRED == set()
    assert given(completion_create_params.CompletionCreateParamsBase) - TEXT.keys() - REQUIRED == set()
    assert given(embedding_create_params.EmbeddingCreateParams) == {
        "input", "model", "dimensions", "encoding_format", "user",
    }  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """With room for the schemas of tools, which take a token a byte."""
    config = tiny.llama_config(max_position_embeddings=CONTEXT)
    policy, lock = tiny.policy_of(tiny.build(tmp_path_factory.mktemp("roomy"), config)), threading.Lock()
    with (
        Sampler(policy, rows=16, cache_mb=4, compute=lock) as sampler,
        ModelServer(sampler, policy.tokenizer, seed=7) as server,
    ):
        yield Served(policy, sampler, server, lock)


@pytest.fixture(scope="module")
def post(served):
    with httpx.Client(headers={"Authorization": f"Bearer {served.server.secret}"}, timeout=60) as client:

        def call(path, **fields):
            asked = {"messages": ASK} if path == "chat/completions" else {"prompt": "a"}
            body = {"model": "policy", "max_tokens": 1, "seed": 3, **asked, **fields}
            return client.post(f"{served.server.root}/v1/{path}", json=body)

        yield call


@pytest.fixture(scope="module")
def plain(post):
    """What is answered where nothing is asked for."""
    return {path: text_of(post(path)) for path in ("chat/completions", "completions")}


def text_of(response):
    assert response.status_code == 200, response.text
    choice = response.json()["choices"][0]
    return choice["text"] if "text" in choice else choice["message"]["content"]


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_null_is_what_leaving_out_is(post, plain, path):
    table = CHAT if path == "chat/completions" else TEXT
    for name in table.keys() - REQUIRED - {"max_tokens", "seed"}:
        assert text_of(post(path, **{name: None})) == plain[path], name
    nulls = dict.fromkeys(table.keys() - REQUIRED - {"max_tokens", "seed"})
    assert text_of(post(path, **nulls)) == plain[path]
    for name in REQUIRED & {"model", "messages" if path == "chat/completions" else "prompt"}:
        error = post(path, **{name: None}).json()["error"]
        assert (error["message"], error["param"]) == (f"{name}: Field required", name)


@pytest.mark.parametrize(("name", "value"), every(CHAT, 0))
def test_neutral_values_of_a_chat_are_taken(post, name, value):
    assert post("chat/completions", **{name: value}).status_code == 200


@pytest.mark.parametrize(("name", "value"), every(TEXT, 0))
def test_neutral_values_of_a_completion_are_taken(post, name, value):
    assert post("completions", **{name: value}).status_code == 200


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [("chat/completions", *one) for one in every(CHAT, 1)] + [("completions", *one) for one in every(TEXT, 1)],
)
def test_what_would_change_the_answer_and_is_not_done_is_refused_by_name(post, path, name, value):
    response = post(path, **{name: value})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert name in error["message"]


@pytest.mark.parametrize("length", [10, CONTEXT - 100])
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_without_a_limit_an_answer_has_256_tokens_or_what_the_window_has_left(post, path, length):
    asked = {"prompt": "a" * length}
    if path == "chat/completions":
        asked = {"messages": [{"role": "user", "content": "a" * length}]}
    for seed in range(20):
        response = post(path, max_tokens=None, seed=seed, **asked)
        assert response.status_code == 200, response.text
        answer = response.json()
        if answer["choices"][0]["finish_reason"] == "length":
            usage = answer["usage"]
            assert usage["completion_tokens"] == min(256, CONTEXT - usage["prompt_tokens"])
            return
    raise AssertionError("every answer ended by itself")


def test_the_best_n_of_n_are_all_of_them(post):
    assert len(post("completions", n=2, best_of=2).json()["choices"]) == 2
    assert post("completions", n=1, best_of=2).status_code == 400


def test_off_is_the_same_in_every_word_for_it(post):
    texts = {
        text_of(post("completions", prompt="abc", max_tokens=9, top_k=off, min_p=0, top_p=1)) for off in (-1, 0, None)
    }
    assert len(texts) == 1


@pytest.mark.parametrize(("message", "words"), [
    ({"role": "narrator", "content": "x"}, "role: there is no role 'narrator'"),
    ({"role": "User", "content": "x"}, "role: there is no role 'User'"),
    ({"role": "", "content": "x"}, "role: there is no role ''"),
    ({"role": 3, "content": "x"}, "role: there is no role 3"),
    ({"content": "x"}, "role: a message needs a role"),
    ({"role": "user", "content": []}, "content: "),
    ({"role": "assistant", "content": []}, "content: "),
    ({"role": "assistant", "content": None}, "content or tool_calls"),
    ({"role": "user", "content": [{"type": "image_url", "text": "x"}]}, "content: "),
    ({"role": "user", "content": [{"type": "text", "text": None}]}, "content: "),
    ({"role": "user", "content": ["x"]}, "content: "),
    ({"role": "user", "content": 3}, "content: "),
    ({"role": "assistant", "function_call": {"name": 3}}, "names no function"),
])  # fmt: skip
def test_messages_that_cannot_be_read_are_refused_with_their_number(post, message, words):
    error = post("chat/completions", messages=[*ASK, message]).json()["error"]
    assert error["message"].startswith("messages.1.")
    assert words in error["message"]
    assert error["param"] == "messages.1"


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def said(*messages):
    return ChatRequest.model_validate({"model": "policy", "messages": list(messages)}).said()


@pytest.mark.parametrize("content", [[], "", None, [{"type": "text", "text": ""}]])
def test_empty_content_beside_calls_is_no_text(content):
    (message,) = said({"role": "assistant", "content": content, "tool_calls": [CALL]})
    assert message["content"] == ""
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}


def test_older_forms_and_parts_are_read_as_the_newer_ones():
    assert [message["role"] for message in said({"role": "developer", "content": "x"})] == ["system"]
    older = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": null}'}}
    (message,) = said(older)
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": None}}
    (refused,) = said({"role": "assistant", "content": None, "refusal": "no", "tool_calls": None, "audio": None})
    assert refused["content"] == "no"
    parts = [{"type": "text", "text": "a"}, {"text": "b"}, {"type": "refusal", "refusal": "c"}]
    assert said({"role": "assistant", "content": parts})[0]["content"] == "abc"


@pytest.mark.parametrize(("content", "kind", "status"), [
    (b'{"model": "policy", "prompt": "a", "max_tokens": 1}', "application/x-www-form-urlencoded", 200),
    (b'{"model": "policy", "prompt": "a", "max_tokens": 1}', None, 200),
    (b"model=policy&prompt=a", "application/x-www-form-urlencoded", 400),
    (b"--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
    (b'{"model": "policy", "prompt": "\xe9"}', "application/json", 400),
    (b"", "application/json", 400),
])  # fmt: skip
def test_a_body_is_json_whatever_it_is_called(served, content, kind, status):
    headers = {"Authorization": f"bearer {served.server.secret}"} | ({} if kind is None else {"Content-Type": kind})
    response = httpx.post(f"{served.server.root}/v1/completions", content=content, headers=headers)
    assert response.status_code == status, response.text
    assert response.json().keys() >= ({"choices"} if status == 200 else {"error"})


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/v1/completions", 405), ("POST", "/v1/made-up", 404), ("GET", "/", 404), ("GET", "/" + "x" * 60_000, 404),
    ("POST", "/v1/%00%ff", 404),
])  # fmt: skip
def test_every_error_has_openais_form(served, method, path, status):
    headers = {"Authorization": f"Bearer {served.server.secret}"}
    response = httpx.request(method, served.server.root + path, headers=headers)
    assert response.status_code == status
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_a_name_of_60000_letters_is_refused_in_few_words(post, path):
    for name in ("x" * 60_000, "../" * 20_000, "\0", "policy\0"):
        response = post(path, model=name)
        assert response.status_code == 404
        assert len(response.text) < 1000
