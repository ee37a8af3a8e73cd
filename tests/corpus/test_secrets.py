import itertools
import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.corpus.secrets import PLACEHOLDER, find_secrets, redact

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
])  # fmt: skip
def test_hashes_examples_and_references_are_no_secrets(text):
    assert redact(text) == (text, [])


PIECES = [*TOKENS.values(), KEY, "password:", "x", "'", "=", "eyJ", "ghp_", "://"]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from([" ", "\n", "\t", '"', ", "]))
def test_what_was_redacted_holds_no_token_any_more_and_places_are_in_order(pieces, between):
    text, found = redact(between.join(pieces))
    assert not any(token in text for token in [*TOKENS.values(), KEY])
    assert all(one.stop <= other.start for one, other in itertools.pairwise(found))


@pytest.mark.parametrize(
    "piece",
    ["a", "password", "-----BEGIN RSA PRIVATE KEY-----\n", "0", "://", " ", "eyJ.", "key: ", ":_authToken="],
)
def test_the_time_for_a_text_grows_with_its_length_and_not_with_its_square(piece):
    def seconds(characters):
        text = piece * (characters // len(piece))
        began = time.process_time()
        find_secrets(text)
        return time.process_time() - began

    assert seconds(80_000) < 24 * max(seconds(10_000), 0.02)
