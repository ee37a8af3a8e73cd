"""Answers from the index under ``NAME+index``, as OpenAI's clients see them."""

import contextlib

import httpx
import openai
import pytest

from homeground.index import Index, IndexConfig
from homeground.pipeline.serving import Serving

from .serving import indexed, recipe_of, running

QUESTION = "How is the heat of the oven raised until it reaches the target temperature?"
FOREIGN = "Who won the chess championship of Mongolia?"


def ask(client, question=QUESTION, model="one+index", **more):
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], **({"max_tokens": 24} | more)
    )


def test_the_names_are_listed_beside_the_plain_ones(server):
    names = {model.id for model in server.openai().models.list()}
    assert {"one", "one+index", "two+index", "base+index"} <= names


def test_an_answer_comes_with_places_that_are_in_the_index(server):
    answer = ask(server.openai())
    choice = answer.choices[0]
    assert answer.model == "one+index"
    assert choice.finish_reason in ("stop", "length")
    assert choice.message.found is True
    assert "bakery/oven.py" in {place["path"] for place in choice.message.sources}
    for number, place in enumerate(choice.message.citations, 1):
        assert f"[{number}] {place['path']}:{place['start']}-{place['end']}" in choice.message.content
    assert answer.usage.prompt_tokens > 100, "the passages are part of the prompt"
    assert 1 <= answer.usage.completion_tokens <= 24


def test_a_stream_has_the_text_and_the_places_of_the_whole_answer(server):
    client = server.openai()
    whole = ask(client).choices[0].message
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.content
    last = chunks[-2].choices[0]
    assert (last.delta.citations, last.delta.found) == (whole.citations, True)
    assert last.finish_reason in ("stop", "length")
    assert chunks[-1].usage.completion_tokens >= 1


def test_what_the_index_does_not_hold_is_said_and_no_model_is_asked(server):
    before = sum(engine.sampled_tokens for engine in server.serving.engines.values())
    answer = ask(server.openai(), FOREIGN)
    assert answer.choices[0].message.found is False
    assert answer.choices[0].message.citations == answer.choices[0].message.sources == []
    assert answer.choices[0].message.content.startswith("Not found in this index")
    assert sum(engine.sampled_tokens for engine in server.serving.engines.values()) == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2}, "does not take n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "stop": "x"}, "does not take tools, stop"),
        ({"logprobs": True, "stream": True}, "does not take logprobs"),
        ({"question": "  "}, "empty"),
        ({"question": "  ", "stream": True}, "empty"),
    ],
)
def test_what_cannot_be_asked_of_an_index_is_refused(server, fields, words):
    with pytest.raises(openai.BadRequestError, match=words):
        ask(server.openai(), **fields)


def test_a_place_is_given_back_by_whoever_hangs_up(server):
    body = {"model": "two+index", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 200}
    with server.http() as http:
        for stream in (True, False):
            with (
                contextlib.suppress(httpx.TimeoutException),
                http.stream("POST", "/v1/chat/completions", json={**body, "stream": stream}, timeout=0.2) as one,
            ):
                next(one.iter_lines(), None)
        for _ in range(500):
            if "homeground_answers 0.0" in http.get("/metrics").text:
                return
        raise AssertionError("a place is still taken")


def test_an_index_that_was_made_anew_with_another_chunker_asks_for_a_new_start(adapters, tmp_path):
    workspace = indexed(tmp_path)
    with running(Serving(recipe_of(adapters[0]), workspace, {})) as server, server.http() as http:
        assert http.get("/search", params={"q": "oven"}).status_code == 200
        Index.build(workspace.index, [tmp_path / "village"], IndexConfig(max_tokens=48))
        found = http.get("/search", params={"q": "oven"})
        assert found.status_code == 503
        assert found.json()["hint"] == "start this server again"
        chat = {"model": "base+index", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 4}
        for path, body in {
            "/v1/chat/completions": chat,
            "/v1/embeddings": {"model": "all-minilm-l6-v2", "input": "oven"},
            "/v1/rerank": {"query": "oven", "documents": ["iron"]},
        }.items():
            refused = http.post(path, json=body)
            assert refused.status_code == 503, path
            assert "start this server again" in refused.json()["error"]["message"]
        assert http.post("/v1/chat/completions", json={**chat, "stream": True}).status_code == 503
        assert http.post("/v1/chat/completions", json={**chat, "model": "base"}).status_code == 200
    with running(Serving(recipe_of(adapters[0]), workspace, {})) as server, server.http() as http:
        assert http.get("/search", params={"q": "oven"}).json()["hits"]
