import pytest

from homeground.agents.code_reward import complaint, passed, passes, run_tests
from homeground.base.errors import HomegroundError

TASK = {
    "entry": "half",
    "tests": [{"call": [4], "returns": 2}, {"call": [7], "returns": 3}, {"call": [0], "returns": 0}],
}
RIGHT = "Here it is:\n```python\ndef half(n):\n    return n // 2\n```"
WRONG = "def half(n):\n    return n / 2"


def test_a_right_function_earns_one_and_a_half_right_one_nothing_or_its_share():
    assert passes()(TASK, RIGHT) == 1
    assert passes()(TASK, {"answer": RIGHT}) == 1
    assert passes()(TASK, WRONG) == 0
    assert passes(partial=True)(TASK, WRONG) == pytest.approx(2 / 3)


@pytest.mark.parametrize("answer", ["", None, "I cannot do that.", "def other(): pass", "while True"])
def test_an_answer_without_the_function_earns_nothing(answer):
    assert passes(partial=True)(TASK, answer) == 0


def test_the_code_cannot_find_what_is_expected():
    """All that is reachable in its process comes back, and what the tests expect is not in it."""
    code = """
import gc, os, sys
def reach(x):
    held = [repr(sys._getframe(depth).f_globals) + repr(sys._getframe(depth).f_locals) for depth in range(2)]
    held += [repr(one) for one in gc.get_objects() if type(one) in (dict, list, tuple, str)]
    return ["".join(reversed("hsifdrows")) in one for one in held].count(True), x
"""
    task = {"entry": "reach", "tests": [{"call": ["find me"], "returns": "swordfish"}]}
    ran = run_tests(code, task["entry"], task["tests"])
    assert ran.calls[0].value == [0, "find me"]
    assert passes()(task, code) == 0


def test_what_failed_is_told_in_words():
    tests = TASK["tests"]
    assert complaint(run_tests(RIGHT, "half", tests), "half", tests) == ""
    assert complaint(run_tests(WRONG, "half", tests), "half", tests) == "half(7): gave 3.5, expected 3"
    crash = "def half(n): return n // 0"
    told = complaint(run_tests(crash, "half", tests), "half", tests)
    assert told.startswith("half(4): ZeroDivisionError")
    assert "defines no function half" in complaint(run_tests("x = 1", "half", tests), "half", tests)
    assert passed(run_tests(WRONG, "half", tests), tests) == [True, False, True]


@pytest.mark.parametrize("tests", [[], [{"call": 1, "returns": 2}], [{"call": [1]}]])
def test_tests_that_say_nothing_are_an_error(tests):
    with pytest.raises(HomegroundError, match="a list of calls with what they return"):
        passes()({"entry": "f", "tests": tests}, RIGHT)
