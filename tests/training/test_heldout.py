"""What a run is judged by: the held-out loss, the best step, patience, and what the model writes meanwhile."""

import json

import pytest
import torch

from homeground.policy import LoraConfig, TokenPath, row_logprobs
from homeground.rollouts import Sampler
from homeground.training import SftConfig, train_sft
from homeground.training.checkpoints import checkpoint_step
from homeground.training.heldout import HeldOut
from homeground.training.samples import SampleLog

from ..policy import tiny

EXAMPLES = tiny.random_paths(0, roots=4, depth=1)
OTHERS = tiny.random_paths(1, roots=3, depth=1)


def train(
    policy, folder, *, examples=EXAMPLES, heldout=OTHERS, epochs=4, rate=5e-3, every=2, patience=0, log=None, **more
):
    """Steps of two examples: two an epoch."""
    settings = SftConfig(
        epochs=epochs, batch_size=2, learning_rate=rate, checkpoint_every=3, eval_every=every, patience=patience,
        samples=0, **more,
    )  # fmt: skip
    run = train_sft(policy, examples, settings, folder, heldout=heldout, resume=True, quiet=True, on_step=log)
    return run.history, run


def kept_step(run):
    return int(run.summary.rpartition(" ")[2])


def checkpoints(folder):
    return sorted((folder / "checkpoints" / "sft").iterdir())


def curve(steps):
    return {s["step"]: s["heldout_loss"] for s in steps if "heldout_loss" in s}


def test_the_held_out_loss_is_the_mean_over_all_trained_tokens_without_dropout(llama):
    policy = tiny.policy_of(llama, lora=LoraConfig(r=4, alpha=8, dropout=0.5))
    with torch.no_grad():
        expected = -row_logprobs(tiny.plain(policy), OTHERS).mean()
    for forest_tokens in (1, 4096):
        policy.drop_out(True)
        judge = HeldOut(policy, OTHERS, every=1, forest_tokens=forest_tokens)
        assert judge.loss() == pytest.approx(float(expected), rel=1e-5)


def test_looking_at_a_run_does_not_change_it(llama, tmp_path):
    def run(folder, **more):
        policy = tiny.policy_of(llama, lora=LoraConfig(r=4, alpha=8, dropout=0.3))
        return train(policy, tmp_path / folder, **more)[0]

    looked_at, alone = run("looked-at", every=1), run("alone", heldout=())
    assert [s["loss"] for s in looked_at] == [s["loss"] for s in alone]


def test_the_adapter_ends_as_it_was_at_the_best_step(policy, tmp_path):
    """What is held out contradicts what is learned by heart: its loss rises in the end."""
    kept = {}
    heldout = [TokenPath([1, 2, 4], [2])]
    steps, run = train(
        policy,
        tmp_path,
        examples=[TokenPath([1, 2, 3], [2])],
        heldout=heldout,
        epochs=8,
        rate=5e-2,
        log=lambda s: kept.update({s["step"]: policy.adapter_state()}),
    )
    losses = curve(steps)
    step = kept_step(run)
    assert step == run.history[-1]["best_step"] == min(losses, key=losses.get) < 6
    assert all(torch.equal(t, kept[step][n]) for n, t in policy.adapter_state().items())
    assert HeldOut(policy, heldout, every=1).loss() == pytest.approx(losses[step], rel=1e-6)
    assert [checkpoint_step(file) for file in checkpoints(tmp_path)] == sorted({step, 6, 8})


def test_patience_ends_a_run_and_a_resume_does_not_go_on(llama, tmp_path):
    def run():
        policy = tiny.policy_of(llama)
        return *train(policy, tmp_path, rate=1e-30, epochs=10, patience=2), policy

    steps, first, policy = run()
    assert list(curve(steps)) == [2, 4, 6]
    assert kept_step(first) == 2
    assert checkpoint_step(checkpoints(tmp_path)[-1]) == 6
    none, again, resumed = run()
    assert (kept_step(again), none) == (2, [])
    assert all(torch.equal(t, policy.adapter_state()[n]) for n, t in resumed.adapter_state().items())


def test_a_resumed_run_remembers_what_it_was_judged_by(llama, tmp_path):
    def interrupt(step):
        if step["step"] == 5:
            raise KeyboardInterrupt

    straight = train(tiny.policy_of(llama), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train(tiny.policy_of(llama), tmp_path / "broken", log=interrupt)
    resumed = train(tiny.policy_of(llama), tmp_path / "broken")
    assert [s["step"] for s in resumed[0]] == [5, 6, 7, 8]
    assert curve(resumed[0]) == {step: loss for step, loss in curve(straight[0]).items() if step > 4}
    for name in ("heldout_loss_before", "best_step"):
        assert resumed[0][-1][name] == straight[0][-1][name]


def test_a_lost_best_checkpoint_is_said_and_the_last_step_kept(policy, tmp_path):
    def lose(step):
        if step["step"] == 8:
            checkpoints(tmp_path)[0].unlink()

    with pytest.warns(UserWarning, match="checkpoint of the best step, 2, is lost"):
        _, run = train(policy, tmp_path, rate=1e-30, log=lose)
    assert kept_step(run) == 8


def test_greedy_answers_to_held_out_prompts_are_kept_line_by_line(llama, tmp_path, capsys):
    policy = tiny.policy_of(llama, shaken=False)
    rows = [{"prompt": question, "completion": "the abc"} for question in ("date?", "time?")]
    settings = SftConfig(
        epochs=40, batch_size=2, learning_rate=2e-2, checkpoint_every=20, eval_every=20, sample_tokens=12
    )

    def interrupt(step):
        if step["step"] == 31:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sft(policy, rows, settings, tmp_path, heldout=rows, on_step=interrupt)
    kept = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    with Sampler(policy, rows=2, cache_mb=1) as sampler:
        train_sft(policy, rows, settings, tmp_path, heldout=rows, resume=True, sampler=sampler)
    found = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert found[:2] == kept
    assert [row["step"] for row in found] == [20, 20, 40, 40]
    assert found[0]["prompt"].endswith("date?<|im_end|>\n<|im_start|>assistant\n")
    assert found[0]["expected"] == "the abc<|im_end|>"
    assert "  sample, step 40: the abc<|im_end|>\n" in capsys.readouterr().err


def test_samples_of_steps_that_are_done_again_are_dropped(policy, sampler, tmp_path):
    file = tmp_path / "samples.jsonl"
    file.write_text('{"step": 20}\n{"step": 40}\n')
    SampleLog(policy, sampler, OTHERS, file, tokens=12, done=20, show=print)
    assert file.read_text() == '{"step": 20}\n'


def test_held_out_examples_need_something_to_predict(policy):
    with pytest.raises(ValueError, match="at least one trained token"):
        HeldOut(policy, [TokenPath([1, 2], [])], every=1)
