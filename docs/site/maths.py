"""Formulas as MathML."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_MATHS = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def with_mathml(page: str, source: str) -> str:
    """The page with each formula converted.

    Raises:
        PluginError: a formula is no LaTeX; names the page.
    """

    def formula(found: re.Match[str]) -> str:
        display = "block" if found[2] == "[" else "inline"
        try:
            return convert(html.unescape(found[3]).strip(), display=display)
        except Exception as error:  # the converter raises what it happens to meet
            raise PluginError(f"{source}: {found[3]!r} is no formula: {error!r}") from error

    return _MATHS.sub(formula, page)
