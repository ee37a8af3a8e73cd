"""Models by name, search, embeddings, reranking and counts, over HTTP."""

import json
import socket
import threading
import time
from http.client import HTTPConnection
from urllib.parse import quote

import httpx
import numpy as np
import openai
import pytest

from homeground.index import SentenceEmbedder
from homeground.index.protocols import encode_all
from homeground.pipeline.serving import Serving

from .serving import TOKEN, recipe_of, running

ASK = [{"role": "user", "content": "abc"}]
OPEN = {"/healthz"}


def complete(client, model="one", **more):
    return client.chat.completions.create(
        model=model, messages=ASK, **({"max_tokens": 12, "temperature": 0, "seed": 3} | more)
    )


def test_models_by_name_answer_as_themselves(server):
    client = server.openai()
    names = ["one", "two", "base"]
    assert [model.id for model in client.models.list()][:3] == names
    said = {name: complete(client, name) for name in names}
    assert {name: answer.model for name, answer in said.items()} == {name: name for name in names}
    texts = {name: answer.choices[0].message.content for name, answer in said.items()}
    assert len(set(texts.values())) == 3
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in complete(client, "two", stream=True))
    assert streamed == texts["two"]
    text = client.completions.create(model="two", prompt="abc", max_tokens=4, temperature=0)
    assert text.model == "two"
    assert client.models.retrieve("two").id == "two"


def test_models_that_answer_at_once_do_not_mix(server):
    client = server.openai()
    alone = {name: complete(client, name).choices[0].message.content for name in ("one", "two", "base")}
    found = []

    def ask(name):
        found.append((name, complete(client, name).choices[0].message.content))

    threads = [threading.Thread(target=ask, args=(name,)) for name in alone for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 15
    assert all(text == alone[name] for name, text in found)


@pytest.mark.parametrize("name", ["three", "", "one+indeks", "policy"])
def test_a_model_that_is_not_there_is_404_and_the_others_are_named(server, name):
    with pytest.raises(openai.NotFoundError, match="'one', 'two', 'base'") as caught:
        complete(server.openai(), name)
    assert caught.value.code == "model_not_found"


def test_hits_with_their_scores_and_filters(server):
    with server.http() as http:
        found = http.get("/search", params={"q": "raise the heat", "k": 2}).json()
        assert found["query"] == "raise the heat"
        assert found["hits"][0]["symbol"] == "Oven.heat_up"
        assert {"dense", "lexical", "fused"} <= found["hits"][0]["scores"].keys()
        filters = {"q": "bread", "kind": ["method", "function"], "path": "bakery/", "symbol": "Oven.*"}
        hits = http.get("/search", params=filters).json()["hits"]
        assert hits
        assert all(hit["path"].startswith("bakery/") and hit["symbol"].startswith("Oven.") for hit in hits)
        found = http.get("/search", params={"q": "bread", "path": ["!bakery/", "!smity/"]}).json()
        assert found["hits"]
        assert not any(hit["path"].startswith("bakery/") for hit in found["hits"])
        assert found["warnings"] == ["the path '!smity/' excludes nothing; nearest: 'smithy/'"]


def test_a_pattern_that_would_never_end_is_answered(server):
    with server.http() as http:
        began = time.monotonic()
        refused = http.get("/search", params={"q": "bread", "path": "*?" * 14 + "ZZ"})
        assert (refused.status_code, time.monotonic() - began < 10) == (400, True)
        assert "no chunk has the path" in refused.json()["error"]
        refused = http.get("/search", params={"q": "bread", "path": "a" * 2000})
        assert refused.status_code == 400
        assert "path.0: String should have at most 1000 characters" in refused.json()["error"]


@pytest.mark.parametrize(
    ("query", "error", "hint"),
    [
        ({}, "q: Field required", None),
        ({"q": "x", "k": 0}, "k: Input should be greater than or equal to 1", None),
        ({"q": " "}, "the query is blank", "say in words"),
        ({"q": "x", "paths": "bakery"}, "there is no parameter 'paths'", "it has q, k, path, language, kind, symbol"),
        ({"q": "x", "language": "cobol"}, "no chunk has the language 'cobol'", "the index has: python"),
    ],
)
def test_a_search_that_cannot_be_done_says_what_to_do(server, query, error, hint):
    with server.http() as http:
        refused = http.get("/search", params=query)
    assert refused.status_code == 400
    document = refused.json()
    assert document.keys() == {"error", "where", "hint"}
    assert error in document["error"]
    assert (hint or "") in (document["hint"] or "")


@pytest.mark.parametrize("texts", ["one text", ["a horse", "bread", "a horse"] * 20])
def test_embeddings_are_the_indexs_own(server, texts):
    # OpenAI's client asks for base64.
    answer = server.openai().embeddings.create(model="all-minilm-l6-v2", input=texts)
    given = [texts] if isinstance(texts, str) else texts
    wanted = encode_all(SentenceEmbedder("all-minilm-l6-v2", 192, "auto"), given)
    assert np.allclose([one.embedding for one in answer.data], wanted, atol=1e-5)
    assert [one.index for one in answer.data] == list(range(len(given)))
    assert answer.usage.total_tokens > 0
    with server.http() as http:
        body = {"model": "all-minilm-l6-v2", "input": texts, "encoding_format": "float"}
        plain = http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert np.allclose(plain, wanted[0], atol=1e-5)


def test_documents_are_ranked_by_the_embedder_where_the_index_has_no_reranker(server):
    documents = ["a horse in a meadow", {"text": "baking bread in an oven"}, "tax law"]
    with server.http() as http:
        answer = http.post("/v1/rerank", json={"query": "loaves", "documents": documents, "top_n": 2}).json()
    assert answer["model"] == "all-minilm-l6-v2"
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["document"] == {"text": "baking bread in an oven"}
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 2


class Longest:
    """In a reranker's place, whose library takes seconds to import: the longest text is the best."""

    name = "somebody/longest"

    def score(self, query, texts):
        return [float(len(text) + len(query)) for text in texts]


def test_the_indexs_own_reranker_ranks_where_it_has_one(server, monkeypatch):
    monkeypatch.setattr(server.serving.index, "reranker", Longest())
    documents = ["x" * (at % 50 + 1) for at in range(70)]
    asked = {"query": "bread", "documents": documents, "model": Longest.name, "return_documents": False}
    with server.http() as http:
        answer = http.post("/v1/rerank", json=asked).json()
        assert Longest.name in [model["id"] for model in http.get("/v1/models").json()["data"]]
    assert answer["model"] == Longest.name
    assert [result["index"] for result in answer["results"]][:3] == [49, 48, 47]
    assert answer["results"][0] == {"index": 49, "relevance_score": 55.0}
    assert len(answer["results"]) == 70


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("embeddings", {"model": "all-minilm-l6-v2", "input": [[1, 2]]}, "send text"),
        ("embeddings", {"model": "all-minilm-l6-v2", "input": []}, "there is none"),
        ("embeddings", {"model": "all-minilm-l6-v2", "input": "a", "dimensions": 2}, "have 384"),
        ("embeddings", {"model": "one", "input": "a"}, "'all-minilm-l6-v2'"),
        ("embeddings", {"model": "all-minilm-l6-v2", "input": ["a"] * 2049}, "at most 2048"),
        ("rerank", {"query": " ", "documents": ["a"]}, "blank"),
        ("rerank", {"query": "a", "documents": []}, "there is none"),
        ("rerank", {"query": "a", "documents": ["a"], "model": "x"}, "does not exist"),
    ],
)
def test_what_cannot_be_embedded_or_ranked_is_refused(server, path, body, words):
    with server.http() as http:
        refused = http.post(f"/v1/{path}", json=body)
    assert refused.status_code in (400, 404)
    assert words in refused.json()["error"]["message"]


def test_nothing_is_told_without_the_token(server):
    with server.http() as http:
        described = http.get("/openapi.json").json()
    assert {"/search", "/metrics", "/v1/chat/completions", "/v1/embeddings", "/v1/rerank"} <= described["paths"].keys()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        for path, methods in described["paths"].items():
            for method in methods:
                answer = httpx.request(method, server.root + path, headers=headers, json={})
                assert answer.status_code == (200 if path in OPEN else 401), (method, path)


def test_counts_in_prometheus_words(server):
    def told(http):
        answer = http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    with server.http() as http:
        before = told(http)
        complete(server.openai(), "two")
        http.get("/made/up/path")
        after = told(http)
    chat = 'homeground_requests_total{path="/v1/chat/completions",status="200"}'
    assert after[chat] == before.get(chat, 0) + 1
    tokens = 'homeground_sampled_tokens_total{model="two"}'
    assert after[tokens] > before[tokens]
    assert after['homeground_requests_total{path="other",status="404"}'] >= 1
    assert not any("made" in name for name in after)
    assert after["homeground_answers"] == 0
    assert after["process_resident_memory_bytes"] > 1e6


def raw(server, body):
    """A request of which nothing is read yet."""
    content = json.dumps(body).encode()
    host, port = server.root.removeprefix("http://").split(":")
    reader = socket.create_connection((host, int(port)))
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer a-token-for-tests-only\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    reader.sendall(head.encode() + content)
    return reader


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_readers_that_do_not_read_stall_nobody(server):
    sampler = server.serving.engines["one"]
    before = sampler.sampled_tokens
    body = {"model": "one", "messages": ASK, "max_tokens": 300, "stream": True, "seed": 1, "stop": ["never said"]}
    slow = [raw(server, body) for _ in range(10)]
    try:
        # More of them than decode at once: those behind them are served although nobody reads.
        assert complete(server.openai(), "one").choices[0].message.content
        until(lambda: sampler.sampled_tokens - before >= 600)
        with server.http() as http:
            until(lambda: "homeground_answers 0.0" in http.get("/metrics").text)
    finally:
        for reader in slow:
            reader.close()


def test_readers_that_vanish_end_their_work(server):
    sampler = server.serving.engines["two"]
    before = sampler.sampled_tokens
    body = {"model": "two", "messages": ASK, "max_tokens": 900, "stream": True, "seed": 1}
    gone = [raw(server, body) for _ in range(8)]
    for reader in gone:
        reader.recv(10)
        reader.close()
    with server.http() as http:
        until(lambda: "homeground_answers 0.0" in http.get("/metrics").text)
    assert sampler.sampled_tokens - before < 8 * 900


def test_nothing_is_computed_without_the_token_whatever_the_body_is(server):
    for path in ("/v1/chat/completions", "/page/ask", "/v1/embeddings", "/wrong/v1/completions", "/made/up"):
        began = time.perf_counter()
        answer = httpx.post(server.root + path, content=b"[]," * 1_000_000, headers={"Authorization": "bearer no"})
        assert answer.status_code == 401
        assert time.perf_counter() - began < 2
        assert "Authorization: Bearer" in answer.text
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_key_in_the_path_is_the_key_in_the_header(server):
    inside = f"{server.root}/{TOKEN}"
    body = {"model": "two", "messages": ASK, "max_tokens": 4, "temperature": 0}
    said = httpx.post(f"{inside}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]["message"]
    assert said["content"] == complete(server.openai(), "two", max_tokens=4).choices[0].message.content
    assert httpx.post(f"{inside}/v1/embeddings", json={"model": "one", "input": "a"}).status_code == 404
    assert httpx.get(f"{inside}/page/runs").status_code == 401


def test_with_the_key_in_the_path_answers_count_like_all_others(workspace, adapters):
    model, _ = adapters
    body = {"model": "base", "messages": ASK, "max_tokens": 900, "stream": True, "seed": 1}
    with (
        running(Serving(recipe_of(model, rows=2, waiting=1), workspace, {})) as server,
        server.http() as http,
        http.stream("POST", f"/{TOKEN}/v1/chat/completions", json=body) as first,
    ):
        assert first.status_code == 200
        for path in (f"/{TOKEN}/v1/chat/completions", "/v1/chat/completions", "/page/ask"):
            asked = {"messages": ASK} if path == "/page/ask" else body
            refused = http.post(path, json=asked)
            assert refused.status_code == 429, path
            assert refused.headers["retry-after"]


def test_other_hosts_and_origins_gain_nothing(server):
    """A page that a browser opens elsewhere has no key, and what it asks for comes without leave to read it."""
    evil = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert httpx.get(f"{server.root}/v1/models", headers=evil).status_code == 401
    preflight = {**evil, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert httpx.options(f"{server.root}/v1/models", headers=preflight).status_code == 401
    with server.http() as http:
        answer = http.get("/v1/models", headers=evil)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("body", [b"model=one&input=a", b"{", b'{"input": "\xff"}', b"[" * 5000 + b"]" * 5000])
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/chat/completions", "/page/ask"])
def test_what_is_no_json_is_400_in_the_form_of_its_route(server, path, body):
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    with server.http() as http:
        refused = http.post(path, content=body, headers=kind)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["message"] if path.startswith("/v1/") else error).startswith("the body is not JSON: ")


@pytest.mark.parametrize(("path", "body"), [
    ("embeddings", {"model": "all-minilm-l6-v2", "input": "a", "encoding_format": None, "dimensions": None,
                    "user": "me", "truncate_prompt_tokens": None, "add_special_tokens": None}),
    ("rerank", {"query": "a", "documents": ["a", {"text": "b", "title": None}], "model": None, "top_n": None,
                "return_documents": None, "rank_fields": None, "max_chunks_per_doc": None, "truncation": True}),
    ("chat/completions", {"model": "base+index", "messages": ASK, "n": None, "tools": None, "stop": None, "seed": None,
                          "logprobs": None, "response_format": None, "max_tokens": 1, "temperature": None,
                          "service_tier": "auto", "tool_choice": None, "stream": None, "best_of": 1}),
])  # fmt: skip
def test_null_and_neutral_values_are_not_given(server, path, body):
    with server.http() as http:
        answer = http.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("path", "body", "name"), [
    ("embeddings", {"model": "all-minilm-l6-v2", "input": "a", "input_type": "query"}, "input_type"),
    ("embeddings", {"model": "all-minilm-l6-v2", "input": "a", "encoding_format": "hex"}, "encoding_format"),
    ("rerank", {"query": "a", "documents": ["a"], "max_tokens_per_doc": 5}, "max_tokens_per_doc"),
    ("chat/completions", {"model": "base+index", "messages": ASK, "repetition_penalty": 2}, "repetition_penalty"),
])  # fmt: skip
def test_what_would_change_the_answer_is_refused_by_name(server, path, body, name):
    with server.http() as http:
        refused = http.post(f"/v1/{path}", json=body)
    assert refused.status_code == 400
    assert name in refused.json()["error"]["message"]


LONG = "x" * 30_000  # twice in an address, it is below what uvicorn itself refuses
ODD = [
    LONG,
    "../" * 2000,
    "a\0b",
    "/etc/passwd\0",
    "\u202e",
    "é" * 300,
    "[" * 200,
    "*?" * 30 + "ZZ",
    "%",
    "-1",
    " ",
    ".",
]


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text[:12]))
def test_no_string_is_a_500(server, text):
    """In every string of every route: an answer, or a refusal in few words."""
    quoted = quote(text, safe="")
    gets = [f"/v1/models/{quoted}", f"/{quoted}", f"/{quoted}/v1/models", f"/page/files/{quoted}"]
    for run in (quoted, "measured"):
        gets += [
            f"/page/runs/{run}",
            f"/page/runs/{run}/steps?mark={quoted}",
            f"/page/runs/{run}/rollouts?step={quoted}",
        ]
    for name in ("path", "language", "kind", "symbol", "k", "q"):
        gets.append(f"/search?q=a&{name}={quoted}")
    for name in ("path", "start", "end"):
        gets.append(f"/page/read?path=a&{name}={quoted}")
    gets += [f"/page/index/files?{name}={quoted}" for name in ("like", "language", "skip")]
    gets += [f"/page/index/left-out?{name}={quoted}" for name in ("like", "reason", "skip")]
    said = [{"role": "user", "content": "a"}]
    posts = [
        ("/v1/chat/completions", {"model": text, "messages": said}),
        ("/v1/chat/completions", {"model": "base", "messages": [{"role": text, "content": "a"}]}),
        ("/v1/chat/completions", {"model": "base", "messages": said, "prompt_cache_key": text, "max_tokens": 1}),
        ("/v1/chat/completions", {"model": "base", "messages": said, "tool_choice": text, "max_tokens": 1}),
        ("/v1/chat/completions", {"model": "base", "messages": said, "stop": text, "max_tokens": 1}),
        ("/v1/chat/completions", {"model": "base", "messages": said, text: 1}),
        ("/v1/completions", {"model": text, "prompt": "a"}),
        ("/v1/embeddings", {"model": text, "input": "a"}),
        ("/v1/rerank", {"model": text, "query": "a", "documents": ["a"]}),
        ("/page/ask", {"messages": said, "model": text}),
        ("/page/ask", {"messages": [{"role": text, "content": "a"}]}),
        ("/page/ask", {"messages": said, "model": "base", text: 1}),
    ]
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    for path, body in [*((path, None) for path in gets), *posts]:
        # Not httpx, which refuses long addresses itself.
        client = HTTPConnection(server.root.removeprefix("http://"), timeout=30)
        client.request("POST" if body else "GET", path, body and json.dumps(body), headers)
        answer = client.getresponse()
        said = answer.read()
        client.close()
        asked = f"{path[:60]}: {said[:200]}"
        assert answer.status in (200, 307, 400, 401, 404), asked
        assert answer.status == 200 or len(said) < 3500, asked
