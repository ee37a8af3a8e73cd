"""ck, colgrep or osgrep on one corpus of ``make bench-search``, asked by its command line.

What is measured is the tool as it is installed, with its own model and its defaults: one call makes the tree
searchable, and one call asks one question. Each call starts the tool anew, so that seconds and latency hold the start
of a process and the load of its model, as they do for its users. A tool is called in the tree, with an empty folder for
its data and without settings of its own from the environment; the home folder stays, because the weights are there.

Command lines and formats were read in the tools' sources:

- ck 0.7.11 (BeaconBay/ck f4caaf5: ck-cli/src/main.rs, ck-core/src/lib.rs, ck-embed/src/lib.rs): one JSON object a line,
  lines of files from 1; exit status 1 where nothing lies above its threshold. Its library of models says where the
  weights lie (Anush008/fastembed-rs c8c4746, src/common.rs).
- colgrep 1.6.1 (lightonai/next-plaid e949d62: colgrep/src/cli.rs, model.rs, commands/search.rs, index/mod.rs): one JSON
  array, lines from 1. It answers with one unit of a file and widens its range to all units found in that file; what is
  judged is the unit itself, found by its code.
- osgrep 0.5.16 (Ryandonofrio3/osgrep 9f2faf7: src/commands/search.ts, src/config.ts, src/lib/setup/): it has no JSON;
  its compact view is a table with tabs. Without its grammar for Python it cuts otherwise, so the grammar is asked for.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.sides.search_peer import Indexed, Lines, arguments, measure
from homeground.base.errors import HomegroundError

VERSION_LIMIT_S, INDEX_LIMIT_S, ASK_LIMIT_S = 30.0, 900.0, 60.0
NOTHING = "No matches found"
"""What ck (with exit status 1) and osgrep say when nothing was found."""


@dataclass(frozen=True)
class Tool:
    """How a tool is called, and what it needs.

    Attributes:
        command: its executable.
        model: what it fetches from a hub when it first runs.
        cache: -> the folder where it keeps that.
        weights: the files without which nothing is measured, as patterns below that folder.
        index: arguments that make the folder in which it is called searchable.
        ask: (query, count) -> arguments of a question.
        hits: (what it answered, tree) -> hits, best first.
    """

    command: str
    model: str
    cache: Callable[[], Path]
    weights: tuple[str, ...]
    index: tuple[str, ...]
    ask: Callable[[str, int], tuple[str, ...]]
    hits: Callable[[str, Path], Iterable[Lines]]

    def lacks(self) -> str | None:
        """A clause that says what of the tool is not here; None where it can be measured."""
        found = shutil.which(self.command) is not None
        cached = all(any(file.is_file() for file in self.cache().glob(pattern)) for pattern in self.weights)
        command, weights = f"the command '{self.command}'", f"its weights ({self.model})"
        if found:
            return None if cached else f"{weights} are not here"
        return f"{command} is not here" if cached else f"{command} and {weights} are not here"


def main() -> None:
    """Measure and write."""
    parser = arguments(__doc__)
    parser.add_argument("--tool", choices=tuple(TOOLS), required=True)
    options = parser.parse_args()
    tool = TOOLS[options.tool]
    if (lacks := tool.lacks()) is not None:
        parser.error(f"{options.tool}: not measured, {lacks}")
    version = call(tool, ("--version",), Path(), environment(tool), VERSION_LIMIT_S).split()[-1]
    measure(partial(searchable, tool), f"{options.tool} {version}", options, apart=True, model=tool.model)


def searchable(tool: Tool, tree: Path, kept: Path) -> Indexed:
    """The tree, indexed by the tool.

    Raises:
        HomegroundError: the tool failed, took too long, or answers in another format, here or at a question.
    """
    tree = tree.resolve()
    kept.mkdir(parents=True, exist_ok=True)
    around = environment(tool) | {"XDG_DATA_HOME": str(kept.resolve())}
    call(tool, tool.index, tree, around, INDEX_LIMIT_S)

    def search(query: str, count: int) -> list[Lines]:
        # An argument can hold neither.
        query = query.replace("\0", " ").encode("utf-8", "replace").decode()
        answer = call(tool, tool.ask(query, count), tree, around, ASK_LIMIT_S)
        try:
            return list(tool.hits(answer, tree))[:count]
        except (KeyError, TypeError, ValueError) as cause:
            raise HomegroundError(
                f"the answer of {tool.command} cannot be read ({cause!r}): {answer[:200]!r}",
                where="benchmarks/peers/command_line.py",
                hint="its format may have changed since the version that is named there",
            ) from cause

    return Indexed(search, None)


def environment(tool: Tool) -> dict[str, str]:
    """The environment without the tool's own settings: its defaults are measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(f"{tool.command.upper()}_")}


def call(tool: Tool, told: tuple[str, ...], folder: Path, around: dict[str, str], limit_s: float) -> str:
    """What the tool answers.

    Args:
        tool: which.
        told: its arguments.
        folder: where it is called.
        around: its environment.
        limit_s: seconds after which it and everything it started is stopped.

    Raises:
        HomegroundError: it failed or took too long; with the end of what it said on standard error.
    """
    command = [tool.command, *told]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=around,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            answer, said = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            _stop(process)
            _, said = process.communicate()
            raise _failure(command, f"was stopped after {limit_s:g} s", said) from None
        except BaseException:
            _stop(process)
            raise
    if process.returncode != 0 and NOTHING not in said:
        raise _failure(command, f"failed with exit status {process.returncode}", said)
    return answer


def _stop(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _failure(command: list[str], what: str, said: str) -> HomegroundError:
    last = "\n".join(said.strip().splitlines()[-6:]) or "(nothing)"
    return HomegroundError(
        f"{command[0]} {what}; its standard error ends with:\n{last}",
        where=shlex.join(command),
        hint="call it by hand in a folder of Python files",
    )


def _ck_hits(answer: str, tree: Path) -> Iterable[Lines]:
    # Its log shares standard output.
    for one in (json.loads(line) for line in answer.split("\n") if line.startswith("{")):
        yield Lines(_inside(tree, one["path"]), int(one["span"]["line_start"]), int(one["span"]["line_end"]))


def _colgrep_hits(answer: str, tree: Path) -> Iterable[Lines]:
    for unit in (one["unit"] for one in json.loads(answer)):
        path, first, last = _inside(tree, unit["file"]), int(unit["line"]), int(unit["end_line"])
        text = (tree / path).read_bytes().decode("utf-8", "replace")
        widened = "\n".join(["", *text.replace("\r\n", "\n").split("\n")[first - 1 : last], ""])
        at = widened.find(f"\n{unit['code']}\n")
        if at >= 0:
            first += widened.count("\n", 0, at)
            last = first + unit["code"].count("\n")
        yield Lines(path, first, last)


def _osgrep_hits(answer: str, tree: Path) -> Iterable[Lines]:
    # Before the table's head stands the query, which may have several lines.
    _, head, table = answer.partition("\npath\tlines\tscore\t")
    if not head:
        if NOTHING in answer:
            return
        raise ValueError("no table")
    for row in table.split("\n")[1:]:
        if row:
            path, lines = row.split("\t")[:2]
            first, last = lines.split("-")
            yield Lines(_inside(tree, path), int(first), int(last))


def _inside(tree: Path, path: str) -> str:
    """A file of the tree as the questions name it, however the tool does."""
    if not (tree / path).is_file():
        raise ValueError(f"{path} is no file of the tree")
    return Path(os.path.relpath(tree / path, tree)).as_posix()


def _folder(variable: str, otherwise: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / otherwise)


def _ck_models() -> Path:
    return Path(os.environ.get("HF_HOME") or _folder("XDG_CACHE_HOME", ".cache") / "ck" / "models")


_CK_ASK = ("--quiet", "--sem", "--jsonl", "--no-snippet", "--topk")
TOOLS = {
    "ck": Tool(
        command="ck",
        model="BAAI/bge-small-en-v1.5",
        cache=_ck_models,
        weights=("models--Xenova--bge-small-en-v1.5/snapshots/*/onnx/model.onnx",),
        index=("--quiet", "--index", "."),
        ask=lambda query, count: (*_CK_ASK, str(count), "--", query),
        hits=_ck_hits,
    ),
    "colgrep": Tool(
        command="colgrep",
        model="lightonai/LateOn-Code-edge",
        cache=lambda: _folder("HF_HOME", ".cache/huggingface") / "hub",
        weights=("models--lightonai--LateOn-Code-edge/snapshots/*/model_int8.onnx",),
        index=("init", "--yes"),
        ask=lambda query, count: ("search", "--json", "--yes", "--results", str(count), "--", query),
        hits=_colgrep_hits,
    ),
    "osgrep": Tool(
        command="osgrep",
        model="its ONNX encoders and its grammar for Python",
        cache=lambda: Path.home() / ".osgrep",
        weights=(
            "models/onnx-community/granite-embedding-30m-english-ONNX/onnx/model_q4.onnx",
            "models/ryandono/mxbai-edge-colbert-v0-17m-onnx-int8/onnx/model_int8.onnx",
            "grammars/tree-sitter-python.wasm",
        ),
        index=("index",),
        ask=lambda query, count: ("search", "-m", str(count), "--compact", "--plain", "--", query),
        hits=_osgrep_hits,
    ),
}


if __name__ == "__main__":
    main()
