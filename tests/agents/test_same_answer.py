"""The table of docs/agents.md, row by row, in both directions; and what holds of every pair."""

import time
import unicodedata
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from homeground.agents.same_answer import mentioned, quantity, same_answer

SAME = {
    "numbers": [("12", "12.0"), ("12", "+12"), (".5", "0.5"), ("1e3", "1000"), ("1.5 × 10^3", "1500"), ("-0", "0"),
                ("2*10**3", "2000"), ("1E-2", "0.01"), ("٥", "5"), ("٣٫٥", "3.5"), ("５", "5"), ("12.", "12")],
    "sign": [("−5", "-5"), ("–5", "-5"), ("-$5", "$-5"), ("－5", "-5")],
    "thousands": [("1,000", "1000"), ("1 000", "1000"), ("1\u202f000", "1000"), ("1'000", "1000"), ("1’000", "1,000"),
                  ("1_000_000", "1000000"), ("1,00,000", "100000"), ("1,234.5", "1234.5"), ("1.234,5", "1234.5"),
                  ("1{,}000", "1000")],
    "decimal comma": [("1,5", "1.5"), ("0,125", "0.125"), ("1 234,5", "1234.5")],
    "percent": [("50%", "50 %"), ("50 percent", "50%"), ("50\\%", "50%")],
    "fractions": [("1/2", "0.5"), ("2/4", "1/2"), ("½", "0.5"), ("1½", "3/2"), ("1 1/2", "1.5"), ("−½", "-0.5"),
                  ("\\frac{1}{2}", "1/2"), ("-\\dfrac{1}{2}", "-0.5"), ("1\\frac{1}{2}", "1.5")],
    "currency": [("$5", "5"), ("5 €", "€5"), ("\\$5", "5"), ("$1,000.00", "1000")],
    "units": [("5 km", "5km"), ("5 Apples", "5 apples"), ("90°", "90^\\circ"), ("3 m²", "3m²"),
              ("5\\text{ cm}", "5 cm")],
    "case": [("Paris", "PARIS"), ("Straße", "STRASSE")],
    "spaces": [("New  York", "New York"), (" a\tb\n", "a b"), ("New\u00a0York", "New York")],
    "Unicode": [("cafe\u0301", "café"), ("\u200bParis", "Paris"), ("Ｐａｒｉｓ", "Paris"), ("Å", "\u212b")],
    "quotes": [('"Paris"', "Paris"), ("“Paris”", "Paris"), ("O’Neill", "O'Neill"), ("«Paris»", "Paris"),
               ("**Paris**", "Paris"), ("`f`", "f")],
    "full stop": [("Paris.", "Paris"), ('"Paris."', "Paris"), ("Paris。", "Paris"), ("5.", "5")],
    "article": [("The Louvre", "louvre"), ("an apple", "apple")],
    "options": [("(A)", "A"), ("B)", "b")],
    "LaTeX": [("\\boxed{5}", "5"), ("$\\boxed{1{,}000}$", "1000"), ("\\(5\\)", "5"),
              ("\\boxed{\\text{Paris}}", "Paris"),
              ("$$x^{2}$$", "x^{2}"), ("\\boxed{\\frac{3}{4}}", "0.75")],
    "code": [("`foo()`", "foo()"), ("C++", "c++"), (".NET", ".net")],
}  # fmt: skip

OTHER = {
    "numbers": [("13", "12"), ("12 or 13", "12"), ("1e3", "13"), ("10000000001", "10000000000"), ("5!", "5"),
                ("5²", "52"), ("5²", "25"), ("five", "5"), ("5?", "5"), ("3.10", "3.11")],
    "sign": [("−5", "5"), ("–5", "5"), ("-5", "5"), ("$-5", "$5"), ("-$5", "5"), ("- 5", "5"), ("±5", "5")],
    "comparison": [("<5", ">5"), ("<5", "5"), ("≥5", "5"), ("~5", "5"), ("≈5", "5"), ("(5)", "5"), ("(5)", "-5")],
    "thousands": [("1_0", "10"), ("1,00", "100"), ("10,00", "1000"), ("1,000,0", "10000"), ("1 0", "10"),
                  ("1.234.567", "1234567")],
    "decimal comma": [("1,5", "15"), ("1,500", "1.5"), ("0,5", "5")],
    "percent": [("50%", "50"), ("50%", "0.5"), ("5‰", "5%")],
    "fractions": [("1/2", "12"), ("1 1/2", "11/2"), ("½", "12"), ("1½", "11/2"), ("1/0", "1"), ("3/4/2020", "3/4"),
                  ("\\frac{x+1}{2}", "x+1/2")],
    "currency": [("$5", "€5"), ("$5", "5 €"), ("5¢", "$5"), ("$5", "$5 million")],
    "units": [("5 km", "5"), ("5 km", "5 m"), ("5 mW", "5 MW"), ("5 km", "5000 m"), ("90°", "90")],
    "leading zeros": [("007", "7"), ("01234", "1234")],
    "spaces": [("New York", "NewYork"), ("ab", "a b")],
    "Unicode": [("cafe", "café"), ("x²", "x2"), ("H₂O", "H2O")],
    "quotes": [("O'Neill", "ONeill")],
    "punctuation": [("Paris, France", "Paris"), ("Paris!", "Paris"), ("a, b", "a b")],
    "article": [("A B", "B"), ("a 5", "5"), ("the", "a"), ("A", "")],
    "options": [("(A)", "(B)"), ("A) B", "A")],
    "LaTeX": [("\\boxed{5}\\boxed{6}", "5"), ("it is \\boxed{5}", "5"), ("\\boxed{5} or 6", "5")],
    "code": [("C", "C++"), ("C", "C#"), ("NET", ".NET"), ("_x", "x"), ("__init__", "init"), ("f", "f()"), ("-v", "v"),
             ("save", "save!"), ("empty", "empty?"), ("a.b", "ab"), ("[5]", "5"), ("*args", "args"), ("&x", "x")],
    "nothing": [("", ""),  ("", "5"), ("   ", "x")],
}  # fmt: skip


def pairs(table):
    return [pytest.param(*pair, id=f"{row}: {pair}") for row, found in table.items() for pair in found]


@pytest.mark.parametrize(("one", "other"), pairs(SAME))
def test_what_is_the_same_is_so_in_both_directions(one, other):
    assert same_answer(one, other)
    assert same_answer(other, one)


@pytest.mark.parametrize(("one", "other"), pairs(OTHER))
def test_what_differs_does_so_in_both_directions(one, other):
    assert not same_answer(one, other)
    assert not same_answer(other, one)


@pytest.mark.parametrize(("said", "wanted"), [
    ("The capital of Italy is Rome.", "Rome"), ("in New  York!", "New York"), ("It has 1,000 rows", "1000"),
    ("It has 1 000 rows", "1000"), ("It is -5", "-5"), ("It is minus 5.", "-5"), ("x=5", "5"), ("answer: **5**", "5"),
    ("(Rome)", "Rome"), ("Rome's walls", "Rome"), ("I like C++, too", "C++"), ("use .NET.", ".NET"),
    ("cafe\u0301 now", "café"),
    ("a 5km walk", "5 km"), ("so \\boxed{5}", "5"), ("call `f(x)` now", "f(x)"), ("Paris—no, Rome", "Rome"),
    ("it costs $5.", "5"), ("half is 0.5", "1/2"), ("2 + 2 = 4", "4"), ("5 km away", "5"),
    ("about 5 million", "5 million"),
    ("so 5 × 10^3", "5000"), ("5 % of it", "5%"),
    ("a 2 × 4 plank", "2 × 4"), ("it is 3 + 4", "3 + 4"), ("takes 5 1/2 hours", "5.5"), ("takes −5½ hours", "-5 1/2"),
    ("it holds for x \\neq 5", "≠ 5"), ("1 / 2 cup", "0.5"), ("at 3 x 10^8 m/s", "3e8 m/s"),
    ("it is minus 5", "minus 5"),
])  # fmt: skip
def test_a_mention_is_words_that_are_the_same(said, wanted):
    assert mentioned(said, wanted)


@pytest.mark.parametrize(("said", "wanted"), [
    ("It is -5", "5"), ("It is −5", "5"), ("It is - 5", "5"), ("minus 5", "5"), ("Negative 5", "5"),
    ("it is < 5", "5"),
    ("it is <5", "5"), ("x >= 5", "5"), ("x=-5", "5"), ("x>=5", "5"), ("15", "5"), ("5.5", "5"), ("1,500", "500"),
    ("1 500", "500"), ("5%", "5"), ("The capital is Romeo.", "Rome"), ("I like C++", "C"), ("I like C#", "C"),
    ("C-like", "C"),
    ("the __init__ of it", "init"), ("Rome/Paris", "Rome"), ("", "x"), ("words", ""), ("New York", "York New"),
    ("12:05", "5"), ("5 %", "5"), ("5 percent", "5"), ("5 million", "5"), ("5 / 2", "5"),
    ("2 * 5", "5"), ("2 ** 5", "2"),
    ("5 × 10^3", "5"), ("5 - 3", "3"), ("2^5", "5"), ("caffe", "café"),
    ("It costs 5 €.", "$5"), ("It costs € 5 now", "5 $"), ("It costs 5 £/month", "$5"),
    ("x ≠ 5", "5"), ("x \\neq 5", "5"), ("x \\leq 5", "5"), ("x <> 5", "5"), ("√ 5", "5"), ("\\sqrt 5", "5"),
    ("≫ 5", "5"),
    ("it takes 5½ hours", "5"), ("it takes 5 1/2 hours", "5"), ("it takes 5 1/2 hours", "1/2"), ("3 x 10^8", "3"),
])  # fmt: skip
def test_no_mention_is_part_of_a_word_or_number(said, wanted):
    assert not mentioned(said, wanted)


numbers = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.decimals(-(10**6), 10**6, places=4, allow_nan=False).map(lambda number: f"{number:f}"),
)


@given(st.text(max_size=60), st.text(max_size=60))
def test_it_is_symmetric(one, other):
    assert same_answer(one, other) == same_answer(other, one)


@given(st.text(max_size=60))
def test_an_answer_with_a_letter_or_digit_is_the_same_as_itself_in_every_form(text):
    assume(any(character.isalnum() for character in text))
    assert same_answer(text, text)
    assert same_answer(f"  {text}\n", text)
    assert same_answer(unicodedata.normalize("NFD", text), text)


@given(numbers)
def test_a_number_never_equals_its_negative(number):
    assume(Fraction(number) != 0)
    negative = number.removeprefix("-") if number.startswith("-") else f"-{number}"
    for minus in "-−–":
        assert not same_answer(number.replace("-", minus), negative.replace("-", minus))
        assert not mentioned(f"it is {number}".replace("-", minus), negative)


@given(numbers, st.integers(0, 9))
def test_a_digit_more_is_another_number(number, digit):
    assume(Fraction(number) != 0)
    assume(digit or "." not in number)
    assert not same_answer(f"{number}{digit}", number)
    assert not mentioned(f"it is {number}{digit}.", number)


@given(numbers, numbers)
def test_numbers_are_the_same_by_value_alone(one, other):
    assert same_answer(one, other) == (Fraction(one) == Fraction(other))
    grouped = f"{Fraction(one).numerator // Fraction(one).denominator:,}"
    assert same_answer(grouped, grouped.replace(",", ""))


@given(st.text("abcXYZ0123456789", min_size=1, max_size=5), st.text("abcXYZ0123456789_", min_size=1, max_size=3))
def test_a_mention_ends_where_its_word_ends(word, more):
    assume(not same_answer(word + more, word) and not same_answer(more + word, word))
    assert mentioned(f"so {word}, then", word)
    assert not mentioned(f"so {word}{more}, then", word)
    assert not mentioned(f"so {more}{word}, then", word)


@pytest.mark.parametrize("text", [
    "9**9**9**9", "9^{9^{9^{9}}}", "1e999", "9" * 20_000, "\\frac{1}" * 5000, "{" * 20_000, "(" * 20_000, "$" * 20_000,
    "\\boxed{" * 2400 + "5" + "}" * 2400, "1," * 9_000, "a " * 9_999, "'" * 20_000, "." * 20_000, "½" * 20_000,
    "**" * 5_000 + "x" + "**" * 5_000, '"' + "'\"" * 9_000,
])  # fmt: skip
def test_no_answer_takes_long(text):
    began = time.monotonic()
    same_answer(text, "5")
    mentioned(text, "5")
    assert time.monotonic() - began < 2


def test_what_a_quantity_is_made_of():
    assert quantity("-$1,000.50") == quantity("$-1000.5")
    assert quantity("1/0") is None
    assert quantity("5 km").unit == "km"
    assert quantity("7" * 101) is None
