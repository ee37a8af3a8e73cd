"""Programs as agents, through a real gateway and Agent Lightning's real local controller."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from homeground import Reward
from homeground.base.agent_program import ERRORS, OUTPUT, RUNNER
from homeground.base.errors import HomegroundError
from homeground.rollouts import Failure, Gateway, GatewaySource, ProcessRunner, Program
from homeground.rollouts.process import _marked

AGENT = """
    import json, os, subprocess, sys, time, urllib.request

    task = json.loads(os.environ["HOMEGROUND_TASK"])

    def post(url, body):
        key = os.environ["OPENAI_API_KEY"]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        return json.load(urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)))

    def ask(text):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 3}
        answer = post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body)
        return answer["choices"][0]["message"]["content"]

    def hide():
        # A daemon without the environment that it was started with.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", task["mark"]], {})
            os._exit(0)
        os.wait()

    said = ask(task["question"])
    match task.get("then"):
        case "raise":
            raise ValueError("the tool broke")
        case "sleep":
            time.sleep(60)
        case "reward":
            post(os.environ["AGL_EVENT_URL"], {"event_type": "reward", "data": {"value": 0.25}})
        case "nonsense":
            post(os.environ["AGL_EVENT_URL"], {"event_type": "reward", "data": {"value": "high"}})
        case "leave":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        case "hide":
            hide()
        case "hide and sleep":
            hide()
            time.sleep(60)
        case "print":
            print("x" * 5_000_000)
            print("y" * 5_000_000, file=sys.stderr)
        case "kill":
            os.kill(os.getpid(), 9)
    assert json.load(sys.stdin) == task
    print(json.dumps({"said": said, "environment": dict(os.environ), "here": os.getcwd(), "arguments": sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    path = tmp_path_factory.mktemp("agent") / "agent.py"
    path.write_text(textwrap.dedent(AGENT))
    return path


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as gateway:
        yield gateway


def graded(task, outcome):
    return Reward(float(len(json.loads(outcome)["said"])), outcome=json.loads(outcome))


def marked(runner):
    return [one for one in psutil.process_iter() if _marked(one, runner._records.name)]


def test_every_way_a_program_can_end(gateway, served, agent, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TRAINER", "swordfish")
    monkeypatch.setenv("TRAINER_REGION", "north")
    env = {"QUESTION": "input.question", "REGION": "env.TRAINER_REGION", "MODE": "plain", "WHOLE": "input"}
    runner = ProcessRunner(Program([str(agent), "--fast", "$HOME; ls"], python=sys.executable, env=env), size=4)
    ways = ["", "reward", "raise", "kill", "leave", "nonsense", "sleep"]
    tasks = [{"question": f"q{number}", "then": way} for number, way in enumerate(ways)]

    def grade(task, outcome):
        return graded(task, outcome) if task["then"] in ("", "leave") else Reward(None)

    with GatewaySource(gateway, served.server, runner, grade=grade, timeout_s=10) as source:
        found = dict(zip(ways, source.collect(tasks, 1, step=0), strict=True))
        assert marked(runner) == [], "nothing runs between steps"
        (evaluated,) = source.evaluate([{"question": "held out"}])
    assert runner.stragglers == 0
    assert marked(runner) == []
    assert {way: t.failure for way, t in found.items()} == {
        "": None,
        "reward": None,
        "raise": Failure.CRASHED,
        "kill": Failure.CRASHED,
        "leave": None,
        "nonsense": Failure.BAD_REWARD,
        "sleep": Failure.TIMED_OUT,
    }
    assert found["raise"].error == "subprocess exited with code 1: ValueError: the tool broke"
    assert found["kill"].error == "subprocess exited with code -9"
    assert found["sleep"].error == "no result after 10 s"
    assert found["reward"].reward == 0.25
    assert all(len(t.turns) == 1 and t.turns[0].logprobs for t in found.values())
    assert len(evaluated.turns) == 1

    plain = found[""]
    assert plain.reward == len(served.policy.tokenizer.decode(plain.turns[0].ids, skip_special_tokens=True))
    seen = plain.outcome["environment"]
    assert "swordfish" not in json.dumps(seen)
    allowed = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "HOME", "PYTHONUNBUFFERED"}
    own = {"OPENAI_BASE_URL", "OPENAI_API_KEY", "AGL_OPENAI_BASE_URL", "AGL_EVENT_URL", "AGL_KEY", "HOMEGROUND_TASK"}
    assert set(seen) - allowed - own == {*env, "HOMEGROUND_ROLLOUT", "HOMEGROUND_RUNNER"}
    assert (seen["QUESTION"], seen["REGION"], seen["MODE"]) == ("q0", "north", "plain")
    assert json.loads(seen["WHOLE"]) == tasks[0]
    assert seen["HOME"] == plain.outcome["here"] != os.environ.get("HOME")
    assert not Path(seen["HOME"]).exists(), "its folder is removed"
    assert plain.outcome["arguments"] == ["--fast", "$HOME; ls"], "no shell has read them"


def hidden(mark):
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and mark in process.cmdline():
                found.append(process)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has subreapers")
def test_a_daemon_without_an_environment_ends_with_its_rollout_or_its_step(gateway, served, agent, tmp_path):
    mark, seen = f"mark-{os.getpid()}-{time.time_ns()}", {}
    runner = ProcessRunner(Program([str(agent)]), size=2)

    def grade(task, outcome):
        seen[task["then"]] = len(hidden(mark + task["then"]))
        return Reward(1.0)

    ways = ["hide", "hide and sleep"]
    tasks = [{"question": "q", "then": way, "mark": mark + way} for way in ways]
    with GatewaySource(gateway, served.server, runner, grade=grade, timeout_s=3) as source:
        ended, killed = source.collect(tasks, 1, step=0)
        assert (ended.failure, killed.failure) == (None, Failure.TIMED_OUT)
        assert seen == {"hide": 0}, "it is gone before the rollout is graded"
        assert [hidden(mark + way) for way in ways] == [[], []]
    assert runner.stragglers == 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has subreapers")
def test_what_a_program_prints_is_capped_on_disk(gateway, served, agent):
    runner, sizes = ProcessRunner(Program([str(agent)]), size=1), []
    left = runner._left

    def measured(rollout_id):
        folder = runner._records / rollout_id
        sizes.extend((folder / name).stat().st_size for name in (OUTPUT, ERRORS))
        return left(rollout_id)

    runner._left = measured
    grade = lambda task, outcome: Reward(1.0, outcome=json.loads(outcome.splitlines()[-1])["said"])  # noqa: E731
    with GatewaySource(gateway, served.server, runner, grade=grade, timeout_s=20) as source:
        (found,) = source.collect([{"question": "q", "then": "print"}], 1, step=0)
    assert found.error is None
    assert found.outcome == served.policy.tokenizer.decode(found.turns[0].ids, skip_special_tokens=True)
    assert all(65536 <= size <= 17 * 65536 for size in sizes)


def test_programs_survive_the_death_of_their_gateway_and_die_with_their_controller(served, agent):
    runner = ProcessRunner(Program([str(agent)]), size=2)
    killed = []

    def grade(task, outcome):
        if source.restarts == len(killed) < 2:
            killed.append(runner._controller.process_id if killed else gateway.process_id)
            os.kill(killed[-1], signal.SIGKILL)
        return graded(task, outcome)

    with Gateway() as gateway, GatewaySource(gateway, served.server, runner, grade=grade, timeout_s=20) as source:
        with pytest.warns(UserWarning, match="has died"):
            found = source.collect([{"question": "q"}] * 2, 2, step=0)
        assert source.restarts == 2
        assert [(t.task, t.attempt, t.error) for t in found] == [(task, 2, None) for task in (0, 0, 1, 1)]
        folder = runner._records
    assert marked(runner) == []
    assert not folder.exists()


def test_a_task_too_long_for_a_variable_is_on_standard_input(gateway, served):
    reads = ["-c", "import json, os, sys; print(len(json.load(sys.stdin)), 'HOMEGROUND_TASK' in os.environ)"]
    runner = ProcessRunner(Program(reads, python=sys.executable), size=1)
    grade = lambda task, outcome: Reward(1.0, outcome=outcome)  # noqa: E731
    with GatewaySource(gateway, served.server, runner, grade=grade, timeout_s=20) as source:
        (trajectory,) = source.collect(["x" * 300_000], 1, step=0)
    assert trajectory.outcome == "300000 False"
    assert trajectory.shortcoming is Failure.NO_CALLS


def test_what_the_programs_of_a_killed_trainer_left_is_removed_by_the_next(gateway, agent, tmp_path):
    trainer = subprocess.Popen([sys.executable, "-c", ""])
    trainer.wait()
    folder = Path(tempfile.gettempdir()) / f"homeground-agents-{trainer.pid}-x"
    folder.mkdir()
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    left = subprocess.Popen(command, env={**os.environ, RUNNER: folder.name})
    runner = ProcessRunner(Program([str(agent)]))
    try:
        runner.start(gateway)
        left.wait(timeout=5)  # raises if it still runs
        assert not folder.exists()
    finally:
        runner.stop()
        left.kill()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": []}, "the agent's command is empty"),
        ({"command": ["agent-of-nobody"]}, "there is no program 'agent-of-nobody'"),
        ({"command": ["nowhere.py"]}, "the agent's script is not there"),
        ({"command": ["-m", "x"], "python": "no/such/env"}, "the agent's Python is not there"),
    ],
)
def test_a_program_that_is_not_there_is_told_at_once(fields, message):
    with pytest.raises(HomegroundError, match=message):
        ProcessRunner(Program(**fields))


def test_a_python_may_be_the_folder_of_an_environment():
    words = Program(["-m", "agent"], python=str(Path(sys.executable).parents[1])).words()
    assert words == [sys.executable, "-m", "agent"]


def test_a_map_that_names_what_is_not_there_is_told():
    with pytest.raises(HomegroundError, match="comes from NOWHERE_SET, which is not set"):
        Program(["env"], env={"A": "env.NOWHERE_SET"}).passed()
    program = Program(["env"], env={"A": "input.rows.1.text"})
    assert program.mapped({"rows": [0, {"text": "x"}]}) == {"A": "input.rows.1.text"}
    with pytest.raises(HomegroundError, match="the task has no 'text' there"):
        program.mapped({"rows": [0, {}]})


def test_a_reward_may_be_posted_after_the_agent_has_ended(gateway, served, agent):
    """What a grader elsewhere does: it finds the rollout in the gateway and posts its event."""
    import threading

    import httpx

    def posts_late():
        headers = {"Authorization": f"Bearer {gateway.key}"}
        while True:
            ended = httpx.get(f"{gateway.url}/api/rollouts/terminal", headers=headers).json()["items"]
            if mine := [item["rollout_id"] for item in ended if item["data_id"] == "late"]:
                break
            time.sleep(0.1)
        time.sleep(0.3)
        event = {"event_type": "reward", "data": {"value": 0.5}}
        httpx.post(f"{gateway.url}/api/rollouts/{mine[0]}/attempt/0/events", json=event, headers=headers)

    threading.Thread(target=posts_late, daemon=True).start()
    runner = ProcessRunner(Program([str(agent)]), size=1)
    with GatewaySource(gateway, served.server, runner, timeout_s=20, reward_s=5) as source:
        (trajectory,) = source.collect([{"question": "q", "data_id": "late"}], 1, step=0)
    assert (trajectory.reward, trajectory.error) == (0.5, None)
