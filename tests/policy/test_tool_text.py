"""Tools for templates that know none: as text, in Hermes' form."""

import json

from homeground.policy import chat
from homeground.policy.tool_text import as_text

from . import tiny
from .templates import QWEN_2_5

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TALK = [
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "2", "tool_call_id": "c1"},
]


def test_a_call_and_its_result_become_text():
    user, call, result = as_text(TALK, [])
    assert user == TALK[0]
    assert call == {
        "role": "assistant",
        "content": '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
    }
    assert result == {"role": "user", "content": "<tool_response>\n2\n</tool_response>"}


def test_tools_are_offered_in_the_first_message_whoever_writes_it():
    (user,) = as_text(TALK[:1], [ADD])
    assert json.dumps(ADD) in user["content"]
    assert user["content"].endswith("1 + 1?")
    system, _ = as_text([{"role": "system", "content": "Be exact."}, TALK[0]], [ADD])
    assert system["content"].startswith("Be exact.\n\n")
    assert json.dumps(ADD) in system["content"]


def test_a_template_that_knows_tools_gets_them_as_they_are():
    tokenizer = tiny.tokenizer()
    ours = chat.prompt_text(tokenizer, TALK, tools=[ADD])
    tokenizer.chat_template = QWEN_2_5
    native = chat.prompt_text(tokenizer, TALK, tools=[ADD])
    assert native.startswith("<|im_start|>system\n# Tools")
    assert "You may call functions" in ours
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    assert call in ours
    assert call in native
