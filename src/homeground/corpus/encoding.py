"""Decode bytes: by the file's byte order mark, as UTF-8, by its declaration, or by detection.

Valid UTF-8 is read as UTF-8 whatever a file declares: stale declarations are common, accidental UTF-8 is not. No
character is replaced: a file that no encoding decodes completely is skipped. UTF-7 is never read.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator

from homeground.corpus.skip import LeftOutError, Skip

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_LEAST_ASCII = 0.02  # of the characters of UTF-16 without a mark: line ends, blanks, digits
_DECLARED_WITHIN = 1024
_DECLARATIONS = (
    re.compile(rb"\A(?:[^\n]*\n)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)"),  # PEP 263; Ruby and Emacs write the same
    re.compile(rb"\A\s*<\?xml[^>]*\bencoding\s*=\s*[\"']([-\w.]+)"),
    re.compile(rb"(?i)<meta\b[^>]*\bcharset\s*=\s*[\"']?\s*([-\w.]+)"),
    re.compile(rb"\A@charset \"([-\w.]+)\";"),
    re.compile(rb"\A(?:[^\n]*\n)?[^\n]*-\*-[^\n]*\bcoding\s*:\s*([-\w.]+)"),
)
_MODELINE = re.compile(
    rb"(?m)^.*(?:\bvim?|\bex):.*\b(?:fileencoding|fenc)=([-\w.]+)"
    rb"|^.*\bLocal Variables:(?:.*\n)+?.*\bcoding:\s*([-\w.]+)"
)
_TEXT_CODECS = ("iso8859", "cp", "koi8", "mac", "shift_jis", "euc", "gb", "big5", "iso2022", "hz", "tis", "johab")
_WIDER = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "shift_jis": "cp932", "euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs",
}  # fmt: skip
"""The wider codec to read an encoding's name as, as browsers do."""
_ESCAPED = re.compile(rb"\x1b\$[@AB]|\x1b\(J")  # of ISO-2022-JP, whose bytes are ASCII
_BROKEN_IS_CP1252 = "homeground.cp1252"

_WORD = re.compile(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]*")
_LATIN = ("cp1252", "cp1254", "cp1250", "iso8859_2")
_CENTRAL = re.compile(
    r"(?<=[a-z\xdf-\xff])[¹³¼¾¶ºª¯¿](?=[a-z\xdf-\xff])|[šžŠŽ¹³](?=[a-z\xdf-\xff])|(?<=[a-z\xdf-\xff])[šž]"
)
"""Patterns that do not occur in Western European words: Central European letters decoded as cp1252."""
_MUCH_ODDER = 0.2
"""Margin of charset-normalizer's chaos score by which a Western European reading is preferred over another."""
_TURKISH, _ICELANDIC = frozenset("ðýþÐÝÞ"), frozenset("áéíóúæÁÉÍÓÚÆ")
_COMMON_LEADS = {
    "gb18030": (0xB0, 0xD7), "cp932": (0x88, 0x98), "cp949": (0xB0, 0xC8), "big5": (0xA4, 0xC6), "euc_jp": (0xB0, 0xCF),
}  # fmt: skip
"""Range of the first bytes of frequent characters: kanji and hanzi of level 1, Hangul syllables."""
_OTHER = (*_COMMON_LEADS, "cp1251", "koi8_r", "cp866", "iso8859_5", "cp1253", "cp1255", "cp1256", "cp874")
_STRICT = ("cp1252", *_COMMON_LEADS)
"""Encodings that reject noise, because some bytes or pairs of bytes are undefined in them."""
_SAMPLE = 8192
_MOST_CHAOS = 0.3


def nfc(text: str) -> str:
    """Unicode's composed form of the text, in which names and queries are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def unreadable(data: bytes) -> Skip | None:
    """Reason why the bytes are not text: BINARY or UNDECODABLE; None if `decode` reads them."""
    if _certain(data) is not None:
        return None
    if b"\0" in data:
        return Skip.BINARY
    known = _mark(data) is None and (next(_whole(data, _STRICT), None) or _detected(data))
    return None if known else Skip.UNDECODABLE


def decode(data: bytes) -> str:
    """Decode a text, without its byte order mark.

    Raises:
        LeftOutError: the bytes are not text in any supported encoding.
    """
    if (text := _certain(data)) is not None:
        return text
    if (reason := unreadable(data)) is not None:
        raise LeftOutError(reason)
    return data.decode(_detected(data) or next(_whole(data, _STRICT)))


def _certain(data: bytes) -> str | None:
    """Decode the text if its encoding is certain; None otherwise."""
    if (mark := _mark(data)) is not None:
        found = _strict(data[len(mark[0]) :], mark[1])
        if found is None and mark[1] == "utf-8":
            return _strict(data[len(mark[0]) :], "utf-8", _BROKEN_IS_CP1252)
        return found if found is not None and "\0" not in found else None
    if b"\0" in data:
        return _wide(data)
    if _ESCAPED.search(data) and (found := _strict(data, "iso2022_jp_2")) is not None:
        return found
    if (found := _strict(data, "utf-8")) is not None:
        return found
    return _declared(data) or _mended(data)


def _mark(data: bytes) -> tuple[bytes, str] | None:
    return next((mark for mark in _MARKS if data.startswith(mark[0])), None)


def _strict(data: bytes, name: str, errors: str = "strict") -> str | None:
    try:
        return data.decode(name, errors)
    except UnicodeError:
        return None


def _wide(data: bytes) -> str | None:
    """Decode UTF-16 or UTF-32 without a mark: it must be complete and printable and contain some ASCII."""
    best, most = None, 0
    for name in _WIDE:
        text = _strict(data, name)
        if text is None:
            continue
        ascii_count = sum(letter < "\x80" for letter in text)
        if ascii_count > max(most, _LEAST_ASCII * len(text)) and all(
            letter.isprintable() or letter in "\t\n\r\f" or unicodedata.category(letter) in ("Zs", "Cf")
            for letter in text
        ):
            best, most = text, ascii_count
    return best


def _declared(data: bytes) -> str | None:
    head, tail = data[:_DECLARED_WITHIN], data[-3 * _DECLARED_WITHIN :]
    found = [one.search(head) for one in _DECLARATIONS]
    found += [_MODELINE.search(head), _MODELINE.search(tail)]
    for match in filter(None, found):
        written = next(group for group in match.groups() if group is not None)
        try:
            name = codecs.lookup(re.sub(r"-(?:unix|dos|mac)\Z", "", written.decode("ascii", "replace").lower())).name
        except LookupError:
            continue
        if name.startswith(_TEXT_CODECS):
            for codec in (_WIDER.get(name, name), name):
                if (text := _strict(data, codec)) is not None:
                    return text
    return None


def _mended(data: bytes) -> str | None:
    """Decode UTF-8 with stray cp1252 letters, as in files of several authors: most characters must be valid UTF-8."""
    whole = data.decode("utf-8", "ignore")
    letters, strays = sum(letter > "\x7f" for letter in whole), len(data) - len(whole.encode())
    return _strict(data, "utf-8", _BROKEN_IS_CP1252) if letters > strays else None


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252"), error.end


codecs.register_error(_BROKEN_IS_CP1252, _as_cp1252)


def _whole(data: bytes, names: tuple[str, ...]) -> Iterator[str]:
    """Select the encodings that decode all of the bytes."""
    return (name for name in names if _strict(data, name) is not None)


def _detected(data: bytes) -> str | None:
    """Detect the likeliest encoding of undeclared bytes; Western European Latin is preferred in close cases.

    charset-normalizer scores how unusual the letters of each reading are (chaos) and how close they are to a language
    (coherence). Only encodings that decode the whole file and match its script are scored: words of ASCII letters with
    a few others are Latin, words without ASCII letters are not. East Asian readings are also scored by the frequency
    of their characters.
    """
    from charset_normalizer import from_bytes

    sample = b"\n".join(line for line in data.split(b"\n") if not line.isascii())[:_SAMPLE]
    latin = not _is_foreign(sample)
    among = list(_whole(data, _LATIN if latin else _OTHER))
    if latin and "cp1254" in among:
        letters = frozenset(sample.decode("cp1252", "ignore"))
        if not letters & _TURKISH or letters & _ICELANDIC:
            among.remove("cp1254")
        elif "cp1252" in among:
            among.remove("cp1252")
    if latin and "cp1252" in among and len(among) > 1 and _CENTRAL.search(sample.decode("cp1252")):
        among.remove("cp1252")
    if not among:
        return None
    odder = _MUCH_ODDER if among[0] in ("cp1252", "cp1254") else 0.0
    matches = from_bytes(sample, cp_isolation=among, preemptive_behaviour=False, threshold=_MOST_CHAOS)
    found = [
        (
            round(match.chaos + odder * (name != among[0]) + _rare(str(match), name), 1),
            0.0 if latin else -match.coherence,
            among.index(name),
            name,
        )
        for match in matches
        for name in match.could_be_from_charset
        if name in among
    ]
    return min(found)[-1] if found else None


def _is_foreign(sample: bytes) -> bool:
    """Test whether most letters beyond ASCII are in words with no or almost no ASCII letters."""
    votes = 0
    for word in _WORD.findall(sample):
        high = sum(byte >= 0x80 for byte in word)
        votes += high if high == len(word) > 1 or (high > 2 and 2 * high > len(word)) else -high
    return votes > 0


def _rare(text: str, name: str) -> float:
    """Share of the characters beyond ASCII that are rare in texts of an East Asian encoding; 0 for other encodings."""
    if name not in _COMMON_LEADS:
        return 0.0
    first, last = _COMMON_LEADS[name]
    letters = [letter for letter in text if not letter.isascii()]
    rare = 0
    for letter in letters:
        if "\u3040" <= letter <= "\u30ff":  # kana
            rare += name in ("gb18030", "cp949", "big5")
        elif not ("\u3000" <= letter <= "\u303f" or "\uff01" <= letter <= "\uff5e"):
            written = letter.encode(name, "ignore")
            rare += not (len(written) == 2 and first <= written[0] <= last)
    return rare / max(len(letters), 1)
