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
from collections.abc import Iterator
from dataclasses import dataclass
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


def find_secrets(text: str) -> list[Secret]:
    """The secrets of a text in order, none overlapping another."""
    found: list[Secret] = []
    stop = 0
    for start, end, kind in sorted(_spans(text), key=lambda span: (span[0], -span[1])):
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
        for match in pattern.finditer(text):
            yield *match.span(), kind
    for kind, pattern in _known_tokens():
        for match in pattern.finditer(text):
            # Some services made their tokens longer than the pattern knows.
            yield match.start(), _end(_REST.match(text, match.end())), kind
    for kind, pattern in _known_values():
        for match in pattern.finditer(text):
            start, stop = match.span(1)
            if stop - start >= _SHORTEST and not _EXAMPLE.search(text, start, stop):
                yield start, stop, kind
    for match in _named_values().finditer(text):
        value = match.lastgroup or ""
        if _is_random(match[value]):
            yield *match.span(value), "Secret Keyword"


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


@functools.cache
def _named_values() -> re.Pattern[str]:
    """A quoted value anywhere, or one that ends its line as in `.env` and YAML."""
    from detect_secrets.plugins.keyword import DENYLIST

    name = rf"(?i:{'|'.join((*DENYLIST, 'access_?key', 'token', 'credential'))})[\w.-]{{0,40}}"
    quoted = r"[\"'\]]{0,2}\s*(?::=|=>|==?|:)\s*([\"'`])(?P<quoted>[^\s\"'`]{8,})\1"
    plain = r"[ \t]*(?:=|:[ \t])[ \t]*(?P<plain>[^\s\"'`#()\[\],;]{8,})[ \t]*(?:#.*)?$"
    return re.compile(rf"(?m){name}(?:{quoted}|{plain})")


def _is_random(value: str) -> bool:
    """Whether a value named as a secret looks drawn by chance, not written as an example or a reference."""
    from detect_secrets.filters.heuristic import is_prefixed_with_dollar_sign, is_sequential_string, is_templated_secret

    if not (any(c.isdigit() for c in value) and any(c.isalpha() for c in value)) or _EXAMPLE.search(value):
        return False
    if is_templated_secret(value) or is_prefixed_with_dollar_sign(value) or is_sequential_string(value):
        return False
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares) >= _LEAST_ENTROPY
