"""Files that are either whole or absent: atomic writes, and line-by-line logs that survive a kill."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Buffer, Generator, Iterable
from pathlib import Path
from typing import Any, cast

from homeground.base.errors import HomegroundError


def atomic_write_bytes(path: Path, data: Buffer) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part.

    The parent folder is created. The bytes are on disk (fsync) before the name changes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes 0600; the workspace itself is 0700, elsewhere the usual umask should hold.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` in UTF-8."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, obj: Any) -> None:
    """Write `obj` as indented JSON, atomically. NaN and infinity are refused: JSON has no such numbers."""
    atomic_write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def staged_folder(folder: Path) -> Generator[Path]:
    """A new folder beside `folder` that takes its place when the block ends well, and vanishes when it does not.

    What lay there before is replaced: whoever calls asks first.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    previous = folder.with_name(f".{folder.name}-old")
    try:
        yield staging
        # mkdtemp makes 0700.
        staging.chmod(0o777 & ~_umask())
        shutil.rmtree(previous, ignore_errors=True)
        if folder.exists():
            folder.rename(previous)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)


def encoding_of(path: Path) -> str:
    """Encoding of a text file written by a person: that of its byte order mark, which is dropped, else UTF-8.

    Raises:
        OSError: it is missing, or may not be read.
    """
    with path.open("rb") as stream:
        begun = stream.read(4)
    if begun.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if begun.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def read_text(path: Path) -> str:
    """Read a text file written by a person, with or without a byte order mark.

    Raises:
        OSError: it is missing, or may not be read.
        UnicodeDecodeError: it is not what its mark says, or not UTF-8.
    """
    return path.read_text(encoding_of(path))


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        HomegroundError: the file is missing or is not JSON; `where` names file and line.
    """
    try:
        return json.loads(read_text(path))
    except FileNotFoundError:
        raise HomegroundError("the file does not exist", where=str(path)) from None
    except (ValueError, RecursionError) as error:  # also raised for numbers and depths beyond Python's limits
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise HomegroundError(f"not valid JSON: {error}", where=f"{path}:{line}") from None


def append_jsonl(path: Path, obj: Any) -> None:
    """Append one JSON line. A line torn by an earlier kill is dropped first, so the log stays readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(obj, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    with path.open("a+b") as stream:
        _drop_torn_line(stream.fileno())
        stream.write(line)


def atomic_write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON line a row, whole or not at all."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    atomic_write_text(path, "".join(f"{line}\n" for line in lines))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a JSON-lines file; a torn last line (a killed writer) is left out.

    Raises:
        HomegroundError: the file is missing, or a finished line is no JSON object.
    """
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except FileNotFoundError:
        raise HomegroundError("the file does not exist", where=str(path)) from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise HomegroundError(f"not valid JSON: {error}", where=f"{path}:{number}") from None
        if not isinstance(row, dict):
            raise HomegroundError("a line of this file must be a JSON object", where=f"{path}:{number}")
        rows.append(cast("dict[str, Any]", row))
    return rows


def refuse_foreign(path: Path, option: str) -> None:
    """Refuse a file or folder that was discovered, not named, if another user could have created or changed it.

    It must belong to the user or to root, and so must the link that leads to it. Others may not write to it, nor may
    its group, unless that is the group of the user alone.

    Raises:
        HomegroundError: it is another user's, or others may write to it; the hint says how to name it with `option`.
    """
    if not hasattr(os, "geteuid"):  # Windows has other rules
        return
    user = os.geteuid()
    try:
        found = (path.lstat(), path.stat())
    except OSError as error:
        raise HomegroundError(
            f"it cannot be read: {error.strerror}", where=str(path), hint=f"name another with {option}"
        ) from None
    if any(one.st_uid not in (user, 0) for one in found):
        raise HomegroundError(
            "it belongs to another user, who could make Homeground run programs",
            where=str(path),
            hint=f"if you trust that user, name it: {option} {path}",
        )
    mode = found[1].st_mode
    if mode & 0o002 or (mode & 0o020 and not _own_group(user, found[1].st_gid)):
        raise HomegroundError(
            "other users may write to it, and could make Homeground run programs",
            where=str(path),
            hint=f"take that right away with 'chmod go-w {path}', or name it: {option} {path}",
        )


def _own_group(user: int, group: int) -> bool:
    import grp
    import pwd

    try:
        return pwd.getpwuid(user).pw_name == grp.getgrgid(group).gr_name
    except KeyError:
        return False


def _drop_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    end = size
    block = 1 << 16
    while end > 0:
        start = max(0, end - block)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
