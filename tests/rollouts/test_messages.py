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
