"""PDF: the text of its pages.

A PDF is a program of sorts, and a hostile one can keep a reader busy for ever or fill the memory. pypdf therefore runs
in a process of its own, `pdf_pages.py`, under limits that the operating system keeps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from homeground.corpus.sections import Section
from homeground.corpus.skip import LeftOutError, Skip

_SECONDS = 60.0
_SCRIPT = Path(__file__).with_name("pdf_pages.py")


def read_pdf(data: bytes, seconds: float = _SECONDS) -> tuple[list[str], tuple[Section, ...]]:
    """Lines of a PDF and one section a page. A page begins with a line such as `[page 3]`.

    Raises:
        LeftOutError: DAMAGED for what pypdf cannot read within the time, EMPTY for pages without text (scans),
            UNREADABLE for one that wants a password.
    """
    command = [sys.executable, "-P", str(_SCRIPT)]  # -P: what lies in its folder is not to be imported
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
