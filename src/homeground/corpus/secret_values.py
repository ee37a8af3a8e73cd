"""Values that are secret because of their context: a name, a header, a command's option.

A name alone is weak evidence. After `api_key` or `token`, real code has types, attributes, calls, addresses, paths,
selectors and other names far more often than keys. So both name and value are tested. The name: `token_url`,
`tokenizer` and `password_field` hold no secret. The value: a random one changes between letters and digits every few
characters, a name is made of words. After a password's name, passwords chosen by people count as well; values that look
like a name do not, even there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NEEDLES = ("key", "pass", "pw", "secret", "token", "credential", "contrase")
_KEY_OWNERS = tuple(
    "api auth service account db database priv private client access secret encryption signing shared master app "
    "application admin subscription webhook hmac jwt session storage aws function license deploy write ingest".split()
)
"""Words before `key` that make it a secret."""
_ABOUT = frozenset(
    "url uri urls path paths file files filename dir folder name names field fields label hint type types kind hash "
    "hashed hashes hasher hashers digest fingerprint checksum header headers prefix suffix env var regex pattern "
    "placeholder selector class cls css style error errors message messages msg help title text prompt length len "
    "size count counts limit max min format algorithm alg endpoint ttl expiry expires expiration expired lifetime date "
    "time at version arn ref reference provider policy rule rules scheme index position column table desc description "
    "id ids salt generator validator validators validation manager store factory handler helper util utils input "
    "output form button toggle icon visibility strength reset response link page view model param params parameter "
    "encoding encoder charset mode source location bucket host port user username issuer audience scope scopes grant "
    "claims usage budget required enabled changed updated created test tests backend embedding embeddings vocab "
    "success failure config status re parser lexer stream list map set dict".split()
)
"""Words after the name that make it the name of something else: `token_url`, `passwordField`."""
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_IDENTIFIER = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

_NAME = re.compile(
    r"(?P<name>(?i:key|pass(?:wor[dt]|wd|phrase|code)?|pwd?|secret|token|credential|contrase(?:\u00f1|n)a)[sS]?)"
    r"(?!(?<=[a-z])[a-z]|(?<=[A-Z])[A-Z])(?P<after>[\w.-]{0,40})"
)
_QUOTED = re.compile(
    r"(?P<close>\\?[\"'\]]{0,2})(?:\s{0,60}+(?:"
    r"(?:\[\d{0,9}\]\s{0,60}+)?(?::=|=>|={1,3}|!==?|>)"  # ... = "x", char password[25] = "x", "..." => "x"
    r"|:\s{0,60}+(?:&?(?:'\w{1,20}\s)?[A-Za-z_][\w.<>?]{0,40}\s?=)?"  # ... : "x", token: &str = "x"
    r"|\(|(?P<comma>(?<=[\"'\]]),)"  # secret("x"), set("password", "x")
    r"|(?i:string|str)\s{0,9}+=|\bvalue\s{0,9}+[:=]"  # var token string = "x", <add key="..." value="x">
    r"|\)?\s{0,60}+(?:\|\||\?\?|\bor\b)"  # os.getenv("...") or "x", process.env.TOKEN || "x"
    r")\s{0,60}+|(?P<space>[ \t]{1,60}+)(?:is:?[ \t]{1,9}+)?)"
    r"(?:@|[bBrRuU]|(?:(?:\[\])?[A-Za-z_][\w.:]{0,40})?\()?(?P<quote>\\?[\"'`])(?P<value>[^\"'`\\\n]{6,2000})(?P=quote)"
)
_PLAIN = re.compile(
    r"[\"'\]]{0,2}(?:(?P<sign>[ \t]{0,60}+(?:={1,3}|:=?)[ \t]{0,60}+|>|\s{1,60}+value:[ \t]{0,9}+)|[ \t]{1,60}+)"
    r"(?P<value>[^\s\"'`()\[\]{}<>,;\\]{6,512})(?=[\s\"'`,;<\\]|(?P<inside>[)\]}])|$)"
)
_PARAMETER = re.compile(r"&[\w.-]+=")

_MADE_UP = r"(?:[\w-]{1,63}\.){0,9}(?:example(?:\.(?:com|net|org))?|test|invalid)(?![\w.-])"
_ARGUMENT = r"[\"']?(?P<password>(?<=\")[^\"\n]{6,200}|(?<=')[^'\n]{6,200}|[^\s\"']{6,200})"
_CONTEXTS = tuple(
    (kind, needles, re.compile(pattern))
    for kind, needles, pattern in (
        (
            "Authorization Header",
            ("earer ", "asic ", "EARER ", "oken "),
            r"\b(?:[Bb]earer|BEARER|[Bb]asic|[Tt]oken)[ \t]+(?P<random>[\w.~+/=-]{12,4096})",
        ),
        ("Azure Storage Signature", ("sig=",), r"(?:[?&]|&amp;)sig=(?P<random>[\w%+/=-]{20,200})"),
        *(
            (
                "Basic Auth Credentials",
                ("://",),
                rf"://(?!([^\s/:@]+):\1@)[^\s/:@\"'`<>?#]{{0,100}}:(?P<{kind}>[^\s/:@\"'`<>{{}}\[\]]{{6,200}})@{host}",
            )
            # Host names reserved for documentation (RFC 2606): only random values are secrets there.
            for kind, host in (("password", rf"(?!{_MADE_UP})"), ("random", rf"(?={_MADE_UP})"))
        ),
        (
            "Basic Auth Credentials",
            ("@tcp(", "@unix("),
            r"(?<![\w/])[\w.-]{1,60}:(?P<password>[^\s/:@\"'`]{4,200})@(?:tcp|unix)\(",
        ),
        (
            "Secret Keyword",
            ("DENTIFIED", "dentified"),
            r"(?i:\bidentified\s{1,9}by)\s{1,9}[\"'](?P<likely>[^\s\"']{6,200})[\"']",
        ),
        *(
            ("Command Line Password", (command.rpartition(" ")[2],), pattern + _ARGUMENT)
            for command, pattern in {
                "sshpass": r"\bsshpass\s{1,9}-p\s{0,9}",
                "curl": r"\bcurl\b[^\n]{0,200}?\s(?:-u\s{0,9}|--user[ =])[\"']?[^\s:\"'$]{1,100}:",
                "mysql": r"\bmysql\w{0,9}[ \t][^\n|;]{0,200}?(?<=\s)-p",
                "docker login": r"\b(?:docker|podman|helm)\b[^\n]{0,60} login\b[^\n]{0,200}?\s-p[ =]?",
                "redis-cli": r"\bredis-cli\b[^\n]{0,200}?\s-a[ =]?",
                "openssl": r"\bopenssl\b[^\n]{0,200}?\s(?:-k\s{1,9}|-pass(?:in|out)?\s{1,9}pass:)",
                "ldap": r"\bldap\w{3,12}\b[^\n]{0,200}?\s-w\s{1,9}",
                "netrc password": r"\blogin\s{1,9}\S{1,100}\s{1,9}password\s{1,9}",
            }.items()
        ),
    )
)
"""Kind, substrings of which a match needs one, and the pattern, whose group name selects the test of the value."""

_TEMPLATE = re.compile(
    r"\$[{(]|\{\{|%\(|#\{|\{\w*\}|<[^>]*>|^[$%:]\w+%?$|\*\*\*|&lt;|^0[xX][\da-fA-F]{1,40}$|\.\.\.|\\[wdsbWDS]|\(\?|\[\^"
)
PLACEHOLDERS = re.compile(r"(?i)example|(.)\1{7}")
_EXAMPLE = re.compile(r"(?i)example|sample|placeholder|change|your|dummy|redacted|xxx|insert|replace|todo|fake")
_COMMON = re.compile(r"(?i)secret|passw|token|1234|test|demo|foo|user|admin|default|qwerty|field|input|value")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_UUID = re.compile(r"(?i)[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}")
_HEX = re.compile(r"(?i)(?:0x)?[\da-f]{16,}")
_MARKS = re.compile(r"[!@%^&*~+#$?]")
_PROSE = re.compile(
    r"(?i)\b(?:the|an?|is|are|be|must|should|your?|at|for|of|to|in|with|and|or|not|no|this|that|enter|characters|chars|"
    r"invalid|wrong|required|please|new|confirm|forgot|password|passphrase|digits?|numbers?|minimum|here|by|from|if|on)\b"
)
_LONGEST_PIECE = 2.9  # characters between changes of letters, case and digits; random base 36 has 2.4, names 3.5 and up
_LONGEST_PIECE_OF_ONE = 2.5  # the same for a value with digits in one place only
_SHORTEST_RANDOM = 10


def named_secrets(text: str) -> Iterator[tuple[int, int, str]]:
    """Find start, stop and kind of each secret that its context reveals; they may overlap."""
    for kind, needles, pattern in _CONTEXTS:
        for match in pattern.finditer(text) if any(needle in text for needle in needles) else ():
            start, stop = match.span(match.lastgroup or 0)
            value = text[start:stop]
            secret = not _is_reference(value) if match.lastgroup == "password" else is_random(value)
            if secret or (match.lastgroup == "likely" and _is_password(value, quoted=True)):
                yield start, stop, kind
    # One letter has a lower case of two characters, which would shift the positions.
    lowered = text.replace("\u0130", "i").lower()
    stop = 0
    for at in sorted(_places(lowered)):
        if at >= stop and (name := _NAME.match(text, at)) and (found := _value(text, name)):
            yield *found, "Secret Keyword"
            stop = found[1]


def _places(lowered: str) -> Iterator[int]:
    for needle in _NEEDLES:
        at = lowered.find(needle)
        while at >= 0:
            yield at
            at = lowered.find(needle, at + 1)


def _value(text: str, name: re.Match[str]) -> tuple[int, int] | None:
    """Span of the secret value after a name."""
    quoted = _QUOTED.match(text, name.end())
    plain = None if quoted else _PLAIN.match(text, name.end())
    match = quoted or plain
    if match is None:
        return None
    window = text[max(0, name.start() - 40) : name.start()]
    before = window[len(window.rstrip(_IDENTIFIER)) :]
    if not _names_a_secret(before, name["name"], name["after"]):
        return None
    if name["name"].lower() == "pass" and not before and (plain or match["space"]):
        return None  # the verb
    if (
        quoted
        and quoted["comma"]
        and text[name.start() - len(before) - 2 : name.start() - len(before) - 1] != "("
        and not before.startswith("-")
    ):
        return None  # a list of names
    start, stop = match.span("value")
    if quoted is None and (cut := _PARAMETER.search(text, start, stop)):
        stop = cut.start()
    value = text[start:stop]
    password = name["name"][:4].lower() in ("pass", "pw", "pwd", "pwds", "cont")
    flag = before.startswith("-")
    if plain is not None:
        if plain["sign"] is None and not (flag and password):
            return (start, stop) if len(value) >= 12 and is_random(value) else None
        password = password and plain["inside"] is None
    secret = is_random(value) or (password and _is_password(value, quoted=quoted is not None or flag))
    return (start, stop) if secret else None


def _names_a_secret(before: str, name: str, after: str) -> bool:
    lead = before.rstrip("_-. ")
    lowered = name.lower()
    if "public" in lead.lower():
        return False
    constant = name.isupper() and before.endswith("_") and not after
    if lowered.startswith("key") and not constant and not lead.lower().endswith(_KEY_OWNERS):
        return False
    if lowered in ("pass", "pw") and before and before[-1].isalnum() and not (name[0] == "P" and before[-1].islower()):
        return False
    return _ABOUT.isdisjoint(word.lower() for word in _WORDS.findall(after))


def _is_reference(value: str) -> bool:
    """Test whether a value is a placeholder or a reference to a secret."""
    from detect_secrets.filters.heuristic import is_prefixed_with_dollar_sign, is_sequential_string, is_templated_secret

    return (
        is_templated_secret(value)
        or is_prefixed_with_dollar_sign(value)
        or is_sequential_string(value)
        or _TEMPLATE.search(value) is not None
        or _EXAMPLE.search(value) is not None
        or value.lower() in _PLAIN_WORDS
    )


_PLAIN_WORDS = frozenset(
    "password passwd pass passw0rd secret token pwd user username admin root guest none null".split()
)


def is_random(value: str) -> bool:
    """Test whether a value looks random rather than made of words."""
    if _is_reference(value) or "://" in value or " " in value.strip():
        return False
    if _UUID.fullmatch(value) or (_HEX.fullmatch(value) and not value.isdigit()):
        return len(set(value)) > 5
    pieces = _WORDS.findall(value)
    digits = sum(piece.isdigit() for piece in pieces)
    if digits == 0 or digits == len(pieces) or sum(map(len, pieces)) < _SHORTEST_RANDOM or len(set(value)) < 6:
        return False
    if digits == 1 and _COMMON.search(value) is not None:
        return False  # JWTTokenV2
    longest = max(map(len, re.findall(r"[A-Za-z0-9]+", value)))
    if longest < 8:
        return len(set(_MARKS.findall(value))) >= 4
    mean = sum(map(len, pieces)) / len(pieces)
    return mean <= (_LONGEST_PIECE if digits > 1 else _LONGEST_PIECE_OF_ONE) or (longest >= 16 and digits >= 3)


def _is_password(value: str, *, quoted: bool) -> bool:
    """Test whether a value after a password's name looks like a password chosen by a person."""
    if _is_reference(value) or "://" in value or _ADDRESS.fullmatch(value):
        return False
    if " " in value:
        words = value.split()
        return (
            quoted
            and len(words) >= 3
            and _PROSE.search(value) is None
            and (
                all((len(word) > 2 and word.isalpha() and word.islower()) or word.isdigit() for word in words)
                or (all(map(str.isalnum, words)) and any(map(str.isdigit, words)) and len(words) >= 4)
                or is_random("".join(words))
                or (_MARKS.search(value) is not None and any(map(str.isdigit, value)))
            )
        )
    digits = sum(letter.isdigit() for letter in value)
    if not digits or digits == len(value) or len(set(value)) < 5:
        return False
    if _MARKS.search(value) and not value.startswith(("#", ".")):
        cases = any(map(str.islower, value)) + any(map(str.isupper, value))
        return cases == 2 or (cases == 1 and _COMMON.search(value) is None and "#" not in value)
    return value.isalnum() and len(value) >= 7 and digits >= (2 if quoted else 3) and _COMMON.search(value) is None
