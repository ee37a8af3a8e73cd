"""Secrets in text: keys and tokens of known services, private keys, and values that a name says are secret.

The shapes are those of `detect-secrets`, read as patterns over a whole text: its own scan runs every plugin on every
line, and some of its plugins yield a token's prefix in place of the token. Left out are the plugins that judge by
randomness alone (they take hashes and base64 in tests for secrets) and the one for public addresses. A value behind a
name such as `api_key` counts when it is random enough to be no example.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

PLACEHOLDER = "<secret>"


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret stands in a text; never what it says.

    Attributes:
        kind: such as "AWS Access Key".
        line: from 1.
        start, stop: characters.
    """

    kind: str
    line: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """Where a secret was replaced: path as hits have it, line, and kind. Never what it was."""

    path: str
    line: int
    kind: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in what `homeground index --json` prints."""
        return asdict(self)


def find_secrets(text: str) -> list[Secret]:
    """The secrets of a text in order, none overlapping another."""
    return _merged(_spans(text), text)


def _merged(spans: Iterable[tuple[int, int, str]], text: str) -> list[Secret]:
    found: list[Secret] = []
    stop = 0
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end > stop:
            first = max(start, stop)
            found.append(Secret(kind, text.count("\n", 0, first) + 1, first, end))
            stop = end
    return found


def redact(text: str) -> tuple[str, list[Secret]]:
    """The text with a placeholder for each secret, and where secrets were in the text as it came."""
    found = find_secrets(text)
    for secret in reversed(found):
        text = text[: secret.start] + PLACEHOLDER + text[secret.stop :]
    return text, found


def redact_lines(lines: list[str], path: str = "") -> tuple[list[str], list[Secret]]:
    """The lines with a placeholder for each secret, as many as before, and where secrets were.

    A secret of several lines leaves empty ones below its placeholder, so that line numbers stay what they were. In a
    file such as `.env` every value is taken for a secret, unless its name says that it is an example.
    """
    text = "\n".join(lines)
    found = _merged([*_spans(text), *(_environment(text) if _ENVIRONMENT_FILE.search(path) else ())], text)
    if not found:
        return lines, []
    for secret in reversed(found):
        breaks = text.count("\n", secret.start, secret.stop)
        text = text[: secret.start] + PLACEHOLDER + "\n" * breaks + text[secret.stop :]
    return text.split("\n"), found


_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:(?:(?!-----).){40,20000}?-----END (?P=kind)-----|[A-Za-z0-9+/=\s\\\"',]{40,})"
    r"|PuTTY-User-Key-File-\d.{40,20000}?Private-MAC: *\w+",
    re.DOTALL,
)
# Not in the list of detect-secrets, or not as a whole, or in a pattern whose time grows with the square of a line.
_TOKENS = {
    "NPM tokens": re.compile(r"npm_[A-Za-z0-9]{36,}|(?<=:_authToken=)[\w-]{20,}"),
    "GitHub Token": re.compile(r"github_pat_\w{22,}"),
    "Hugging Face Token": re.compile(r"hf_[A-Za-z0-9]{30,}"),
    "Anthropic Token": re.compile(r"sk-ant-[\w-]{32,}"),
    "Google API Key": re.compile(r"AIza[\w-]{35}"),
    "JSON Web Token": re.compile(r"\beyJ[\w=-]{8,}\.eyJ[\w=-]{8,}(?:\.[\w=-]*)?"),
}
_ENVIRONMENT_FILE = re.compile(r"(?:^|/)(?:\.envrc|[^/]*\.env|\.env\.(?!example|sample|template|dist|defaults?)[^/]*)$")
_ENVIRONMENT_VALUE = re.compile(
    r"(?m)^[ \t]*(?:export[ \t]+)?[A-Za-z_][\w.-]*[ \t]*=[ \t]*"
    r"(?:\"(?P<double>(?:[^\"\\]|\\.)+)\"|'(?P<single>[^']+)'|(?P<plain>[^\s#\"'][^\n]*?))[ \t]*(?:#[^\n]*)?$"
)
_NEEDLES = {
    "NPM tokens": ("npm_", ":_authToken="),
    "JSON Web Token": (".eyJ",),
    "Mailchimp Access Key": ("-us",),
}
"""What a text must hold for these patterns, which begin with any letter and are slow for it, to match at all."""
_REST = re.compile(r"[\w-]*")
_LEAST_ENTROPY = 3.0  # bits a character; the limit of detect-secrets for hexadecimal strings
_SHORTEST = 6
_EXAMPLE = re.compile(
    r"(?i)example|sample|placeholder|change|your|dummy|redacted|secret|passw|token|xxx|\*\*|\.\.\.|1234"
)


def _spans(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _PRIVATE_KEY.finditer(text):
        yield *match.span(), "Private Key"
    for kind, pattern in _TOKENS.items():
        for match in pattern.finditer(text) if _may_hold(text, kind) else ():
            yield *match.span(), kind
    for kind, pattern in _known_tokens():
        for match in pattern.finditer(text) if _may_hold(text, kind) else ():
            # Some services made their tokens longer than the pattern knows.
            yield match.start(), _end(_REST.match(text, match.end())), kind
    for kind, pattern in _known_values():
        for match in pattern.finditer(text):
            start, stop = match.span(1)
            if stop - start >= _SHORTEST and not _EXAMPLE.search(text, start, stop):
                yield start, stop, kind
    for match in _named(text):
        value = match.lastgroup or ""
        if _is_random(match[value]):
            yield *match.span(value), "Secret Keyword"


def _environment(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _ENVIRONMENT_VALUE.finditer(text):
        yield *match.span(match.lastgroup or 0), "Environment Value"


def _end(match: re.Match[str] | None) -> int:
    assert match is not None  # the pattern matches nothing, too
    return match.end()


@functools.cache
def _known_tokens() -> list[tuple[str, re.Pattern[str]]]:
    """Patterns that match a token by its own form."""
    from detect_secrets.plugins.aws import AWSKeyDetector
    from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
    from detect_secrets.plugins.discord import DiscordBotTokenDetector
    from detect_secrets.plugins.github_token import GitHubTokenDetector
    from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
    from detect_secrets.plugins.mailchimp import MailchimpDetector
    from detect_secrets.plugins.openai import OpenAIDetector
    from detect_secrets.plugins.pypi_token import PypiTokenDetector
    from detect_secrets.plugins.sendgrid import SendGridDetector
    from detect_secrets.plugins.slack import SlackDetector
    from detect_secrets.plugins.square_oauth import SquareOAuthDetector
    from detect_secrets.plugins.stripe import StripeDetector
    from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
    from detect_secrets.plugins.twilio import TwilioKeyDetector

    plugins = [
        AzureStorageKeyDetector, DiscordBotTokenDetector, GitHubTokenDetector, GitLabTokenDetector, MailchimpDetector,
        OpenAIDetector, PypiTokenDetector, SendGridDetector, SlackDetector, SquareOAuthDetector, StripeDetector,
        TelegramBotTokenDetector, TwilioKeyDetector,
    ]  # fmt: skip
    # The second pattern of AWS reads the name before the value.
    return [*_shapes(AWSKeyDetector)[:1], *(shape for plugin in plugins for shape in _shapes(plugin))]


@functools.cache
def _known_values() -> list[tuple[str, re.Pattern[str]]]:
    """Patterns whose group is the secret, the rest the context that gives it away."""
    from detect_secrets.plugins.aws import AWSKeyDetector
    from detect_secrets.plugins.basic_auth import BasicAuthDetector

    return [*_shapes(AWSKeyDetector)[1:], *_shapes(BasicAuthDetector)]


def _shapes(plugin: Any) -> list[tuple[str, re.Pattern[str]]]:
    return [(plugin.secret_type, pattern) for pattern in plugin.denylist]


def _may_hold(text: str, kind: str) -> bool:
    needles = _NEEDLES.get(kind)
    return needles is None or any(needle in text for needle in needles)


def _names() -> list[str]:
    """Expressions for names that give a secret away, all in lower case."""
    from detect_secrets.plugins.keyword import DENYLIST

    return [*DENYLIST, "access_?key", "token", "credential"]


@functools.cache
def _plain_names() -> tuple[str, ...]:
    """The names, written out. One that begins with another is found with it."""
    written = {name.replace("_?", mark) for name in _names() for mark in ("", "_")}
    return tuple(name for name in written if not any(name != other and name.startswith(other) for other in written))


@functools.cache
def _named_values() -> re.Pattern[str]:
    """A quoted value anywhere, or one that ends its line as in `.env` and YAML."""
    name = rf"(?i:{'|'.join(_names())})[\w.-]{{0,40}}"
    quoted = r"[\"'\]]{0,2}\s*(?::=|=>|==?|:)\s*([\"'`])(?P<quoted>[^\s\"'`]{8,})\1"
    plain = r"[ \t]*(?:=|:[ \t])[ \t]*(?P<plain>[^\s\"'`#()\[\],;]{8,})[ \t]*(?:#.*)?$"
    return re.compile(rf"(?m){name}(?:{quoted}|{plain})")


def _named(text: str) -> Iterator[re.Match[str]]:
    """What `_named_values().finditer(text)` gives, many times faster: names are looked for as plain words first."""
    lowered = text if text.islower() else text.lower()
    if not text.isascii():
        lowered = lowered.replace("\u017f", "s").replace("\u0131", "i")  # what (?i) takes for these letters
        if len(lowered) != len(text):  # a letter that has two in lower case
            yield from _named_values().finditer(text)
            return
    starts: list[int] = []
    for name in _plain_names():
        at = lowered.find(name)
        while at >= 0:
            starts.append(at)
            at = lowered.find(name, at + 1)
    stop = 0
    for start in sorted(starts):
        if start >= stop and (match := _named_values().match(text, start)):
            stop = match.end()
            yield match


def _is_random(value: str) -> bool:
    """Whether a value named as a secret looks drawn by chance, not written as an example or a reference."""
    from detect_secrets.filters.heuristic import is_prefixed_with_dollar_sign, is_sequential_string, is_templated_secret

    if not (any(c.isdigit() for c in value) and any(c.isalpha() for c in value)) or _EXAMPLE.search(value):
        return False
    if is_templated_secret(value) or is_prefixed_with_dollar_sign(value) or is_sequential_string(value):
        return False
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares) >= _LEAST_ENTROPY
