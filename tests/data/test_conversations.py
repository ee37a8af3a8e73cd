import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError
from homeground.data import load_conversations, render_examples, save_conversations

GOOD = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}

contents = st.text(max_size=20)
conversations = st.lists(
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), contents), min_size=1, max_size=3).map(
        lambda turns: [
            *({"role": role, "content": content} for role, content in turns),
            {"role": "assistant", "content": "end"},
        ]
    ),
    min_size=1,
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations)
def test_what_is_saved_is_loaded_again_whatever_characters_it_holds(tmp_path, conversations):
    save_conversations(tmp_path / "c.jsonl", conversations)
    assert load_conversations(tmp_path / "c.jsonl") == conversations


def test_line_separators_of_unicode_do_not_end_a_line(tmp_path):
    told = [[{"role": "user", "content": "a\u2028b\u2029c\x85d\x0ce"}, {"role": "assistant", "content": "ok"}]]
    save_conversations(tmp_path / "c.jsonl", told)
    assert load_conversations(tmp_path / "c.jsonl") == told


def test_each_conversation_is_one_readable_line(tmp_path):
    save_conversations(
        tmp_path / "c.jsonl", [GOOD["messages"], [{"role": "user", "content": "größer"}, *GOOD["messages"]]]
    )
    lines = (tmp_path / "c.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert "größer" in lines[1]
    assert json.loads(lines[0]) == GOOD


def test_blank_lines_and_line_ends_of_windows_are_passed_over(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(f"\r\n{json.dumps(GOOD)}\r\n\r\n{json.dumps(GOOD)}".encode())
    assert load_conversations(tmp_path / "c.jsonl") == [GOOD["messages"]] * 2


def one(**changes):
    return json.dumps({"messages": [GOOD["messages"][0] | changes, GOOD["messages"][1]]})


@pytest.mark.parametrize(("line", "words"), [
    ("{", "the line: Invalid JSON"),
    ("[]", "the line: "),
    ("{}", "messages: Field required"),
    (one(role="robot"), "messages.0.role: String should match"),
    (one(content=3), "messages.0.content: Input should be a valid string"),
    (one(name="x"), "messages.0.name: Extra inputs are not permitted"),
    (json.dumps({"messages": GOOD["messages"][1:]}), "messages: List should have at least 2 items"),
    (json.dumps({"messages": GOOD["messages"][::-1]}), "the last message must be the assistant's"),
])  # fmt: skip
def test_a_bad_line_is_named_with_the_reason(tmp_path, line, words):
    path = tmp_path / "c.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{line}\n")
    with pytest.raises(HomegroundError) as caught:
        load_conversations(path)
    assert words in caught.value.message
    assert caught.value.where == f"{path}:3"
    assert '"messages"' in caught.value.hint


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HomegroundError, match="cannot be read") as caught:
        load_conversations(tmp_path / "nowhere.jsonl")
    assert caught.value.where == str(tmp_path / "nowhere.jsonl")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HomegroundError, match="cannot be read") as caught:
        load_conversations(tmp_path / "c.jsonl")
    assert caught.value.where == str(tmp_path / "c.jsonl")


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_a_file_without_conversations_is_refused(tmp_path, text):
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(HomegroundError, match="holds no conversation") as caught:
        load_conversations(tmp_path / "c.jsonl")
    assert caught.value.where == str(tmp_path / "c.jsonl")


def test_a_failed_save_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "c.jsonl"
    save_conversations(path, [GOOD["messages"]])

    def breaks():
        yield GOOD["messages"]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        save_conversations(path, breaks())
    assert load_conversations(path) == [GOOD["messages"]]
    assert [f.name for f in tmp_path.iterdir()] == ["c.jsonl"]


def test_examples_train_exactly_what_the_assistant_wrote(tokenizer):
    (path,) = render_examples(tokenizer, [GOOD["messages"]], limit=256)
    assert tokenizer.decode([path.ids[t] for t in path.trained]) == "b<|im_end|>"
    assert path.trained[-1] == len(path.ids) - 1


def test_an_example_longer_than_the_context_is_named_by_number(tokenizer):
    long = [{"role": "user", "content": "x" * 100}, {"role": "assistant", "content": "b"}]
    (size,) = (len(p.ids) for p in render_examples(tokenizer, [long], limit=1000))
    assert render_examples(tokenizer, [GOOD["messages"], long], limit=size)
    with pytest.raises(
        HomegroundError, match=f"conversation 2 has {size} tokens, the model's context is {size - 1}"
    ) as caught:
        render_examples(tokenizer, [GOOD["messages"], long], limit=size - 1)
    assert "shorten it" in caught.value.hint
