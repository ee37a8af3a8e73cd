import pytest

from homeground.policy.export.card import Card, public_name, without_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("roots: [/home/ada/code/]", "roots: [code]"),
        ("from '/srv/my data/rows.jsonl' and ~/x/y.txt", "from 'rows.jsonl' and y.txt"),
        ("https://example.org/a/b and/or 1/2 owner/name", "https://example.org/a/b and/or 1/2 owner/name"),
        ("base: .\n- ./here/rows.jsonl", "base: .\n- ./here/rows.jsonl"),
    ],
)
def test_absolute_paths_lose_their_folders(text, expected):
    assert without_paths(text) == expected


def test_a_local_base_goes_by_its_last_name(tmp_path):
    assert public_name(str(tmp_path / "qwen")) == "qwen"
    assert public_name("Qwen/Qwen3-4B") == "Qwen/Qwen3-4B"
    assert public_name("smollm2-135m-instruct") == "smollm2-135m-instruct"


def test_a_card_says_what_a_model_is_made_of(tmp_path):
    card = Card(
        name="mine",
        base="owner/base",
        kind="An adapter.",
        use="load it",
        library="peft",
        recipe={"corpus": {"roots": [str(tmp_path / "code")]}, "sft": {"epochs": 2}},
        data={"sources": [{"source": "rows.jsonl", "rows": 12}]},
        metrics={"stages": {"sft": {"reward": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}}}, "paired": {}},
        steps=[{"stage": "sft", "step": 4, "loss": 0.123456}],
        commit="abc123",
        errors=[("merged onto the original base", "0.1 nats")],
    ).text()
    parts = [
        "base_model: owner/base",
        "library_name: peft",
        "rows: 12",
        "| sft | reward | 0.500 | 0.400 to 0.600 | 9 |",
    ]
    parts += [
        "stage sft, step 4, loss 0.1235",
        "epochs: 2",
        "(commit abc123)",
        "- peft 0",
        "- merged onto the original",
    ]
    for part in parts:
        assert part in card
    assert str(tmp_path) not in card
    assert "- code" in card
