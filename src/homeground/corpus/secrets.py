"""Secrets in text: keys and tokens of known services, private keys, and values that their context reveals.

The patterns are those of `detect-secrets`, applied to a whole text: its own scan runs every plugin on every line, and
some of its plugins yield a token's prefix in place of the token. Three kinds of plugins are not used: those that test
only randomness (they report hashes and base64 in tests as secrets), the one for public addresses, and the one for
names, which reports every quoted text after `password`; `secret_values` replaces it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from homeground.corpus.secret_values import PLACEHOLDERS, named_secrets

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
_INSIDE = re.compile(r"[^\\]?[A-Za-z0-9]\Z")
"""Ends what stands before a match inside something longer, such as base64. In "\\nAKIA" the n is a line break."""


def _spans(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _PRIVATE_KEY.finditer(text):
        yield *match.span(), "Private Key"
    for kind, pattern in [*_TOKENS.items(), *_known_tokens()]:
        for match in pattern.finditer(text) if _may_hold(text, kind) else ():
            start = match.start()
            inside = text[start].isalpha() and _INSIDE.match(text, max(0, start - 2), start)
            if not inside and not PLACEHOLDERS.search(match[0]):
                # Some services made their tokens longer than the pattern knows.
                yield start, _end(_REST.match(text, match.end())), kind
    yield from named_secrets(text)


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
        DiscordBotTokenDetector, GitHubTokenDetector, GitLabTokenDetector, MailchimpDetector,
        OpenAIDetector, PypiTokenDetector, SendGridDetector, SlackDetector, SquareOAuthDetector, StripeDetector,
        TelegramBotTokenDetector, TwilioKeyDetector,
    ]  # fmt: skip
    # The second AWS pattern tests the name before the value, as `secret_values` does.
    return [*_shapes(AWSKeyDetector)[:1], *(shape for plugin in plugins for shape in _shapes(plugin))]


def _shapes(plugin: Any) -> list[tuple[str, re.Pattern[str]]]:
    return [(plugin.secret_type, pattern) for pattern in plugin.denylist]


def _may_hold(text: str, kind: str) -> bool:
    needles = _NEEDLES.get(kind)
    return needles is None or any(needle in text for needle in needles)
