"""Tools that are asked by their command line: their formats, their failures, and that a missing one is only named."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import search
from benchmarks.peers import command_line
from benchmarks.peers.command_line import TOOLS, call, searchable
from benchmarks.sides.search_peer import Lines
from homeground.base.errors import HomegroundError

SOURCE = '''"""Numbers."""


def add_two_numbers(a, b):
    """Add two numbers, and return what comes of it."""
    return a + b


def longest_common_prefix(words):
    """The longest prefix that is common to all words."""
    return words[0]
'''

# Speaks as the tool by whose name it is called: a hit is a function, ranked by the words that its name shares with the
# question. It knows no other arguments than those of the versions named in benchmarks/peers/command_line.py.
FAKE = r"""
import json, os, pathlib, re, sys, time

name, told = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
if os.environ.get("BROKEN") == name:
    print("the model is broken", file=sys.stderr)
    sys.exit(3)
if told == ["--version"]:
    print("9.8.7" if name == "osgrep" else f"{name} 9.8.7")
    sys.exit()
kept = {
    "ck": pathlib.Path(".ck/index"),
    "colgrep": pathlib.Path(os.environ["XDG_DATA_HOME"], "colgrep/indices/tree-1/index"),
    "osgrep": pathlib.Path(".osgrep/lancedb"),
}[name]
if told in (["--quiet", "--index", "."], ["init", "--yes"], ["index"]):
    held = b"x" * 60_000_000
    time.sleep(0.6)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(2_000_000))
    sys.exit()
if not kept.is_file():
    sys.exit("no index")
*asked, dashes, question = told
assert dashes == "--"
count = {
    "ck": r"--quiet --sem --jsonl --no-snippet --topk (\d+)",
    "colgrep": r"search --json --yes --results (\d+)",
    "osgrep": r"search -m (\d+) --compact --plain",
}[name]
count = int(re.fullmatch(count, " ".join(asked)).group(1))
hits = []
for file in sorted(pathlib.Path().rglob("*.py")):
    lines = file.read_text().split("\n")
    for number, line in enumerate(lines, start=1):
        if line.startswith("def "):
            words = set(re.findall(r"[a-z]+", line.partition("(")[0])) & set(re.findall(r"[a-z]+", question.lower()))
            hits.append((-len(words), str(file), number, number + 2, "\n".join(lines[number - 1 : number + 2])))
hits = [hit for hit in sorted(hits) if hit[0]][:count]
if name == "colgrep":
    units = [{"file": os.path.abspath(f), "line": s, "end_line": e, "code": c} for _, f, s, e, c in hits]
    print(json.dumps([{"unit": unit, "score": 1.0} for unit in units], indent=2))
elif name == "ck":
    for score, file, start, end, _ in hits:
        print(json.dumps({"path": "./" + file, "span": {"line_start": start, "line_end": end}, "score": -score}))
    if not hits:
        print("No matches found", file=sys.stderr)
        sys.exit(1)
elif hits:
    print(f"osgrep hits\tquery={question}\tcount={len(hits)}\npath\tlines\tscore\trole\tconf\tdefined")
    print("\n".join(f"{file}\t{start}-{end}\t.9\tDEF\tH\t" for _, file, start, end, _ in hits))
else:
    print("No matches found.")
"""


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg" / "numbers.py").write_text(SOURCE)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without weights."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("HF_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "BROKEN"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def installed(tmp_path, home, monkeypatch):
    """The fake in the place of all tools, and something in the place of their weights."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, tool in TOOLS.items():
        (folder / name).write_text(f"#!{sys.executable}\n{FAKE}")
        (folder / name).chmod(0o755)
        for weights in tool.weights:
            file = tool.cache() / weights.replace("*", "1a2b3c")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"weights")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_ck_answers_with_an_object_a_line_and_its_log_is_passed_over(tree):
    answer = (
        "2026-07-10T00:00:00Z  WARN ck_index: stale entry\n"
        '{"path":"./pkg/numbers.py","span":{"byte_start":16,"byte_end":90,"line_start":4,"line_end":6},'
        '"language":"python","score":0.71}\n'
    )
    assert list(TOOLS["ck"].hits(answer, tree)) == [Lines("pkg/numbers.py", 4, 6)]
    assert list(TOOLS["ck"].hits("", tree)) == []


def test_colgrep_s_hit_is_its_unit_and_not_everything_that_was_found_in_the_file(tree):
    def answer(line, end_line, code):
        file = str(tree / "pkg" / "numbers.py")
        unit = {"name": "f", "file": file, "line": line, "end_line": end_line, "code": code, "unit_type": "function"}
        return json.dumps([{"unit": unit, "score": 0.8}], indent=2)

    lines = SOURCE.split("\n")
    alone, widened = answer(9, 11, "\n".join(lines[8:11])), answer(4, 11, "\n".join(lines[8:11]))
    assert list(TOOLS["colgrep"].hits(alone, tree)) == [Lines("pkg/numbers.py", 9, 11)]
    assert list(TOOLS["colgrep"].hits(widened, tree)) == [Lines("pkg/numbers.py", 9, 11)]
    unknown = answer(4, 11, "another spelling")
    assert list(TOOLS["colgrep"].hits(unknown, tree)) == [Lines("pkg/numbers.py", 4, 11)]
    assert list(TOOLS["colgrep"].hits("[]\n", tree)) == []


def test_osgrep_answers_with_a_table_below_a_query_of_several_lines(tree):
    answer = (
        "osgrep hits\tquery=add two\nnumbers\tcount=2\n"
        "path\tlines\tscore\trole\tconf\tdefined\n"
        "pkg/numbers.py\t4-6\t1\tDEF\tH\tadd_two_numbers\n"
        "pkg/numbers.py\t1-2\t.5\tUNK\tL\t\n"
    )
    assert list(TOOLS["osgrep"].hits(answer, tree)) == [Lines("pkg/numbers.py", 4, 6), Lines("pkg/numbers.py", 1, 2)]
    assert list(TOOLS["osgrep"].hits("No matches found.\n", tree)) == []
    with pytest.raises(ValueError, match="no table"):
        list(TOOLS["osgrep"].hits("pkg/numbers.py:4\n", tree))


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_that_is_here_is_run_and_gets_its_row(name, installed, tmp_path, monkeypatch):
    package = tmp_path / "corpus" / f"toy_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "numbers.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(package.parent)
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["command_line", "--tool", name, "--corpus", package.name, "--out", str(out)])
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    command_line.main()
    measured = json.loads(out.read_text())
    assert measured["peer"] == f"{name} 9.8.7"
    assert measured["model"] == TOOLS[name].model
    assert measured["metrics"]["mrr@10"]["value"] == 1.0
    assert measured["metrics"]["mrr@10"]["n"] == 2
    assert measured["disk_mb"] == pytest.approx(2.0)
    # The tool's memory, without that of the process that measures.
    assert 50 < measured["peak_mb"] < 150
    ours = {"rrf 60": 0.4, "osgrep": 0.4, "semble": 0.4, "dense": 0.4, "fused": 0.5}
    ranks = dict.fromkeys([*measured["reciprocal_ranks"], "asked of ours only"], 0.5)
    side = {
        "metrics": {stage: {"mrr@10": {"value": value}} for stage, value in ours.items()},
        "gain": {"over": "dense"},
        "reciprocal_ranks": {"fused": ranks},
    }
    (row,) = [
        row
        for row in search.rows_of({"ours: rich": side, f"{name}: rich": measured})
        if row["peer_name"] == measured["peer"]
    ]
    assert (row["metric"], row["ours"], row["peer"]) == ("MRR@10", 0.5, 1.0)


@pytest.mark.parametrize("name", TOOLS)
def test_a_question_without_an_answer_has_no_hits(name, installed, tree, tmp_path):
    assert searchable(TOOLS[name], tree, tmp_path / "kept").search("-- nothing of the sort", 10) == []


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_that_fails_is_quoted(name, installed, tree, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    indexed = searchable(TOOLS[name], tree, kept)
    for index in [*tree.rglob("index"), *tree.rglob("lancedb"), *kept.rglob("index")]:
        index.unlink()
    with pytest.raises(HomegroundError, match=rf"{name} failed with exit status 1(.|\n)*no index"):
        indexed.search("add two numbers", 10)
    monkeypatch.setenv("BROKEN", name)
    with pytest.raises(HomegroundError, match=rf"{name} failed with exit status 3(.|\n)*the model is broken"):
        searchable(TOOLS[name], tree, kept)


def test_another_format_than_the_one_that_was_read_is_an_error(installed, tree, tmp_path):
    indexed = searchable(TOOLS["colgrep"], tree, tmp_path / "kept")
    (installed / "colgrep").write_text("#!/bin/sh\necho '[{\"chunk\": 1}]'\n")
    with pytest.raises(HomegroundError, match="answer of colgrep cannot be read"):
        indexed.search("add two numbers", 10)
    missing = '{"path":"./gone.py","span":{"line_start":1,"line_end":2}}'
    (installed / "ck").write_text(f"#!/bin/sh\necho '{missing}'\n")
    with pytest.raises(HomegroundError, match=r"gone\.py is no file of the tree"):
        searchable(TOOLS["ck"], tree, tmp_path / "kept").search("add two numbers", 10)


def test_a_tool_that_takes_too_long_is_stopped_with_what_it_started(installed, tree, tmp_path):
    note = tmp_path / "note"
    (installed / "ck").write_text(f"#!/bin/sh\necho slow >&2\n(sleep 2; echo late > {note}) &\nsleep 30\n")
    began = time.monotonic()
    with pytest.raises(HomegroundError, match=r"ck was stopped after 0\.5 s(.|\n)*slow"):
        call(TOOLS["ck"], ("--index",), tree, dict(os.environ), 0.5)
    assert time.monotonic() - began < 10
    time.sleep(2.5)
    assert not note.exists()


@pytest.mark.parametrize("name", TOOLS)
def test_settings_of_the_tool_from_outside_do_not_count(name, monkeypatch):
    monkeypatch.setenv(f"{name.upper()}_SETTING", "1")
    around = command_line.environment(TOOLS[name])
    assert f"{name.upper()}_SETTING" not in around
    assert around["PATH"] == os.environ["PATH"]


def test_a_tool_that_is_not_here_is_not_measured_and_said_to_be_missing(home, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(home))
    assert search.plan(list(TOOLS), ["rich"], 10, 5) == []
    search.tell_elsewhere()
    for name, line in zip(TOOLS, capsys.readouterr().out.splitlines(), strict=True):
        missing = f"the command '{name}' and its weights ({TOOLS[name].model}) are not here"
        assert line.startswith(f"{name}: not measured, {missing}")
    monkeypatch.setattr(sys, "argv", ["command_line", "--tool", "ck", "--corpus", "rich", "--out", "out.json"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "ck: not measured, the command 'ck'" in capsys.readouterr().err


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_without_one_of_its_files_is_not_measured(name, installed, capsys):
    (one,) = search.plan([name], ["rich"], 10, 5)
    assert one[0] == f"{name}: rich"
    tool = TOOLS[name]
    last = next(tool.cache().glob(tool.weights[-1]))
    last.unlink()
    last.symlink_to(Path("gone"))
    assert search.plan([name], ["rich"], 10, 5) == []
    search.tell_elsewhere()
    assert capsys.readouterr().out.startswith(f"{name}: not measured, its weights ({tool.model}) are not here")
