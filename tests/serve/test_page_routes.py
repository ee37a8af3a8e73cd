"""What the page is told, without a browser: over the routes, in this process."""

import json
import os
import time

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.files import append_jsonl, atomic_write_json, atomic_write_jsonl
from homeground.corpus import Skip
from homeground.index import Index
from homeground.runs.workspace import Workspace, open_workspace
from homeground.serve.page import page_routes
from homeground.serve.page.indexed import WHY
from tests.corpus.village import write_village
from tests.serve.page_server import HOSTILE, write_workspace

KEY = {"Authorization": "Bearer open sesame"}


class Places:
    """So many answers at once; what those that ran saw of it."""

    most, held = 1, 0

    async def one(self):
        if self.held >= self.most:
            raise HTTPException(429)
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1


PLACES = Places()


class Event(dict):
    def to_json(self):
        return dict(self)


class Answers:
    """Answers with what it was asked; some questions fail, before the first event or behind it."""

    agentic = False
    closed = 0

    async def stream(self, messages, *, agentic):
        try:
            question = messages[-1]["content"]
            if not question.strip():
                raise UsageError("the question is empty", where="ask", hint="ask in words")
            yield Event(event="text", text=question)
            if question == "break":
                raise HomegroundError("the model is gone", hint="start it again")
            yield Event(event="done", answer=question, messages=len(messages), agentic=agentic, held=PLACES.held)
        finally:
            Answers.closed += 1


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return write_workspace(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def client(workspace):
    index = Index.open(workspace.index)
    app = FastAPI()
    app.include_router(page_routes(workspace, index, {"mine": Answers()}, PLACES.one))
    app.add_exception_handler(HomegroundError, lambda _, error: JSONResponse(error.to_json(), 400))
    yield TestClient(app)
    index.close()


@pytest.fixture
def get(client):
    def call(path, status=200, **parameters):
        answer = client.get(f"/page/{path}", params=parameters, headers=KEY)
        assert answer.status_code == status, answer.text
        return answer.json()

    return call


@pytest.fixture
def run(workspace, request):
    """A run with three steps of which the last was written just now."""
    run = workspace.run(request.node.name.replace("[", "-").replace("]", "")).create()
    for step in (1, 2, 3):
        append_jsonl(run.metrics_jsonl, {"stage": "rl", "step": step, "reward_mean": step / 10, "eta_s": 9.0})
    return run


def test_the_files_run_nothing_from_elsewhere_and_nothing_inline(client):
    front = client.get("/")
    policy = front.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in front.text
    assert "style=" not in front.text
    for name in ("main.js", "page.css", "icon.svg"):
        assert client.get(f"/page/files/{name}").headers["content-security-policy"] == policy
        assert f"page/files/{name}" in front.text
    for name in ("nothing.js", "..%2Froutes.py", "../routes.py", "%2e%2e%2froutes.py"):
        assert client.get(f"/page/files/{name}").status_code == 404


def test_steps_go_on_where_the_last_answer_ended(get, run):
    first = get(f"runs/{run.name}/steps")
    assert [row["step"] for row in first["rows"]] == [1, 2, 3]
    seen = {"mark": first["mark"], "skip": first["skip"]}
    assert get(f"runs/{run.name}/steps", **seen)["rows"] == []
    append_jsonl(run.metrics_jsonl, {"stage": "rl", "step": 4})
    with run.metrics_jsonl.open("a") as stream:
        stream.write('{"stage": "rl", "st')  # a step that is being written right now
    more = get(f"runs/{run.name}/steps", **seen)
    assert (more["fresh"], [row["step"] for row in more["rows"]]) == (False, [4])


def test_steps_begin_again_when_a_run_goes_on_from_a_checkpoint(get, run):
    first = get(f"runs/{run.name}/steps")
    atomic_write_jsonl(run.metrics_jsonl, [{"stage": "rl", "step": 1}, {"stage": "rl", "step": 2, "again": True}])
    again = get(f"runs/{run.name}/steps", mark=first["mark"], skip=first["skip"])
    assert again["fresh"]
    assert again["rows"][1]["again"]


def test_a_run_is_running_until_it_is_silent_or_done(get, run):
    def state():
        return next(one["state"] for one in get("runs")["runs"] if one["name"] == run.name)

    assert state() == "running"
    long_ago = time.time() - 3600
    os.utime(run.metrics_jsonl, (long_ago, long_ago))
    assert state() == "stopped"
    run.finish("rl")
    assert state() == "finished"


def test_a_run_without_a_file_of_ours_is_not_listed(get, workspace):
    (workspace.runs / "empty").mkdir()
    assert "empty" not in [one["name"] for one in get("runs")["runs"]]
    assert get("runs/empty/steps")["rows"] == []


def test_before_and_after_is_what_the_report_says(get):
    found = get("runs/measured")
    assert found["measured"]["headline"].startswith("GRPO improved reward by")
    assert [row[0] for row in found["measured"]["stages"][1:]] == ["scripted agent", "untrained model", "SFT", "GRPO"]
    assert found["measured"]["marks"][0][0] == "gain"
    assert found["settings"]["rl.steps"] == 12
    assert {"stage": "index", "seconds": 95.2, "memory_mb": 1890.0} in found["measured"]["costs"]


def test_an_agent_of_one_s_own_has_the_same_table(get, run):
    higher, lower = ({"value": v, "low": v - 0.1, "high": v + 0.1, "n": 4} for v in (0.7, 0.3))
    results = {
        "stages": {"before": {"reward": lower, "form": lower}, "after": {"reward": higher, "form": lower}},
        "paired": {
            "reward": {"value": 0.4, "low": 0.2, "high": 0.6, "n": 4},
            "form": {"value": 0.0, "low": 0.0, "high": 0.0, "n": 4},
        },
        "seconds": {"rl": 3.0},
        "peak_memory_mb": {},
    }
    atomic_write_json(run.results, results)
    measured = get(f"runs/{run.name}")["measured"]
    assert measured["headline"].startswith("GRPO improved reward by +0.400")
    assert measured["stages"] == [
        ["", "tasks", "reward", "form"],
        ["before", "4", "0.300 [0.200, 0.400]", "0.300 [0.200, 0.400]"],
        ["after", "4", "0.700 [0.600, 0.800]", "0.300 [0.200, 0.400]"],
    ]
    assert measured["marks"] == [["gain", "unclear"]]


def test_rollouts_of_a_step_come_as_the_report_shows_them(get):
    assert get("runs/measured")["kept"] == [1, 2, 25]
    group = get("runs/measured/rollouts", step=2)["groups"][0]
    assert [one["title"] for one in group["pair"]] == ["best", "worst"]
    assert [one["mood"] for one in group["pair"]] == ["above much", "below"]
    assert group["pair"][0]["turns"][0]["wrote"] == HOSTILE


@pytest.mark.parametrize(
    ("path", "parameters", "message", "hint"),
    [
        ("runs/nobody", {}, "there is no run 'nobody'", "runs here: "),
        ("runs/..%2Fmeasured", {}, None, None),
        ("runs/.hidden", {}, "there is no run '.hidden'", "runs here: "),
        ("runs/" + "x" * 300, {}, "there is no run 'xxx", "runs here: "),
        ("runs/measured/rollouts", {"step": 7}, "no rollouts of step 7 were kept", "kept steps: 1, 2, 25"),
        ("read", {"path": "hidden.py"}, "the index holds no file 'hidden.py'", ""),
        ("read", {"path": "/etc/passwd"}, "lies outside of the indexed folders", "below one of them"),
        ("read", {"path": HOSTILE, "start": 99}, "there is no line 99", "lines it has"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(client, path, parameters, message, hint):
    answer = client.get(f"/page/{path}", params=parameters, headers=KEY)
    if message is None:
        assert answer.status_code == 404
        return
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert hint in answer.json()["hint"]


def test_the_index_is_told_with_what_was_left_out(get):
    facts = get("index")
    assert facts["files"] == get("index/files")["total"] > 3
    assert {one["reason"]: one["count"] for one in facts["skipped"]} == {"ignored": 1, "unsupported": 1}
    assert get("index/files", like="ONERROR")["files"][0]["path"] == HOSTILE
    assert get("index/files", language="cobol")["files"] == []
    assert [one["path"] for one in get("index/left-out", reason="ignored")["left_out"]] == ["hidden.py"]
    assert get("index/left-out", skip=2)["left_out"] == []
    assert get("index/left-out")["whole"]


def test_without_an_index_the_page_says_how_to_make_one(workspace):
    app = FastAPI()
    app.include_router(page_routes(workspace, None, {}, PLACES.one))
    app.add_exception_handler(HomegroundError, lambda _, error: JSONResponse(error.to_json(), 400))
    for path in ("index", "index/files", "index/left-out", "read?path=x"):
        answer = TestClient(app).get(f"/page/{path}", headers=KEY)
        assert answer.status_code == 400
        assert "homeground index FOLDER" in answer.json()["hint"]
    asked = {"messages": [{"role": "user", "content": "x"}]}
    assert "no model is served" in TestClient(app).post("/page/ask", json=asked, headers=KEY).text


def test_there_are_words_for_every_reason():
    assert set(WHY) == set(Skip)


def test_an_index_of_before_says_that_it_does_not_know(get, workspace, monkeypatch):
    monkeypatch.setattr(Index, "left_out", lambda self: None)
    assert get("index")["skipped"] is None
    assert get("index/left-out") == {"left_out": [], "total": 0, "whole": False}


def test_an_answer_streams_event_by_event(client):
    asked = {"messages": [{"role": "user", "content": "a <b>\n\nc"}], "agentic": True}
    with client.stream("POST", "/page/ask", json=asked, headers=KEY) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = "".join(answer.iter_text()).split("\n\n")
    events = [json.loads(block.removeprefix("data: ")) for block in blocks if block]
    assert [one["event"] for one in events] == ["text", "done"]
    assert events[0]["text"] == "a <b>\n\nc"
    assert events[1]["agentic"]
    assert events[1]["held"] == 1
    assert PLACES.held == 0
    assert client.get("/page/models", headers=KEY).json() == {"models": [{"name": "mine", "agentic": False}]}


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"messages": [{"role": "user", "content": " "}]}, 400, "the question is empty"),
        ({"messages": [{"role": "user", "content": "x"}], "model": "yours"}, 400, "no model is called 'yours'"),
        ({"messages": []}, 422, "at least 1"),
        ({"messages": [{"role": "system", "content": "x"}]}, 422, "'user' or 'assistant'"),
        ({"messages": [{"role": "user", "content": "x"}], "other": 1}, 422, "other"),
    ],
)
def test_what_is_wrong_with_a_question_is_an_error_of_the_request(client, asked, status, message):
    answer = client.post("/page/ask", json=asked, headers=KEY)
    assert answer.status_code == status
    assert message in answer.text


def test_more_answers_than_places_are_refused(client, monkeypatch):
    monkeypatch.setattr(PLACES, "most", 0)
    asked = {"messages": [{"role": "user", "content": "x"}]}
    assert client.post("/page/ask", json=asked, headers=KEY).status_code == 429


def test_an_answer_that_breaks_off_says_so_as_its_last_event(client):
    before = Answers.closed
    answer = client.post("/page/ask", json={"messages": [{"role": "user", "content": "break"}]}, headers=KEY)
    last = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert (last["event"], last["error"], last["hint"]) == ("error", "the model is gone", "start it again")
    assert Answers.closed == before + 1
    assert PLACES.held == 0


def test_the_page_shows_what_was_indexed_last(tmp_path):
    folder = write_village(tmp_path / "village")
    workspace = open_workspace(folder / ".homeground")
    Index.build(workspace.index, [folder])[0].close()
    index = Index.open(workspace.index)
    app = FastAPI()
    app.include_router(page_routes(workspace, index, {}, PLACES.one))
    app.add_exception_handler(HomegroundError, lambda _, error: JSONResponse(error.to_json(), 400))

    def seen():
        read = TestClient(app).get("/page/read?path=sky.py", headers=KEY)
        facts = TestClient(app).get("/page/index", headers=KEY).json()
        files = TestClient(app).get("/page/index/files?like=sky", headers=KEY).json()
        return read.status_code, facts["files"], files["total"]

    _, before, _ = seen()
    (folder / "sky.py").write_text("def zeppelin():\n    pass\n")
    Index.build(workspace.index, [folder])[0].close()
    assert seen() == (200, before + 1, 1)
    (folder / "sky.py").unlink()
    Index.build(workspace.index, [folder])[0].close()
    assert seen() == (400, before, 0)
    index.close()
