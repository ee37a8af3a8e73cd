import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeground.data import read_examples, save_conversations

GOOD = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]

conversations = st.lists(
    st.lists(st.tuples(st.sampled_from(["system", "user"]), st.text(max_size=20)), max_size=3).map(
        lambda turns: [*({"role": role, "content": content} for role, content in turns), *GOOD]
    ),
    min_size=1,
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations)
def test_what_is_saved_is_read_again_whatever_characters_it_holds(tmp_path, conversations):
    save_conversations(tmp_path / "c.jsonl", conversations)
    assert [e.messages for e in read_examples(str(tmp_path / "c.jsonl"), strict=True).examples] == conversations


def test_each_conversation_is_one_readable_line(tmp_path):
    save_conversations(tmp_path / "c.jsonl", [GOOD, [{"role": "user", "content": "größer"}, *GOOD]])
    lines = (tmp_path / "c.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert "größer" in lines[1]
    assert json.loads(lines[0]) == {"messages": GOOD}


def test_a_failed_save_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "c.jsonl"
    save_conversations(path, [GOOD])

    def breaks():
        yield GOOD
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        save_conversations(path, breaks())
    assert [e.messages for e in read_examples(str(path)).examples] == [GOOD]
    assert [f.name for f in tmp_path.iterdir()] == ["c.jsonl"]
