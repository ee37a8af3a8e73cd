"""Whatever a client sends, the model server answers it or says what is wrong: never a 500, and it lives on."""

import copy
import json

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeground.rollouts import ModelServer, Sampler

from ..policy import tiny

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)  # fmt: skip

CHAT = {
    "model": "policy",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "abc"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ],
    "max_tokens": 2,
    "temperature": 1.0,
    "top_p": 0.9,
    "top_k": 5,
    "min_p": 0.1,
    "n": 1,
    "seed": 3,
    "stop": ["xyz"],
    "stream": False,
    "stream_options": {"include_usage": True},
    "logprobs": True,
    "top_logprobs": 1,
    "return_token_ids": True,
    "prompt_cache_key": "r",
    "tools": [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "user": "me",
}
FORCED = CHAT | {"tool_choice": {"type": "function", "function": {"name": "find"}}}
SHAPED = CHAT | {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}}
TEXT = {"model": "policy", "prompt": "abc", "max_tokens": 2, "logprobs": 1, "stop": "x", "seed": 1, "n": 1}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
    | st.sampled_from([2**63, -(2**70), 1e308, "", "\ud800", "{% raw %}", "assistant", "required", "json_object"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value, path=()):
    """Paths to everything in a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict):
        found += [place for key in value for place in places(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [place for index in range(len(value)) for place in places(value[index], (*path, index))]
    return found


@st.composite
def spoiled(draw, body):
    """A valid request in which one or two places hold something else."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 2))):
        if not (there := places(body)):
            break
        *path, last = draw(st.sampled_from(there))
        holder = body
        for part in path:
            holder = holder[part]
        holder[last] = draw(anything)
    return {"model": "policy", **body}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """With room for the whole of those requests."""
    folder = tiny.build(tmp_path_factory.mktemp("long") / "tiny", tiny.llama_config(max_position_embeddings=1024))
    policy = tiny.policy_of(folder)
    with Sampler(policy, rows=8, cache_mb=4) as sampler, ModelServer(sampler, policy.tokenizer) as server:
        yield server


@pytest.fixture(scope="module")
def http(server):
    headers = {"Authorization": f"Bearer {server.secret}", "Content-Type": "application/json"}
    with httpx.Client(headers=headers, timeout=60) as client:
        yield client


@pytest.mark.parametrize("body", [CHAT, FORCED, SHAPED, TEXT])
def test_what_is_spoiled_is_a_request_that_works(http, server, body):
    path = "completions" if "prompt" in body else "chat/completions"
    answered = http.post(f"{server.root}/v1/{path}", json=body)
    assert answered.status_code == 200, answered.text


def send(http, server, path, body):
    # A fuzzer that asks for many long answers would test the sampler's speed.
    for name, most in (("n", 2), ("max_tokens", 3), ("max_completion_tokens", 3)):
        if isinstance(body.get(name), int) and body[name] > most:
            body[name] = most
    if not {"max_tokens", "max_completion_tokens"} & body.keys():
        body["max_tokens"] = 2
    response = http.post(f"{server.root}/v1/{path}", content=json.dumps(body).encode())
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]


@QUICK
@given(body=st.one_of(spoiled(CHAT), spoiled(FORCED), spoiled(SHAPED)))
def test_spoiled_chats_are_answered_or_refused(http, server, body):
    send(http, server, "chat/completions", body)


@QUICK
@given(body=spoiled(TEXT))
def test_spoiled_completions_are_answered_or_refused(http, server, body):
    send(http, server, "completions", body)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": 1' + b"0" * 5000 + b"}"]
)
def test_what_is_no_request_is_refused(http, server, content):
    response = http.post(f"{server.root}/v1/chat/completions", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


@QUICK
@given(data=st.data())
@pytest.mark.parametrize("path", ["/v1/models", "/v1/completions", "/v1/chat/completions"])
def test_what_its_own_description_allows(http, server, path, data):
    described = schemathesis.openapi.from_dict(server.app.openapi())
    method = "GET" if path == "/v1/models" else "POST"
    case = data.draw(described[path][method].as_strategy())
    if isinstance(case.body, dict):
        case.body = {**case.body, "model": "policy", "max_tokens": 2, "max_completion_tokens": 2, "n": 1}
    response = case.call(base_url=server.root, headers={"Authorization": f"Bearer {server.secret}"})
    assert response.status_code in (200, 400, 404), response.text
