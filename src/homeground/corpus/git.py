"""Read untrusted git repositories with git itself and without any of their settings.

A repository's configuration can name programs: filters, text converters, pagers, hooks, and the upload-pack of a
remote from which git fetches missing objects. Git therefore never runs in the repository. It runs in an empty
repository, made for the call, that shares only the index, the objects and the list of shallow commits. Two things are
read in place: values in the file `config`, without its included files, and the hash of HEAD.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import which

_SECONDS = 20.0
_MOST_BYTES = 128 << 20
_MOST_MEMORY = 4 << 30
_LONGEST_POINTER = 1 << 16
# Programs, prompts and transports are disabled for every call. A repository's own `protocol.file.allow` overrides the
# option `protocol.allow`, but not the variable.
_NOTHING_RUNS = {
    "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1", "GIT_LITERAL_PATHSPECS": "1", "GIT_ATTR_NOSYSTEM": "1", "LC_ALL": "C",
}  # fmt: skip
_OPTIONS = (
    "core.fsmonitor=false", f"core.hooksPath={os.devnull}", "core.pager=cat", "core.quotePath=false",
    f"core.attributesFile={os.devnull}", "core.bigFileThreshold=4m", "submodule.recurse=false", "protocol.allow=never",
)  # fmt: skip
_OWN_CONFIG = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


@dataclass(frozen=True)
class Repository:
    """A repository with a work tree. Data that git cannot read is returned as empty.

    Attributes:
        top: the work tree's top folder.
        folder: its git directory, where HEAD and the index are.
    """

    top: Path
    folder: Path

    @classmethod
    def at(cls, top: Path) -> Repository | None:
        """The repository whose work tree has this folder at its top."""
        dot = top / ".git"
        try:
            if pointer := _beginning(dot):
                dot = top / pointer.removeprefix("gitdir:").strip()
            return cls(top, dot) if (dot / "HEAD").is_file() else None
        except (OSError, ValueError):
            return None

    @classmethod
    def around(cls, folder: Path) -> Repository | None:
        """The innermost repository that contains a folder."""
        return next((found for one in (folder, *folder.parents) if (found := cls.at(one)) is not None), None)

    @cached_property
    def common(self) -> Path:
        """Git directory of the main work tree, whose objects and settings linked work trees share."""
        try:
            found = self.folder / _beginning(self.folder / "commondir").strip()
            return found if found.is_dir() else self.folder
        except (OSError, ValueError):
            return self.folder

    def head(self) -> str:
        """Hash of the commit that is checked out."""
        environment = _environment(GIT_DIR=str(self.folder.resolve()), GIT_CONFIG_NOSYSTEM="1")
        return _text(_run(["rev-parse", "--verify", "--quiet", "HEAD"], environment, Path("/"))).strip()

    def tracked(self) -> list[str]:
        """Paths of the tracked files below the top folder."""
        return self.read("ls-files", "--cached", "-z").split("\0")[:-1]

    def excludes_file(self) -> str:
        """Value of `core.excludesFile`: the repository's, else its user's."""
        if own := self._settings.get("core.excludesfile"):
            return own
        with self._empty() as (folder, _):
            kept = {name: os.environ[name] for name in _OWN_CONFIG if name in os.environ}
            environment = _environment(**kept, GIT_DIR=str(folder))
            found = _run(["config", "--type=path", "--get", "core.excludesFile"], environment, folder)
        return _text(found).removesuffix("\n")

    def read(self, *arguments: str, errors: str = "surrogateescape", seconds: float = _SECONDS) -> str:
        """Output of a git command that only reads index and objects; it has no work tree and no refs."""
        with self._empty() as (folder, environment):
            return _text(_run(list(arguments), environment, folder, seconds), errors)

    @cached_property
    def _settings(self) -> dict[str, str]:
        file = self.common / "config"
        if not file.is_file():
            return {}
        wanted = r"^(core\.excludesfile|extensions\.objectformat)$"
        arguments = ["config", "--file", str(file.resolve()), "--no-includes", "--null", "--type=path"]
        found = _text(_run([*arguments, "--get-regexp", wanted], _environment(GIT_DIR=os.devnull), Path("/")))
        return dict(entry.split("\n", 1) for entry in found.split("\0") if "\n" in entry)

    @contextmanager
    def _empty(self) -> Generator[tuple[Path, dict[str, str]]]:
        """Make an empty git directory that shares this one's index and objects, and the environment to use it in."""
        sha256 = self._settings.get("extensions.objectformat") == "sha256"
        format_lines = "\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n" if sha256 else ""
        shared = (*self.folder.glob("sharedindex.*"), self.folder / "index", self.common / "shallow")
        with tempfile.TemporaryDirectory(prefix="homeground-git-") as made:
            folder = Path(made).resolve()
            (folder / "refs").mkdir()
            (folder / "HEAD").write_text("ref: refs/heads/none\n")
            (folder / "config").write_text(f"[core]\n\tbare = true\n{format_lines}")
            (folder / "objects").symlink_to(os.path.realpath(self.common / "objects"))
            for file in shared:
                if file.is_file():
                    (folder / file.name).symlink_to(file.resolve())
            home = {"HOME": made, "XDG_CONFIG_HOME": made, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
            yield folder, _environment(**home, GIT_DIR=str(folder))


def git_installed() -> bool:
    """Test whether git is installed."""
    return _git() is not None


def _git() -> str | None:
    found = which("git")
    # With a relative folder in PATH, a program of the repository would be found.
    return found if found is not None and Path(found).is_absolute() else None


def _environment(**more: str) -> dict[str, str]:
    """Copy the environment without git's variables: in a hook, for example, they name another repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, **_NOTHING_RUNS, **more}


def _run(arguments: list[str], environment: dict[str, str], folder: Path, seconds: float = _SECONDS) -> bytes:
    """Return git's output; empty if it fails, takes too long or prints too much."""
    git = _git()
    if git is None:
        return b""
    options = [part for option in _OPTIONS for part in ("-c", option)]
    with subprocess.Popen(
        [git, "--no-pager", *options, *arguments],
        cwd=folder, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        _limit_memory(process.pid)
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            found = process.stdout.read(_MOST_BYTES + 1)
            if too_much := len(found) > _MOST_BYTES:
                process.kill()
            return found if process.wait() == 0 and not too_much else b""
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()


def _limit_memory(process: int) -> None:
    import resource

    if hasattr(resource, "prlimit"):  # only Linux has it
        with suppress(ProcessLookupError):  # it may have ended
            resource.prlimit(process, resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))


def _text(found: bytes, errors: str = "surrogateescape") -> str:
    return found.decode("utf-8", errors)


def _beginning(file: Path) -> str:
    if not file.is_file():  # a pipe of that name would never end
        return ""
    with file.open(encoding="utf-8", errors="surrogateescape") as opened:
        return opened.read(_LONGEST_POINTER)
