import math
import sys

import datasets
import pytest
import torch

from homeground.base.errors import HomegroundError, UsageError
from homeground.evaluate.harness import compare_harness, harness_metrics, load_tasks, run_tasks
from homeground.evaluate.text import nats_of
from homeground.policy import LoraConfig, TokenPath
from homeground.training.random_state import random_state

from ..policy import tiny
from ..policy.conftest import _one_thread, llama
from .colours import QUESTIONS, write_task

__all__ = ["_one_thread", "llama"]

ROLLING = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_choice": None,
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "bits_per_byte"}, {"metric": "word_perplexity"}],
}
WRITTEN = {
    "output_type": "generate_until",
    "doc_to_choice": None,
    "doc_to_target": "{{choices[answer]}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
    "filter_list": [{"name": "whole", "filter": [{"function": "take_first"}]}],
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.mark.parametrize(
    ("dtype", "quantization", "targets", "tolerance"),
    [
        (torch.float32, "none", "all-linear", 1e-4),
        (torch.float32, "none", ["q_proj", "lm_head"], 1e-4),
        (torch.bfloat16, "nf4", "all-linear", 0.03),
    ],
)
def test_the_harness_scores_the_policy_itself_adapter_included(
    llama, tmp_path, dtype, quantization, targets, tolerance
):
    how = {"dtype": dtype, "quantization": quantization, "lora": LoraConfig(r=4, alpha=8, targets=targets)}
    policy = tiny.policy_of(llama, **how)
    loaded = load_tasks([str(write_task(tmp_path, **ROLLING))], limit=100)
    bits = run_tasks(policy, loaded).values["colours/bits_per_byte"]

    start = policy.tokenizer.bos_token_id
    rows = [[start, *policy.tokenizer.encode(row["text"])] for row in QUESTIONS]
    nats = nats_of(policy, [[TokenPath(row, range(1, len(row)))] for row in rows])
    assert list(bits.values()) == pytest.approx([one / math.log(2) for (one,) in nats], rel=tolerance)
    other = tiny.policy_of(llama, **how, shaken=False)
    assert list(run_tasks(other, loaded).values["colours/bits_per_byte"].values()) != pytest.approx(
        list(bits.values()), rel=tolerance
    )


def test_metrics_are_means_over_samples_and_ratios_with_paired_intervals(llama, tmp_path):
    (tmp_path / "text").mkdir()
    paths = [str(write_task(tmp_path)), str(write_task(tmp_path / "text", "sentences", **ROLLING))]
    loaded = load_tasks(paths, limit=100)
    policy = tiny.policy_of(llama, shaken=False)
    asked = []
    before = run_tasks(policy, loaded, on_done=asked.append)
    after = run_tasks(tiny.shake(policy, std=0.5), loaded)
    # Three choices of each question, and each sentence.
    assert asked == [4 * len(QUESTIONS)] * (4 * len(QUESTIONS))

    values = before.values["colours/acc"]
    told = harness_metrics(before)
    assert told["colours/acc"]["value"] == pytest.approx(sum(values.values()) / 6)
    assert told["colours/acc"]["n"] == 6
    size = sum(len(row["text"].encode()) for row in QUESTIONS)
    bits = before.values["sentences/bits_per_byte"]
    assert told["sentences/bits_per_byte"]["value"] == pytest.approx(sum(bits.values()) / size)

    same = compare_harness(before, before)
    assert all(interval["low"] == interval["high"] == 0 for interval in same.values())
    change = compare_harness(after, before)
    assert change["sentences/bits_per_byte"]["value"] == pytest.approx(
        harness_metrics(after)["sentences/bits_per_byte"]["value"] - told["sentences/bits_per_byte"]["value"]
    )
    facts = loaded.to_json()["tasks"]
    assert facts["colours"] == {
        "version": "1.5",
        "shots": 0,
        "samples": 6,
        "of": 6,
        "higher_is_better": {"acc": True, "acc_norm": True},
        "left_out": [],
    }
    assert facts["sentences"]["higher_is_better"] == {"bits_per_byte": False}
    assert facts["sentences"]["left_out"] == ["word_perplexity"]


def test_what_a_model_writes_is_scored_by_the_filter_s_name(llama, tmp_path):
    loaded = load_tasks([str(write_task(tmp_path, **WRITTEN))], limit=2)
    outcome = run_tasks(tiny.policy_of(llama), loaded)
    assert set(outcome.values) == {"colours/exact_match,whole"}
    assert set(outcome.values["colours/exact_match,whole"].values()) <= {0.0, 1.0}


def test_drawn_samples_are_the_same_for_both_sides_and_another_seed_draws_others(llama, tmp_path):
    path = str(write_task(tmp_path))
    loaded = load_tasks([path], limit=3, seed=1)
    assert len(loaded.samples["colours"]) == 3
    policy = tiny.policy_of(llama)
    outcome = run_tasks(policy, loaded)
    assert list(outcome.values["colours/acc"]) == [str(place) for place in loaded.samples["colours"]]
    compare_harness(run_tasks(policy, load_tasks([path], limit=3, seed=1)), outcome)
    other = load_tasks([path], limit=3, seed=2)
    assert other.samples != loaded.samples
    with pytest.raises(HomegroundError, match="not asked the same questions"):
        compare_harness(run_tasks(policy, other), outcome)


def test_measuring_changes_neither_the_policy_nor_the_random_generators(llama, tmp_path):
    loaded = load_tasks([str(write_task(tmp_path))], limit=2)
    policy = tiny.policy_of(llama)
    path = TokenPath(policy.tokenizer.encode("The sky is blue."), [3, 4, 5])
    nats, held = nats_of(policy, [[path, path]]), random_state()
    padding, attention = policy.tokenizer.pad_token, policy.model.config._attn_implementation
    run_tasks(policy, loaded, seed=5)
    after = random_state()
    assert torch.equal(held.pop("rng"), after.pop("rng"))
    assert [held[key] for key in ("rng_python", "rng_numpy")] == [after[key] for key in ("rng_python", "rng_numpy")]
    assert nats_of(policy, [[path, path]]) == nats
    assert (policy.tokenizer.pad_token, policy.model.config._attn_implementation) == (padding, attention)


def test_a_folder_is_all_its_tasks(tmp_path):
    write_task(tmp_path)
    write_task(tmp_path, "sentences", **ROLLING)
    assert set(load_tasks([f"{tmp_path}/"], limit=1).tasks) == {"colours", "sentences"}


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(HomegroundError, match="not installed: lm_eval") as caught:
        load_tasks(["hellaswag"], limit=1)
    assert "homeground[lm-eval]" in caught.value.hint


def test_an_unknown_task_is_answered_with_near_names():
    with pytest.raises(UsageError, match="no task 'hella_swag'") as caught:
        load_tasks(["hella_swag"], limit=1)
    assert "hellaswag" in caught.value.hint
    assert "./hella_swag.yaml" in caught.value.hint


def test_a_hub_that_cannot_be_reached_is_said(tmp_path):
    # Tests run with HF_HUB_OFFLINE.
    path = write_task(tmp_path, dataset_path="nobody/colours", dataset_kwargs=None)
    with pytest.raises(HomegroundError, match="hub cannot be reached") as caught:
        load_tasks([str(path)], limit=1)
    assert "nobody/colours" in caught.value.where


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            WRITTEN | {"metric_list": [{"metric": "google_bleu", "aggregation": "mean"}]},
            "'google_bleu' .* is a program",
        ),
        ({"dataset_kwargs": {"data_files": {"test": "/nowhere.jsonl"}}}, "cannot be loaded: FileNotFoundError"),
        ({"unsafe_code": True}, "runs code that the model writes"),
        (ROLLING | {"metric_list": [{"metric": "word_perplexity"}]}, "mean over its samples: word_perplexity"),
    ],
)
def test_a_task_that_is_not_run_says_why(tmp_path, changes, message):
    path = write_task(tmp_path, **changes)
    with pytest.raises(HomegroundError, match=message):
        load_tasks([str(path)], limit=1)


def test_paths_without_a_task_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such task file"):
        load_tasks([str(tmp_path / "none.yaml")], limit=1)
    with pytest.raises(UsageError, match="holds no task"):
        load_tasks([str(tmp_path)], limit=1)
