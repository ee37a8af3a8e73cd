"""Text that is safe to print on a terminal: nothing from files, rows or models that the terminal would interpret.

Every command prints through this module: plain text with `printable` or `printable_lines`, JSON with `json_line`, Rich
renderables with `homeground.base.console`.
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
    """Replace each character that a terminal would interpret with a visible mark; the result is one line."""
    return _OBEYED.sub("\ufffd", text)


def printable_lines(text: str) -> str:
    """Do the same for each line of a text; line ends are kept."""
    return "\n".join(map(printable, text.split("\n")))


def json_line(document: Any) -> str:
    """JSON on one line with these characters as escapes, so that a parser restores them."""
    return _OBEYED.sub(_escape, json.dumps(document, ensure_ascii=False, allow_nan=False))


def _escape(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
