"""A program: a PDF on its input, the text of its pages as JSON on its output, or the reason why there is none.

It imports nothing of this package, so that it starts fast; `pdf.py` runs it.
"""

from __future__ import annotations

import io
import json
import logging
import resource
import sys

_SECONDS = 60
_MEMORY = 2 << 30
_MOST_PAGES = 2000
_MOST_CHARACTERS = 8_000_000


def pages(data: bytes) -> dict[str, object]:
    """`{"pages": [text, ...]}`, or `{"reason": "unreadable"}` where a password is wanted, or "damaged"."""
    from pypdf import PdfReader

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            return {"reason": "unreadable"}
        found: list[str] = []
        room = _MOST_CHARACTERS
        for page in reader.pages[:_MOST_PAGES]:
            found.append(page.extract_text()[:room].encode("utf-8", "replace").decode("utf-8"))
            room -= len(found[-1])
    except Exception:  # whatever a broken file makes pypdf raise
        return {"reason": "damaged"}
    return {"pages": found}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable()
    json.dump(pages(sys.stdin.buffer.read()), sys.stdout)
