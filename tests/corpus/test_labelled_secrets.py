"""Precision and recall on labelled lines of many languages.

A line holds `[[kind length]]` where a secret stands and `((kind length))` where something that only looks like one
does, such as a hash. Both are drawn here, so that no line of the set is a secret to a scanner.
"""

import random
import re
import string
from pathlib import Path

import pytest

from homeground.corpus.secrets import PLACEHOLDER, redact

PARTS = ("development", "held_out")
MARK = re.compile(r"\[\[(\w+) ?(\d*)\]\]|\(\((\w+) ?(\d*)\)\)")
ALPHABETS = {
    "b62": string.ascii_letters + string.digits,
    "hex": "0123456789abcdef",
    "low": string.ascii_lowercase + string.digits,
    "b64": string.ascii_letters + string.digits + "+/",
    "url": string.ascii_letters + string.digits + "-_",
    "punctuated": string.ascii_letters + string.digits + "!@#%^&*(-_=+)",
}
WORDS = ("kestrel copper lantern maple harbor violet thunder biscuit pepper marble falcon walnut saddle ribbon glacier "
         "meadow puzzle rocket timber velvet").split()  # fmt: skip


def drawn(kind, length, rng):
    if kind == "password":
        one, other = rng.choice(WORDS), rng.choice(WORDS)
        return rng.choice([
            f"{one.title()}{rng.randrange(10, 99)}!{other}",
            f"{one.title()}{rng.randrange(2001, 2039)}",
            f"{one}{rng.randrange(100, 999)}{rng.choice('!@#%*')}{other.title()}",
            one.title().replace("e", "3").replace("a", "4") + f"&{rng.randrange(11, 99)}{other[:3]}",
            "".join(rng.choice(string.ascii_letters) for _ in range(6)) + f"{rng.randrange(10, 99)}!kQ",
        ])  # fmt: skip
    if kind == "phrase":
        return " ".join(rng.sample(WORDS, int(length)))
    if kind == "words":
        words = [*rng.sample(WORDS, 3), str(rng.randrange(10, 99))]
        return " ".join(rng.choice([words, [word.title() for word in words]]))
    if kind == "django":
        return "django-insecure-" + drawn("punctuated", length, rng)
    if kind == "signature":
        return drawn("b62", 43, rng) + "%3D"
    if kind == "padded":
        return drawn("b64", int(length) - 1, rng) + "="
    if kind == "uuid":
        return "-".join(drawn("hex", count, rng) for count in (8, 4, 4, 4, 12))
    return "".join(rng.choice(ALPHABETS[kind]) for _ in range(int(length)))


def lines_of(part, seed):
    """Each line of a part as it stands in a file, and as it should stand after."""
    rng = random.Random(seed)
    written = (Path(__file__).with_name("labelled_secrets") / f"{part}.txt").read_text("utf-8").splitlines()
    for language, _, template in (line.partition("\t") for line in written):
        before, after, at = "", "", 0
        for mark in MARK.finditer(template):
            between = template[at : mark.start()]
            value = drawn(mark[1] or mark[3], mark[2] or mark[4], rng)
            before, after = before + between + value, after + between + (PLACEHOLDER if mark[1] else value)
            at = mark.end()
        yield language, before + template[at:], after + template[at:]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("seed", range(3))
def test_secrets_are_found_and_code_is_left_alone(part, seed):
    lines = list(lines_of(part, seed))
    right = [(before, after) for _, before, after in lines if before != after and redact(before)[0] == after]
    wrong = [(before, redact(before)[0]) for _, before, after in lines if redact(before)[0] not in (before, after)]
    secrets = sum(before != after for _, before, after in lines)
    print("\n".join(map(str, wrong)))
    assert len(right) / (len(right) + len(wrong)) >= 0.95
    assert len(right) / secrets >= 0.9


def test_the_labelled_lines_are_many_of_many_languages_and_half_of_them_hold_no_secret():
    lines = [line for part in PARTS for line in lines_of(part, 0)]
    assert len(lines) > 400
    assert len({language for language, _, _ in lines}) >= 20
    assert sum(before == after for _, before, after in lines) >= len(lines) / 2
