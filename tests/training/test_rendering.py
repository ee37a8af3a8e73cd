from dataclasses import replace

import pytest

from homeground.base.errors import HomegroundError
from homeground.training import SftConfig, example_of, render_examples

from ..policy import tiny
from ..policy.tiny import CHATML

TWICE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bbb"},
         {"role": "user", "content": "c"}, {"role": "assistant", "content": "ddd"}]  # fmt: skip


def rendered(tokenizer, row, *, limit=1000, **settings):
    return render_examples(tokenizer, [example_of(row)], SftConfig(**settings), limit=limit)


def trained_text(tokenizer, path):
    return tokenizer.decode([path.ids[t] for t in path.trained])


def test_every_answer_is_trained_or_the_last_alone(tokenizer):
    (every,) = rendered(tokenizer, {"messages": TWICE}).paths
    (last,) = rendered(tokenizer, {"messages": TWICE}, train_on="last answer").paths
    assert trained_text(tokenizer, every) == "bbb<|im_end|>ddd<|im_end|>"
    assert trained_text(tokenizer, last) == "ddd<|im_end|>"
    assert every.ids == last.ids


@pytest.mark.parametrize(("row", "trained"), [
    ({"messages": TWICE}, "bbb<|im_end|>ddd"),
    ({"prompt": "a", "completion": "bbb"}, "bbb"),
    ({"prefix": "ab", "continuation": "cd"}, "cd"),
    ({"text": "xyz"}, "yz"),
])  # fmt: skip
def test_the_end_of_what_was_cut_off_is_not_trained(tokenizer, row, trained):
    (path,) = rendered(tokenizer, {**row, "unfinished": True}).paths
    (whole,) = rendered(tokenizer, row).paths
    assert trained_text(tokenizer, path) == trained
    assert trained_text(tokenizer, whole) == f"{trained}<|im_end|>"
    assert list(whole.ids[: len(path.ids)]) == list(path.ids)
    assert trained_text(tokenizer, rendered(tokenizer, {**row, "unfinished": "no"}).paths[0]).endswith("<|im_end|>")


def test_a_cut_off_text_of_one_token_teaches_nothing_and_is_dropped(tokenizer):
    short = example_of({"text": "x", "unfinished": True})
    found = render_examples(tokenizer, [example_of({"text": "ab"}), short], limit=20)
    assert (len(found.paths), found.dropped) == (1, 1)


def test_a_text_is_trained_whole_but_for_its_first_token(tokenizer):
    (path,) = rendered(tokenizer, {"text": "xyz"}).paths
    assert tokenizer.decode(path.ids) == "xyz<|im_end|>"
    assert list(path.trained) == [1, 2, 3]


def test_what_is_too_long_is_dropped_cut_or_split_and_counted(tokenizer):
    row = {"text": "0123456789"}
    whole = rendered(tokenizer, row).paths[0].ids
    for overlong, pieces in [
        ("cut-end", [whole[:4]]),
        ("cut-start", [whole[-4:]]),
        ("split", [whole[:4], whole[4:8], whole[8:]]),
    ]:
        found = rendered(tokenizer, row, limit=4, overlong=overlong)
        assert [list(path.ids) for path in found.paths] == pieces
        assert all(list(path.trained) == list(range(1, len(path.ids))) for path in found.paths)
        assert (found.dropped, found.split) == (0, overlong == "split")
        assert found.cut == 1 - found.split
    short = example_of({"text": "ab"})
    found = render_examples(tokenizer, [short, example_of(row)], limit=4)
    assert (len(found.paths), found.dropped) == (1, 1)
    assert "1 dropped" in found.describe()


def test_an_example_whose_answer_is_cut_off_is_dropped_and_never_trained_empty(tokenizer):
    short = example_of({"text": "ab"})
    long = example_of({"messages": [{"role": "user", "content": "x" * 60}, {"role": "assistant", "content": "y"}]})
    found = render_examples(tokenizer, [short, long], SftConfig(overlong="cut-end"), limit=20)
    assert (len(found.paths), found.dropped, found.cut) == (1, 1, 0)


def test_nothing_left_and_preference_pairs_are_errors(tokenizer):
    with pytest.raises(HomegroundError, match="none of the 1 examples fits the context of 3 tokens"):
        rendered(tokenizer, {"text": "0123456789"}, limit=3)
    with pytest.raises(HomegroundError, match="example 1: it is a preference pair"):
        rendered(tokenizer, {"prompt": "a", "chosen": "b", "rejected": "c"})


def test_rows_that_the_template_refuses_are_listed_and_the_others_trained(tokenizer):
    refusing = tiny.tokenizer()
    refusing.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    )
    system = {"role": "system", "content": "s"}
    rows = [{"messages": TWICE}, {"messages": [system, *TWICE]}, {"prompt": "a", "chosen": "b", "rejected": "c"}]
    examples = [replace(example_of(row), place=f"f.jsonl:{n}") for n, row in enumerate(rows, start=1)]
    found = render_examples(refusing, [*examples, example_of(rows[1])], limit=1000)
    assert len(found.paths) == 1
    assert [row.place for row in found.rejected] == ["f.jsonl:2", "f.jsonl:3", "example 4"]
    assert "no system" in found.rejected[0].reason
    assert "3 rejected: f.jsonl:2: the chat template refuses" in found.describe()
    with pytest.raises(HomegroundError, match=r"none of the 1 examples can be trained: f\.jsonl:2: the chat"):
        render_examples(refusing, examples[1:2], limit=1000)


def test_a_tokenizer_without_a_template_is_no_matter_of_rows():
    bare = tiny.tokenizer()
    bare.chat_template = None
    with pytest.raises(HomegroundError, match="has no chat template"):
        render_examples(bare, [example_of({"messages": TWICE}), example_of({"text": "abc"})], limit=100)


def test_a_context_answer_keeps_its_ids_and_is_not_trained(tokenizer):
    (whole,) = rendered(tokenizer, {"messages": TWICE}).paths
    (part,) = rendered(tokenizer, {"messages": [TWICE[0], {**TWICE[1], "weight": 0}, *TWICE[2:]]}).paths
    assert part.ids == whole.ids
    assert trained_text(tokenizer, part) == "ddd<|im_end|>"


def test_an_answer_that_was_cut_off_as_context_takes_no_end_from_another(tokenizer):
    row = {"messages": [*TWICE[:3], {**TWICE[3], "weight": 0}], "unfinished": True}
    assert trained_text(tokenizer, rendered(tokenizer, row).paths[0]) == "bbb<|im_end|>"
