"""Calls in what models of each family write."""

import asyncio
import json
import time
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from homeground.policy import chat
from homeground.rollouts.conversation import Call, Conversations
from homeground.rollouts.engine import FinishReason, Generation
from homeground.rollouts.responses import Response
from homeground.rollouts.stream import Stream, events
from homeground.rollouts.tool_calls import Found, ToolCall, find_calls

OFFERED = {"add", "find", "write"}
ADD = ToolCall("add", {"a": 1})
FIND = ToolCall("find", {"text": "x"})
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
MARKS = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "<think>", "</think>",
         "[THINK]", "[/THINK]", "\n```\n", "{", "}", '"', "\\", ";", "]"]  # fmt: skip


def written(text):
    return ToolCall("write", {"text": text})


@pytest.mark.parametrize(("text", "beside", "calls"), [
    ('<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>', "", [ADD]),
    ('I add.\n<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>\n'
     '<tool_call>{"name": "find", "arguments": {"text": "x"}}</tool_call>', "I add.", [ADD, FIND]),
    (f"Before. {CALL} After.", "Before.  After.", [ADD]),
    ('<tool_call>{"name": "add", "arguments": {"a": 1}}', "", [ADD]),
    ('[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}, {"name": "find", "arguments": {"text": "x"}}]',
     "", [ADD, FIND]),
    ('Well. [TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]find[ARGS]{"text": "x"}', "Well.", [ADD, FIND]),
    ('[TOOL_CALLS]add[CALL_ID]abc[ARGS]{"a":1}', "", [ADD]),
    ('[TOOL_CALLS]add[CALL_ID]a1[ARGS]{"a":1}[TOOL_CALLS]find[CALL_ID]b2[ARGS]{"text": "x"}', "", [ADD, FIND]),
    ('[TOOL_CALLS]add{"a": 1}', "", [ADD]),
    ('[TOOL_CALLS] add [ARGS] {"a": 1}', "", [ADD]),
    ('<|python_tag|>{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
    ('Sure.<|python_tag|>{"name": "add", "parameters": {"a": 1}}; {"name": "find", "parameters": {"text": "x"}}',
     "Sure.", [ADD, FIND]),
    ('{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
    (' {"type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1}"}}\n', "", [ADD]),
    ('[{"name": "find", "arguments": {"text": "x"}}]', "", [FIND]),
    ('{"name": "add"}', "", [ToolCall("add", {})]),
    ('<think>hm</think>\n{"name": "add", "arguments": {"a": 1}}', "<think>hm</think>", [ADD]),
    ('<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>', "", [ADD]),
    ('<tool_call>{"name":"write","arguments":{"text":"close with </tool_call> please"}}</tool_call>', "",
     [written("close with </tool_call> please")]),
    ('<tool_call>{"name":"write","arguments":{"text":"</think> {\\"a\\": [1]} \\\\"}}</tool_call>', "",
     [written('</think> {"a": [1]} \\')]),
    ('<tool_call>{"name": "add", "arguments": {"a": {"b": {"c": [{}]}}}}</tool_call>', "",
     [ToolCall("add", {"a": {"b": {"c": [{}]}}})]),
    (f"<think>I could write <tool_call> here.</think>\n{CALL}",
     "<think>I could write <tool_call> here.</think>", [ADD]),
    (f"I could write <tool_call> here.</think>\n{CALL}", "I could write <tool_call> here.</think>", [ADD]),
    (f"[THINK]a <tool_call>{{[/THINK]{CALL}", "[THINK]a <tool_call>{[/THINK]", [ADD]),
    (f"The mark is `<tool_call>`. Now: {CALL}", "The mark is `<tool_call>`. Now:", [ADD]),
    (f"The mark is <tool_call>, so {CALL}", "The mark is <tool_call>, so", [ADD]),
    (f"```\ncode\n```\n{CALL}", "```\ncode\n```", [ADD]),
])  # fmt: skip
def test_the_forms_of_the_families(text, beside, calls):
    assert find_calls(text, OFFERED) == Found(beside, calls)


@pytest.mark.parametrize(("text", "calls"), [
    ('<tool_call>{"name": "any", "arguments": {"a": 1}}</tool_call>', [ToolCall("any", {"a": 1})]),
    ('[TOOL_CALLS]any[ARGS]{"a": 1}', [ToolCall("any", {"a": 1})]),
    ('{"name": "any", "arguments": {"a": 1}}', []),
])  # fmt: skip
def test_where_nobody_knows_what_was_offered_marks_make_a_call(text, calls):
    assert find_calls(text, None).calls == calls


@pytest.mark.parametrize("text", [
    "just words", "", "{}", "[]", "3", "null", '"add"',
    "[TOOL_CALLS]", "use [TOOL_CALLS] and <tool_call> marks", "<|python_tag|>print(1)",
    '{"name": "add", "arguments": {}} and so on',
    "[" * 20_000,
    f"<think>{CALL}</think>", f"<think>{CALL}", f"hm {CALL} no</think>", f"[THINK]{CALL}[/THINK]",
    f"<think>\n{CALL}\n</think>\n\nI call nothing.", '<think>x</think>words {"name": "add"}',
    f"Like so:\n```xml\n{CALL}\n```\nor not.", f"```\n{CALL}", f"write `{CALL}`",
    f"```json\n{{}}\n```\nthen\n```\n{CALL}\n```", f"Like so:\n~~~\n{CALL}\n~~~",
    f"<thought>{CALL}</thought>", f"<reasoning>{CALL}</reasoning>no", f"<seed:think>{CALL}",
    f"<|START_THINKING|>{CALL}<|END_THINKING|>",
])  # fmt: skip
def test_what_is_no_call_stays_text(text):
    assert find_calls(text, OFFERED) == Found(text)


@pytest.mark.parametrize("text", [
    '<tool_call>{"name": "add", "arguments": {"a": }}</tool_call>',
    '<tool_call>{"name": "drop_tables", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": [1]}</tool_call>',
    '<tool_call>{"name": "add", "arguments": "a=1"}</tool_call>',
    '<tool_call>{"name": ["add"], "arguments": {}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"a": "\\ud800"}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"a": 1e999}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"a": ' + "[" * 300 + "]" * 300 + "}}</tool_call>",
    '<tool_call>{"name": "add", "arguments": {"a": ' + "9" * 5000 + "}}</tool_call>",
    '<tool_call>{"name": "add", "arguments": {"a": 1}}}</tool_call>',
    '<tool_call>{"name": "add", "arguments": {"a": "b',
    '<tool_call>{"name": "add", "argum',
    f"{CALL}<tool_call>oops</tool_call>",
    "[TOOL_CALLS]add[ARGS]{", '[TOOL_CALLS][{"name": "add", "arguments"', '<|python_tag|>{"name": "add", "para',
    "<tool_call>" + "[" * 20_000,
])  # fmt: skip
def test_what_is_malformed_stays_text_and_is_counted(text):
    assert find_calls(text, OFFERED) == Found(text, malformed=1)


def test_thoughts_that_the_prompt_has_opened_hold_no_call():
    assert find_calls(f"I may {CALL}", OFFERED, thinking=True) == Found(f"I may {CALL}")
    assert find_calls(f"I may {CALL}</think>{CALL}", OFFERED, thinking=True).calls == [ADD]
    assert find_calls('hm</think>{"name": "add", "arguments": {"a": 1}}', OFFERED, thinking=True).calls == [ADD]


texts = st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=6)), max_size=8).map("".join)
values = st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=3)
                      | st.dictionaries(texts, inner, max_size=3), max_leaves=6)  # fmt: skip
calls = st.builds(ToolCall, st.sampled_from(sorted(OFFERED)), st.dictionaries(texts, values, max_size=3))


def as_json(call, name="arguments", **options):
    return json.dumps({"name": call.name, name: call.arguments}, **options)


FORMS = {
    "hermes": lambda call: f"<tool_call>\n{as_json(call)}\n</tool_call>",
    "mistral": lambda call: f"[TOOL_CALLS]{call.name}[CALL_ID]x1[ARGS]{json.dumps(call.arguments, ensure_ascii=False)}",
    "llama": lambda call: f"<|python_tag|>{as_json(call, 'parameters', indent=1)}",
    "text": lambda call: f"<tool_call>{as_json(ToolCall(call.name, json.dumps(call.arguments)))}</tool_call>",
}


@given(st.lists(calls, min_size=1, max_size=3), st.sampled_from(sorted(FORMS)), st.sampled_from(["", "Well.\n"]))
def test_whatever_an_argument_holds_the_call_comes_back(made, form, before):
    text = before + "\n".join(map(FORMS[form], made))
    found = find_calls(text, OFFERED)
    assert (found.calls, found.beside, found.malformed) == (made, before.strip(), 0)


@given(texts, calls)
def test_no_call_comes_from_thoughts(thought, call):
    text = f"<think>{thought.replace('</think>', '')}{FORMS['hermes'](call)}".replace("</think>", "")
    assert find_calls(text, OFFERED).calls == []
    assert find_calls(text.removeprefix("<think>"), OFFERED, thinking=True).calls == []


@given(texts)
def test_any_text_is_read(text):
    found = find_calls(text, OFFERED)
    assert found.calls or found.beside == text


@pytest.mark.parametrize(
    "piece", [*MARKS, '<tool_call>{"a":"', "[TOOL_CALLS]add[CALL_ID]", '{"name": "add"};', "<think></think>"]
)
def test_no_text_takes_long(piece):
    began = time.monotonic()
    find_calls(piece * (60_000 // len(piece)), OFFERED)
    assert time.monotonic() - began < 2


class Writes:
    """An engine that writes a given text."""

    weights_version = 0

    def __init__(self, tokenizer, text):
        self._ids = [*tokenizer.encode(text, add_special_tokens=False), chat.end_token(tokenizer)]

    def submit(self, prompt_ids, max_tokens, params, stop_ids, stop, *, grammar, listen):
        done = Future()
        for token in self._ids if listen is not None else ():
            listen(token)
        done.set_result(Generation(prompt_ids, self._ids, [0.0] * len(self._ids), FinishReason.STOP, 0))
        return done


@pytest.fixture(scope="module")
def tokenizer(llama):
    return AutoTokenizer.from_pretrained(llama)


@given(
    st.lists(st.one_of(texts, calls.map(FORMS["hermes"]), calls.map(FORMS["mistral"])), min_size=1, max_size=3)
    .map("".join)
    .filter(str.isascii)
)
@settings(max_examples=40)
def test_a_stream_tells_what_the_whole_answer_does(tokenizer, text):
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in sorted(OFFERED)]
    call = Call([{"role": "user", "content": "x"}], tools=tools, remembered=False)

    async def both():
        conversations = Conversations(Writes(tokenizer, text), tokenizer)
        (whole,) = await conversations.answer(call, [1, 2])
        stream = Stream(conversations, call, [1, 2])
        response = Response("m", tokenizer, chat=True, likeliest=None, ids=False)
        told = [json.loads(one.removeprefix("data: ")) async for one in events(stream, response, counted=False)
                if "[DONE]" not in one]  # fmt: skip
        return whole, [one["choices"][0] for one in told]

    whole, choices = asyncio.run(both())
    expected = whole.message()
    deltas = [choice["delta"] for choice in choices]
    assert "".join(delta.get("content", "") for delta in deltas) == (expected["content"] or "")
    streamed = [call["function"] for delta in deltas for call in delta.get("tool_calls", [])]
    assert streamed == [call["function"] for call in expected.get("tool_calls", [])]
    assert choices[-1]["finish_reason"] == whole.finish_reason
