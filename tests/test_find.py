"""The verbs that look into an index, from the command line."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from homeground.cli import main
from homeground.index import Index
from homeground.runs.workspace import open_workspace
from tests.corpus.village import write_village

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the village's sources and a workspace that holds their index."""
    folder = write_village(tmp_path_factory.mktemp("village"))
    Index.build(open_workspace(folder / ".homeground").index, [folder])
    return folder


@pytest.fixture
def run(capsys, monkeypatch, place):
    """Run the command line in the village; returns exit code, stdout and stderr."""
    monkeypatch.chdir(place)

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def document(run, name, *arguments):
    """The document that a verb prints, checked against its schema."""
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    jsonschema.validate(found, json.loads((SCHEMAS / f"{name}.json").read_text()))
    return found


def test_search_prints_what_grep_would(run, place):
    code, out, err = run("search", "raise the heat", "-k", 2)
    assert (code, err) == (0, "")
    first, *rest = out.splitlines()
    assert first == "bakery/oven.py:16: Oven.heat_up:     def heat_up(self, target=TEMPERATURE):"
    source = (place / "bakery/oven.py").read_text().splitlines()
    assert rest[:3] == [f"bakery/oven.py-17- {source[16]}", f"bakery/oven.py-18- {source[17]}", "--"]
    assert "\x1b" not in out
    assert run("search", "raise the heat", "-k", 1, "--lines", 1)[1] == first + "\n"


def test_search_can_print_paths_only(run):
    code, out, _ = run("search", "horse", "--files", "--path", "smithy/", "-k", 10)
    assert code == 0
    assert sorted(out.splitlines()) == ["smithy/forge.py", "smithy/horses.py"]


def test_paths_outside_the_current_folder_are_whole(run, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, out, _ = run("search", "raise the heat", "-k", 1, "--files", "--home", place / ".homeground")
    assert out == f"{place / 'bakery/oven.py'}\n"


def test_search_filters_before_it_ranks(run):
    found = document(run, "search", "search", "bread", "--kind", "method", "--symbol", "Oven.*", "-k", 5)
    assert {hit["symbol"] for hit in found["hits"]} == {"Oven.__init__", "Oven.heat_up", "Oven.put_in"}


def test_search_explains_every_stage(run):
    found = document(run, "search", "search", "heat_up", "-k", 2, "--explain")
    assert found["hits"][0]["scores"].keys() == {"dense", "lexical", "fused", "symbol"}
    assert found["explain"]["weights"].keys() == {"dense", "lexical"}
    _, out, _ = run("search", "heat_up", "-k", 2, "--explain")
    assert "symbol 0.900" in out
    assert "candidates of" in out.splitlines()[-1]


def test_any_number_of_hits_is_answered(run, place):
    assert len(document(run, "search", "search", "horse", "-k", 10**9)["hits"]) > 10
    code, _, err = run("search", "horse", "-k", 0)
    assert code == 2
    assert "greater than or equal to 1" in err


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["search", " "], "the query is blank", "say in words"),
        (["search", "x", "--language", "pyton"], "no chunk has the language 'pyton'", "python ("),
        (["search", "x", "--path", "attic/"], "no chunk has the path 'attic/'", "bakery/ ("),
    ],
)
def test_a_mistake_is_told_with_what_to_do(run, arguments, message, hint):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert hint in err


def test_a_pattern_with_a_mark_in_front_leaves_out(run):
    code, out, err = run("search", "horse", "--files", "-p", "!smithy/", "-k", 50)
    assert (code, err) == (0, "")
    assert "bakery/oven.py" in out
    assert "smithy/" not in out


@pytest.mark.parametrize("verb", [("search", "horse"), ("symbols", "*horse*")])
def test_a_filter_that_changes_nothing_is_told(run, verb):
    warning = "the path '!smity/[red]' excludes nothing; nearest: 'smithy/'"
    code, _, err = run(*verb, "-p", "!smity/[red]")
    assert (code, err) == (0, f"warning: {warning}\n")
    assert document(run, verb[0], *verb, "-p", "!smity/[red]")["warnings"] == [warning]


def test_a_wrong_recipe_is_an_error_of_every_verb(run, place, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("sft: [\n")
    for verb in (
        ("search", "x"),
        ("symbols",),
        ("trace", "x"),
        ("read", "x"),
        ("runs",),
        ("rl",),
        ("eval", "agent"),
        ("mcp",),
    ):
        code, out, err = run(*verb, "--recipe", tmp_path / "missing.yaml")
        assert (code, out) == (2, ""), verb
        assert "the recipe does not exist" in err
        code, out, err = run(*verb, "--recipe", broken)
        assert (code, out) == (2, ""), verb
        assert (
            f"the recipe is not valid YAML: expected the node content, but found '<stream end>'\nwhere: {broken}:2"
            in err
        )


def test_a_broken_recipe_of_the_folder_is_told_before_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_workspace()
    assert main(["rl"]) == 1
    assert "no run that finished 'sft'" in capsys.readouterr().err
    (tmp_path / "homeground.yaml").write_text("sft: [\n")
    assert main(["rl"]) == 2
    assert "homeground.yaml:2" in capsys.readouterr().err
    (tmp_path / "homeground.yaml").unlink()
    (tmp_path / "homeground.yaml").symlink_to("nowhere")
    assert main(["index", ".", "--dry-run"]) == 1
    assert "it cannot be read: No such file or directory" in capsys.readouterr().err


def test_a_recipe_that_others_may_write_to_is_not_read_by_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "homeground.yaml"
    recipe.write_text("corpus:\n  roots: ['.']\n")
    assert main(["index", "--dry-run"]) == 0
    capsys.readouterr()
    recipe.chmod(0o666)
    assert main(["index", "--dry-run"]) == 1
    assert f"chmod go-w {recipe}" in capsys.readouterr().err
    assert main(["index", "--dry-run", "--recipe", "homeground.yaml"]) == 0


def test_control_characters_of_a_source_do_not_reach_the_terminal(tmp_path, capsys, monkeypatch):
    (tmp_path / "evil.py").write_text('def evil():\n    return "\x1b[2J\x07"\n')
    Index.build(open_workspace(tmp_path / ".homeground").index, [tmp_path])
    monkeypatch.chdir(tmp_path)
    assert main(["search", "evil"]) == 0
    out = capsys.readouterr().out
    assert "�[2J�" in out
    assert "\x1b" not in out


def test_a_pipe_whose_reader_leaves_is_no_error(place):
    command = [sys.executable, "-m", "homeground", "search", "horse"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place) as child:
        assert child.stdout is not None
        child.stdout.close()
        _, err = child.communicate()
    assert (child.returncode, err) == (1, b"")


def test_symbols_are_listed_with_their_signatures(run):
    code, out, _ = run("symbols", "*_horse")
    assert code == 0
    assert out.splitlines() == [
        "smithy/horses.py:4: shoe_horse: def shoe_horse(horse, nails=8):",
        "smithy/horses.py:10: weigh_horse: def weigh_horse(horse):",
    ]
    assert run("symbols", "horse", "--files")[1] == "smithy/horses.py\n"
    found = document(run, "symbols", "symbols", "--kind", "method", "-n", 1)
    assert (len(found["symbols"]), found["total"]) == (1, 3)
    _, out, err = run("symbols", "-n", 2)
    assert len(out.splitlines()) == 2
    assert "2 of " in err


def test_a_trace_names_both_ends(run, place):
    assert document(run, "trace", "trace", "Oven.heat_up")["external"] == ["time.sleep"]
    _, out, _ = run("trace", "heat_up")
    assert out.splitlines() == [
        "bakery/oven.py:16: Oven.heat_up: def heat_up(self, target=TEMPERATURE):",
        "callers: none",
        "callees: none",
        "outside of the index: time.sleep",
    ]


def test_a_skeleton_is_readable(run):
    document(run, "skeleton", "skeleton", "bakery/oven.py")
    _, out, _ = run("skeleton", "bakery/oven.py")
    assert out.splitlines()[:3] == [" 8: class Oven:", "  :     A box that gets hot.", "13:     def __init__(self):"]


def test_lines_are_printed_with_their_numbers(run, place, monkeypatch):
    document(run, "read", "read", "bakery/oven.py:8-9")
    assert run("read", "bakery/oven.py:8-9") == (0, '8: class Oven:\n9:     """A box that gets hot."""\n', "")
    whole = run("read", "bakery/oven.py")[1]
    assert whole.splitlines()[7] == " 8: class Oven:"
    assert run("read", "bakery/oven.py:8-")[1].splitlines() == run("read", "bakery/oven.py:8")[1].splitlines()
    monkeypatch.chdir(place / "bakery")
    assert run("read", "oven.py:8-8")[1] == "8: class Oven:\n"


def test_a_file_that_changed_is_shown_as_it_was_with_a_warning(tmp_path, capsys, monkeypatch):
    (tmp_path / "a.py").write_text("def f():\n    return 1\n")
    Index.build(open_workspace(tmp_path / ".homeground").index, [tmp_path])
    (tmp_path / "a.py").write_text("def g():\n    return 2\n")
    monkeypatch.chdir(tmp_path)
    assert main(["read", "a.py:1-1"]) == 0
    out, err = capsys.readouterr()
    assert out == "1: def f():\n"
    assert "a.py has changed since it was indexed; 'homeground index' brings it up to date" in err


@pytest.mark.parametrize("verb", ["symbols", "trace", "skeleton", "read", "mcp"])
def test_without_an_index_every_verb_says_how_to_make_one(verb, tmp_path, monkeypatch, capsys):
    open_workspace(tmp_path / ".homeground")
    monkeypatch.chdir(tmp_path)
    assert main([verb, *([] if verb in ("symbols", "mcp") else ["x"])]) == 1
    err = capsys.readouterr().err
    assert "there is no index here" in err
    assert "homeground index FOLDER" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "heatup"], "near: Oven.heat_up"),
        (["read", "../../etc/passwd"], "lies outside of the indexed folders"),
        (["read", "bakery/oven.py:900"], "there is no line 900"),
        (["skeleton", "bakery/ofen.py"], "near: bakery/oven.py"),
        (["symbols", "zzzz"], "no symbol matches 'zzzz'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_near_ones(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    "arguments", [["symbols", "horse"], ["trace", "heat_up"], ["skeleton", "bakery/oven.py"], ["read", "README.md"]]
)
def test_looking_something_up_loads_no_model(place, arguments):
    script = f"""
import sys
from homeground.cli import main
code = main({arguments!r})
heavy = ("torch", "transformers", "sentence_transformers", "chromadb")
print(code, [name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=place)
    assert done.stderr == "0 []\n"
    assert done.stdout
