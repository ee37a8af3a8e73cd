import math

import pytest
import torch

from homeground.base.errors import HomegroundError
from homeground.evaluate.stats import ratio_interval
from homeground.evaluate.text import (
    TextOutcome,
    compare_texts,
    completions_of,
    held_out_texts,
    nats_of,
    outcomes_of,
    text_metrics,
)
from homeground.policy import TokenPath
from homeground.rollouts import Sampler
from homeground.training import example_of

from ..policy import tiny
from ..policy.conftest import _one_thread, llama, policy

__all__ = ["_one_thread", "llama", "policy"]

ROWS = [
    {"prompt": "Which one?", "completion": "größer"},
    {"prefix": "def f():\n", "continuation": "    return 1\n"},
    {"text": "plain words"},
]


def test_bits_per_byte_are_nats_over_the_bytes_of_the_text_by_hand(policy):
    (text, *_), left_out = held_out_texts(policy.tokenizer, [example_of(ROWS[0])], limit=256)
    (nats,) = nats_of(policy, [[text.path]])[0]
    ids = torch.tensor([text.path.ids])
    logprobs = tiny.plain(policy)(ids).logits[0].log_softmax(-1)
    by_hand = -sum(float(logprobs[t - 1, text.path.ids[t]]) for t in text.path.trained)
    assert nats == pytest.approx(by_hand, rel=1e-4)
    (outcome,) = outcomes_of([text], [nats], [""])
    value = text_metrics([outcome])["bits_per_byte"]["value"]
    assert value == pytest.approx(by_hand / (math.log(2) * len("größer".encode())), rel=1e-4)
    assert left_out == 0


def test_rows_that_the_template_refuses_are_left_out_and_counted(policy):
    refused = [{**ROWS[0], "thinking": "hm"}, {"prompt": "a", "chosen": "b", "rejected": "c"}]
    texts, left_out = held_out_texts(policy.tokenizer, [example_of(row) for row in [*refused, ROWS[0]]], limit=256)
    assert ([text.id for text in texts], left_out) == (["3"], 2)


def test_scores_do_not_depend_on_what_shares_a_forest(policy):
    groups = [[TokenPath([1, 2, 3, 4], [2, 3]), TokenPath([1, 2, 9], [2])], [TokenPath([7, 8], [1])]]
    alone = [[nats_of(policy, [[path]])[0][0] for path in group] for group in groups]
    for budget in (3, 1000):
        together = nats_of(policy, groups, forest_tokens=budget)
        assert [len(one) for one in together] == [2, 1]
        assert together == [pytest.approx(one, rel=1e-4) for one in alone]


def test_prompt_and_reference_are_cut_at_the_last_answer(policy):
    texts, _ = held_out_texts(policy.tokenizer, [example_of(row) for row in ROWS], limit=256)
    decode = policy.tokenizer.decode
    assert decode(texts[0].prompt).endswith("Which one?<|im_end|>\n<|im_start|>assistant\n")
    assert [text.reference for text in texts] == ["größer", "    return 1\n", "lain words"]
    assert decode(texts[1].prompt) == "def f():\n"


def test_a_completion_is_what_greedy_decoding_gives(policy):
    texts, _ = held_out_texts(policy.tokenizer, [example_of(ROWS[1])], limit=256)
    with Sampler(policy, rows=4, cache_mb=4) as sampler:
        (written,) = completions_of(sampler, policy.tokenizer, texts, max_tokens=6, context=256)
    ids = list(texts[0].prompt)
    for _ in range(6):
        ids.append(int(tiny.plain(policy)(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == texts[0].end:
            break
    assert written == policy.tokenizer.decode(ids[len(texts[0].prompt) :], skip_special_tokens=True)


def test_exact_match_and_edit_similarity(policy):
    texts, _ = held_out_texts(policy.tokenizer, [example_of(ROWS[1])] * 3, limit=256)
    same, near, far = outcomes_of(texts, [1.0] * 3, ["    return 1", "    return 2\n", "zzz"])
    assert (same.exact_match, same.edit_similarity) == (1.0, 1.0)
    assert near.exact_match == 0.0
    assert near.edit_similarity == pytest.approx(7 / 8)
    assert far.edit_similarity == 0.0


def test_differences_are_paired_by_row():
    before = [TextOutcome(str(i), 10.0 + i, 10, "", 0.0, 0.2) for i in range(20)]
    after = [TextOutcome(str(i), 9.0 + i, 10, "", 1.0, 0.5) for i in range(20)]
    change = compare_texts(after, before)
    assert change["bits_per_byte"]["value"] == pytest.approx(-0.1 / math.log(2))
    assert change["bits_per_byte"]["low"] == pytest.approx(change["bits_per_byte"]["high"])
    assert change["exact_match"]["value"] == 1.0
    with pytest.raises(HomegroundError, match="same rows"):
        compare_texts(after, before[1:])


def test_the_interval_of_a_ratio_weighs_rows_by_their_size():
    ratio = ratio_interval([1.0, 9.0], [1.0, 3.0])
    assert ratio["value"] == 2.5
    assert (ratio["low"], ratio["high"]) == (1.0, 3.0)
    with pytest.raises(HomegroundError, match="positive"):
        ratio_interval([1.0], [0.0])


def test_rows_too_long_for_the_context_are_counted_and_none_left_is_an_error(policy):
    long = example_of({"text": "word " * 100})
    texts, left_out = held_out_texts(policy.tokenizer, [long, example_of(ROWS[2])], limit=60)
    assert (len(texts), left_out) == (1, 1)
    with pytest.raises(HomegroundError, match="none of the 1 held-out rows"):
        held_out_texts(policy.tokenizer, [long], limit=60)
