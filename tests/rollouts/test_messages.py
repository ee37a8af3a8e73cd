import pytest

from homeground.base.errors import HomegroundError
from homeground.policy import chat
from homeground.rollouts.messages import plain

from ..policy.templates import THINKING


def test_thoughts_that_a_client_sends_back_reach_a_template_that_shows_them():
    asked, result = plain({"role": "user", "content": "a"}), plain({"role": "tool", "content": "c"})
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    calling = plain({"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hmm"})
    assert calling["reasoning_content"] == "hmm"
    tokenizer = THINKING["Qwen 3"][0].tokenizer()
    assert "<think>\nhmm\n</think>" in chat.prompt_text(tokenizer, [asked, calling, result])
    assert "hmm" not in chat.prompt_text(tokenizer, [asked, calling, result, plain({"role": "user", "content": "b"})])
    assert "thinking" not in plain({"role": "user", "content": "a", "thinking": "hmm"})


@pytest.mark.parametrize("arguments", [
    "[" * 100_000, "[" * 5000 + "]" * 5000, '{"a": ' + "9" * 5000 + "}", '{"a": "\ud800"}',
    '{"a": "\\ud800"}', '{"\\udfff": 1}', '{"a": NaN}', "{",
])  # fmt: skip
def test_arguments_that_no_template_could_write_are_refused(arguments):
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": arguments}}
    with pytest.raises(HomegroundError, match="arguments are not JSON"):
        plain({"role": "assistant", "content": None, "tool_calls": [call]})


@pytest.mark.parametrize("kind", [["text"], {"text": 1}, 5, True])
def test_a_part_whose_kind_is_no_word_is_refused(kind):
    with pytest.raises(HomegroundError, match="list of parts of text"):
        plain({"role": "user", "content": [{"type": kind, "text": "x"}]})
