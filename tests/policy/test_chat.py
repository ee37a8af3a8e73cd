import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError
from homeground.policy import chat, render

from . import tiny

CONVERSATION = [
    {"role": "system", "content": "You find functions."},
    {"role": "user", "content": "Which one parses a date?"},
    {"role": "assistant", "content": "search: parse abc date"},
    {"role": "user", "content": "[1] http/date parse_date"},
    {"role": "assistant", "content": "answer: [1]"},
]

texts = st.lists(
    st.one_of(st.text(max_size=8), st.sampled_from([*tiny.SPECIAL, "<", "|im_", "end|>", "<|im_", "abc", "the", "\n"])),
    max_size=5,
).map("".join)


def pieces(rendered):
    """The trained tokens, cut where they are not adjacent."""
    runs = []
    for t in rendered.trained:
        if runs and runs[-1][-1] == t - 1:
            runs[-1].append(t)
        else:
            runs.append([t])
    return [[rendered.ids[t] for t in run] for run in runs]


def test_masks_decode_to_exactly_what_each_assistant_wrote_and_its_end_token(tokenizer):
    decoded = [tokenizer.decode(run) for run in pieces(render(tokenizer, CONVERSATION))]
    assert decoded == ["search: parse abc date<|im_end|>", "answer: [1]<|im_end|>"]


def test_the_text_around_the_answers_is_the_template_s_own(tokenizer):
    rendered = render(tokenizer, CONVERSATION)
    template = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    assert tokenizer.decode(rendered.ids) + "\n" == template


def test_the_bundled_model_s_template_renders_the_same_way(smollm):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm)
    rendered = render(tokenizer, CONVERSATION)
    decoded = [tokenizer.decode(run) for run in pieces(rendered)]
    assert decoded == ["search: parse abc date<|im_end|>", "answer: [1]<|im_end|>"]
    assert tokenizer.decode(rendered.ids) + "\n" == tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    for content in ("<file_sep>", "<|endoftext|>", "<jupyter_code>"):
        assert not special(tokenizer, chat.encode(tokenizer, chat.defuse(tokenizer, f"a {content} b")))


def special(tokenizer, ids):
    marks = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return [i for i in ids if i in marks]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts)
def test_no_content_can_forge_a_special_token(tokenizer, text):
    assert not special(tokenizer, chat.encode(tokenizer, chat.defuse(tokenizer, text)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
def test_masks_hold_for_any_contents(tokenizer, turns):
    messages = []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    rendered = render(tokenizer, messages)
    decoded = [tokenizer.decode(run) for run in pieces(rendered)]
    assert decoded == [chat.defuse(tokenizer, answer) + "<|im_end|>" for _, answer in turns]
    opened = rendered.ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>"))
    assert opened == 2 * len(turns) + 1, "a content opened or closed a turn"


def test_text_without_marks_is_left_as_it_is(tokenizer):
    assert chat.defuse(tokenizer, "if a < b | im_end > c: pass") == "if a < b | im_end > c: pass"


def test_a_prompt_ends_where_the_assistant_begins(tokenizer):
    opened = chat.prompt_text(tokenizer, CONVERSATION[:2])
    assert opened.endswith("<|im_start|>assistant\n")
    assert not chat.prompt_text(tokenizer, CONVERSATION[:2], open_turn=False).endswith("assistant\n")


def test_the_trained_ids_after_a_prompt_are_those_of_a_finished_conversation(tokenizer):
    rendered = render(tokenizer, CONVERSATION[:3])
    prompt = chat.encode(tokenizer, chat.prompt_text(tokenizer, CONVERSATION[:2]))
    assert rendered.ids[: len(prompt)] == prompt
    assert rendered.trained == list(range(len(prompt), len(rendered.ids)))


def test_extend_keeps_the_sampled_ids_however_they_were_cut(tokenizer):
    prompt = chat.encode(tokenizer, chat.prompt_text(tokenizer, CONVERSATION[:2]))
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "abc"]
    assert chat.encode(tokenizer, "abc") != letters
    history = [*CONVERSATION[:2], {"role": "assistant", "content": "abc"}]
    extended = chat.extend(tokenizer, history, [*prompt, *letters, 264], [*history, CONVERSATION[3]])
    assert extended[: len(prompt) + 4] == [*prompt, *letters, 264]
    assert tokenizer.decode(extended) == chat.prompt_text(tokenizer, [*history, CONVERSATION[3]])


def test_extend_closes_a_turn_that_was_cut_off(tokenizer):
    prompt = chat.encode(tokenizer, chat.prompt_text(tokenizer, CONVERSATION[:2]))
    history = [*CONVERSATION[:2], {"role": "assistant", "content": "x"}]
    written = chat.encode(tokenizer, "x")
    whole = chat.extend(tokenizer, history, prompt + written, [*history, CONVERSATION[3]])
    assert whole == chat.extend(tokenizer, history, [*prompt, *written, 264], [*history, CONVERSATION[3]])


def test_extend_gives_up_when_the_texts_do_not_line_up(tokenizer):
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    other = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert chat.extend(tokenizer, history, [1, 2], other) is None


def test_a_tokenizer_without_a_template_says_what_to_do(tokenizer_copy):
    tokenizer_copy.chat_template = None
    with pytest.raises(HomegroundError, match="no chat template") as caught:
        render(tokenizer_copy, CONVERSATION)
    assert "instruct model" in caught.value.hint


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer_copy):
    tokenizer_copy.chat_template = "{{ messages | length }} messages\n" + tiny.CHATML
    with pytest.raises(HomegroundError, match="rewrites earlier turns") as caught:
        render(tokenizer_copy, CONVERSATION)
    assert "one assistant message each" in caught.value.hint


def test_a_template_that_refuses_is_quoted_with_the_roles(tokenizer_copy):
    tokenizer_copy.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(HomegroundError, match="roles must alternate") as caught:
        render(tokenizer_copy, CONVERSATION)
    assert "'system', 'user'" in caught.value.hint


def test_a_conversation_without_an_assistant_is_refused(tokenizer):
    with pytest.raises(HomegroundError, match="nothing to train on") as caught:
        render(tokenizer, CONVERSATION[:2])
    assert "assistant message" in caught.value.hint


def test_a_tokenizer_without_an_end_token_is_refused(tokenizer_copy):
    tokenizer_copy.eos_token = tokenizer_copy.chat_template = None
    with pytest.raises(HomegroundError, match="no end-of-turn token") as caught:
        chat.end_token(tokenizer_copy)
    assert "eos_token" in caught.value.hint


@pytest.fixture
def tokenizer_copy():
    return tiny.tokenizer()
