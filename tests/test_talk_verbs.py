"""`ask` and `chat` on a small index and a tiny model of random weights."""

import io
import json

import jsonschema
import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from homeground.agents import AgentConfig
from homeground.cli import main
from homeground.cli.chat import piped, prompt_session
from homeground.index import Index, SentenceEmbedder
from homeground.recipe import Recipe
from homeground.runs.workspace import open_workspace
from tests.index.fake import FAKED, fake_embedding
from tests.test_cli import SCHEMAS

from .corpus.village import write_village
from .policy import tiny

RECIPE = """
model: {{name: {model}, quantization: none, compute_dtype: fp32}}
ask: {{least_similarity: 0.35, max_tokens: 16}}
"""
QUESTION = "place one loaf of bread on a free shelf or complain that there is no room left put in self loaf"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A workspace with the village's index; the embedder is a fake one as long as this module's tests run."""
    kept = {name: getattr(SentenceEmbedder, name) for name in FAKED}
    fake_embedding()
    folder = tmp_path_factory.mktemp("talk")
    workspace = open_workspace(folder / "home")
    Index.build(workspace.index, [write_village(folder / "village")])[0].close()
    model = tiny.build(folder / "model", tiny.llama_config(max_position_embeddings=4096))
    (folder / "mine.yaml").write_text(RECIPE.format(model=model))
    yield workspace
    for name, value in kept.items():
        setattr(SentenceEmbedder, name, value)


@pytest.fixture
def run(home, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(verb, *arguments, said="", loud=False):
        monkeypatch.setattr("sys.stdin", io.StringIO(said) if isinstance(said, str) else said)
        options = ["--home", home.path, "--recipe", home.path.parent / "mine.yaml", *([] if loud else ["--quiet"])]
        code = main([verb, *map(str, [*arguments, *options])])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def lines(out, schema="chat.json"):
    """One document a line, each as its schema has it."""
    validator = jsonschema.Draft202012Validator(json.loads((SCHEMAS / schema).read_text()))
    found = [json.loads(line) for line in out.splitlines()]
    for one in found:
        validator.validate(one)
    return found


def test_ask_prints_one_document_and_its_citations_are_lines_of_files(run, home):
    code, out, _ = run("ask", QUESTION, "--json")
    assert code == 0
    (document,) = lines(out, "ask.json")
    assert document["found"]
    assert document["answer"]


def test_ask_says_when_the_index_has_nothing_on_it(run):
    code, out, _ = run("ask", "zebra quantum helicopter", "--json")
    (document,) = lines(out, "ask.json")
    assert (code, document["found"], document["citations"]) == (0, False, [])
    code, out, _ = run("ask", "zebra quantum helicopter")
    assert out.startswith("Not found in this index: the nearest is ")


def test_an_empty_question_is_refused(run):
    code, _, err = run("ask", "  ")
    assert code == 2
    assert 'hint: ask in words: homeground ask "how is X done?"' in err


def test_an_agent_that_was_never_trained_is_refused(run):
    code, _, err = run("ask", QUESTION, "--agent")
    assert code == 2
    assert "no run of this workspace has learned to search" in err
    assert "'homeground rl'" in err


def test_a_dry_run_says_who_would_answer_and_a_calculator_does_not(run, home):
    calculator = home.run("calc").create()
    calculator.recipe.write_text(Recipe(agent=AgentConfig(code="c.py:agent", tasks="t.jsonl")).to_yaml())
    calculator.adapter.mkdir()
    calculator.finish("rl")
    try:
        code, out, _ = run("ask", QUESTION, "--dry-run", "--json")
        assert (code, json.loads(out)) == (0, {"question": QUESTION, "writer": None, "seeker": None})
        assert "the untrained model" in run("ask", QUESTION, "--dry-run")[1]
        assert "the model of run 'calc'" in run("ask", QUESTION, "--dry-run", "--run", "calc")[1]
    finally:
        calculator.state.unlink()


def test_chat_keeps_a_conversation_and_carries_out_commands(run, tmp_path):
    commands = "/help\n/search iron\n/sources\n/read 1\n/read bakery/oven.py:1-2\n/save talk.md\n"
    said = f"{QUESTION}\nand where is \\\nit sold?\n{commands}"
    code, out, err = run("chat", "--json", said=said)
    assert code == 0, err
    events = lines(out)
    done = [event for event in events if event["event"] == "done"]
    assert len(done) == 2
    for one in done:
        assert one["answer"]
        assert one["usage"]["completion_tokens"] <= 16
    # The second prompt holds the first turn as well.
    assert done[1]["usage"]["prompt_tokens"] > done[0]["usage"]["prompt_tokens"]
    searched, sources, read, lines_read, saved = events[-5:]
    assert (searched["event"], searched["query"]) == ("search", "iron")
    assert read["path"] == sources["hits"][0]["path"]
    assert read["text"].split() == sources["hits"][0]["text"].split()
    assert (lines_read["start"], lines_read["end"]) == (1, 2)
    kept = (tmp_path / "talk.md").read_text()
    assert saved == {"event": "saved", "path": "talk.md"}
    assert kept.startswith(f"> {QUESTION}\n\n")
    assert "> and where is\n> it sold?\n" in kept


def test_the_text_of_the_events_is_the_answer(run):
    events = lines(run("chat", "--json", said=QUESTION)[1])
    assert events[0]["event"] == "sources"
    assert 1 <= events[0]["packed"] <= 3
    told = "".join(event["text"] for event in events if event["event"] == "text")
    assert events[-1]["answer"] == told


def test_chat_speaks_to_people_too(run):
    code, out, _ = run("chat", said=f"/help\n{QUESTION}\n/sources\n/new\n/quit\nnever read\n")
    assert code == 0
    assert "/search" in out
    assert out.rstrip().endswith("a new conversation")
    assert "not cited" in out or "[1]" in out


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("/serch x", "there is no command /serch"),
        ("/search", "the query is blank"),
        ("/read", "nothing says what to read"),
        ("/read nowhere.py", "the index holds no file 'nowhere.py'"),
        ("/sources", "nothing was asked yet"),
        ("/save", "there is nothing to save yet"),
        ("/agent", "no search agent is loaded"),
        (f"{QUESTION}\n/read 99", "there is no source 99"),
        (f"{QUESTION}\n/save there.md", "there is such a file already"),
        (f"{QUESTION}\n/save there.md/x.md", "cannot be saved"),
    ],
)
def test_a_mistake_ends_a_piped_chat_and_says_what_to_do(run, tmp_path, said, message):
    (tmp_path / "there.md").write_text("mine")
    code, _, err = run("chat", said=said)
    assert code in (1, 2)
    assert message in err
    assert "hint: " in err
    assert (tmp_path / "there.md").read_text() == "mine"


def test_lines_that_go_on_are_one_message():
    assert list(piped(["\ufeffone\n", "\n", "two \\\n", "  three\r\n", "four\\"])) == ["one", "two \n  three", "four"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [("one line\r", "one line"), ("two\\\rlines\r", "two\nlines"), ("two\x1b\rlines\r", "two\nlines")],
)
def test_typed_messages_may_have_several_lines_and_are_remembered(tmp_path, keys, message):
    history = tmp_path / "history"
    with create_pipe_input() as keyboard:
        keyboard.send_text(keys)
        assert prompt_session(history, ["/help"], source=keyboard, screen=DummyOutput()).prompt() == message
    assert message.split("\n")[0] in history.read_text()


def test_a_session_goes_on_after_a_mistake_and_after_ctrl_c(run, monkeypatch):
    said = iter(["/sources", QUESTION, "/help"])
    monkeypatch.setattr("homeground.cli.chat.typed", lambda history, commands: said)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("homeground.pipeline.dialogue.Dialogue.ask", interrupted)
    code, out, err = run("chat", said=terminal)
    assert code == 0
    assert "error: nothing was asked yet" in err
    assert "stopped; this turn is forgotten" in err
    assert "/search" in out


@pytest.fixture
def seeker(home):
    """A run that has learned look-ups, with an adapter of random values."""
    from homeground.recipe import load_recipe

    recipe = load_recipe(str(home.path.parent / "mine.yaml"))
    run = home.run("look").create()
    tiny.policy_of(home.path.parent / "model").save_adapter(run.adapter)
    run.recipe.write_text(recipe.to_yaml())
    run.finish("sft")
    yield run
    run.state.unlink()


def test_an_agent_that_was_trained_shows_its_steps(run, seeker):
    code, out, err = run("chat", "--agent", "--json", said=f"{QUESTION}\n/agent\n{QUESTION}\n")
    assert code == 0, err
    events = lines(out)
    switched = next(at for at, event in enumerate(events) if event["event"] == "agent")
    assert events[switched] == {"event": "agent", "on": False}
    steps = [event for event in events[:switched] if event["event"] == "step"]
    assert [step["tool"] for step in steps] == ["search", "pick", "read"]
    read = steps[-1]["hits"][0]
    assert steps[-1]["asked"] == f"{read['path']}:{read['start']}-{read['end']}"
    sources = next(event for event in events if event["event"] == "sources")
    assert sources["hits"][0]["path"] == read["path"]
    assert not [event for event in events[switched:] if event["event"] == "step"]


def test_ask_shows_the_steps_on_stderr_and_the_answer_on_stdout(run, seeker):
    code, out, err = run("ask", QUESTION, "--agent", loud=True)
    assert code == 0
    tools = ["search", "pick", "read"]
    assert [line.partition(":")[0] for line in err.splitlines() if line.partition(":")[0] in tools] == tools
    assert "search:" not in out


def test_a_run_of_another_model_cannot_search_for_this_one(run, seeker, home):
    seeker.recipe.write_text(
        seeker.recipe.read_text().replace(str(home.path.parent / "model"), "smollm2-135m-instruct")
    )
    code, _, err = run("ask", QUESTION, "--agent")
    assert code == 2
    assert "run 'look' searches with smollm2-135m-instruct, but " in err
