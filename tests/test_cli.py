import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from homeground.cli import main
from homeground.cli.verb import Common, app
from homeground.runs.workspace import open_workspace

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
VERBS = [command.name for command in app.registered_commands]
SOURCES = {
    "dates.py": '''
def parse_date(text):
    """Turn the date header of an HTTP response into seconds."""
    return text


def leap(year):
    """Tell whether a year of the calendar has one day more."""
    return year % 4 == 0
''',
    "files.py": '''
def copy_tree(source, target):
    """Copy a folder with everything below it to another place."""
    return source, target
''',
    "threads.py": '''
class Pool:
    def join_all(self):
        """Wait until every worker of the pool has finished its queue."""
        return None
''',
    "words.py": '''
def count_words(text):
    """Count how often each word occurs in a piece of prose."""
    return len(text.split())
''',
}


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns exit code, stdout and stderr."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A workspace whose index holds SOURCES, built by the command itself."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    home = tmp_path_factory.mktemp("home") / ".homeground"
    command = [sys.executable, "-m", "homeground", "index", str(folder), "--home", str(home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, home, json.loads(done.stdout)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_shows_an_example_and_the_common_options(run, verb):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert f"Example: homeground {verb}" in out
    for option in ("--home", "--recipe", "--run", "--seed", "--dry-run", "--quiet", "--json"):
        assert option in out


def test_the_verbs_are_those_promised():
    assert {"doctor", "weights", "index", "search", "tasks"} <= set(VERBS)


def test_without_arguments_it_shows_its_help(run):
    code, out, _ = run()
    assert code == 0
    assert all(verb in out for verb in VERBS)


def test_the_help_loads_nothing_heavy():
    script = """
import sys
from homeground.cli import main
main(["--help"])
heavy = ("torch", "transformers", "chromadb", "numpy", "lightning", "fastapi", "openai", "pydantic")
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_the_installed_command_and_the_module_exit_with_the_code():
    for command in (
        [sys.executable, "-m", "homeground"],
        [str(Path(sys.executable).parent / "homeground")],
    ):
        done = subprocess.run([*command, "no-such-verb"], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: No such command 'no-such-verb'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serch", "x"), "Did you mean 'search'"),
        (("search",), "Missing argument"),
        (("search", "x", "--hit", "3"), "No such option: --hit"),
        (("search", "x", "--hits", "0"), "greater than or equal to 1"),
        (("doctor", "--seed", "-1"), "greater than or equal to 0"),
    ],
)
def test_bad_usage_exits_with_2_and_says_where_help_is(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    verb = "" if arguments[0] == "serch" else f" {arguments[0]}"
    assert f"where: homeground{verb}\nhint: see 'homeground{verb} --help'\n" in err


@pytest.mark.parametrize("seed", ["9" * 5000, "-1", "2024-13-45", "1e5", "99999999999", "9" * 4299])
def test_a_seed_that_is_none_is_bad_usage(run, empty, seed):
    code, _, err = run("sft", "--dry-run", "--seed", seed)
    assert code == 2
    assert "seed" in err
    assert len(err) < 500


def test_an_error_is_one_json_document_with_json(run, empty):
    code, out, err = run("search", "x", "--json")
    assert code == 1
    document = json.loads(out)
    assert set(document) == {"error", "where", "hint"}
    assert document["where"] == str(empty / ".homeground")
    assert document["error"] in err


def test_an_error_leaves_stdout_empty_without_json(run, empty):
    code, out, err = run("search", "x")
    assert (code, out) == (1, "")
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "where", "hint"]


def test_json_behind_a_double_dash_is_a_query_not_an_option(run, empty):
    code, out, _ = run("search", "--", "--json")
    assert (code, out) == (1, "")


def test_a_wrong_recipe_exits_with_2_and_names_file_and_line(run, empty):
    (empty / "mine.yaml").write_text("index:\n  top_kk: 5\n")
    code, out, _ = run("index", "--recipe", "mine.yaml", "--json")
    assert code == 2
    assert json.loads(out) == {
        "error": "unknown key 'index.top_kk'",
        "where": "mine.yaml:2",
        "hint": "did you mean 'index.top_k'?",
    }


def test_an_unexpected_error_is_a_document_too_and_keeps_its_traceback(capsys, monkeypatch):
    def broken():
        raise RuntimeError("out of luck")

    monkeypatch.setattr("homeground.base.weights.bundled", broken)
    with pytest.raises(RuntimeError, match="out of luck"):
        main(["weights", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["error"] == "RuntimeError: out of luck"
    assert "report it" in document["hint"]


def test_a_full_disk_is_no_defect(run, monkeypatch):
    def full():
        Path("/dev/full").write_text("x")

    monkeypatch.setattr("homeground.base.weights.bundled", full)
    code, out, err = run("weights", "--json")
    assert code == 1
    assert json.loads(out)["error"].startswith("the disk is full: ")
    assert "free some space" in err


def test_an_interrupted_verb_exits_with_130_and_says_how_to_run_it_again(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("homeground.base.weights.bundled", interrupted)
    code, out, err = run("weights", "--home", "a b")
    assert (code, out) == (130, "")
    assert "hint: run it again with: homeground weights --home 'a b'" in err


def test_a_training_that_is_interrupted_before_it_begins_has_saved_nothing(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Common, "load_recipe", interrupted)
    code, _, err = run("demo", "--seed", "1")
    assert code == 130
    assert "error: interrupted\nhint: run it again with: homeground demo --seed 1\n" in err


@pytest.mark.parametrize("given", [["demo", "--seed", "1", "--force"], ["demo", "--seed", "1", "--force", "--resume"]])
def test_an_interrupted_training_says_how_to_resume_it(run, empty, monkeypatch, given):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("homeground.pipeline.demo.run_demo", interrupted)
    code, _, err = run(*given)
    assert code == 130
    assert "error: interrupted; what was reached is saved\nhint: go on with: homeground demo --seed 1 --force" in err
    assert "--run demo" in err
    assert err.count("--resume") == 1


def test_an_interrupted_run_is_named_and_resumed_with_its_own_recipe(run, empty, monkeypatch):
    """The verb chose the run's name itself; the command that goes on with it must not choose another."""
    rates = []

    def interrupted(bench, *_):
        rates.append(bench.recipe.sft.learning_rate)
        raise KeyboardInterrupt

    monkeypatch.setattr("homeground.pipeline.finetune.fine_tune", interrupted)
    (empty / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (empty / "mine.yaml").write_text("sft: {learning_rate: 3e-4}\n")
    code, _, err = run("sft", "--data", "rows.jsonl", "--recipe", "mine.yaml")
    assert code == 130
    assert "homeground sft --data rows.jsonl --recipe mine.yaml --run run-1 --resume\n" in err
    for words in (["--run", "run-1", "--resume"], ["--resume"]):
        _, _, err = run("sft", "--data", "rows.jsonl", *words)
        assert "--run run-1" in err
    assert rates == [3e-4] * 3


def test_a_stage_that_was_stopped_keeps_its_checkpoints_unless_it_is_resumed(run, empty, monkeypatch):
    (empty / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    begun = []
    monkeypatch.setattr("homeground.pipeline.finetune.fine_tune", lambda *_: begun.append(1))
    runs = open_workspace(empty / ".homeground").runs
    checkpoint = runs / "mine" / "checkpoints" / "sft" / "step-000004.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"days of work")
    code, _, err = run("sft", "--data", "rows.jsonl", "--run", "mine")
    assert code == 2
    assert "'mine' was stopped in 'sft', and starting over would lose its checkpoints" in err
    assert "--run mine --resume" in err
    assert "homeground runs remove mine" in err
    assert not begun
    assert checkpoint.read_bytes() == b"days of work"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt_and_let_things_be_stopped(number):
    script = """
import sys, time
from homeground.base import weights
from homeground.cli import main
def wait():
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("stopped", flush=True)
weights.bundled = wait
sys.exit(main(["weights"]))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"waiting\n"
        time.sleep(0.1)
        child.send_signal(number)
        out, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert out == b"stopped\n"
    assert b"error: interrupted" in err


def test_a_closed_pipe_is_no_traceback():
    command = f"{sys.executable} -m homeground weights --help | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_doctor_tells_what_is_there_and_exits_with_0(run):
    code, out, _ = run("doctor", "--json")
    assert code == 0
    document = json.loads(out)
    assert {"python", "torch", "bitsandbytes", "device", "amx", "avx512_bf16", "cuda_name"} <= set(document)
    assert {"free_memory_mb", "free_disk_mb", "rates", "slow", "weights"} <= set(document)
    assert document["problems"] == []
    assert [model["name"] for model in document["weights"]] == ["smollm2-135m-instruct", "all-minilm-l6-v2"]
    code, out, _ = run("doctor")
    assert code == 0
    for word in ("Python", "torch", "bitsandbytes", "CPU", "TFLOP/s", "free disk", "nothing is missing"):
        assert word in out


def test_doctor_exits_with_1_when_something_is_missing(run, monkeypatch):
    monkeypatch.setattr("homeground.base.hardware.missing_parts", lambda: ["a part is missing"])
    code, out, _ = run("doctor")
    assert code == 1
    assert "a part is missing" in out


def test_weights_lists_and_verifies(run):
    code, out, _ = run("weights", "--json")
    assert code == 0
    rows = json.loads(out)["weights"]
    assert [(row["name"], row["present"], row["problems"]) for row in rows] == [
        ("smollm2-135m-instruct", True, []),
        ("all-minilm-l6-v2", True, []),
    ]
    assert run("weights")[1].count("verified") == 2


def test_damaged_weights_exit_with_1(run, monkeypatch):
    monkeypatch.setattr("homeground.base.weights.verify", lambda weights: ["torn"])
    code, out, err = run("weights")
    assert code == 1
    assert out.count("torn") == 2
    assert "smollm2-135m-instruct: torn" in err


def test_weights_of_a_name_prints_its_folder(run, smollm):
    assert run("weights", "smollm2-135m-instruct", "--quiet") == (0, f"{smollm}\n", "")
    _, out, _ = run("weights", "smollm2-135m-instruct", "--json")
    assert json.loads(out) == {"model": "smollm2-135m-instruct", "path": str(smollm)}


def test_weights_of_an_unknown_name_says_the_nearest(run):
    code, _, err = run("weights", "smollm2")
    assert code == 1
    assert "did you mean 'smollm2-135m-instruct'?" in err


def test_a_dry_run_of_weights_fetches_nothing(run, monkeypatch):
    monkeypatch.setattr("homeground.base.weights.resolve_model", lambda name: pytest.fail("resolved"))
    assert "would look for 'a/b'" in run("weights", "a/b", "--dry-run")[1]


def test_index_reports_what_it_did(indexed):
    folder, _, report = indexed
    counted = {"files", "chunks", "embedded", "reused", "changed", "gone"}
    assert set(report) == counted | {"roots", "skipped", "secrets", "seconds"}
    assert report["roots"] == [str(folder)]
    assert report["files"] == len(SOURCES)
    assert report["chunks"] >= len(SOURCES)


def test_index_in_a_dry_run_counts_files_and_makes_no_workspace(run, indexed, empty):
    folder, _, _ = indexed
    code, out, _ = run("index", folder, "--dry-run", "--json")
    assert code == 0
    document = json.loads(out)
    assert (document["roots"], document["files"]) == ([str(folder)], len(SOURCES))
    assert document["skipped"] == {}
    assert document["left_out"] == document["secrets"] == []
    assert not (empty / ".homeground").exists()


def test_index_in_a_dry_run_lists_what_is_left_out_and_where_secrets_are(run, tmp_path):
    token = "gh" + "p_" + "a1B2" * 9
    (tmp_path / "[red]a.py").write_text(f"x = 1\nlogin('{token}')\n")
    (tmp_path / "line\nbreak.bin").write_bytes(b"x")
    (tmp_path / os.fsdecode(b"\xff.py")).write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("build/\n")
    (tmp_path / "build").mkdir()
    code, out, _ = run("index", tmp_path, "--dry-run", "--json")
    document = json.loads(out)
    jsonschema.validate(document, json.loads((SCHEMAS / "index_dry_run.json").read_text()))
    assert (code, document["files"]) == (0, 1)
    assert document["skipped"] == {"ignored": 1, "unreadable": 1, "unsupported": 1}
    assert {(one["path"], one["reason"]) for one in document["left_out"]} == {
        ("build/", "ignored"), ("\\udcff.py", "unreadable"), ("line\nbreak.bin", "unsupported")
    }  # fmt: skip
    assert document["secrets"] == [{"path": "[red]a.py", "line": 2, "kind": "GitHub Token"}]
    code, words, _ = run("index", tmp_path, "--dry-run")
    assert "left out, ignored: 1\n  build/\n" in words
    assert "  line\ufffdbreak.bin\n" in words
    assert "  [red]a.py:2  GitHub Token\n" in words
    assert token not in out + words


def test_index_takes_its_roots_from_the_recipe(run, indexed, empty):
    folder, _, _ = indexed
    (empty / "mine.yaml").write_text(f"corpus:\n  roots: ['{folder}']\n  exclude: ['words.py']\n")
    code, out, _ = run("index", "--recipe", "mine.yaml", "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["files"] == len(SOURCES) - 1


def test_search_prints_hits_that_exist(run, indexed):
    folder, home, _ = indexed
    code, out, _ = run("search", "parse an HTTP date", "-k", 2, "--home", home, "--json")
    assert code == 0
    document = json.loads(out)
    assert document["query"] == "parse an HTTP date"
    assert len(document["hits"]) == 2
    first = document["hits"][0]
    assert set(first) == {"path", "start", "end", "symbol", "kind", "language", "score", "scores", "text"}
    assert (first["path"], first["symbol"]) == ("dates.py", "parse_date")
    lines = (folder / first["path"]).read_text().splitlines()[first["start"] - 1 : first["end"]]
    assert "\n".join(lines) == first["text"]


def test_tasks_are_written_and_counted(run, indexed):
    from homeground.tasks import TaskSet

    _, home, _ = indexed
    code, out, _ = run("tasks", "--home", home, "--dry-run", "--json")
    path = home / "tasks" / "tasks.jsonl"
    assert code == 0
    assert not path.exists()
    code, out, _ = run("tasks", "--home", home, "--json")
    document = json.loads(out)
    jsonschema.validate(document, json.loads((SCHEMAS / "tasks.json").read_text()))
    assert document["path"] == str(path)
    saved = TaskSet.load(path)
    assert (len(saved.train), len(saved.heldout)) == (document["train"], document["heldout"])
    assert document["train"] + document["heldout"] == 5
    assert [(one["kind"], one["language"]) for one in document["counts"]] == [("docstring", "python")]
    assert {one["gold"] for one in document["sample"]} == {task.gold for task in (*saved.train, *saved.heldout)}
    assert "held-out tasks are few" in document["warning"]
    _, words, _ = run("tasks", "--home", home)
    assert f"With {document['heldout']} held-out tasks, a paired comparison of two models shows" in words
    assert "-> dates.py::leap" in words
    assert "warning: " in words
    code, _, err = run("sft", "--home", home, "--dry-run")
    assert (code, "held-out tasks are few" in err) == (0, True)


def test_sft_without_tasks_or_rows_says_how_to_make_them(run, empty):
    open_workspace(empty / "home")
    code, _, err = run("sft", "--home", empty / "home", "--force")
    assert code == 1
    assert "there are no look-up tasks yet" in err
    assert "make them with: homeground tasks" in err
    assert not (empty / "home" / "runs" / "run-1").exists()


def test_a_run_that_does_not_exist_names_those_that_do(run, indexed):
    _, home, _ = indexed
    (home / "runs" / "mine").mkdir(parents=True)
    code, _, err = run("eval", "agent", "--run", "yours", "--home", home)
    assert code == 2
    assert "there is no run 'yours'" in err
    assert "runs here: mine" in err


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """An indexed folder whose names hold escapes, line breaks, bidi overrides and markup, and its workspace."""
    folder = tmp_path_factory.mktemp("hostile")
    odd = "\x1b]0;owned\x07\x9b2J\u202e"
    key = "".join(map(chr, range(97, 119))) + "4Q7x9Zk2"
    files = {
        "k[/red].py": f'def k_red():\n    """Paint the [/red] thing."""\n    api_key = "{key}"\n',
        f"e{odd}.py": f'def escaped():\n    """Say {odd}."""\n    api_key = "{key}"\n    return k_red()\n',
        "n\nsecrets: 0.py": f'def newline():\n    """Break a line."""\n    api_key = "{key}"\n',
        os.fsdecode(b"b\xff\xfe.py"): 'def undecodable():\n    """Have a name in no encoding."""\n',
        f"left{odd}[/red]\nout.bin": "\0\1",
        "rows[/red]\x1b[2J.jsonl": '{"text": "a\\u001b[2Jb [/red]"}\n{"odd": "\\u009b2J"}\n',
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    home = tmp_path_factory.mktemp("home") / ".homeground"
    command = [sys.executable, "-m", "homeground", "index", str(folder), "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True)
    return folder, home, done


def test_indexing_files_with_hostile_names_prints_no_commands(hostile):
    _, _, done = hostile
    assert done.returncode == 0, done.stderr
    assert commands(done.stdout + done.stderr) == set()


def test_names_in_the_lists_of_index_are_one_line_each(run, hostile):
    folder, home, _ = hostile
    _, out, _ = run("index", folder, "--dry-run", "--home", home)
    lines = out.splitlines()
    assert "  k[/red].py:3  Secret Keyword" in lines
    assert "  n\ufffdsecrets: 0.py:3  Secret Keyword" in lines
    assert "  left\ufffd]0;owned\ufffd\ufffd2J\ufffd[/red]\ufffdout.bin" in lines
    _, out, _ = run("index", folder, "--dry-run", "--home", home, "--json")
    assert "n\nsecrets: 0.py" in [one["path"] for one in json.loads(out)["secrets"]]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("arguments", [
    ["index", "FOLDER", "--dry-run"], ["search", "paint the red thing", "--explain"], ["search", "k_red"],
    ["symbols"], ["symbols", "escaped"], ["trace", "k_red"], ["skeleton", "e\x1b]0;owned\x07\x9b2J\u202e.py"],
    ["read", "e\x1b]0;owned\x07\x9b2J\u202e.py"], ["read", "no\x1b[2J[/red].py"], ["read", "k[/red].py"],
    ["tasks", "--count", "2"], ["show-tokens", "FOLDER/rows[/red]\x1b[2J.jsonl"],
    ["show-tokens", "no[/red]\x1b[2J.jsonl"], ["runs"], ["runs", "no\x1b[2J[/red]"],
    ["rollouts", "--run", "a[/red]\x1b[2J"],
    ["eval", "data", "--run", "a[/red]\x1b[2J"], ["sft", "--recipe", "no[/red]\x1b[2J.yaml"], ["no\x1b[2J[/red]"],
])  # fmt: skip
def test_no_command_prints_what_a_terminal_obeys(run, hostile, monkeypatch, arguments, as_json):
    folder, home, _ = hostile
    monkeypatch.chdir(folder)
    (home / "runs" / "a[/red]\x1b[2J\x9b").mkdir(parents=True, exist_ok=True)
    _, out, err = run(*[one.replace("FOLDER", str(folder)) for one in arguments], "--home", home, *["--json"] * as_json)
    assert commands(out + err) == set()
    assert "Traceback" not in err


def commands(text):
    return {c for c in text if c != "\n" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2028")}
