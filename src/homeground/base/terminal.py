"""What may reach a terminal: text from files, rows and models without anything that a terminal obeys.

Every command prints through here, so that none can forget it: plain text by `printable` or `printable_lines`, JSON by
`json_line`, what Rich draws by `homeground.base.console`.
"""

from __future__ import annotations

import json
import re
from typing import Any

_OBEYED = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f"  # C0 but for the tab, DEL, C1
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # reorder or hide text
    "\ud800-\udfff]"  # bytes of a file name that are not UTF-8
)


def printable(text: str) -> str:
    """One line of text that may hold anything, with a mark for each character that the terminal would obey."""
    return _OBEYED.sub("\ufffd", text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def json_line(document: Any) -> str:
    """JSON on one line, these characters as escapes: what reads it gets them back."""
    return _OBEYED.sub(_escape, json.dumps(document, ensure_ascii=False, allow_nan=False))


def _escape(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
