"""Begin and end marks: one of each around a plain text, whoever writes it; in a conversation the template's."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from homeground.policy.chat import encode_text, opening
from homeground.rollouts.requests import CompletionRequest
from homeground.training import example_of, render_examples

from ..policy import tiny

BOS, EOS = "<s>", "</s>"
AROUND = {"nothing": "$A", "begin": f"{BOS} $A", "end": f"$A {EOS}", "both": f"{BOS} $A {EOS}"}
TURNS = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "the"}]


def tokenizer(adds, *, of_template=False):
    made = tiny.tokenizer()
    made.add_special_tokens({"bos_token": BOS, "eos_token": EOS})
    ids = [(mark, made.convert_tokens_to_ids(mark)) for mark in (BOS, EOS)]
    made.backend_tokenizer.post_processor = TemplateProcessing(single=AROUND[adds], special_tokens=ids)
    made.chat_template = ("{{ bos_token }}" if of_template else "") + tiny.CHATML
    return made


TOKENIZERS = {(adds, own): tokenizer(adds, of_template=own) for adds in AROUND for own in (False, True)}
each = pytest.mark.parametrize("made", TOKENIZERS.values(), ids=map(str, TOKENIZERS))
texts = st.text("abthe <s>/\n", min_size=1, max_size=8).filter(lambda text: text.strip())


def begins(made):
    return made("a").input_ids[0] == made.bos_token_id


@each
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(text=texts, begun=st.booleans(), ended=st.sampled_from(["", EOS, f"{EOS}\n", f"{EOS} \n\n", "<|im_end|>\n"]))
def test_a_plain_text_has_one_of_each_whoever_wrote_them(made, text, begun, ended):
    if BOS in text or EOS in text:
        return
    row = {"text": (BOS if begun else "") + text + ended}
    (path,) = render_examples(made, [example_of(row)], limit=999).paths
    assert path.ids.count(made.bos_token_id) == (begun or begins(made))
    assert path.ids.count(made.eos_token_id) + path.ids.count(264) == 1
    assert made.decode(path.ids).removeprefix(BOS).startswith(text)
    assert list(path.trained) == list(range(1, len(path.ids)))


@each
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(text=texts, begun=st.booleans(), ended=st.booleans())
def test_a_continuation_and_a_completion_begin_alike_and_end_once(made, text, begun, ended):
    if BOS in text or EOS in text:
        return
    prefix = (BOS if begun else "") + text
    row = {"prefix": prefix, "continuation": "the" + (EOS if ended else "")}
    (path,) = render_examples(made, [example_of(row)], limit=999).paths
    prompt = CompletionRequest.model_validate({"model": "m", "prompt": prefix}).ids(made)
    assert path.ids[: path.trained[0]] == prompt
    assert prompt.count(made.bos_token_id) == (begun or begins(made))
    assert path.ids.count(made.eos_token_id) == 1
    assert made.decode([path.ids[t] for t in path.trained]) == f"the{EOS}"


@each
def test_a_conversation_has_the_begin_mark_of_its_template(made):
    (path,) = render_examples(made, [example_of({"messages": TURNS})], limit=999).paths
    assert path.ids.count(made.bos_token_id) == made.chat_template.startswith("{{ bos_token }}")
    assert made.eos_token_id not in path.ids
    assert made.decode([path.ids[t] for t in path.trained]) == "the<|im_end|>"


@each
def test_ids_of_a_completion_are_taken_as_they_are(made):
    assert CompletionRequest.model_validate({"model": "m", "prompt": [5, 6]}).ids(made) == [5, 6]


def test_an_end_mark_that_is_the_begin_mark_too_is_not_taken_for_one():
    made = tiny.tokenizer()
    made.add_special_tokens({"bos_token": EOS, "eos_token": EOS})
    mark = made.eos_token_id
    made.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, mark)])
    assert opening(made) == []
    assert encode_text(made, "ab") == made("ab", add_special_tokens=False).input_ids


def test_a_text_that_was_cut_off_has_no_end_mark():
    made = TOKENIZERS["both", False]
    (path,) = render_examples(made, [example_of({"text": "ab the", "unfinished": True})], limit=999).paths
    assert made.eos_token_id not in path.ids
