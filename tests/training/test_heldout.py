"""What a run is judged by: the held-out loss, the best step, patience, and what the model writes meanwhile."""

import json

import pytest
import torch

from homeground.policy import LoraConfig, TokenPath, render, row_logprobs
from homeground.rollouts import Sampler
from homeground.training import SftConfig, train_sft
from homeground.training.checkpoints import checkpoint_step, newest_checkpoint
from homeground.training.heldout import HeldOut
from homeground.training.samples import SampleLog

from ..policy import tiny

EXAMPLES = tiny.random_paths(0, roots=4, depth=1)
OTHERS = tiny.random_paths(1, roots=3, depth=1)


def train(
    policy, folder, *, examples=EXAMPLES, heldout=OTHERS, epochs=4, rate=5e-3, every=2, patience=0, log=None, **more
):
    """Steps of two examples: two an epoch."""
    steps = []

    def keep(step):
        steps.append(step)
        if log is not None:
            log(step)

    judge = HeldOut(policy, heldout, every=every, patience=patience, **more) if heldout else None
    settings = SftConfig(epochs=epochs, batch_size=2, learning_rate=rate, checkpoint_every=3)
    return train_sft(policy, examples, settings, folder, keep, judge), steps, judge


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
        return train(policy, tmp_path / folder, **more)[1]

    looked_at, alone = run("looked-at", every=1), run("alone", heldout=())
    assert [s["loss"] for s in looked_at] == [s["loss"] for s in alone]


def test_the_adapter_ends_as_it_was_at_the_best_step(policy, tmp_path):
    """What is held out contradicts what is learned by heart: its loss rises in the end."""
    kept = {}
    step, steps, judge = train(
        policy,
        tmp_path,
        examples=[TokenPath([1, 2, 3], [2])],
        heldout=[TokenPath([1, 2, 4], [2])],
        epochs=8,
        rate=5e-2,
        log=lambda s: kept.update({s["step"]: policy.adapter_state()}),
    )
    losses = curve(steps)
    assert step == judge.best_step == min(losses, key=losses.get) < 6
    assert all(torch.equal(t, kept[step][n]) for n, t in policy.adapter_state().items())
    assert judge.loss() == pytest.approx(losses[step], rel=1e-6)
    assert [checkpoint_step(f) for f in sorted(tmp_path.iterdir())] == sorted({step, 6, 8})


def test_patience_ends_a_run_and_a_resume_does_not_go_on(llama, tmp_path):
    def run(patience):
        policy = tiny.policy_of(llama)
        return *train(policy, tmp_path, rate=1e-30, epochs=10, patience=patience), policy

    step, steps, judge, policy = run(patience=2)
    assert list(curve(steps)) == [2, 4, 6]
    assert (step, judge.best_step) == (2, 2)
    assert checkpoint_step(newest_checkpoint(tmp_path)) == 6
    again, none, judge, resumed = run(patience=2)
    assert (again, none) == (2, [])
    assert all(torch.equal(t, policy.adapter_state()[n]) for n, t in resumed.adapter_state().items())


def test_a_resumed_run_remembers_what_it_was_judged_by(llama, tmp_path):
    def interrupt(step):
        if step["step"] == 5:
            raise KeyboardInterrupt

    straight = train(tiny.policy_of(llama), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train(tiny.policy_of(llama), tmp_path / "broken", log=interrupt)
    resumed = train(tiny.policy_of(llama), tmp_path / "broken")
    assert [s["step"] for s in resumed[1]] == [5, 6, 7, 8]
    assert curve(resumed[1]) == {step: loss for step, loss in curve(straight[1]).items() if step > 4}
    assert resumed[2].state() == straight[2].state()
    assert resumed[2].before > resumed[2].lowest


def test_a_lost_best_checkpoint_is_said_and_the_last_step_kept(policy, tmp_path):
    def lose(step):
        if step["step"] == 8:
            (tmp_path / "step-000002.ckpt").unlink()

    with pytest.warns(UserWarning, match="checkpoint of the best step, 2, is lost"):
        step, *_ = train(policy, tmp_path, rate=1e-30, log=lose)
    assert step == 8


def test_greedy_answers_to_held_out_prompts_are_kept_line_by_line(llama, tmp_path):
    policy = tiny.policy_of(llama, shaken=False)
    shown = []

    def path(question, answer):
        rendered = render(
            policy.tokenizer, [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        )
        return TokenPath(rendered.ids, rendered.trained)

    learned = [path("date?", "the abc"), path("time?", "the abc")]
    with Sampler(policy, rows=2, cache_mb=1) as sampler:
        log = SampleLog(policy, sampler, learned, tmp_path / "samples.jsonl", tokens=12, done=0, show=shown.append)
        judge = HeldOut(policy, learned, every=20, write_samples=log)
        settings = SftConfig(epochs=40, batch_size=2, learning_rate=2e-2, checkpoint_every=100)
        train_sft(policy, learned, settings, tmp_path / "checkpoints", lambda step: None, judge)
        SampleLog(policy, sampler, learned, tmp_path / "samples.jsonl", tokens=12, done=20, show=shown.append)
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 20], "those of steps that are done again are dropped"
    assert rows[0]["prompt"].endswith("date?<|im_end|>\n<|im_start|>assistant\n")
    assert rows[0]["expected"] == "the abc<|im_end|>"
    assert shown[-1] == "  sample, step 40: the abc<|im_end|>"


def test_held_out_examples_need_something_to_predict(policy):
    with pytest.raises(ValueError, match="at least one trained token"):
        HeldOut(policy, [TokenPath([1, 2], [])], every=1)
