"""The tools of an index as an MCP server, for the agents of others; the official SDK speaks the protocol.

Over stdio, stdout carries the protocol and nothing else: the SDK points what else is printed at stderr. Over HTTP the
server listens on loopback only, and every request carries the token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field, ValidationError

from homeground import __version__
from homeground.base.errors import HomegroundError, clipped
from homeground.base.http_guard import HttpGuard
from homeground.base.record import Record
from homeground.index import Filters, Tools
from homeground.index.tools import MOST_HITS, MOST_LINES, MOST_NAME, MOST_SYMBOLS

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context

_INSTRUCTIONS = (
    "Search over a person's own code and documents. Begin with `search` (words or a name); look closer with `read`; "
    "`symbols` lists definitions by name, `trace` shows who calls one, `skeleton` what a file defines. Paths are "
    "relative to an indexed folder, lines count from 1. An answer with stale: true is of a file that has changed since."
)
_READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

type Name = Annotated[str, Field(max_length=MOST_NAME)]
type Paths = Annotated[
    list[Name], Field(description="Only these paths, as in a .gitignore: 'src/', '*.py'; '!tests/' leaves out.")
]
type Languages = Annotated[list[Name], Field(description="Only these languages, such as 'python'.")]
type Kinds = Annotated[list[Name], Field(description="Only these kinds: 'function', 'method', 'class', 'section', ...")]
type Names = Annotated[list[Name], Field(description="Only symbols that match: 'Oven.*', 'parse_*'.")]
type Path = Annotated[str, Field(description="Of an indexed file, as in hits.", max_length=MOST_NAME)]


def create_mcp_server(tools: Tools) -> MCPServer[Any]:
    """A server with the tools search, read, symbols, trace and skeleton; each call sees what was indexed last."""
    server = _Server("homeground", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING")

    async def answer(call: Callable[[], Record]) -> dict[str, Any]:
        try:
            return (await anyio.to_thread.run_sync(partial(tools.index.at_newest, call))).to_json()
        except HomegroundError as error:
            parts = {name: words and clipped(words) for name, words in error.to_json().items()}
            shown = HomegroundError(parts["error"] or "", where=parts["where"], hint=parts["hint"])
            raise ToolError(str(shown)) from None

    async def search(
        query: Annotated[str, Field(description="What the code does, in words; or code; or an exact name.")],
        k: Annotated[int, Field(description="How many hits.", ge=1, le=MOST_HITS)] = 10,
        paths: Paths = [],  # noqa: B006 # the schema shows it, nothing changes it
        languages: Languages = [],  # noqa: B006
        kinds: Kinds = [],  # noqa: B006
        symbols: Names = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Find code and text by meaning and by words. Each hit has path, start, end, symbol and text."""
        filters = Filters(tuple(paths), tuple(languages), tuple(kinds), tuple(symbols))
        return await answer(partial(tools.search, query, k, filters))

    async def read(
        path: Path,
        start: Annotated[int, Field(description="First line, from 1.", ge=1)] = 1,
        end: Annotated[int | None, Field(description="Last line; the file's last if left out.", ge=1)] = None,
    ) -> dict[str, Any]:
        """Read lines of an indexed file. At most 400 lines come at once: go on behind `end` when `truncated`."""
        return await answer(partial(tools.read, path, start, end, MOST_LINES))

    async def symbols(
        pattern: Annotated[
            str, Field(description="A glob ('parse_*', 'Oven.*') or a part of a name.", max_length=MOST_NAME)
        ],
        kinds: Kinds = [],  # noqa: B006
        paths: Paths = [],  # noqa: B006
        limit: Annotated[int, Field(description="How many to list.", ge=1, le=MOST_SYMBOLS)] = 50,
    ) -> dict[str, Any]:
        """List definitions by name, with signature, path and line. `total` counts all that match."""
        return await answer(partial(tools.symbols, pattern, kinds, paths, limit))

    async def trace(
        symbol: Annotated[
            str,
            Field(description="A dotted name or its end; 'PATH:NAME' where several have it.", max_length=2 * MOST_NAME),
        ],
    ) -> dict[str, Any]:
        """Show who calls a definition and what it calls. `via: name` marks what only the name says."""
        return await answer(partial(tools.trace, symbol))

    async def skeleton(path: Path) -> dict[str, Any]:
        """Show what a file defines: signatures with their lines and first words of documentation, no bodies."""
        return await answer(partial(tools.skeleton, path))

    for tool in (search, read, symbols, trace, skeleton):
        server.add_tool(tool, annotations=_READ_ONLY)
    return server


class _Server(MCPServer[Any]):
    """MCP server that reports argument errors as sentences; null counts as an absent argument."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None) -> Any:
        given = {argument: value for argument, value in arguments.items() if value is not None}
        for tool in await self.list_tools():
            takes = tool.input_schema["properties"]
            if tool.name == name and (unknown := given.keys() - takes.keys()):
                raise ToolError(f"{name} has no argument {clipped(min(unknown), 80)!r}; it takes {', '.join(takes)}")
        try:
            return await super().call_tool(name, given, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            wrong = [_in_words(one["loc"], one["msg"], one["type"], one["input"]) for one in error.__cause__.errors()]
            raise ToolError(f"{name}: {'; '.join(wrong)}") from None


def _in_words(place: tuple[int | str, ...], message: str, kind: str, value: object) -> str:
    argument = ".".join(map(str, place))
    if kind == "missing":
        return f"{argument} is missing"
    return f"{argument}: {message[:1].lower()}{message[1:]}, not {clipped(repr(value), 80)}"


def create_http_app(tools: Tools, token: str, waiting: int) -> HttpGuard:
    """The server over streamable HTTP, at `/mcp`, behind the token; the SDK checks Host and Origin.

    Args:
        tools: implementation of the tools.
        token: the token that every request must carry.
        waiting: calls that may be in progress at once; further ones get 429.
    """

    def refusal(path: str, _: int, message: str, __: str | None) -> dict[str, Any]:
        return dict(HomegroundError(message, where=clipped(path)).to_json())

    return HttpGuard(create_mcp_server(tools).streamable_http_app(), token, refusal, waiting=waiting)
