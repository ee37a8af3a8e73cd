"""The reward for code: how many of a task's tests the function passes, run in the sandbox."""

from __future__ import annotations

from typing import Any

from homeground.agents.own_code import Task
from homeground.agents.reward_terms import Term, text_of
from homeground.agents.sandbox import Limits, Ran, code_of, run_calls, same
from homeground.base.errors import HomegroundError
from homeground.base.reward import short


def passes(*, entry: str = "entry", tests: str = "tests", partial: bool = False, limits: Limits | None = None) -> Term:
    """1 when the code in the answer passes every test of the task; with ``partial`` the share that it passes.

    Args:
        entry: the task's field with the function's name.
        tests: the field with a list of ``{"call": [ARGUMENTS], "returns": VALUE}``.
        partial: a half-right function earns half.
        limits: of one run of all the tests.
    """

    def passes(task: Task, answer: Any) -> float:
        right = passed(run_tests(text_of(answer), task[entry], task[tests], limits), task[tests])
        share = sum(right) / len(right)
        return share if partial else float(share == 1)

    return passes


def run_tests(answer: str, entry: str, tests: list[dict[str, Any]], limits: Limits | None = None) -> Ran:
    """Call the function in an answer's code with the arguments of each test.

    Raises:
        HomegroundError: there are no tests, or one says not what is called or what it returns.
    """
    if not tests or not all(isinstance(test.get("call"), list) and "returns" in test for test in tests):
        raise HomegroundError(
            "a task's tests must be a list of calls with what they return",
            where=f"the function {entry}",
            hint='write "tests": [{"call": [2, 3], "returns": 5}]',
        )
    return run_calls(code_of(answer), entry, [test["call"] for test in tests], limits)


def passed(ran: Ran, tests: list[dict[str, Any]]) -> list[bool]:
    """Which tests a run has passed."""
    pairs = zip(ran.calls, tests, strict=True)
    return [call.error is None and same(call.value, test["returns"]) for call, test in pairs]


def complaint(ran: Ran, entry: str, tests: list[dict[str, Any]]) -> str:
    """The first failure in words, for an agent that may try again; "" when every test has passed.

    It says what was expected: show it for tests that the reward does not use.
    """
    if ran.error is not None:
        return ran.error
    for call, test, right in zip(ran.calls, tests, passed(ran, tests), strict=True):
        if not right:
            asked = f"{entry}({', '.join(map(repr, test['call']))})"
            came = call.error if call.error is not None else f"gave {short(call.value)}"
            return f"{asked}: {came}, expected {test['returns']!r}"
    return ""
