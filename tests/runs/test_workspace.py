import os
import stat
import subprocess
import sys

import pytest

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.files import atomic_write_json, read_json
from homeground.runs.workspace import RunFolder, open_workspace


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "project" / "deep"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_it_is_made_in_the_current_folder_private_and_ignored_by_git(here):
    workspace = open_workspace()
    assert workspace.path == here / ".homeground"
    assert stat.S_IMODE(workspace.path.stat().st_mode) == 0o700
    assert (workspace.path / ".gitignore").read_text() == "*\n"
    assert read_json(workspace.path / "version.json") == {"schema": 1}


def test_the_nearest_parent_that_has_one_is_taken(here, monkeypatch):
    above = open_workspace(here.parent / ".homeground")
    assert open_workspace() == above
    nearer = open_workspace(here / ".homeground")
    assert open_workspace() == nearer


def test_home_wins_over_the_environment_and_that_over_the_parents(here, tmp_path, monkeypatch):
    open_workspace()
    monkeypatch.setenv("HOMEGROUND_HOME", str(tmp_path / "named"))
    assert open_workspace().path == tmp_path / "named"
    assert open_workspace(tmp_path / "given").path == tmp_path / "given"


def test_a_folder_with_other_things_is_never_taken_over(here):
    (here / "code.py").write_text("")
    with pytest.raises(UsageError, match="not a Homeground workspace") as caught:
        open_workspace(here)
    assert caught.value.hint == f"name a new folder instead, such as --home {here}/.homeground"
    assert not (here / ".gitignore").exists()


def test_a_file_is_no_workspace(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a Homeground workspace"):
        open_workspace(tmp_path / "file")


def test_reading_verbs_make_none(here):
    with pytest.raises(HomegroundError, match="no Homeground workspace here yet") as caught:
        open_workspace(create=False)
    assert "homeground index" in (caught.value.hint or "")
    assert not (here / ".homeground").exists()


def test_a_newer_schema_is_refused(here):
    workspace = open_workspace()
    atomic_write_json(workspace.path / "version.json", {"schema": 2})
    with pytest.raises(HomegroundError, match="schema 2, this Homeground reads 1") as caught:
        open_workspace()
    assert "upgrade" in (caught.value.hint or "")


@pytest.mark.parametrize("version", [[1], None, 1, {}])
def test_a_version_file_of_another_form_is_refused(here, version):
    atomic_write_json(open_workspace().path / "version.json", version)
    with pytest.raises(HomegroundError, match="schema None") as caught:
        open_workspace()
    assert caught.value.where.endswith("version.json")


@pytest.mark.parametrize("home", ["~no-such-user-here/x", "x" * 300])
def test_a_home_that_no_folder_can_have_is_refused(here, monkeypatch, home):
    monkeypatch.setenv("HOMEGROUND_HOME", home)
    with pytest.raises(UsageError, match="no folder") as caught:
        open_workspace(create=False)
    assert home in caught.value.where


@pytest.mark.parametrize("state", [[], None, {"sft": 1}, {"sft": {}}, {"sft": {"finished": None}}])
def test_a_damaged_record_of_stages_is_refused_by_its_name(here, state):
    run = open_workspace().run("one").create()
    atomic_write_json(run.state, state)
    with pytest.raises(HomegroundError, match="damaged") as caught:
        run.finished()
    assert (caught.value.where, "runs remove one" in caught.value.hint) == (str(run.state), True)


@pytest.mark.parametrize("content", ["[]", "null", "{}", "5", '{"pid": 1}'])
def test_a_lock_without_its_holder_names_another_process(here, content):
    run = open_workspace().run("one").create()
    with run.locked():
        (run.path.parent / ".one.lock").write_text(content)
        with pytest.raises(HomegroundError, match="in use by another process"), run.locked():
            pass


def test_a_run_whose_place_is_taken_is_refused(here):
    runs = open_workspace().runs
    run = RunFolder(runs / "one")
    runs.write_text("no folder")
    for make in (run.create, run.locked().__enter__):
        with pytest.raises(
            HomegroundError, match=r"the run 'one' cannot be written: (File exists|Not a dir)"
        ) as caught:
            make()
        assert caught.value.where.startswith(str(runs))
    runs.unlink()
    (runs / ".one.lock").mkdir(parents=True)
    with pytest.raises(HomegroundError, match="cannot be written: Is a directory"), run.locked():
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HomegroundError, match="cannot be made") as caught:
        open_workspace(tmp_path / "file" / "below")
    assert caught.value.where == str(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../out", "a/b", ".hidden", "a\\b", "nul\0", "two\nlines", "\ud800", "a" * 300]
)
def test_a_run_has_a_name_that_a_folder_can_have(here, name):
    with pytest.raises(UsageError, match="cannot be a run's name"):
        open_workspace().run(name)


def test_the_newest_run_is_the_one_that_finished_last(here):
    workspace = open_workspace()
    first, second = workspace.run("first").create(), workspace.run("second").create()
    second.finish("sft", examples=64)
    first.finish("sft")
    second.finish("rl")
    assert workspace.newest_run().name == "second"
    assert workspace.newest_run("sft").name == "first"
    assert list(second.finished()) == ["sft", "rl"]
    assert second.finished()["sft"]["examples"] == 64


def test_a_stage_that_is_finished_again_moves_to_the_end(here):
    run = open_workspace().run("again")
    run.finish("sft")
    run.finish("rl")
    run.finish("sft")
    assert list(run.finished()) == ["rl", "sft"]


def test_without_a_finished_run_the_error_says_how_to_make_one(here):
    workspace = open_workspace()
    workspace.run("begun").create()
    with pytest.raises(HomegroundError, match="no run that finished 'rl'") as caught:
        workspace.newest_run("rl")
    assert "homeground demo" in (caught.value.hint or "")
    with pytest.raises(HomegroundError, match="no finished run"):
        workspace.newest_run()


HOLD = """
import sys
from pathlib import Path
from homeground.runs.workspace import RunFolder

with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_is_written_to_names_its_process_and_is_free_when_that_is_killed(tmp_path):
    run = RunFolder(tmp_path / "runs" / "mine")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(HomegroundError, match=f"the run 'mine' is in use by process {holder.pid} on .* since 2"):
        run.locked().__enter__()
    holder.kill()
    holder.communicate()
    with run.locked(), pytest.raises(HomegroundError, match=f"process {os.getpid()} "):
        run.locked().__enter__()


@pytest.fixture
def give_away(monkeypatch):
    """Makes a file another user's; without the right to, makes the user another one."""

    def give(path):
        if os.geteuid() == 0:
            os.chown(path, 12345, 12345, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12345)

    return give


@pytest.mark.parametrize("part", ["", "index", "version.json", "runs", "runs/mine"])
def test_a_workspace_of_another_user_is_refused_where_it_was_not_named(here, give_away, part):
    above = open_workspace(here.parent / ".homeground")
    (above.runs / "mine").mkdir(parents=True)
    above.index.mkdir()
    give_away(above.path / part)
    for create in (True, False):
        with pytest.raises(HomegroundError, match="belongs to another user") as caught:
            open_workspace(create=create)
        assert str(above.path) in str(caught.value.where)
        assert f"--home {above.path}" in str(caught.value.hint)
    assert open_workspace(above.path) == above, "who names it trusts it"


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o702, 0o1777])
def test_a_workspace_that_others_may_write_to_is_refused_where_it_was_not_named(here, mode):
    above = open_workspace(here.parent / ".homeground")
    above.path.chmod(mode)
    with pytest.raises(HomegroundError, match="other users may write to it") as caught:
        open_workspace()
    assert f"chmod go-w {above.path}" in str(caught.value.hint)
    above.path.chmod(0o755)
    assert open_workspace() == above


def test_a_workspace_that_a_group_of_several_may_write_to_is_refused(here, monkeypatch):
    above = open_workspace(here.parent / ".homeground")
    above.path.chmod(0o770)
    monkeypatch.setattr("homeground.base.files._own_group", lambda user, group: False)
    with pytest.raises(HomegroundError, match="other users may write to it"):
        open_workspace()


def test_a_link_of_another_user_to_a_workspace_is_refused(here, tmp_path, give_away):
    elsewhere = open_workspace(tmp_path / "elsewhere" / ".homeground")
    link = here.parent / ".homeground"
    link.symlink_to(elsewhere.path)
    assert open_workspace().path == link, "one's own link is followed"
    give_away(link)
    with pytest.raises(HomegroundError, match="belongs to another user"):
        open_workspace()


def test_an_empty_folder_of_another_user_is_not_taken_over(here, give_away):
    (here / ".homeground").mkdir()
    give_away(here / ".homeground")
    with pytest.raises(HomegroundError, match="belongs to another user"):
        open_workspace()


def test_a_workspace_of_root_is_read(here, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root owns files of root")
    workspace = open_workspace()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert open_workspace() == workspace
