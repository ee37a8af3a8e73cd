from dataclasses import replace

from homeground.data import Redacted, redact_examples
from homeground.training import example_of

TOKEN = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0" * 2
CALL = {"type": "function", "function": {"name": "fetch", "arguments": {"headers": {"Authorization": TOKEN}}}}


def test_secrets_are_replaced_wherever_a_row_has_them_and_listed_by_place_and_kind():
    turns = [
        {"role": "system", "content": f"Use {TOKEN}."},
        {"role": "user", "content": "Fetch it."},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": f"sent {TOKEN}"},
        {"role": "assistant", "content": f"Done with {TOKEN}."},
    ]
    row = replace(example_of({"messages": turns}), place="rows.jsonl:4")
    plain = example_of({"text": "nothing to hide"})
    examples, found = redact_examples([row, plain])
    assert TOKEN not in repr(examples)
    assert repr(examples).count("<secret>") == 4
    assert examples[0].messages[4]["content"] == "Done with <secret>."
    assert examples[1] is plain
    assert found == [Redacted("rows.jsonl:4", "GitHub Token")] * 4
    assert row.messages[4]["content"] == f"Done with {TOKEN}."
