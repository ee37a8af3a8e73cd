"""The peer gets exactly the work that we do; needs the extra 'bench'."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.sides.workload import Delivery, Setting, Workload

from ..policy import tiny

pytest.importorskip("trl", reason="the peer of the benchmarks is not installed (extra 'bench')")

from benchmarks.peers import trl_grpo


@pytest.fixture
def trainer_of(llama, letters, tmp_path):
    def build(setting, steps=1, batch=None):
        model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16)
        workload = Workload(setting, letters)
        rows = batch or setting.peer_rows
        return trl_grpo.MeasuredTrainer(model, tiny.tokenizer(), workload, steps, rows, str(tmp_path))

    return build


def scored(trainer, monkeypatch):
    """What TRL hands to its loss."""
    batches = []
    original = trl_grpo.GRPOTrainer._compute_loss

    def watch(self, model, inputs):
        batches.append(inputs)
        return original(self, model, inputs)

    monkeypatch.setattr(trl_grpo.GRPOTrainer, "_compute_loss", watch)
    trainer.train()
    return batches


def real(ids, mask):
    return ids[mask.bool()].tolist()


def test_ragged_completions_have_the_drawn_lengths(trainer_of, monkeypatch, letters):
    setting = Setting("toy", 9, 2, 6, group=4)
    task = Workload(setting, letters).task(0)
    (batch,) = scored(trainer_of(setting), monkeypatch)
    assert [real(*row) for row in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)] == [task.prompt] * 4
    assert sorted(batch["completion_mask"].sum(1).tolist()) == sorted(n for (n,) in task.lengths)
    assert batch["advantages"].abs().min() > 0
    assert "ref_per_token_logps" in batch


def test_the_tool_loop_sees_every_result_and_trains_no_token_of_it(trainer_of, monkeypatch, letters):
    setting = Setting("toy", 9, 4, 4, turns=3, result=5, group=4, delivery=Delivery.TOOL_LOOP)
    task = Workload(setting, letters).task(0)
    (batch,) = scored(trainer_of(setting), monkeypatch)
    assert batch["completion_ids"].shape == (4, 3 * 4 + 2 * 5)
    results = set()
    for ids, mask in zip(batch["completion_ids"].tolist(), batch["tool_mask"].tolist(), strict=True):
        assert mask == [1] * 4 + [0] * 5 + [1] * 4 + [0] * 5 + [1] * 4
        results.add((tuple(ids[4:9]), tuple(ids[13:18])))
    assert results == {(tuple(first), tuple(second)) for first, second in task.results}


def test_one_row_a_turn_resends_the_history(trainer_of, monkeypatch, letters):
    setting = Setting("toy", 9, 4, 4, turns=3, result=5, group=2, delivery=Delivery.ROW_A_TURN)
    workload = Workload(setting, letters)
    (batch,) = scored(trainer_of(setting), monkeypatch)
    rows = {
        (tuple(real(p, pm)), tuple(real(c, cm)))
        for p, pm, c, cm in zip(
            *(batch[k] for k in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")), strict=True
        )
    }
    calls = [call for rollout in workload.task(0).rows(workload.written(0)) for call in rollout]
    assert rows == {(tuple(prompt), tuple(ids)) for prompt, ids in calls}


def test_steps_are_timed_apart_and_the_first_is_dropped(llama, letters):
    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16)
    workload = Workload(Setting("toy", 9, 4, 4, group=4), letters)
    found = trl_grpo.measure(model, tiny.tokenizer(), workload, 2, 2)
    assert len(found["step"]) == len(found["update"]) == len(found["rollout"]) == 2
    for step, rollout, update in zip(found["step"], found["rollout"], found["update"], strict=True):
        assert step == pytest.approx(rollout + update)
        assert min(rollout, update) > 0
    assert found["trained_tokens"] == 16
    assert found["row_tokens"] == 4 * 13
