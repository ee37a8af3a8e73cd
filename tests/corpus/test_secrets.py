import itertools
import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.corpus import STDLIB_EXCLUDES, CorpusConfig, Walk, secrets, stdlib_root
from homeground.corpus.secrets import PLACEHOLDER, find_secrets, redact, redact_lines

rng = random.Random(0)


def drawn(count, letters=string.ascii_letters + string.digits):
    return "".join(rng.choice(letters) for _ in range(count))


# Put together here, so that no scanner of this repository takes them for real ones.
TOKENS = {
    "AWS Access Key": "AK" + "IA" + drawn(16, string.ascii_uppercase + string.digits),
    "GitHub Token": "gh" + "p_" + drawn(36),
    "GitLab Token": "glpat" + "-" + drawn(20),
    "Slack Token": "xo" + "xb-" + "2913-48120-" + drawn(24, string.ascii_lowercase),
    "OpenAI Token": "s" + "k-" + drawn(20) + "T3Blbk" + "FJ" + drawn(20),
    "Anthropic Token": "sk-" + "ant-api03-" + drawn(80),
    "Hugging Face Token": "h" + "f_" + drawn(34),
    "Stripe Access Key": "sk_" + "live_" + drawn(24),
    "JSON Web Token": "ey" + "J" + drawn(30) + ".ey" + "J" + drawn(60) + "." + drawn(43),
}
BODY = [drawn(64) for _ in range(12)]
KEY = "\n".join(["-----BEGIN RSA PRIVATE" + " KEY-----", *BODY, "-----END RSA PRIVATE KEY-----"])


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_of_a_known_service_is_replaced_whole(kind):
    text, found = redact(f"first line\nclient = connect('{TOKENS[kind]}', 3)\n")
    assert text == f"first line\nclient = connect('{PLACEHOLDER}', 3)\n"
    assert [(secret.kind, secret.line) for secret in found] == [(kind, 2)]


@pytest.mark.parametrize(("before", "after"), [
    (KEY, PLACEHOLDER),
    (f"a\n{KEY}\nb", f"a\n{PLACEHOLDER}\nb"),
    (KEY.rpartition("\n")[0], PLACEHOLDER),
    (KEY.replace("\n", "\\n"), PLACEHOLDER),
    (f'API_KEY={(value := drawn(24))}\nDEBUG=1\n', f"API_KEY={PLACEHOLDER}\nDEBUG=1\n"),
    (f"export DB_PASSWORD={value}", f"export DB_PASSWORD={PLACEHOLDER}"),
    (f"  client_secret: {value}  # ours\n", f"  client_secret: {PLACEHOLDER}  # ours\n"),
    (f'{{"access_token": "{value}"}}', f'{{"access_token": "{PLACEHOLDER}"}}'),
    (f"password = '{value}'", f"password = '{PLACEHOLDER}'"),
    ("postgres://app:hunter2@db/x", f"postgres://app:{PLACEHOLDER}@db/x"),
    (f"aws_secret_key = '{(key := drawn(40))}'", f"aws_secret_key = '{PLACEHOLDER}'"),
    (f"AccountKey={(storage := drawn(86) + '==')};", f"AccountKey={PLACEHOLDER};"),
    (f'say "{{\\"api_key\\": \\"{value}\\"}}"', f'say "{{\\"api_key\\": \\"{PLACEHOLDER}\\"}}"'),
    (f"- name: API_KEY\n  value: {value}\n- x", f"- name: API_KEY\n  value: {PLACEHOLDER}\n- x"),
    (f"'line\\n{TOKENS['GitHub Token']}'", f"'line\\n{PLACEHOLDER}'"),
    (f"https://api.telegram.org/bot{drawn(9, '123456789')}:{drawn(35)}/x", f"https://api.telegram.org/bot{PLACEHOLDER}/x"),
    (f"\u0130 token = '{value}'", f"\u0130 token = '{PLACEHOLDER}'"),
    (f"{TOKENS['GitHub Token']} {TOKENS['AWS Access Key']}", f"{PLACEHOLDER} {PLACEHOLDER}"),
])  # fmt: skip
def test_private_keys_and_values_named_as_secrets_go_and_the_rest_stays(before, after):
    assert redact(before)[0] == after


@pytest.mark.parametrize("text", [
    "d41d8cd98f00b204e9800998ecf8427e",
    "sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    "assert b64encode(data) == 'TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQ='",
    "looks for -----BEGIN RSA PRIVATE KEY----- in a file",
    "password = 'example-password-1'",
    "token = tokenize.generate_tokens(readline)[0]",
    "secret: Optional[str] = None",
    "API_KEY=${API_KEY}",
    "api_key = 'your-api-key-here-1'",
    "http://user:password@host/path",
    "password: correct",
    "id: 123e4567-e89b-12d3-a456-426614174000",
    "server at 93.184.216.34",
    "data = 'QAHAEw" + TOKENS["AWS Access Key"] + "AAQAAAAAABA'",
    "postgres://postgres:postgres@localhost/app",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
])  # fmt: skip
def test_hashes_examples_and_references_are_no_secrets(text):
    assert redact(text) == (text, [])


PIECES = [*TOKENS.values(), KEY, "password:", "x", "'", "=", "eyJ", "ghp_", "://"]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from([" ", "\n", "\t", '"', ", "]))
def test_what_was_redacted_holds_no_token_any_more_and_places_are_in_order(pieces, between):
    text, found = redact(between.join(pieces))
    assert not any(token in text for token in [*TOKENS.values(), KEY])
    assert all(one.stop <= other.start for one, other in itertools.pairwise(found))


NEEDLES = ["npm_", "_authToken=", "-us1", "x", ".eyJ", "eyJ", drawn(32, "0123456789abcdef"), *TOKENS.values()]


@given(st.lists(st.sampled_from(NEEDLES), max_size=30).map("".join))
def test_looking_for_plain_words_first_misses_nothing(text):
    for kind, pattern in [*secrets._TOKENS.items(), *secrets._known_tokens()]:
        assert secrets._may_hold(text, kind) or not pattern.search(text)


def test_the_standard_library_holds_no_secrets():
    found = [
        (file.path, file.text.secrets)
        for file in Walk(stdlib_root(), CorpusConfig(exclude=STDLIB_EXCLUDES))
        if file.text.secrets
    ]
    assert found == []


def test_lines_keep_their_numbers_when_a_key_of_many_lines_goes():
    before = ["first", *KEY.split("\n"), f"token = '{TOKENS['GitHub Token']}'", "last"]
    after, found = redact_lines(before)
    assert len(after) == len(before)
    assert after == ["first", PLACEHOLDER, *[""] * 13, f"token = '{PLACEHOLDER}'", "last"]
    assert [(secret.kind, secret.line) for secret in found] == [("Private Key", 2), ("GitHub Token", 16)]


@pytest.mark.parametrize(("name", "hidden"), [
    (".env", True), ("app/.env", True), (".env.local", True), ("prod.env", True), (".envrc", True),
    (".env.example", False), (".env.sample", False), ("env.py", False), ("a.environment", False),
])  # fmt: skip
def test_every_value_of_an_environment_file_goes(name, hidden):
    before = [
        "# comment=kept",
        "HOST=db.internal  # kept",
        'NAME="two words"',
        "export MODE='x'",
        "EMPTY=",
        "  PORT = 80",
        "",
    ]
    after = ["# comment=kept", "HOST=<secret>  # kept", 'NAME="<secret>"', "export MODE='<secret>'", "EMPTY=",
             "  PORT = <secret>", ""]  # fmt: skip
    lines, found = redact_lines(before, name)
    assert lines == (after if hidden else before)
    assert [secret.line for secret in found] == ([2, 3, 4, 6] if hidden else [])


@given(
    st.lists(st.sampled_from([*PIECES, "\n", "a\n", "A=b\n", '"', "\n\n"])).map("".join),
    st.sampled_from([".env", "a.py"]),
)
def test_redacting_lines_never_changes_their_number(text, name):
    lines = text.split("\n")
    after, found = redact_lines(lines, name)
    assert len(after) == len(lines)
    assert all(1 <= secret.line <= len(lines) and PLACEHOLDER in after[secret.line - 1] for secret in found)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "password",
        "-----BEGIN RSA PRIVATE KEY-----\n",
        "0",
        "://",
        " ",
        "eyJ.",
        "key: ",
        ":_authToken=",
        "api_key=",
        "api_key='",
        "api_key: x='",
        "token" + " " * 70,
        "password:" + "\t" * 70,
        "Bearer ",
        "://a:",
        "a.b:c@tcp(",
        "sshpass -p ",
        "curl -u a:",
        "mysql ",
        "docker login ",
        "redis-cli ",
        "login x password ",
        "pass" * 9 + "=",
    ],
)
def test_the_time_for_a_text_grows_with_its_length_and_not_with_its_square(piece):
    def seconds(characters):
        text = piece * (characters // len(piece))
        began = time.process_time()
        find_secrets(text)
        return time.process_time() - began

    assert seconds(80_000) < 24 * max(seconds(10_000), 0.02)


@pytest.mark.parametrize("host", ["example.com", "www.example.org:8080/a", "db.test", "nowhere.invalid", "example"])
def test_a_made_up_login_of_a_made_up_host_stays(host):
    for login in ("someuser:somepassword", "user:pa%20ssword", "admin:Secret123"):
        assert not find_secrets(f'url = "https://{login}@{host}"')
    assert len(find_secrets(f'url = "https://ci:{drawn(24)}@{host}"')) == 1


def test_the_same_login_of_a_host_that_may_exist_goes():
    for host in ("db.shop.io", "example.com.shop.io", "testing.io", "contest"):
        assert len(find_secrets(f'url = "https://admin:Secret123@{host}"')) == 1
