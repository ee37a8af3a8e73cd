import pytest

from homeground.training import Format, RowError, example_of, render_examples


def test_of_a_continuation_only_what_continues_is_trained_and_the_end(tokenizer):
    example = example_of({"prefix": "def f():\n", "continuation": "    return 1\n"})
    assert example.format is Format.CONTINUATION
    (path,) = render_examples(tokenizer, [example], limit=256).paths
    assert tokenizer.decode(path.ids) == "def f():\n    return 1\n<|im_end|>"
    assert tokenizer.decode([path.ids[t] for t in path.trained]) == "    return 1\n<|im_end|>"


@pytest.mark.parametrize(("row", "missing"), [({"prefix": "", "continuation": "x"}, "prefix"),
                                              ({"prefix": "x", "continuation": ""}, "continuation")])  # fmt: skip
def test_both_parts_are_needed(row, missing):
    with pytest.raises(RowError, match=f"'{missing}' is empty"):
        example_of(row)


def test_both_parts_are_compared_and_cleaned_of_secrets():
    from homeground.data.redaction import redact_examples

    token = "ghp_" + "a1B2" * 9
    example = example_of({"prefix": f"key = '{token}'\n", "continuation": "use(key)\n"})
    assert example.said() == [f"key = '{token}'\n", "use(key)\n"]
    (clean,), found = redact_examples([example])
    assert len(found) == 1
    assert token not in clean.prefix
