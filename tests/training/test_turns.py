"""Messages as data sets write them: read as what they say, or rejected with the reason, never anything between."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.training.formats import Format, RowError, example_of, format_of, unread_fields

ASK, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
CONTEXT = {**ANSWER, "weight": 0}
TWICE = [ASK, ANSWER, ASK, ANSWER]


def read(*messages, **row):
    return example_of({"messages": list(messages), **row}).messages


def refused(row):
    with pytest.raises(RowError) as caught:
        example_of(row)
    return str(caught.value)


@pytest.mark.parametrize("flag", ["weight", "train", "training", "trainable", "loss", "loss_mask"])
@pytest.mark.parametrize(("value", "answer"), [(0, CONTEXT), (0.0, CONTEXT), (False, CONTEXT), ("false", CONTEXT),
                                               (1, ANSWER), (1.0, ANSWER), (True, ANSWER), (None, ANSWER)])  # fmt: skip
def test_a_flag_says_whether_an_answer_is_trained_or_context(flag, value, answer):
    assert read(ASK, {**ANSWER, flag: value}, ASK, ANSWER) == [ASK, answer, ASK, ANSWER]
    turns = [("human", "a", None), ("gpt", "b", value), ("human", "a", 0), ("gpt", "b", 1)]
    row = {"conversations": [{"from": who, "value": what, flag: mark} for who, what, mark in turns]}
    assert example_of(row).messages == [ASK, answer, ASK, ANSWER]


@pytest.mark.parametrize(("turn", "words"), [
    ({**ANSWER, "weight": 0.5}, "'messages[1].weight' is 0.5: what is trained has the weight 1"),
    ({**ANSWER, "weight": -1}, "'messages[1].weight' is -1"),
    ({**ANSWER, "weight": float("nan")}, "'messages[1].weight' is nan"),
    ({**ANSWER, "train": "maybe"}, "'messages[1].train' is 'maybe'"),
    ({**ANSWER, "loss_mask": [0, 1]}, "'messages[1].loss_mask' is [0, 1]"),
    ({**ANSWER, "weight": 1, "train": False}, "messages[1] is said to be trained and not to be trained"),
    ({**ANSWER, "train_detail": [{"begin_offset": 0}]}, "messages[1] has 'train_detail', which is not read"),
    ({**ANSWER, "mask": True}, "messages[1] has 'mask', which is not read"),
    ({**ASK, "train": True}, "messages[1] is to be trained, but its role is 'user'"),
    ({**ANSWER, "weight": 0}, "no answer is trained"),
])  # fmt: skip
def test_a_flag_that_cannot_be_honoured_is_refused(turn, words):
    assert words in refused({"messages": [ASK, turn, *([ANSWER] if turn["role"] == "user" else [])]})


@pytest.mark.parametrize(("fields", "words"), [
    ({"weight": 0}, "'weight' of the row says that it is not trained"),
    ({"train": False}, "'train' of the row"),
    ({"weight": 0.3}, "'weight' is 0.3"),
    ({"loss_mask": [1]}, "'loss_mask' of the row is not read"),
    ({"label": False}, "'label' says whether the answer is liked (KTO)"),
    ({"kto_tag": True}, "'kto_tag' says whether the answer is liked (KTO)"),
    ({"images": ["a.png"]}, "the row has 'images': the model reads text only"),
])  # fmt: skip
def test_what_a_row_says_of_itself_is_honoured_or_refused(fields, words):
    assert words in refused({"prompt": "a", "completion": "b", **fields})
    assert words in refused({"messages": TWICE, **fields})


def test_a_field_without_a_value_is_named_as_such():
    assert "its fields are instruction, output (null)" in refused({"instruction": "a", "output": None})


def test_a_row_of_the_usual_weight_is_read():
    for weight in (1, 1.0, "1", None):
        assert example_of({"text": "a", "weight": weight}).text == "a"


def test_alpaca_s_history_comes_first_and_is_context():
    row = {"instruction": "c", "output": "d", "history": [["a", "b"]], "system": "s", "input": "i"}
    system, *rest = example_of(row).messages
    assert system == {"role": "system", "content": "s"}
    assert rest == [ASK, CONTEXT, {**ASK, "content": "c\n\ni"}, {**ANSWER, "content": "d"}]
    assert example_of({**row, "history": json.dumps(row["history"])}).messages == [system, *rest]
    for nothing in (None, [], ""):
        assert len(example_of({**row, "history": nothing}).messages) == 3
    for wrong in ([["a"]], ["a", "b"], [["a", "b", "c"]], {"a": "b"}):
        assert "'history' is not a list of questions with their answers" in refused({**row, "history": wrong})
    assert "'history[0]' is a number" in refused({**row, "history": [["a", 1]]})


def test_answers_inside_a_prompt_are_context():
    row = {"prompt": TWICE[:3], "completion": [ANSWER, ASK, ANSWER]}
    assert example_of(row).messages == [ASK, CONTEXT, ASK, ANSWER, ASK, ANSWER]
    assert "'prompt' ends with the assistant's" in refused({"prompt": TWICE, "completion": "b"})


@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_are_read_by_any_name_and_from_any_format(field):
    thinking = {**ANSWER, "reasoning_content": "hm"}
    assert read(ASK, {**ANSWER, field: "hm"}) == [ASK, thinking]
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", field: "hm"}]
    assert example_of({"conversations": turns}).messages == [ASK, thinking]
    assert example_of({"instruction": "a", "output": "b", field: "hm"}).messages == [ASK, thinking]
    assert example_of({"prompt": "a", "completion": "b", field: "hm"}).messages == [ASK, thinking]
    pair = example_of({"prompt": "a", "chosen": [{**ANSWER, field: "hm"}], "rejected": [{**ANSWER, field: "no"}]})
    assert pair.messages == [ASK, thinking]
    assert pair.rejected[-1]["reasoning_content"] == "no"
    assert pair.said() == ["a", "hm\nb", "no\nb"]
    assert "has thoughts, but its role is 'user'" in refused({"messages": [{**ASK, field: "hm"}, ANSWER]})
    assert "thinking" in refused({"messages": [ASK, {**ANSWER, field: "hm", "thinking": "oh", "reasoning": "ah"}]})


def test_thoughts_among_the_parts_of_a_content_are_thoughts():
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "b"}]
    assert read(ASK, {**ANSWER, "content": parts}) == [ASK, {**ANSWER, "reasoning_content": "hm"}]


@pytest.mark.parametrize(("who", "role"), [
    ("human", "user"), ("User", "user"), ("gpt", "assistant"), ("GPT", "assistant"), ("bing", "assistant"),
    ("chatgpt", "assistant"), ("model", "assistant"), ("Developer", "system"),
])  # fmt: skip
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
@pytest.mark.parametrize("field", ["messages", "conversations"])
def test_roles_have_many_names_and_either_list_either_fields(who, role, keys, field):
    told = {"system": "s", "user": "a", "assistant": "b"}
    names = {"user": "human", "assistant": "gpt", role: who}
    turns = [(names[one], told[one]) for one in told if one in names]
    row = {field: [dict(zip(keys, one, strict=True)) for one in turns]}
    expected = [ASK, ANSWER] if role != "system" else [{"role": "system", "content": "s"}, ASK, ANSWER]
    assert example_of(row).messages == expected


def test_calls_are_read_in_every_form():
    found = {"type": "function", "function": {"name": "f", "arguments": {"n": None}}}
    for calls in (
        {"tool_calls": [{"function": {"name": "f", "arguments": '{"n": null}'}}]},
        {"tool_calls": [{"name": "f", "arguments": {"n": None}}]},
        {"tool_calls": [{"name": "f", "parameters": {"n": None}, "function": None}]},
        {"tool_calls": '[{"name": "f", "arguments": {"n": null}}]'},
        {"function_call": {"name": "f", "arguments": '{"n": null}'}},
    ):
        assert read(ASK, {"role": "assistant", "content": None, **calls})[1]["tool_calls"] == [found]
    turns = [
        {"from": "human", "value": "a"},
        {"from": "tool_call", "value": '[{"name": "f", "arguments": {"n": null}}]'},
    ]
    assert example_of({"conversations": turns}).messages[1]["tool_calls"] == [found]
    schema = {"name": "f", "parameters": {"default": None, "enum": [None, 1]}}
    for tools in ({"functions": [schema]}, {"tools": json.dumps([{"type": "function", "function": schema}])},
                  {"tools": [json.dumps({"type": "function", "function": schema})]}):  # fmt: skip
        assert example_of({"messages": TWICE, **tools}).tools == [{"type": "function", "function": schema}]


def test_a_row_s_system_prompt_is_read_once():
    system = {"role": "system", "content": "s"}
    for row in ({"messages": TWICE}, {"messages": [system, *TWICE]}, {"prompt": "a", "completion": "b"}):
        assert example_of({**row, "system": "s"}).messages[:2] == [system, ASK]
    assert "two system prompts" in refused({"messages": [{**system, "content": "t"}, *TWICE], "system": "s"})


def test_what_comes_before_the_first_question_or_after_the_last_answer_is_not_trained():
    assert read(ANSWER, ASK, ANSWER) == [CONTEXT, ASK, ANSWER]
    assert read(*TWICE, ASK) == TWICE
    assert "no answer is trained" in refused({"messages": [ANSWER, ASK]})


@pytest.mark.parametrize(("row", "words"), [
    ({"messages": [{"role": ["user"], "content": "a"}]}, "has the role ['user']"),
    ({"messages": [{"role": "user", "from": "gpt", "content": "a"}]}, "different 'role' and 'from'"),
    ({"messages": [{"role": "user", "content": "a", "value": "b"}]}, "different 'content' and 'value'"),
    ({"messages": [ASK, {**ANSWER, "tool_calls": 3}]}, "messages[1].tool_calls is a number"),
    ({"messages": [ASK, {**ANSWER, "tool_calls": [{"name": "f", "args": {}}]}]}, "'args' in place of 'arguments'"),
    ({"messages": [ASK, {**ANSWER, "content": [{"type": "image_url"}]}]}, "a part that is no text ('image_url')"),
    ({"messages": [ASK, {**ANSWER, "content": [3]}]}, "a part that is no text"),
    ({"messages": [ASK, {**ANSWER, "reasoning": 3}]}, "'messages[1].reasoning' is a number"),
    ({"messages": [ASK, {**ANSWER, "content": "\ud800"}]}, "half a character"),
    ({"messages": TWICE, "tools": [3]}, "'tools' is not a list of schemas"),
    ({"messages": TWICE, "tools": [{"a": float("nan")}]}, "which JSON does not know"),
    ({"messages": TWICE, "tools": '[{"a": 1, "a": 2}]'}, "it has 'a' twice"),
    ({"messages": TWICE, "tools": '[{"a": NaN}]'}, "NaN is no number"),
    ({"messages": TWICE, "tools": "[" * 9999}, "nested too deeply"),
    ({"messages": TWICE, "tools": [json.loads('{"a":' * 99 + "1" + "}" * 99)]}, "nested more than 64 deep"),
    ({"instruction": "a", "input": 0, "output": "b"}, "'input' is a number"),
])  # fmt: skip
def test_what_is_malformed_is_rejected_with_the_reason(row, words):
    assert words in refused(row)


def test_messages_that_are_json_in_a_cell_are_read():
    assert read(*TWICE) == example_of({"messages": json.dumps(TWICE)}).messages
    assert "'messages' is text and no JSON" in refused({"messages": "[{"})


def test_fields_that_are_not_read_are_named():
    row = {"messages": [{**ASK, "id": 1}, {**ANSWER, "weight": 1, "score": 2}], "text": "x", "lang": "en", "note": None}
    assert unread_fields(row, Format.MESSAGES) == {"messages[].id", "messages[].score", "text", "lang"}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats()
    | st.sampled_from(["", "a", "user", "gpt", "{}", "[]"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "type", "text", "function", "name"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
BASES = [
    {"messages": [ASK, {**ANSWER, "tool_calls": [{"function": {"name": "f", "arguments": {}}}], "weight": 1}]},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"},
    {"instruction": "a", "input": "i", "output": "b", "history": [["a", "b"]]},
    {"prompt": [ASK], "completion": [ANSWER]},
    {"prompt": "a", "chosen": "b", "rejected": "c"},
    {"text": "a"},
    {"prefix": "a", "continuation": "b"},
]  # fmt: skip


def spoilt(value, wrong, rng):
    """The row with one value anywhere in it replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(sorted(value))
        return {**value, name: spoilt(value[name], wrong, rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], spoilt(value[at], wrong, rng), *value[at + 1 :]]
    return wrong


@settings(max_examples=300, deadline=None)
@given(base=st.sampled_from(BASES), wrong=json_values, seed=st.integers(0, 999))
def test_any_wrong_value_anywhere_is_read_or_rejected_and_never_breaks(base, wrong, seed):
    row = spoilt(base, wrong, random.Random(seed))
    if not isinstance(row, dict):
        return
    try:
        example = example_of(row)
    except RowError:
        return
    unread_fields(row, format_of(row))
    assert example.said()
    assert all(isinstance(m["content"], str) for m in [*example.messages, *example.rejected])
