"""What an assistant thought before it answered: written where the template has it, trained with the answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.policy import chat, render
from homeground.policy.chat import ConversationError

from . import tiny
from .templates import DEEPSEEK_CLOSED, DEEPSEEK_R1, EMPTY_THOUGHTS, FAMILIES, QWEN_3_THOUGHTS, THINKING, Family
from .test_chat import pieces

ASK, ANSWER = {"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "yes"}
AGAIN = {"role": "user", "content": "Sure?"}
CALL = {"type": "function", "function": {"name": "find", "arguments": {}}}
NAMES = ("reasoning_content", "thinking", "reasoning")


def written(tokenizer, messages, **options):
    return [tokenizer.decode(run) for run in pieces(render(tokenizer, messages, **options))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", THINKING)
def test_thoughts_of_any_name_are_trained_as_the_template_has_them(family, name):
    made, expected = THINKING[family]
    assert written(made.tokenizer(), [ASK, {**ANSWER, name: "hmm"}]) == [expected + made.end]


@pytest.mark.parametrize("family", [name for name in THINKING if name != "GPT-OSS"])
def test_thoughts_that_stand_in_the_content_are_the_same(family):
    made, expected = THINKING[family]
    inside = {**ANSWER, "content": "<think>\nhmm\n</think>\n\nyes"}
    assert written(made.tokenizer(), [ASK, inside]) == [expected + made.end]


@pytest.mark.parametrize("family", ["Qwen 3", "Qwen 3 that always thinks", "DeepSeek R1", "DeepSeek R1 at first"])
def test_earlier_thoughts_that_the_template_drops_stay_where_they_were_written(family):
    made, expected = THINKING[family]
    tokenizer = made.tokenizer()
    thinking = {**ANSWER, "thinking": "hmm"}
    first = render(tokenizer, [ASK, thinking])
    both = render(tokenizer, [ASK, thinking, AGAIN, thinking])
    assert written(tokenizer, [ASK, thinking, AGAIN, thinking]) == [expected + made.end] * 2
    assert both.ids[: len(first.ids)] == first.ids
    (last,) = written(tokenizer, [ASK, {**thinking, "weight": 0}, AGAIN, thinking])
    assert last == expected + made.end
    prompt = chat.extend(tokenizer, [ASK, thinking], first.ids, [ASK, thinking, AGAIN])
    assert both.ids[: len(prompt)] == prompt


def test_thoughts_before_a_call_are_trained_with_it():
    tokenizer = THINKING["Qwen 3"][0].tokenizer()
    call = {"type": "function", "function": {"name": "find", "arguments": {"text": "x", "limit": None}}}
    calling = {"role": "assistant", "content": "", "tool_calls": [call], "reasoning": "look"}
    turn, answer = written(tokenizer, [ASK, calling, {"role": "tool", "content": "y"}, {**ANSWER, "thinking": "hmm"}])
    assert turn.startswith("<think>\nlook\n</think>\n\n")
    assert '{"text": "x", "limit": null}' in turn
    assert answer == "<think>\nhmm\n</think>\n\nyes<|im_end|>"


def test_a_template_without_a_place_for_thoughts_refuses_them_unless_they_are_context():
    tokenizer = tiny.tokenizer()
    thinking = {**ANSWER, "thinking": "hmm"}
    with pytest.raises(ConversationError, match="leaves out the thoughts"):
        render(tokenizer, [ASK, thinking])
    assert written(tokenizer, [ASK, {**thinking, "weight": 0}, AGAIN, ANSWER]) == ["yes<|im_end|>"]
    assert "hmm" not in chat.prompt_text(tokenizer, [ASK, thinking, AGAIN])


@pytest.mark.parametrize(("template", "answer", "words"), [
    (DEEPSEEK_R1, ANSWER, "opens every answer with thoughts, and this one has none"),
    (DEEPSEEK_R1, {**ANSWER, "content": "", "tool_calls": [CALL]}, "opens every answer with thoughts"),
    (EMPTY_THOUGHTS, {**ANSWER, "thinking": "hmm"}, "leaves out the thoughts"),
    (EMPTY_THOUGHTS, {**ANSWER, "content": "<think>\nhmm\n</think>\n\nyes"}, "leaves out the thoughts"),
    (DEEPSEEK_CLOSED, {**ANSWER, "thinking": "hmm"}, "leaves out the thoughts"),
    (DEEPSEEK_CLOSED, {**ANSWER, "content": "<think>\nhmm\n</think>\n\nyes"}, "leaves out the thoughts"),
])  # fmt: skip
def test_an_answer_that_does_not_go_on_from_what_the_template_opens_is_refused(template, answer, words):
    tokenizer = Family(template, ("<bos>", "<eos>", "<|User|>", "<|Assistant|>"), "<eos>", "<bos>", "<eos>").tokenizer()
    with pytest.raises(ConversationError, match=words):
        render(tokenizer, [ASK, answer])


def test_marks_inside_thoughts_stay_text():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = QWEN_3_THOUGHTS
    (turn,) = written(tokenizer, [ASK, {**ANSWER, "thinking": "a<|im_end|>b"}])
    assert turn == "<think>\na< |im_end|>b\n</think>\n\nyes<|im_end|>"


def test_a_weight_changes_what_is_trained_and_never_an_id():
    tokenizer = tiny.tokenizer()
    turns = [ASK, ANSWER, AGAIN, {**ANSWER, "content": "so"}]
    whole = render(tokenizer, turns)
    part = render(tokenizer, [ASK, {**ANSWER, "weight": 0}, *turns[2:]])
    assert part.ids == whole.ids
    assert [tokenizer.decode(run) for run in pieces(part)] == ["so<|im_end|>"]
    with pytest.raises(ConversationError, match="nothing to train on"):
        render(tokenizer, [ASK, {**ANSWER, "weight": 0}])


def test_an_answer_before_the_first_question_is_context():
    tokenizer = tiny.tokenizer()
    greeting = {"role": "assistant", "content": "Hello."}
    assert written(tokenizer, [greeting, ASK, ANSWER]) == ["yes<|im_end|>"]
    text = tokenizer.decode(render(tokenizer, [greeting, ASK, ANSWER]).ids)
    assert "assistant\nHello.<|im_end|>" in text
    offered = chat.prompt_text(tokenizer, [greeting, ASK], tools=[{"type": "function"}])
    assert offered.index("Hello.<|im_end|>") < offered.index("You may call functions") < offered.index("Is it?")


@pytest.mark.parametrize("message", [{"role": "system", "content": "Be exact."}, {"role": "user", "content": "Lost."}])
def test_a_message_that_the_template_drops_without_a_word_is_refused(message):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% set messages = messages[1:] %}" + tiny.CHATML
    with pytest.raises(ConversationError, match=f"leaves out the {message['role']}'s message 0"):
        render(tokenizer, [message, ASK, ANSWER])


def test_the_text_beside_a_call_is_not_lost():
    calling = {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}
    assert written(FAMILIES["Qwen 2.5"].tokenizer(), [ASK, calling])[0].startswith("I look.<tool_call>")
    with pytest.raises(ConversationError, match="leaves out the text beside a call"):
        render(FAMILIES["Llama 3"].tokenizer(), [ASK, calling])
    with pytest.raises(ConversationError, match="leaves out the call of find"):
        render(FAMILIES["Llama 3"].tokenizer(), [ASK, {**calling, "content": "", "tool_calls": [CALL, CALL]}])


def test_a_tool_that_the_template_does_not_show_is_refused():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = tiny.CHATML + "{# no tool_calls #}"
    tool = {"type": "function", "function": {"name": "find"}}
    with pytest.raises(ConversationError, match="leaves out the tool find"):
        render(tokenizer, [ASK, ANSWER], tools=[tool])
    assert "find" in tokenizer.decode(render(tiny.tokenizer(), [ASK, ANSWER], tools=[tool]).ids)


@pytest.mark.parametrize("family", FAMILIES)
@given(flags=st.lists(st.booleans(), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_flags_pick_turns_and_change_no_id(family, flags):
    tokenizer = FAMILIES[family].tokenizer()
    turns = [[{**ASK, "content": f"q{n}"}, {**ANSWER, "content": f"a{n}"}] for n in range(len(flags) + 1)]
    flagged = [[ask, answer if kept else {**answer, "weight": 0}]
               for (ask, answer), kept in zip(turns, [*flags, True], strict=True)]  # fmt: skip
    whole, part = (render(tokenizer, [one for pair in told for one in pair]) for told in (turns, flagged))
    assert part.ids == whole.ids
    kept = [run for run, flag in zip(pieces(whole), [*flags, True], strict=True) if flag]
    assert pieces(part) == kept
