import pytest

from homeground.training.formats import Format, RowError, example_of, format_of

ASK, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
CALL = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"text": "x", "depth": null}'}}
CALLED = {"id": "1", "type": "function", "function": {"name": "find", "arguments": {"text": "x", "depth": None}}}


@pytest.mark.parametrize(("row", "kind", "messages"), [
    ({"messages": [ASK, ANSWER], "id": 3}, Format.MESSAGES, [ASK, ANSWER]),
    ({"prompt": "a", "completion": "b"}, Format.PROMPT_COMPLETION, [ASK, ANSWER]),
    ({"prompt": [ASK], "completion": [ANSWER]}, Format.PROMPT_COMPLETION, [ASK, ANSWER]),
    ({"instruction": "a", "output": "b", "input": ""}, Format.ALPACA, [ASK, ANSWER]),
    ({"instruction": "a", "input": "c", "output": "b"}, Format.ALPACA, [{**ASK, "content": "a\n\nc"}, ANSWER]),
    ({"instruction": "", "input": "a", "output": "b"}, Format.ALPACA, [ASK, ANSWER]),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, Format.SHAREGPT,
     [ASK, ANSWER]),
    ({"system": "s", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
     Format.SHAREGPT, [{"role": "system", "content": "s"}, ASK, ANSWER]),
    ({"messages": None, "prompt": "a", "completion": "b"}, Format.PROMPT_COMPLETION, [ASK, ANSWER]),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, ANSWER]}, Format.MESSAGES,
     [ASK, ANSWER]),
    ({"messages": [{"role": "developer", "content": "s"}, ASK, ANSWER]}, Format.MESSAGES,
     [{"role": "system", "content": "s"}, ASK, ANSWER]),
])  # fmt: skip
def test_each_format_is_recognised_and_becomes_a_conversation(row, kind, messages):
    example = example_of(row)
    assert (example.format, example.messages) == (kind, messages)
    assert format_of(row) is kind


def test_a_tool_call_gets_its_arguments_as_an_object_and_its_result_stays():
    turns = [ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]},
             {"role": "tool", "tool_call_id": "1", "name": "find", "content": "y"}, ANSWER]  # fmt: skip
    example = example_of({"messages": turns, "tools": '[{"type": "function"}]'})
    assert example.messages[1] == {"role": "assistant", "content": "", "tool_calls": [CALLED]}
    assert example.messages[2] == turns[2]
    assert example.tools == [{"type": "function"}]


def test_sharegpt_s_function_calls_are_tool_calls():
    call = '{"name": "find", "arguments": {"text": "x", "depth": null}}'
    turns = [("human", "a"), ("function_call", call), ("observation", "y"), ("gpt", "b")]
    example = example_of({"conversations": [{"from": who, "value": what} for who, what in turns]})
    assert [m["role"] for m in example.messages] == ["user", "assistant", "tool", "assistant"]
    assert example.messages[1]["tool_calls"] == [{k: v for k, v in CALLED.items() if k != "id"}]


@pytest.mark.parametrize("row", [
    {"prompt": "a", "chosen": "b", "rejected": "c"},
    {"prompt": [ASK], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "c"}]},
    {"chosen": [ASK, ANSWER], "rejected": [ASK, {**ANSWER, "content": "c"}]},
    {"prompt": "a", "chosen": [ASK, ANSWER], "rejected": [ASK, {**ANSWER, "content": "c"}]},
])  # fmt: skip
def test_a_preference_pair_is_two_conversations_with_one_beginning(row):
    example = example_of(row)
    assert example.format is Format.PREFERENCE
    assert example.messages == [ASK, ANSWER]
    assert example.rejected == [ASK, {**ANSWER, "content": "c"}]


def test_a_text_stays_a_text():
    assert example_of({"text": "def f(): ..."}).text == "def f(): ..."


@pytest.mark.parametrize(("row", "words"), [
    ({"question": "a", "answer": "b"}, "no known format: its fields are answer, question"),
    ({}, "its fields are none"),
    ({"messages": []}, "'messages' is empty, not a list of messages"),
    ({"messages": "a"}, "'messages' is text"),
    ({"messages": ["a"]}, "messages[0] is text, not a message"),
    ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0] has the role 'robot'"),
    ({"messages": [{"role": "user", "content": 3}, ANSWER]}, "'messages[0].content' is a number, not text"),
    ({"messages": [{"role": "user"}, ANSWER]}, "'messages[0].content' is missing"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWER]}, "a part that is no text"),
    ({"messages": [ASK]}, "no message is the assistant's"),
    ({"messages": [ANSWER]}, "no message is the user's"),
    ({"messages": [ASK, {**ANSWER, "content": " "}]}, "the assistant's message 1 is empty"),
    ({"messages": [ASK, {"role": "tool", "content": "x"}, ANSWER]}, "message 1 is a tool's result"),
    ({"messages": [{**ASK, "tool_calls": [CALL]}, ANSWER]}, "has tool calls, but its role is 'user'"),
    ({"messages": [ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
     "its arguments are no JSON"),
    ({"messages": [ASK, ANSWER], "tools": "x"}, "'tools' is no JSON"),
    ({"conversations": [{"from": "martian", "value": "a"}]}, "has the role 'martian'"),
    ({"conversations": [{"human": "a"}]}, "conversations[0] has no 'role' and 'content'"),
    ({"instruction": 1, "output": "b"}, "'instruction' is a number"),
    ({"text": " \n"}, "'text' is empty"),
    ({"chosen": "b", "rejected": "c"}, "the pair has no prompt"),
    ({"prompt": "a", "chosen": "b", "rejected": "b"}, "are the same"),
    ({"chosen": [ASK, ANSWER], "rejected": [{**ASK, "content": "z"}, ANSWER]}, "do not answer the same prompt"),
    ({"prompt": [ASK], "completion": [ANSWER], "reasoning": "t"}, "'reasoning' stands beside a list of messages"),
])  # fmt: skip
def test_what_fits_no_format_is_refused_with_the_reason(row, words):
    with pytest.raises(RowError) as caught:
        example_of(row)
    assert words in str(caught.value)
