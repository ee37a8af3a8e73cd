"""A real agl-server process each: start, stop, death."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from homeground.base.errors import HomegroundError
from homeground.rollouts import Gateway, GatewayClient
from homeground.rollouts.gateway import RolloutState


def gone(process_id, seconds=15):
    """True once no such process runs (a zombie of somebody else's has ended too)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as gateway:
        yield gateway


def call(gateway, method, *arguments, **options):
    async def once():
        async with httpx.AsyncClient(timeout=20) as http:
            return await getattr(GatewayClient(gateway, http), method)(*arguments, **options)

    return asyncio.run(once())


def test_it_listens_on_loopback_alone(gateway):
    assert gateway.url.startswith("http://127.0.0.1:")
    listening = [c for c in psutil.Process(gateway.process_id).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [c.laddr.ip for c in listening] == ["127.0.0.1"]


def test_it_wants_its_key_and_the_key_is_not_on_the_command_line(gateway):
    ended = f"{gateway.url}/api/rollouts/terminal?after=0"
    assert httpx.get(ended).status_code == 401
    assert httpx.get(ended, headers={"Authorization": f"Bearer {gateway.key}"}).status_code == 200
    assert gateway.key not in " ".join(psutil.Process(gateway.process_id).cmdline())


def test_its_files_are_private(gateway):
    folder = next(p for p in psutil.Process(gateway.process_id).cmdline() if "homeground-gateway-" in p)
    assert Path(folder).stat().st_mode & 0o077 == 0


def test_a_rollout_lives_and_its_reward_is_an_event(gateway):
    call(gateway, "create", "r1", {"data_id": "x"}, train=True, timeout_s=5)
    call(gateway, "set_state", "r1", RolloutState.RUNNING)
    call(gateway, "post_reward", "r1", 0.75)
    call(gateway, "set_state", "r1", RolloutState.SUCCEEDED)
    events = call(gateway, "events", "r1")
    assert [(e["event_type"], e["data"]) for e in events] == [("reward", {"value": 0.75})]
    call(gateway, "delete", "r1")
    with pytest.raises(HomegroundError, match="refused a call with 404"):
        call(gateway, "events", "r1")


def test_a_refused_call_names_itself_and_the_version_it_was_written_for(gateway):
    with pytest.raises(HomegroundError, match="refused a call with 4") as caught:
        call(gateway, "set_state", "never-created", RolloutState.RUNNING)
    assert caught.value.where == "PATCH /api/rollouts/never-created"
    assert "agentlightning 1.0.2" in caught.value.hint


def test_two_gateways_have_ports_and_keys_of_their_own(gateway):
    with Gateway() as other:
        assert other.url != gateway.url
        assert other.key != gateway.key
        process_id = other.process_id
    assert gone(process_id)


def test_nothing_is_left_behind_after_an_error_inside():
    with contextlib.suppress(KeyboardInterrupt), Gateway() as gateway:
        process_id = gateway.process_id
        folder = next(p for p in psutil.Process(process_id).cmdline() if "homeground-gateway-" in p)
        raise KeyboardInterrupt
    assert gone(process_id)
    assert not Path(folder).exists()
    gateway.close()


def test_it_outlives_the_thread_that_started_it():
    gateway = Gateway()
    thread = threading.Thread(target=gateway.__enter__)
    thread.start()
    thread.join()
    try:
        time.sleep(0.2)
        gateway.check()
    finally:
        gateway.close()


def test_closing_before_starting_is_harmless():
    Gateway().close()


def test_a_killed_gateway_is_a_clear_error():
    with Gateway() as gateway:
        os.kill(gateway.process_id, signal.SIGKILL)
        # The parent may ask only when the last of the process's threads has ended; waiting leaves it to be asked for.
        os.waitid(os.P_PID, gateway.process_id, os.WEXITED | os.WNOWAIT)
        with pytest.raises(HomegroundError, match=r"has died \(exit code -9\)") as caught:
            gateway.check()
        assert "--resume" in caught.value.hint
        with pytest.raises(HomegroundError, match=r"has died \(exit code -9\)"):
            call(gateway, "events", "r")


def test_a_missing_program_says_what_to_install():
    with (
        pytest.raises(HomegroundError, match="'agl-nowhere' is not installed") as caught,
        Gateway(program="agl-nowhere"),
    ):
        pass
    assert "agentlightning==1.0.2" in caught.value.hint


def program(folder, text):
    path = folder / "agl-fake"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_that_ends_at_once_is_quoted(tmp_path):
    fake = program(tmp_path, "echo 'no module named yaml'; exit 3")
    with pytest.raises(HomegroundError, match=r"exit code 3.*\n.*no module named yaml"), Gateway(program=fake):
        pass


def test_a_program_that_says_nothing_is_given_up_and_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("homeground.rollouts.child.START_SECONDS", 0.5)
    fake = program(tmp_path, f"echo $$ > {tmp_path}/pid; echo thinking; exec sleep 60")
    with pytest.raises(HomegroundError, match=r"not listening after 0\.5 s.*\n.*thinking"), Gateway(program=fake):
        pass
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_ignores_the_polite_signal_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("homeground.rollouts.child.STOP_SECONDS", 0.3)
    fake = program(tmp_path, "trap '' TERM; echo Uvicorn running on http://127.0.0.1:9; while true; do sleep 0.1; done")
    with Gateway(program=fake) as gateway:
        process_id = gateway.process_id
    assert gone(process_id, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
def test_even_a_killed_parent_leaves_no_gateway(tmp_path):
    script = """
        import time
        from homeground.rollouts.gateway import Gateway
        with Gateway() as gateway:
            print(gateway.process_id, flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, cwd=tmp_path)
    process_id = int(parent.stdout.readline())
    folder = Path(next(p for p in psutil.Process(process_id).cmdline() if "homeground-gateway-" in p))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(process_id)
    assert folder.exists(), "nobody was left to remove it"
    with Gateway() as another:
        assert not folder.exists(), "the next one to start does"
        mine = next(p for p in psutil.Process(another.process_id).cmdline() if "homeground-gateway-" in p)
        with Gateway():
            assert Path(mine).exists(), "one that still runs keeps its own"
