r"""Rules that decide when two answers are equal; docs/agents.md lists them in a table.

An answer is read as a whole, never searched for a match: ``12 or 13`` is not ``12``. Both sides are first normalised
(Unicode NFC, one minus sign, plain spaces and quotes, LaTeX unwrapped). Two quantities are equal when their values and
units are equal; anything else is compared as text. math-verify is not used here: it reads ``5!``, ``5 km`` and ``50%``
as ``5`` and ``50``, and does not terminate on a tower of powers.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

MOST_OF_A_NUMBER = 100
"""Longest text that is read as a number, in characters; this bounds parsing time."""

_CURRENCIES = "$€£¥₹₩₽₿₺₪₫₴₦฿"
_CHARACTERS = str.maketrans({
    **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
    **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad", None),
    **dict.fromkeys("\u2009\u202f\u00a0", " "),
    "\u2044": "/", "\u3002": ".", "\u00b5": "\u03bc", "\u066b": ".", "\u066c": ",",
})  # fmt: skip
_LATEX = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=\d)\s*\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}", r" \1/\2"),
        (r"(?<![\w^}])\\[dt]?frac\s*\{(-?[\d.]+)\}\s*\{([\d.]+)\}", r"\1/\2"),
        (r"\\(?:text|mathrm|textbf|mathbf|operatorname)\s*\{([^{}]*)\}", r"\1"),
        (r"\\([$%#&_{}])", r"\1"),
        (r"\\left(?![a-z])|\\right(?![a-z])|\\!", ""),
        (r"\{,\}", ","),
        (r"\\[,;: ]", " "),
        (r"\^\s*(?:\{\\circ\}|\\circ)", "°"),
        (r"\\times(?![a-z])", "×"),
        (r"\\cdot(?![a-z])", "·"),
        (r"\\pi(?![a-z])", "π"),
        (r"\\neq?(?![a-z])", "≠"),
        (r"\\leq?(?![a-z])", "≤"),
        (r"\\geq?(?![a-z])", "≥"),
        (r"\\lt(?![a-z])", "<"),
        (r"\\gt(?![a-z])", ">"),
        (r"\\approx(?![a-z])", "≈"),
        (r"\\pm(?![a-z])", "±"),
        (r"\\sqrt\s*(?=\d)", "√"),
    )
]
_WRAPPERS = (("\\boxed{", "}"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"),
             ("**", "**"), ("`", "`"), ('"', '"'), ("'", "'"))  # fmt: skip
_MOST_WRAPPERS = 8
_INTEGER = r"(?:0|[1-9]\d*)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d*)?|\.\d+)"
_QUANTITY = re.compile(
    rf"""
    (?P<sign>[-+]?) (?:(?P<before>[{_CURRENCIES}])\ ? (?P<inner>[-+]?))?
    (?:
        (?P<grouped>[1-9]\d{{0,2}}(?:(?P<by>[,\ '_])\d{{3}})(?:(?P=by)\d{{3}})*(?:\.\d+)?)
      | (?P<lakh>[1-9]\d?(?:,\d{{2}})+,\d{{3}}(?:\.\d+)?)
      | (?P<european>[1-9]\d{{0,2}}(?:[.\ ']\d{{3}})+,\d+)
      | (?:(?P<whole>{_INTEGER})(?:\ +|\u2064))?(?P<over>{_DECIMAL})\ ?/\ ?(?P<under>{_DECIMAL})
      | (?P<comma>{_INTEGER},\d+)
      | (?P<plain>{_DECIMAL})(?:(?:[eE]|\ ?[×x*·]\ ?10(?:\^|\*\*))\{{?(?P<power>[-+]?\d{{1,3}})\}}?)?
    )
    (?:\ ?(?P<after>[{_CURRENCIES}]))?
    (?:\ ?(?P<unit>[%‰°]|(?:°\ ?)?[^\W\d_]+[²³]?(?:[\ /·][^\W\d_]+[²³]?)*))?
    """,
    re.VERBOSE,
)
_ARTICLE = re.compile(r"(?:the|an?) (?=[^\W\d_]{2})")
_OPTION = re.compile(r"\(?([^\W\d_])\)")
_STOPS = ".,;:!?"
_FRACTION = re.compile(r"((?<=\d))?([\u00bc-\u00be\u2150-\u215e\u2189])")
_OPENING, _CLOSING = "([{\"'`*¿¡", ")]}\"'`*" + _STOPS
_SIGNS = {"minus": "-", "negative": "-"}
_SIGN_APART = re.compile(
    rf"(?<!\S)(minus|negative|<>|=/=|[!=]==?|[-<>≤≥≈~±∓√¬≠≢≉≪≫≮≯≲≳⩽⩾∼]=?)\s+(?=[{_CURRENCIES}]?[\d.])", re.IGNORECASE
)
_GROUPED_BY_SPACES = re.compile(r"(?<![\w.,-])[1-9]\d{0,2}(?: \d{3})+(?![\w])")
# Spaces inside an amount of money, a percentage, a multiple or a term. None of these equals the bare number in it.
_BELONGS = re.compile(
    rf"(?<=\d)\ (?=[{_CURRENCIES}](?![\w.]))|(?<=[{_CURRENCIES}])\ (?=[\d.])"
    r"|(?<=\d)\ (?=(?:[%‰]|per\ ?cent\b|(?:hundred|thousand|million|billion|trillion)\b|[-+*/^×·÷x]+\ ?\d))"
    r"|(?<=\d[-+*/^×·÷x])\ (?=\d)|(?<=\d\ [-+*/^×·÷x])\ (?=\d)|(?<=\*\*)\ (?=\d)",
    re.IGNORECASE,
)
_INVISIBLE_PLUS = "\u2064"
_MIXED = re.compile(r"(?<![\w.,/-])(-?\d+) (?=\d+/\d+(?!\w))")
_LABEL = re.compile(r"[^\W\d]\w*(?:=|:)(?=[^=])")


@dataclass(frozen=True)
class Quantity:
    """A number with its currency and unit; either may be empty."""

    value: Fraction
    currency: str
    unit: str


def same_answer(said: str, wanted: str, tolerance: float = 0.0) -> bool:
    """Test whether two answers are equal; symmetric, and false if one is empty.

    Args:
        said, wanted: the given and the expected answer.
        tolerance: relative tolerance of numbers, as a share of the expected one.
    """
    return _same(_unified(said), _unified(wanted), tolerance)


def mentioned(said: str, wanted: str, tolerance: float = 0.0) -> bool:
    """Test whether some run of consecutive words in a text equals the answer."""
    one = _joined(_unified(wanted))
    words = _joined(re.sub("[—…]", " ", _unified(said))).split(" ")
    count = len(one.split(" "))
    return any(
        _same(form, one, tolerance)
        for size in {max(1, count - 1), count, count + 1}
        for start in range(len(words) - size + 1)
        for form in _bare(" ".join(words[start : start + size]))
    )


def quantity(text: str) -> Quantity | None:
    """Parse a text as a number with its sign, currency and unit; None if it contains anything else."""
    found = _QUANTITY.fullmatch(text) if len(text) <= MOST_OF_A_NUMBER else None
    if found is None or (found["sign"] and found["inner"]) or (found["before"] and found["after"]):
        return None
    if found["under"] is not None:
        under = Fraction(found["under"])
        if not under:
            return None
        value = Fraction(found["whole"] or 0) + Fraction(found["over"]) / under
    elif found["comma"] or found["european"]:
        value = Fraction(re.sub(r"[. ']", "", found["comma"] or found["european"]).replace(",", "."))
    else:
        value = Fraction(re.sub(r"[, '_]", "", found["grouped"] or found["lakh"] or found["plain"]))
        value *= Fraction(10) ** int(found["power"] or 0)
    negative = "-" in (found["sign"], found["inner"])
    return Quantity(-value if negative else value, found["before"] or found["after"] or "", _unit(found["unit"] or ""))


def _unit(text: str) -> str:
    # Case distinguishes mW from MW, but not Apples from apples.
    name = " ".join(text.split())
    name = {"percent": "%", "per cent": "%"}.get(name.casefold(), name)
    return name if len(name) <= 3 else name.casefold()


def _same(a: str, b: str, tolerance: float) -> bool:
    first, second = quantity(a), quantity(b)
    if first is not None and second is not None:
        currencies = {first.currency, second.currency} - {""}
        close = abs(first.value - second.value) <= Fraction(tolerance) * abs(second.value)
        return close and first.unit == second.unit and len(currencies) < 2
    plain = _plain(a)
    return first is second and bool(plain) and plain == _plain(b)


def _unified(text: str) -> str:
    """Normalised form of an answer."""
    text = unicodedata.normalize("NFC", text).translate(_CHARACTERS)
    if not text.isascii():
        text = _FRACTION.sub(_fraction, text)
        text = "".join(map(_character, text)).replace("\u2044", "/")
    if "\\" in text or "{,}" in text:
        # The second pass unwraps a formula inside a formula; answers are not nested deeper.
        for pattern, replacement in [*_LATEX, *_LATEX]:
            text = pattern.sub(replacement, text)
    return _unwrapped(" ".join(text.split()))


def _fraction(found: re.Match[str]) -> str:
    return (" " if found[1] is not None else "") + unicodedata.normalize("NFKC", found[2])


def _character(character: str) -> str:
    if "\uff01" <= character <= "\uff5e":
        return unicodedata.normalize("NFKC", character)
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


def _unwrapped(text: str) -> str:
    """Strip the final full stop and the pairs of marks that enclose the whole text."""
    for _ in range(_MOST_WRAPPERS):
        stopped = text.rstrip(". ")
        inner = next((inner for pair in _WRAPPERS if (inner := _inside(text, *pair))), stopped)
        if inner in ("", text):
            break
        text = inner
    return text


def _inside(text: str, opening: str, closing: str) -> str:
    inner = text[len(opening) : len(text) - len(closing)]
    if len(text) <= len(opening) + len(closing) or not (text.startswith(opening) and text.endswith(closing)):
        return ""
    whole = _balanced(inner) if closing == "}" else opening not in inner and closing not in inner
    return inner.strip() if whole else ""


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def _joined(text: str) -> str:
    """The same text without spaces inside its numbers, amounts and terms."""
    text = _SIGN_APART.sub(lambda sign: _SIGNS.get(sign[1].casefold(), sign[1]), text)
    text = _BELONGS.sub("", text)
    text = _GROUPED_BY_SPACES.sub(lambda group: group[0].replace(" ", ""), text)
    return _MIXED.sub(rf"\1{_INVISIBLE_PLUS}", text)


def _bare(words: str) -> set[str]:
    """Words of a sentence, and the same without the punctuation and the label (``x=``) that may stand around them."""
    stripped = words.lstrip(_OPENING).rstrip(_CLOSING).removesuffix("'s")
    forms = {words, words.rstrip(_STOPS), stripped, _LABEL.sub("", stripped, count=1)}
    return {_unwrapped(form) for form in forms}


def _plain(text: str) -> str:
    """Text in the form used for comparison: no case, article, or brackets around an option letter."""
    text = unicodedata.normalize("NFC", text.casefold())
    if option := _OPTION.fullmatch(text):
        return option[1]
    return _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
