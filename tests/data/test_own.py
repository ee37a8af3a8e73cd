import random
from pathlib import Path

import pytest

from homeground.corpus import SourceFile, language_of
from homeground.data.fim import FimMarks, fim_marks, safe
from homeground.data.functions import functions
from homeground.data.own import answer_row, completion_row, documentation_question, documentation_row, heading_question
from homeground.index import Hit
from homeground.training import example_of

from ..policy import tiny

SOURCE = '''\
PRICE = 3


def total(basket):
    """Add up what the customer has to pay.

    In the smallest coin.
    """
    amount = 0
    for item in basket:
        amount += item.price
    return amount


print("below")
'''
MARKS = FimMarks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


@pytest.fixture
def function():
    (one,) = functions(SourceFile(Path(), "shop/till.py", language_of("till.py"), SOURCE.encode()))
    return one


def hit(path, symbol, text, start=1):
    return Hit(path, start, start + text.count("\n"), symbol, "function", "python", 1.0, {}, text)


def test_the_docstring_is_asked_for_and_is_not_in_the_question(function):
    row = documentation_row(function)
    asked, told = row.row["messages"]
    assert "Add up" not in asked["content"]
    assert "amount += item.price" in asked["content"]
    assert told["content"] == "Add up what the customer has to pay.\n\nIn the smallest coin."
    assert row.to_json()["source"] == "shop/till.py::total"


def test_without_marks_the_body_follows_what_stands_above_it(function):
    row = completion_row(function, None, random.Random(0)).row
    assert row["prefix"].startswith("# shop/till.py\nPRICE = 3\n")
    assert row["prefix"].endswith('smallest coin.\n    """\n')
    assert row["continuation"] == function.body
    assert example_of(row).text == function.body


@pytest.mark.parametrize(
    ("file", "source", "head"),
    [
        ("till.go", "package shop\n\nfunc Total(a int) int {\n\treturn a + 1\n}\n", "// shop/till.go\n"),
        ("till.rs", "/// Adds one.\nfn total(a: i64) -> i64 {\n    a + 1\n}\n", "// shop/till.rs\n/// Adds one.\nfn"),
        ("till.lua", "function total(a)\n  return a + 1\nend\n", "-- shop/till.lua\n"),
        ("till.ml", "let total a =\n  let b = a + 1 in\n  b + a\n", "(* shop/till.ml *)\n"),
        ("till.rb", "def total(a)\n  a + 1\nend\n", "# shop/till.rb\n"),
    ],
)
def test_the_path_is_a_comment_of_the_language(file, source, head):
    (one,) = functions(SourceFile(Path(), f"shop/{file}", language_of(file), source.encode()))
    assert completion_row(one, None, random.Random(0)).row["prefix"].startswith(head)


def test_with_marks_some_lines_are_missing_between_what_stands_above_and_below(function):
    for seed in range(20):
        row = completion_row(function, MARKS, random.Random(seed)).row
        above, _, below = row["prefix"].removeprefix(MARKS.prefix).removesuffix(MARKS.middle).partition(MARKS.suffix)
        assert above + row["continuation"] + below == "# shop/till.py\n" + SOURCE


def test_marks_are_those_that_the_tokenizer_has_as_tokens():
    tokenizer = tiny.tokenizer()
    assert fim_marks(tokenizer) is None
    tokenizer.add_special_tokens({"additional_special_tokens": [MARKS.prefix, MARKS.suffix, MARKS.middle]})
    assert fim_marks(tokenizer) == MARKS


def test_a_file_that_quotes_a_mark_cannot_move_the_middle():
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [MARKS.prefix, MARKS.suffix, MARKS.middle]})
    text = safe(tokenizer, MARKS, 'x = "<|fim_middle|>"')
    assert tokenizer.convert_tokens_to_ids(MARKS.middle) not in tokenizer(text)["input_ids"]


def test_an_answer_cites_the_passage_that_says_it(function):
    question = documentation_question(function)
    hits = [hit("shop/other.py", "change", "def change(): ..."), hit("shop/till.py", "total", SOURCE, start=4)]
    asked, told = answer_row(question, hits).row["messages"][1:]
    assert "[2] shop/till.py:4-19 total" in asked["content"]
    assert asked["content"].endswith("Question: What does `total` in `shop/till.py` do?")
    assert told["content"] == "Add up what the customer has to pay. [2]\n\n[2] `shop/till.py:4-19`"


def test_no_answer_where_the_search_did_not_find_the_place(function):
    assert answer_row(documentation_question(function), [hit("shop/other.py", "total", SOURCE)]) is None
    assert answer_row(documentation_question(function), [hit("shop/till.py", "total", "amount = 0")]) is None


def test_a_heading_is_asked_about_and_its_first_paragraph_answers():
    text = "## Opening hours\n\nThe shop is open from\nMonday to Friday.\n\nMore."
    question = heading_question("guide.md", "Guide > Opening hours", text)
    assert question.asked == "What do the documents say about Opening hours?"
    assert question.answer == "The shop is open from Monday to Friday."
    assert heading_question("guide.md", "Guide > Table", "## Table\n\n| a | b | c | d | e | f | g |") is None
