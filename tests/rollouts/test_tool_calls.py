"""Calls in what models of each family write."""

import pytest

from homeground.rollouts.tool_calls import ToolCall, find_calls

OFFERED = {"add", "find"}
ADD = ToolCall("add", {"a": 1})
FIND = ToolCall("find", {"text": "x"})


@pytest.mark.parametrize(("text", "beside", "calls"), [
    ('<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>', "", [ADD]),
    ('I add.\n<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>\n'
     '<tool_call>{"name": "find", "arguments": {"text": "x"}}</tool_call>', "I add.", [ADD, FIND]),
    ('<tool_call>{"name": "add", "arguments": {"a": 1}}', "", [ADD]),
    ('[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}, {"name": "find", "arguments": {"text": "x"}}]',
     "", [ADD, FIND]),
    ('Well. [TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]find[ARGS]{"text": "x"}', "Well.", [ADD, FIND]),
    ('<|python_tag|>{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
    ('{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
    ('[{"name": "find", "arguments": {"text": "x"}}]', "", [FIND]),
    ('{"name": "add"}', "", [ToolCall("add", {})]),
])  # fmt: skip
def test_the_forms_of_the_families(text, beside, calls):
    assert find_calls(text, OFFERED) == (beside, calls)


@pytest.mark.parametrize(("text", "calls"), [
    ('<tool_call>{"name": "any", "arguments": {"a": 1}}</tool_call>', [ToolCall("any", {"a": 1})]),
    ('[TOOL_CALLS]any[ARGS]{"a": 1}', [ToolCall("any", {"a": 1})]),
    ('{"name": "any", "arguments": {"a": 1}}', []),
])  # fmt: skip
def test_where_nobody_knows_what_was_offered_marks_make_a_call(text, calls):
    assert find_calls(text, None)[1] == calls


@pytest.mark.parametrize("text", [
    "just words", "", "{}", "[]", "3", "null", '"add"',
    '<tool_call>{"name": "add", "arguments": {"a": }}</tool_call>',
    '<tool_call>{"name": "drop_tables", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": [1]}</tool_call>',
    '<tool_call>{"name": ["add"], "arguments": {}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call><tool_call>oops</tool_call>',
    "[TOOL_CALLS]add[ARGS]{", "[TOOL_CALLS]",
    '{"name": "add", "arguments": {}} and so on',
    "[" * 20_000,
])  # fmt: skip
def test_what_is_no_call_stays_text(text):
    assert find_calls(text, OFFERED) == (text, [])
