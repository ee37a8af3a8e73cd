"""PDF: the text of its pages.

A PDF is a program of sorts, and a hostile one can keep a reader busy for ever or fill the memory. pypdf therefore runs
in a process of its own (`python -m homeground.corpus.pdf`: the file on its input, pages as JSON on its output) with
limits that the operating system keeps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, BinaryIO

from homeground.corpus.sections import Section
from homeground.corpus.skip import LeftOutError, Skip

_SECONDS = 60
_MEMORY = 2 << 30
_MOST_PAGES = 2000
_MOST_CHARACTERS = 8_000_000


def read_pdf(data: bytes, seconds: float = _SECONDS) -> tuple[list[str], tuple[Section, ...]]:
    """Lines of a PDF and one section a page. A page begins with a line such as `[page 3]`.

    Raises:
        LeftOutError: DAMAGED for what pypdf cannot read within the time, EMPTY for pages without text (scans),
            UNREADABLE for one that wants a password.
    """
    command = [sys.executable, "-P", "-m", "homeground.corpus.pdf"]  # -P: the current folder is not ours
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=seconds, check=False)
        told: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"reason": Skip.DAMAGED}
    except (subprocess.TimeoutExpired, ValueError):
        told = {"reason": Skip.DAMAGED}
    if "reason" in told:
        raise LeftOutError(Skip(told["reason"]))
    lines: list[str] = []
    sections: list[Section] = []
    for number, text in enumerate(told["pages"], 1):
        body = [line.rstrip() for line in str(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")]
        if not any(body):
            continue
        sections.append(Section(len(lines), f"page {number}"))
        lines += [f"[page {number}]", *body, ""]
    if not lines:
        raise LeftOutError(Skip.EMPTY)
    return lines[:-1], tuple(sections)


def _pages(file: BinaryIO) -> list[str]:
    from pypdf import PdfReader

    reader = PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):
        raise LeftOutError(Skip.UNREADABLE)
    pages: list[str] = []
    room = _MOST_CHARACTERS
    for page in reader.pages[:_MOST_PAGES]:
        pages.append(page.extract_text()[:room].encode("utf-8", "replace").decode("utf-8"))
        room -= len(pages[-1])
    return pages


def _main() -> None:
    import io
    import logging
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable()
    try:
        told: dict[str, Any] = {"pages": _pages(io.BytesIO(sys.stdin.buffer.read()))}
    except LeftOutError as error:
        told = {"reason": error.reason}
    except Exception:
        told = {"reason": Skip.DAMAGED}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    _main()
