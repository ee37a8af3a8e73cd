"""Repositories that would run a program of theirs: plain git runs it, reading one here does not."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from homeground.cli import main
from homeground.corpus import Chunk, Corpus, Walk
from homeground.corpus.git import Repository
from homeground.tasks.history import commit_tasks, is_repository

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str, check: bool = True, given: bytes = b"") -> str:
    name = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *name, *arguments], cwd=folder, check=check, capture_output=True, input=given)
    return done.stdout.decode("utf-8", "replace").strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A harmless repository of two commits."""
    top = tmp_path_factory.mktemp("built") / "repository"
    for path in ("src/oven.py", "src/deep/bread.py", "out/far/shop.py"):
        file = top / path
        file.parent.mkdir(parents=True)
        file.write_text("def heat():\n    return 1\n")
    git(top.parent, "init", "-q", "-b", "main", str(top))
    (top / ".gitignore").write_text("*.log.py\n")
    (top / "src" / "kept.log.py").write_text("x = 1\n")
    git(top, "add", "-A", "-f")
    git(top, "commit", "-q", "-m", "Open the shop in the village")
    (top / "src/oven.py").write_text("def heat():\n    return 2\n")
    git(top, "commit", "-q", "-a", "-m", "Heat the oven twice as long")
    return top


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """Git at its most trusting, whatever the machine's own settings are."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")


@pytest.fixture
def top(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "repository", symlinks=True))


@pytest.fixture
def mark(tmp_path):
    """The file that a hostile program makes."""
    return tmp_path / "marks" / "it-ran"


@pytest.fixture
def trap(mark):
    """A program that leaves the mark, whatever it is given."""
    mark.parent.mkdir()
    program = mark.parent / "trap"
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 1\n")
    program.chmod(0o755)
    return str(program)


def config(top: Path, **values: str) -> None:
    for key, value in values.items():
        git(top, "config", key.replace("__", "."), value)


def lose(top: Path, name: str) -> None:
    """Removes an object: git asks the remote for it."""
    key = git(top, "rev-parse", name)
    (top / ".git" / "objects" / key[:2] / key[2:]).unlink()


def partial(top: Path, trap: str, **more: str) -> None:
    git(top, "config", "core.repositoryformatversion", "1")
    git(top, "config", "extensions.partialClone", "origin")
    git(top, "config", "remote.origin.promisor", "true")
    git(top, "config", "remote.origin.url", str(top))
    for key, value in more.items():
        git(top, "config", key.replace("__", "."), value)


def sparse_index(top, trap):
    git(top, "update-index", "--refresh")  # copied files look changed, and changed files are not made sparse
    git(top, "sparse-checkout", "set", "--cone", "--sparse-index", "src")
    partial(top, trap, remote__origin__uploadpack=trap)
    lose(top, "HEAD:out")


def sparse_index_whose_protocol_is_allowed(top, trap):
    sparse_index(top, trap)
    config(top, protocol__file__allow="always", protocol__allow="always")


def split_index(top, trap):
    git(top, "update-index", "--split-index")
    config(top, core__fsmonitor=trap)


def missing_tree(top, trap):
    partial(top, trap, remote__origin__uploadpack=trap)
    lose(top, "HEAD:src")


def missing_blob(top, trap):
    partial(top, trap, remote__origin__uploadpack=trap)
    lose(top, "HEAD:src/oven.py")


def missing_blob_over_ssh(top, trap):
    partial(top, trap, remote__origin__url="ssh://localhost/x", core__sshCommand=trap)
    lose(top, "HEAD:src/oven.py")


def missing_blob_by_an_external_transport(top, trap):
    partial(top, trap, remote__origin__url=f"ext::{trap}", protocol__ext__allow="always")
    lose(top, "HEAD:src/oven.py")


def missing_blob_through_a_proxy(top, trap):
    partial(top, trap, remote__origin__url="git://localhost:1/x", core__gitProxy=trap)
    lose(top, "HEAD:src/oven.py")


def missing_blob_of_a_rewritten_address(top, trap):
    partial(top, trap, remote__origin__url="x://y", protocol__ext__allow="always")
    git(top, "config", f"url.ext::{trap} .insteadOf", "x://")
    lose(top, "HEAD:src/oven.py")


def included(top, trap):
    (top / "more").write_text(f'[core]\n\tfsmonitor = "{trap}"\n[diff "x"]\n\ttextconv = "{trap}"\n')
    (top / ".gitattributes").write_text("*.py diff=x\n")
    config(top, include__path="../more")


def of_the_work_tree(top, trap):
    git(top, "config", "extensions.worktreeConfig", "true")
    git(top, "config", "--worktree", "diff.x.textconv", trap)
    (top / ".gitattributes").write_text("*.py diff=x\n")


def fsmonitor(top, trap):
    config(top, core__fsmonitor=trap)


def hooks(top, trap):
    hook = top / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    shutil.copy(trap, hook)
    os.utime(top / "src" / "oven.py", (1, 1))


def hooks_elsewhere(top, trap):
    (top / "hooks").mkdir()
    shutil.copy(trap, top / "hooks" / "post-index-change")
    config(top, core__hooksPath="hooks")
    os.utime(top / "src" / "oven.py", (1, 1))


def text_conversion(top, trap):
    (top / ".gitattributes").write_text("*.py diff=x\n")
    config(top, diff__x__textconv=trap)


def text_conversion_of_info_attributes(top, trap):
    (top / ".git" / "info").mkdir(exist_ok=True)
    (top / ".git" / "info" / "attributes").write_text("*.py diff=x\n")
    config(top, diff__x__textconv=trap)


def external_diff(top, trap):
    (top / "src/oven.py").write_text("def heat():\n    return 3\n")
    config(top, diff__external=trap)


def diff_driver(top, trap):
    external_diff(top, trap)
    (top / ".gitattributes").write_text("*.py diff=x\n")
    config(top, diff__x__command=trap)


def filters(top, trap):
    (top / ".gitattributes").write_text("*.py filter=x\n")
    config(top, filter__x__clean=trap, filter__x__smudge=trap, filter__x__required="true")
    os.utime(top / "src" / "oven.py", (1, 1))


def filter_process(top, trap):
    filters(top, trap)
    config(top, filter__x__process=trap)


def pager(top, trap):
    config(top, core__pager=trap, pager__log=trap)


def signature(top, trap):
    raw = git(top, "cat-file", "commit", "HEAD").split("\n\n", 1)
    signed = f"{raw[0]}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n{raw[1]}\n"
    made = git(top, "hash-object", "-t", "commit", "-w", "--stdin", given=signed.encode())
    git(top, "update-ref", "HEAD", made)
    config(top, gpg__program=trap, log__showSignature="true")


def alternate_refs(top, trap):
    (top / ".git" / "objects" / "info").mkdir(exist_ok=True)
    other = top.parent / "other"
    git(top.parent, "init", "-q", str(other))
    (top / ".git" / "objects" / "info" / "alternates").write_text(f"{other}/.git/objects\n")
    config(top, core__alternateRefsCommand=trap)


def submodule(top, trap):
    inner = top / "inner"
    git(top, "init", "-q", str(inner))
    (inner / "a.py").write_text("x = 1\n")
    git(inner, "add", "-A")
    git(inner, "commit", "-q", "-m", "Begin the inner part")
    (top / ".gitmodules").write_text('[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n')
    git(top, "add", ".gitmodules", "inner")
    git(top, "commit", "-q", "-m", "Take the inner part in")
    config(inner, core__fsmonitor=trap)


def commits_of_a_submodule(top, trap):
    submodule(top, trap)
    inner = top / "inner"
    (inner / "a.py").write_text("x = 2\n")
    git(inner, "-c", "core.fsmonitor=false", "commit", "-q", "-a", "-m", "Change the inner part")
    git(top, "-c", "core.fsmonitor=false", "add", "inner")
    git(top, "-c", "core.fsmonitor=false", "commit", "-q", "-m", "Take the inner part again")
    config(top, diff__submodule="diff")
    config(inner, diff__external=trap)


def git_file(top, trap):
    text_conversion(top, trap)
    (top / ".git").rename(top.parent / "elsewhere")
    (top / ".git").write_text("gitdir: ../elsewhere\n")


def work_tree_elsewhere(top, trap):
    text_conversion(top, trap)
    other = top.parent / "other-tree"
    shutil.copytree(top / "src", other / "src")
    shutil.copy(top / ".gitattributes", other)
    config(top, core__worktree=str(other))


def bare_below(top, trap):
    """A folder that is a bare repository, without any `.git`."""
    git(top, "clone", "-q", "--bare", str(top), str(top / "bare"))
    shutil.rmtree(top / ".git")
    (top / "bare" / "info" / "attributes").write_text("*.py diff=x\n")
    config(top / "bare", diff__x__textconv=trap)


LOG = ("log", "-p")
STATUS = ("status",)
REPOSITORIES = [
    (sparse_index, ("ls-files",)), (sparse_index_whose_protocol_is_allowed, ("-c", "protocol.allow=never", "ls-files")),
    (split_index, STATUS), (missing_tree, LOG), (missing_blob, LOG), (missing_blob_over_ssh, LOG),
    (missing_blob_by_an_external_transport, LOG), (missing_blob_through_a_proxy, LOG),
    (missing_blob_of_a_rewritten_address, LOG), (included, LOG), (of_the_work_tree, LOG), (fsmonitor, STATUS),
    (hooks, STATUS), (hooks_elsewhere, STATUS), (text_conversion, LOG), (text_conversion_of_info_attributes, LOG),
    (external_diff, ("diff",)), (diff_driver, ("diff",)), (filters, STATUS), (filter_process, STATUS),
    (pager, ("--paginate", "log")), (signature, ("log",)), (alternate_refs, ("rev-list", "--alternate-refs")),
    (submodule, STATUS), (commits_of_a_submodule, LOG), (git_file, LOG), (work_tree_elsewhere, LOG),
    (bare_below, ("-C", "bare", *LOG)),
]  # fmt: skip


def read_all(top: Path) -> None:
    """All that Homeground does with a repository, from its top and from within."""
    chunks = [Chunk("k", path, 1, 2, "heat", "function", "python", "", "") for path in ("src/oven.py", "oven.py")]
    for root in (top, top / "src", top / "src" / "deep", *([top / "bare"] if (top / "bare").exists() else [])):
        assert list(Walk(root)) or root.name == "bare"
        assert main(["index", str(root), "--dry-run", "--quiet", "--home", str(top.parent / "home")]) == 0
        if is_repository(root):
            commit_tasks(root, chunks)
    list(Corpus([top, top / "src"]))
    if (found := Repository.around(top / "src")) is not None:
        assert found.head()
        assert found.tracked()
        found.excludes_file()
        found.read("log", "-p", "--ext-diff", "--textconv", "--show-signature", found.head())


@pytest.mark.parametrize(("build", "plain"), REPOSITORIES, ids=lambda value: getattr(value, "__name__", ""))
def test_nothing_that_a_repository_names_is_run(top, mark, trap, build, plain):
    build(top, trap)
    mark.unlink(missing_ok=True)
    read_all(top)
    (top.parent / "outer").mkdir()
    top.rename(top.parent / "outer" / "nested")
    if build not in (git_file, work_tree_elsewhere):
        list(Walk(top.parent / "outer"))
    (top.parent / "outer" / "nested").rename(top)
    assert not mark.exists()
    terminal, end = os.openpty()  # only for a terminal is there a pager
    nowhere = subprocess.DEVNULL
    subprocess.run(["git", *plain], cwd=top, check=False, stdin=nowhere, stdout=end, stderr=nowhere)
    os.close(end)
    os.close(terminal)
    assert mark.exists(), "plain git runs it, or this test shows nothing"


def test_an_allowed_protocol_of_the_repository_outweighs_the_option_but_not_the_door(top, mark, trap):
    sparse_index_whose_protocol_is_allowed(top, trap)
    mark.unlink(missing_ok=True)
    assert Repository(top, top / ".git").tracked()
    assert not mark.exists()


def _shallow(built, target):
    git(target.parent, "clone", "-q", "--depth", "1", f"file://{built}", str(target))


def _second_work_tree(built, target):
    first = Path(shutil.copytree(built, target.parent / "first"))
    git(first, "worktree", "add", "-q", "-d", str(target))


def _sha256(built, target):
    git(target.parent, "init", "-q", "--object-format=sha256", str(target))
    shutil.copytree(built, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
    git(target, "add", "-A", "-f")
    git(target, "commit", "-q", "-m", "Heat the oven twice as long")


def _split(built, target):
    shutil.copytree(built, target)
    git(target, "update-index", "--split-index")


def _sparse(built, target):
    shutil.copytree(built, target)
    git(target, "update-index", "--refresh")
    git(target, "sparse-checkout", "set", "--cone", "--sparse-index", "src")


def _packed(built, target):
    shutil.copytree(built, target)
    git(target, "gc", "-q")
    git(target, "pack-refs", "--all")


@pytest.mark.parametrize("made", [_shallow, _second_work_tree, _sha256, _split, _sparse, _packed])
def test_every_form_of_repository_is_read(built, tmp_path, made):
    top = tmp_path / "target"
    made(built, top)
    found = Repository.around(top / "src" / "deep")
    assert found is not None
    assert found.top == top
    assert found.tracked() == [
        ".gitignore", "out/far/shop.py", "src/deep/bread.py", "src/kept.log.py", "src/oven.py",
    ]  # fmt: skip
    assert found.head() == git(top, "rev-parse", "HEAD")
    assert "kept.log.py" in {file.path for file in Walk(top / "src")}, "it is tracked although it is ignored"
    chunks = [Chunk("k", "src/oven.py", 1, 2, "heat", "function", "python", "", "")]
    assert "Heat the oven twice as long" in {task.query for task in commit_tasks(top / "src", chunks, "src/")}


def test_a_history_without_its_objects_gives_no_tasks(top, trap, mark):
    missing_blob(top, trap)
    mark.unlink(missing_ok=True)
    assert commit_tasks(top, [Chunk("k", "src/oven.py", 1, 2, "heat", "function", "python", "", "")]) == []
    assert not mark.exists()


@pytest.mark.parametrize("name", ["index", "config", "HEAD", "commondir", "shallow", "info/exclude"])
def test_a_pipe_in_the_place_of_a_file_of_git_does_not_stop_a_walk(top, name):
    file = top / ".git" / name
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    begun = time.monotonic()
    assert {file.path for file in Walk(top)} >= {"src/oven.py", "src/deep/bread.py"}
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("told", ["a\0b", "x" * 5000, "../nowhere"])
def test_a_common_folder_that_no_system_has_is_not_looked_for(top, told):
    (top / ".git" / "commondir").write_text(told)
    assert {file.path for file in Walk(top)} >= {"src/oven.py", "src/deep/bread.py"}


def test_objects_that_lead_to_themselves_are_none(top):
    shutil.rmtree(top / ".git" / "objects")
    (top / ".git" / "objects").symlink_to("objects")
    assert {file.path for file in Walk(top)} >= {"src/oven.py", "src/deep/bread.py"}


def test_a_git_file_without_an_end_is_read_in_part(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / ".git").symlink_to("/dev/zero")
    assert [file.path for file in Walk(tmp_path)] == ["a.py"]
    (tmp_path / ".git").unlink()
    with (tmp_path / ".git").open("wb") as endless:
        endless.truncate(1 << 34)
    assert [file.path for file in Walk(tmp_path)] == ["a.py"]


def test_git_ends_when_it_takes_too_long_or_prints_too_much(top, monkeypatch):
    pack = top / ".git" / "objects" / "pack"
    git(top, "gc", "-q")
    (data,) = pack.glob("*.idx")
    repository = Repository(top, top / ".git")
    head = repository.head()
    monkeypatch.setattr("homeground.corpus.git._MOST_BYTES", 20)
    assert repository.read("log", head) == ""
    data.unlink()
    os.mkfifo(data)
    begun = time.monotonic()
    assert repository.read("log", head, seconds=0.3) == ""
    assert time.monotonic() - begun < 5


def test_a_tree_that_contains_itself_many_times_is_given_up(tmp_path):
    git(tmp_path, "init", "-q")
    key = git(tmp_path, "hash-object", "-w", "--stdin", given=b"x = 1\n")
    kind, name = "100644 blob", "a.py"
    for _ in range(10):  # ten folders in each of ten folders, ten deep
        rows = "".join(f"{kind} {key}\t{number}{name}\n" for number in range(10))
        key, kind, name = git(tmp_path, "mktree", given=rows.encode()), "040000 tree", ""
    git(tmp_path, "update-ref", "HEAD", git(tmp_path, "commit-tree", key, "-m", "Make a very large tree"))
    begun = time.monotonic()
    assert Repository(tmp_path, tmp_path / ".git").read("log", "-p", "HEAD~0", seconds=1) == ""
    assert time.monotonic() - begun < 10


def test_a_program_called_git_in_the_folder_is_not_run(top, mark, trap, monkeypatch):
    shutil.copy(trap, top / "git")
    monkeypatch.chdir(top)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.environ['PATH']}")
    assert "src/oven.py" in {file.path for file in Walk(top)}
    is_repository(top)
    assert not mark.exists()


def test_variables_for_another_git_do_not_steer_this_one(top, mark, trap, monkeypatch):
    for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_PROXY_COMMAND"):
        monkeypatch.setenv(name, trap)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", trap)
    monkeypatch.setenv("GIT_TRACE", str(mark))
    monkeypatch.setenv("GIT_DIR", str(top.parent / "nothing"))
    read_all(top)
    assert not mark.exists()
