import socket

import httpx
import pytest

from homeground.agents import search_server
from homeground.agents.search_server import SearchServer
from homeground.base.errors import HomegroundError
from homeground.index import Hit


def hit(name):
    return Hit(f"{name}.py", 1, 2, name, "function", "python", 1.0, {}, "def x(): pass")


def search(query, k):
    if query == "refused":
        raise HomegroundError("not that")
    return [hit(f"{query}{n}") for n in range(k)]


@pytest.fixture(scope="module")
def served():
    with SearchServer(search) as server:
        yield server


def ask(served, key=None, **params):
    env = served.environment
    headers = {"Authorization": f"Bearer {key or env['HOMEGROUND_SEARCH_KEY']}"}
    return httpx.get(env["HOMEGROUND_SEARCH_URL"], params=params, headers=headers)


def test_it_answers_as_the_search_verb_does(served):
    found = ask(served, q="round", k=2).json()
    assert found["query"] == "round"
    assert found["hits"] == [hit("round0").to_json(), hit("round1").to_json()]
    assert len(ask(served, q="x").json()["hits"]) == 5


def test_a_blank_query_finds_nothing_and_is_no_error(served):
    assert ask(served, q="  ").json()["hits"] == []
    assert ask(served).json()["hits"] == []


def test_it_wants_its_key_and_listens_on_loopback_alone(served):
    assert ask(served, key="wrong", q="x").status_code == 401
    assert httpx.get(served.environment["HOMEGROUND_SEARCH_URL"]).status_code == 401
    assert served.environment["HOMEGROUND_SEARCH_URL"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_scheme_of_the_key_may_be_in_any_case(served, scheme):
    env = served.environment
    headers = {"Authorization": scheme + env["HOMEGROUND_SEARCH_KEY"]}
    assert httpx.get(env["HOMEGROUND_SEARCH_URL"], params={"q": "x"}, headers=headers).status_code == 200


def test_a_caller_who_says_nothing_is_cut_off(monkeypatch):
    monkeypatch.setattr(search_server._Handler, "timeout", 0.1)
    with SearchServer(search) as server:
        port = int(server.environment["HOMEGROUND_SEARCH_URL"].split(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
            silent.sendall(b"GET /search HTTP/1.1\r\n")
            assert silent.recv(100) == b""


@pytest.mark.parametrize("params", [{"q": "x", "k": "0"}, {"q": "x", "k": "51"}, {"q": "x", "k": "many"},
                                    {"q": "x", "k": "9" * 5000},
                                    {"q": "x", "k": "0001" + "9" * 5000}, {"q": "refused"}])  # fmt: skip
def test_what_cannot_be_asked_is_told(served, params):
    answer = ask(served, **params)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_nothing_listens_when_it_is_over():
    with SearchServer(search) as server:
        url = server.environment["HOMEGROUND_SEARCH_URL"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
