"""`homeground serve` as a process: who may reach it, what it announces, and how it ends."""

import json
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import jsonschema
import openai
import pytest
import yaml

from .serving import CONTEXT, adapter_of, tiny_model

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "serve.json"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a workspace, without an index or a run; a recipe of a tiny model, and an adapter of it."""
    folder = tmp_path_factory.mktemp("place")
    model = tiny_model(folder / "model")
    adapter_of(model, folder / "mine", 1)
    fields = {"name": str(model), "quantization": "none", "compute_dtype": "fp32", "device": "cpu"}
    (folder / "tiny.yaml").write_text(yaml.safe_dump({"model": fields}))
    from homeground.runs.workspace import open_workspace

    open_workspace(folder / ".homeground")
    return folder


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_another_address_without_a_token_of_ones_own_is_refused(place, host, capsys, monkeypatch):
    from homeground.cli import main

    monkeypatch.chdir(place)
    assert main(["serve", "--host", host, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert "they need a token that you give them" in told["error"]
    assert "--token-file" in told["hint"]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["--token-file", "short"], "one word of at least 16", "delete the file"),
        (["--token-file", "no/such/folder/token"], "cannot be used", "name a file"),
        (["--adapter", "base=mine"], "cannot be called 'base'", "another name"),
        (["--adapter", "x+index=mine"], "cannot be called 'x+index'", "another name"),
        (["--adapter", "mine=mine", "--adapter", "mine=mine"], "two models would be called 'mine'", "NAME=FOLDER"),
        (["--run", "nobody"], "there is no run 'nobody'", ""),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(place, arguments, error, hint, capsys, monkeypatch):
    from homeground.cli import main

    (place / "short").write_text("secret")
    monkeypatch.chdir(place)
    assert main(["serve", "--recipe", "tiny.yaml", "--json", *arguments]) == 2
    told = json.loads(capsys.readouterr().out)
    assert error in told["error"]
    assert hint in (told["hint"] or "")


def test_a_dry_run_names_the_models(place, capsys, monkeypatch):
    from homeground.cli import main

    monkeypatch.chdir(place)
    assert main(["serve", "--recipe", "tiny.yaml", "--adapter", "mine=mine", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == ["mine", "base"]


def test_without_a_workspace_the_base_is_served_and_none_is_made(tmp_path, capsys, monkeypatch):
    from homeground.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOMEGROUND_HOME", raising=False)
    assert main(["serve", "--dry-run", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["models"] == ["base"]
    assert "there is no workspace" in told.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--home", "not/there"], ["--run", "mine"], ["--adapter", "mine"]])
def test_a_workspace_that_is_named_or_needed_has_to_be_there(tmp_path, arguments, capsys, monkeypatch):
    from homeground.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOMEGROUND_HOME", raising=False)
    assert main(["serve", "--dry-run", "--json", *arguments]) != 0
    assert "there is no Homeground workspace here yet" in json.loads(capsys.readouterr().out)["error"]
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_index_or_run_keeps_its_token_and_finishes_what_it_writes(place):
    arguments = ["--recipe", "tiny.yaml", "--adapter", "mine=mine", "--token-file", "token", "--port", "0", "--json"]
    command = [sys.executable, "-m", "homeground", "serve", *arguments]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            event = json.loads(child.stdout.readline())
            token = (place / "token").read_text().strip()
            assert stat.S_IMODE((place / "token").stat().st_mode) == 0o600
            jsonschema.validate(event, json.loads(SCHEMA.read_text()))
            root = event["url"].removesuffix("/v1")
            assert event == {
                "event": "listening", "url": f"{root}/v1", "key": token, "model": "mine", "models": ["mine", "base"],
                "page": f"{root}/#key={token}",
            }  # fmt: skip
            headers = {"Authorization": f"Bearer {token}"}
            missing = httpx.get(f"{root}/search", params={"q": "x"}, headers=headers)
            assert missing.status_code == 400
            assert "homeground index" in missing.json()["hint"]
            ends_with_its_answers(child, event)
        finally:
            child.kill()


def ends_with_its_answers(child, event):
    """Told to end in the middle of a streamed and a whole answer, it gives both, and takes no more."""
    client = openai.OpenAI(base_url=event["url"], api_key=event["key"], max_retries=0, timeout=60)
    ask = {"model": "base", "messages": [{"role": "user", "content": "a"}], "max_tokens": CONTEXT - 100, "stop": "\0"}
    whole = []
    asked = threading.Thread(target=lambda: whole.append(client.chat.completions.create(**ask, seed=1)))
    asked.start()
    stream = iter(client.chat.completions.create(**ask, seed=2, stream=True, stream_options={"include_usage": True}))
    for _ in range(3):
        next(stream)
    child.send_signal(signal.SIGTERM)
    host, port = event["url"].removeprefix("http://").removesuffix("/v1").split(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            break
        assert time.monotonic() < deadline, "it still takes connections"
        time.sleep(0.02)
    chunks = list(stream)
    asked.join(60)
    assert len(chunks) > 20, "the answer had ended before: the test shows nothing"
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason is not None
    assert whole[0].choices[0].finish_reason in ("stop", "length")
    assert child.wait(timeout=30) == 130
