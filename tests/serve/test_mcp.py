"""The official client against a real process over a real index."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from homeground.base.http_guard import MOST_BODY
from homeground.index import Index, Tools
from homeground.runs.workspace import open_workspace
from homeground.serve.mcp_server import create_http_app, create_mcp_server
from tests.corpus.village import write_village
from tests.servers import command_server, listening

KEY = "a-key-for-tests-only"
TOOLS = {"search", "read", "symbols", "trace", "skeleton"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_village(tmp_path_factory.mktemp("village"))
    (folder / ".env").write_text("PASSWORD=hunter2hunter2\n")
    (folder / ".gitignore").write_text("hidden.py\n")
    (folder / "hidden.py").write_text("def hidden():\n    pass\n")
    Index.build(open_workspace(folder / ".homeground").index, [folder])
    return folder


def stdio(place):
    return stdio_client(
        StdioServerParameters(command=sys.executable, args=["-m", "homeground", "mcp"], cwd=place, env=dict(os.environ))
    )


@asynccontextmanager
async def http_client(event):
    """The official client of what `mcp --http` announced."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {event['key']}"}) as http,
        Client(streamable_http_client(event["url"], http_client=http)) as client,
    ):
        yield client


async def ask(client, tool, **arguments):
    done = await client.call_tool(tool, arguments)
    text = done.content[0].text
    return done.is_error, text if done.is_error else done.structured_content


@pytest.fixture(scope="module")
def answers(place):
    """What one stdio session answered."""

    async def session():
        async with Client(stdio(place)) as client:
            listed = (await client.list_tools()).tools
            found = {
                "search": await ask(client, "search", query="raise the heat", k=2),
                "filtered": await ask(client, "search", query="bread", kinds=["method"], symbols=["Oven.*"]),
                "excluded": await ask(client, "search", query="bread", paths=["!bakery/", "!smity/"]),
                "endless": await ask(client, "search", query="bread", paths=["*?" * 14 + "ZZ"]),
                "read": await ask(client, "read", path="bakery/oven.py", start=8, end=12),
                "symbols": await ask(client, "symbols", pattern="*_horse"),
                "trace": await ask(client, "trace", symbol="heat_up"),
                "skeleton": await ask(client, "skeleton", path="bakery/oven.py"),
                "blank": await ask(client, "search", query=" "),
                "many": await ask(client, "search", query="bread", k=10**9),
                "language": await ask(client, "search", query="bread", languages=["pyton"]),
                "unknown": await ask(client, "trace", symbol="heatup"),
                "beyond": await ask(client, "read", path="bakery/oven.py", start=1000),
                "no tool": await ask(client, "write", path="x"),
            }
            for number, path in enumerate(OUTSIDE):
                found[f"outside {number}"] = await ask(client, "read", path=path.format(place=place))
            return listed, found

    return asyncio.run(session())


OUTSIDE = [
    "/etc/passwd",
    "../../../../etc/passwd",
    "bakery/../../../../etc/passwd",
    "file:///etc/passwd",
    "bakery/oven.py\0",
    "hidden.py",
    "{place}/hidden.py",
    ".homeground/version.json",
    "",
    ".",
]


def test_every_tool_is_described_for_an_agent(answers):
    listed, _ = answers
    assert {tool.name for tool in listed} == TOOLS
    for tool in listed:
        assert tool.description
        assert all("description" in one or "$ref" in one for one in tool.input_schema["properties"].values())
        assert tool.annotations.read_only_hint


def test_the_tools_answer(answers):
    _, found = answers
    assert not any(found[name][0] for name in ("search", "filtered", "read", "symbols", "trace", "skeleton"))
    first = found["search"][1]["hits"][0]
    assert (first["path"], first["symbol"]) == ("bakery/oven.py", "Oven.heat_up")
    assert {hit["kind"] for hit in found["filtered"][1]["hits"]} == {"method"}
    excluded = found["excluded"][1]
    assert excluded["hits"]
    assert not any(hit["path"].startswith("bakery/") for hit in excluded["hits"])
    assert excluded["warnings"] == ["the path '!smity/' excludes nothing; nearest: 'smithy/'"]
    assert found["read"][1]["text"].startswith("class Oven:")
    assert [one["symbol"] for one in found["symbols"][1]["symbols"]] == ["shoe_horse", "weigh_horse"]
    assert found["trace"][1]["external"] == ["time.sleep"]
    assert found["skeleton"][1]["entries"][0]["doc"] == "A box that gets hot."


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("blank", "the query is blank", "say in words"),
        ("endless", "no chunk has the path", "patterns are those of a .gitignore"),
        ("many", "less than or equal to 50", ""),
        ("language", "no chunk has the language 'pyton'", "python ("),
        ("unknown", "no symbol is called 'heatup'", "near: Oven.heat_up"),
        ("beyond", "has lines 1 to", "ask for lines it has"),
        ("no tool", "Unknown tool", ""),
    ],
)
def test_an_agent_is_told_what_to_do_instead(answers, name, message, hint):
    failed, text = answers[1][name]
    assert failed
    assert message in text
    assert hint in text


@pytest.mark.parametrize("number", range(len(OUTSIDE)))
def test_nothing_but_indexed_files_is_read(answers, number):
    failed, text = answers[1][f"outside {number}"]
    assert failed
    assert "root:" not in text
    assert "lies outside" in text or "holds no file" in text


NULLS = {
    "search": {"query": "bread", "k": None, "paths": None, "languages": None, "kinds": None, "symbols": None},
    "read": {"path": "bakery/oven.py", "start": None, "end": None},
    "symbols": {"pattern": "*_horse", "kinds": None, "paths": None, "limit": None},
    "trace": {"symbol": "heat_up", "other": None},
    "skeleton": {"path": "bakery/oven.py"},
}
WRONG = [
    ("search", {}, "search: query is missing"),
    ("search", {"query": None}, "search: query is missing"),
    ("search", {"query": 3}, "search: query: input should be a valid string, not 3"),
    ("search", {"query": "a", "k": "many"}, "search: k: input should be a valid integer"),
    ("search", {"query": "a", "k": 0}, "search: k: input should be greater than or equal to 1, not 0"),
    ("search", {"query": "a", "kinds": "method"}, "search: kinds: input should be a valid list, not 'method'"),
    ("search", {"query": "a", "kinds": [3]}, "search: kinds.0: input should be a valid string, not 3"),
    ("search", {"q": "a"}, "search has no argument 'q'; it takes query, k, paths, languages, kinds, symbols"),
    ("read", {}, "read: path is missing"),
    ("read", {"path": ["a"]}, "read: path: input should be a valid string, not ['a']"),
    ("read", {"path": "a", "start": -1, "end": "x"}, "; end: input should be a valid integer"),
    ("read", {"path": "a", "line": 3}, "read has no argument 'line'; it takes path, start, end"),
    ("symbols", {"pattern": {}}, "symbols: pattern: input should be a valid string, not {}"),
    ("symbols", {"pattern": "a", "limit": 10**30}, "symbols: limit: input should be less than or equal to 200"),
    ("symbols", {"name": "a"}, "symbols has no argument 'name'; it takes pattern, kinds, paths, limit"),
    ("trace", {"symbol": 1.5}, "trace: symbol: input should be a valid string, not 1.5"),
    ("trace", {"symbol": "a", "x" * 60_000: 1}, "trace has no argument 'xxx"),
    ("skeleton", {}, "skeleton: path is missing"),
    ("skeleton", {"path": "x" * 60_000}, "skeleton: path: string should have at most 1000 characters"),
    ("skeleton", {"path": "x" * 1000}, "holds no file"),
    ("skeleton", {"path": "a\0b"}, "holds no file"),
    ("read", {"path": "../" * 20_000}, "read: path: string should have at most 1000 characters"),
    ("read", {"path": "../" * 300}, "lies outside"),
    ("trace", {"symbol": "x" * 60_000}, "trace: symbol: string should have at most"),
    ("trace", {"symbol": "x" * 1900}, "no symbol is called"),
    ("symbols", {"pattern": "x" * 60_000}, "symbols: pattern: string should have at most"),
    ("search", {"query": "a", "paths": ["x" * 60_000]}, "search: paths.0: string should have at most"),
    ("search", {"query": "a", "paths": ["x" * 999]}, "no chunk has the path"),
    ("search", {"query": "a", "symbols": ["*?" * 400 + "Z"]}, "no chunk has the symbol"),
]


@pytest.fixture(scope="module")
def call(place):
    server = create_mcp_server(Tools(Index.open(open_workspace(place / ".homeground").index)))

    def ask_it(tool, arguments):
        async def session():
            async with Client(server) as client:
                return await ask(client, tool, **arguments)

        return asyncio.run(session())

    return ask_it


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_null_is_an_argument_that_is_not_given(call, tool):
    failed, _ = call(tool, NULLS[tool])
    assert not failed


@pytest.mark.parametrize(("tool", "arguments", "words"), WRONG)
def test_wrong_arguments_are_told_in_a_sentence(call, tool, arguments, words):
    failed, text = call(tool, arguments)
    assert failed
    assert words in text
    assert "pydantic" not in text
    assert "\n  " not in text
    assert len(text) < 2500


@pytest.fixture(scope="module")
def over_http(place):
    tools = Tools(Index.open(open_workspace(place / ".homeground").index))
    with listening(create_http_app(tools, KEY, waiting=3), lifespan="on") as root:
        yield f"{root}/mcp"


@pytest.mark.parametrize(("headers", "content", "status"), [
    ({}, b"[]," * 1_000_000, 401),
    ({"Authorization": "Bearer wrong"}, b"{}", 401),
    ({"Authorization": f"Basic {KEY}"}, b"{}", 401),
    ({"Authorization": f"Bearer {KEY}"}, b"{", 400),
    ({"Authorization": f"Bearer {KEY}"}, b"[" * 1000 + b"]" * 1000, 400),
    ({"Authorization": f"Bearer {KEY}"}, b" " * (MOST_BODY + 1), 413),
    ({"Authorization": f"Bearer {KEY}", "Host": "evil.example"}, b"{}", 421),
    ({"Authorization": f"Bearer {KEY}", "Origin": "http://evil.example"}, b"{}", 403),
])  # fmt: skip
def test_over_http_the_guards_are_those_of_serve(over_http, headers, content, status):
    accepted = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    answer = httpx.post(over_http, content=content, headers=accepted | headers)
    assert answer.status_code == status
    if status in (400, 401, 413):
        assert answer.json().keys() >= {"error", "hint"}


def test_over_http_with_the_token_and_not_without(place):
    with command_server("mcp", "--http", cwd=place) as (event, _):
        assert event["url"].startswith("http://127.0.0.1:")

        async def session():
            async with httpx2.AsyncClient() as plain:
                for headers in ({}, {"Authorization": "Bearer wrong"}):
                    refused = await plain.post(event["url"], json={}, headers=headers)
                    assert refused.status_code == 401
                odd = await plain.post(
                    event["url"],
                    json={},
                    headers={"Authorization": f"bearer {event['key']}", "Host": "evil.example"},
                )
                assert odd.status_code in (403, 421)
            async with http_client(event) as client:
                return await ask(client, "symbols", pattern="Oven")

        failed, found = asyncio.run(session())
        assert not failed
        assert found["symbols"][0]["symbol"] == "Oven"


async def _everything(client):
    """Whether each tool knows `zeppelin` of sky.py."""
    search = await ask(client, "search", query="zeppelin", k=50)
    symbols = await ask(client, "symbols", pattern="zeppelin")
    trace = await ask(client, "trace", symbol="zeppelin")
    read = await ask(client, "read", path="sky.py")
    skeleton = await ask(client, "skeleton", path="sky.py")
    assert not search[0]
    return [
        "sky.py" in {hit["path"] for hit in search[1]["hits"]},
        *(not failed for failed, _ in (symbols, trace, read, skeleton)),
    ]


async def _across_runs(client, folder):
    def index():
        Index.build(open_workspace(folder / ".homeground").index, [folder])[0].close()

    assert await _everything(client) == [False] * 5
    (folder / "sky.py").write_text("def zeppelin():\n    lift()\n")
    assert await _everything(client) == [False] * 5
    index()
    assert await _everything(client) == [True] * 5
    (folder / "sky.py").write_text("# moved down\n\n\ndef zeppelin():\n    sink()\n")
    index()
    _, symbols = await ask(client, "symbols", pattern="zeppelin")
    _, trace = await ask(client, "trace", symbol="zeppelin")
    _, read = await ask(client, "read", path="sky.py")
    assert symbols["symbols"][0]["line"] == trace["symbol"]["line"] == 4
    assert trace["external"] == ["sink"]
    assert read["text"].startswith("# moved down")
    (folder / "sky.py").unlink()
    index()
    assert await _everything(client) == [False] * 5


def test_every_tool_sees_what_was_indexed_last(tmp_path):
    folder = write_village(tmp_path)
    Index.build(open_workspace(folder / ".homeground").index, [folder])[0].close()

    async def session():
        async with Client(stdio(folder)) as client:
            await _across_runs(client, folder)

    asyncio.run(session())


def test_every_tool_sees_what_was_indexed_last_over_http(tmp_path):
    folder = write_village(tmp_path)
    Index.build(open_workspace(folder / ".homeground").index, [folder])[0].close()
    with command_server("mcp", "--http", cwd=folder) as (event, _):

        async def session():
            async with http_client(event) as client:
                await _across_runs(client, folder)

        asyncio.run(session())
