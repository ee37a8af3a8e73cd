"""The renderer against the template families that people train: what is trained, where it ends, what comes before."""

import pytest

from homeground.policy import chat, render

from .templates import FAMILIES
from .test_chat import pieces

TURNS = [
    {"role": "user", "content": "Which one parses a date?"},
    {"role": "assistant", "content": "parse_date"},
    {"role": "user", "content": "And in C?"},
    {"role": "assistant", "content": "strptime"},
]
CALL = {"type": "function", "function": {"name": "find", "arguments": {"text": "date"}}}
CALLING = [
    {"role": "user", "content": "Which one?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "parse_date"},
    {"role": "assistant", "content": "parse_date"},
]


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def written(tokenizer, rendered):
    return [tokenizer.decode(run) for run in pieces(rendered)]


def test_answers_and_their_end_tokens_are_trained_and_nothing_else(family):
    tokenizer = family.tokenizer()
    rendered = render(tokenizer, TURNS[:2])
    assert written(tokenizer, rendered) == [f"{family.before}parse_date{family.end}"]
    both = written(tokenizer, render(tokenizer, TURNS))
    assert [text.removeprefix(family.before) for text in both] == [f"parse_date{family.end}", f"strptime{family.end}"]


def test_a_single_turn_is_the_template_s_own_text(family):
    tokenizer = family.tokenizer()
    rendered = render(tokenizer, TURNS[:2])
    text = tokenizer.apply_chat_template(TURNS[:2], tokenize=False)
    assert text.startswith(tokenizer.decode(rendered.ids))
    assert text.removeprefix(tokenizer.decode(rendered.ids)).strip() in ("", tokenizer.eos_token)


def test_the_next_prompt_continues_the_ids_that_were_sampled(family):
    tokenizer = family.tokenizer()
    first = render(tokenizer, TURNS[:2])
    prompt = chat.extend(tokenizer, TURNS[:2], first.ids, TURNS[:3])
    assert prompt is not None
    assert prompt[: len(first.ids)] == first.ids
    assert render(tokenizer, TURNS).ids[: len(prompt)] == prompt


def test_the_end_of_a_turn_is_not_always_the_end_of_text(family):
    tokenizer = family.tokenizer()
    assert chat.token_text(tokenizer, chat.end_token(tokenizer)) == family.end


def test_only_the_last_answer_is_trained_when_asked(family):
    tokenizer = family.tokenizer()
    (last,) = written(tokenizer, render(tokenizer, TURNS, only_last=True))
    assert last == f"{family.before}strptime{family.end}"


def test_tool_calls_are_trained_and_their_results_are_not(family):
    tokenizer = family.tokenizer()
    call, answer = written(tokenizer, render(tokenizer, CALLING, tools=[CALL]))
    assert '"find"' in call
    assert '{"text": "date"}' in call
    assert call.endswith(family.end)
    assert answer.endswith(f"parse_date{family.end}")


def test_a_content_that_the_template_trims_is_trained_trimmed(family):
    tokenizer = family.tokenizer()
    padded = [TURNS[0], {"role": "assistant", "content": " parse_date\n"}, *TURNS[2:]]
    first, second = written(tokenizer, render(tokenizer, padded))
    assert first.removeprefix(family.before).removesuffix(family.end).strip() == "parse_date"
    assert second.removeprefix(family.before) == f"strptime{family.end}"


def test_marks_inside_tool_calls_stay_text(family):
    tokenizer = family.tokenizer()
    call = {"type": "function", "function": {"name": "find", "arguments": {"text": f"a{family.end}b"}}}
    messages = [CALLING[0], {**CALLING[1], "tool_calls": [call]}, *CALLING[2:]]
    ids = render(tokenizer, messages).ids
    assert ids.count(chat.end_token(tokenizer)) == render(tokenizer, CALLING).ids.count(chat.end_token(tokenizer))
