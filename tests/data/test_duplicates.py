import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.data import EXACT_ONLY, DuplicatesConfig, distinct, fingerprint
from homeground.tasks import shingles
from homeground.training import example_of

WORDS = [f"w{n}" for n in range(400)]


def told(text, place=""):
    from dataclasses import replace

    return replace(example_of({"text": text}), place=place)


def ask(question, answer, **more):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return example_of({"messages": [*more.get("before", []), *turns]})


def test_the_first_of_equal_rows_stays_and_the_others_are_listed():
    rows = [told("Read a file.", "a:1"), told("read  a\nFILE.", "b:1"), told("Read a book.", "b:2")]
    found = distinct(rows, EXACT_ONLY)
    assert found.examples == [rows[0], rows[2]]
    assert [(one.place, one.of, one.similarity) for one in found.exact] == [("b:1", "a:1", 1.0)]
    assert distinct(rows, DuplicatesConfig(exact=False, near=None)).examples == rows


def test_what_rows_of_a_set_share_makes_them_no_duplicates():
    long = {"role": "system", "content": " ".join(WORDS)}
    rows = [ask("What is rain?", "Water.", before=[long]), ask("What is bread?", "Food.", before=[long])]
    assert distinct(rows).examples == rows
    assert fingerprint(rows[0]) == fingerprint(ask("What is rain?", "Water."))
    assert fingerprint(rows[0]) != fingerprint(ask("What is rain?", "Wet."))


def greedy(rows, threshold, width):
    """Every pair compared: what the sketches must come to."""
    kept = []
    for row in rows:
        mine = shingles("\n".join(row.said()), width)
        others = (shingles("\n".join(other.said()), width) for other in kept)
        if not any(len(mine & other) >= threshold * len(mine | other) for other in others if mine or other):
            kept.append(row)
    return kept


def changed(rng, text, share):
    return " ".join(rng.choice(WORDS) if rng.random() < share else word for word in text.split())


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_near_duplicates_are_those_that_comparing_every_pair_finds(threshold):
    rng = random.Random(1)
    rows = []
    for _ in range(60):
        text = " ".join(rng.choices(WORDS, k=rng.randint(20, 120)))
        rows += [told(text), *(told(changed(rng, text, share)) for share in (0.005, 0.02, 0.05, 0.1))]
    rng.shuffle(rows)
    found = distinct(rows, DuplicatesConfig(exact=False, near=threshold, shingle=3))
    assert found.examples == greedy(rows, threshold, 3)
    assert len(found.near) == len(rows) - len(found.examples) > 0
    assert all(one.similarity >= threshold - 0.001 for one in found.near)


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5).map(" ".join), max_size=6))
def test_nothing_is_removed_that_is_not_similar_enough(texts):
    rows = [told(text) for text in texts if text.strip()]
    found = distinct(rows, DuplicatesConfig(exact=False, near=0.8, shingle=2))
    assert found.examples == greedy(rows, 0.8, 2)


def test_a_near_duplicate_names_the_row_that_was_kept():
    text = " ".join(WORDS[:100])
    rows = [told(text, "a:1"), told(f"{text} more", "a:2"), told(f"{text} or less", "a:3")]
    found = distinct(rows)
    assert [(one.place, one.of) for one in found.near] == [("a:2", "a:1"), ("a:3", "a:1")]
