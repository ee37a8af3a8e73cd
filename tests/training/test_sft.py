import pytest
import torch
from torch import nn

from homeground.base.errors import HomegroundError
from homeground.policy import LoraConfig, TokenForest, TokenPath, chat, render, row_logprobs
from homeground.rollouts import Sampler, SamplingParams
from homeground.training import SftConfig
from homeground.training.checkpoints import checkpoint_step, newest_checkpoint
from homeground.training.sft import SftModule, steps_of

from ..policy import tiny
from .fitting import fit_sft

EXAMPLES = tiny.random_paths(0, roots=7, depth=1)


def settings(**changes):
    """Two epochs of 7 examples in batches of 2: 8 steps, the last of each epoch with one example."""
    fields = {"epochs": 2, "batch_size": 2, "learning_rate": 5e-3, "checkpoint_every": 3}
    return SftConfig(**(fields | changes))


def train(policy, folder, examples=EXAMPLES, *, log=None, **changes):
    steps = []

    def keep(step):
        steps.append(step)
        if log is not None:
            log(step)

    fit_sft(policy, examples, settings(**changes), folder, keep, seed=1)
    return steps


def assert_equal(first, second):
    mine, theirs = first.adapter_state(), second.adapter_state()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[n], theirs[n]) for n in mine)


def test_each_step_is_logged_and_moves_the_weights(policy, tmp_path):
    before = policy.adapter_state()
    steps = train(policy, tmp_path)
    assert [s["step"] for s in steps] == list(range(1, 9))
    assert all(s["grad_norm"] > 0 and s["weight_change"] > 0 and s["loss"] > 0 for s in steps)
    assert {s["stage"] for s in steps} == {"sft"}
    assert all(not torch.equal(t, before[n]) for n, t in policy.adapter_state().items())


def test_a_tiny_example_is_learned_by_heart_its_end_token_included(llama, tmp_path):
    policy = tiny.policy_of(llama, shaken=False)
    messages = [{"role": "user", "content": "date?"}, {"role": "assistant", "content": "the abc answer"}]
    rendered = render(policy.tokenizer, messages)
    steps = train(
        policy,
        tmp_path,
        [TokenPath(rendered.ids, rendered.trained)],
        epochs=60,
        batch_size=1,
        learning_rate=2e-2,
        checkpoint_every=100,
    )
    assert steps[0]["loss"] > 2
    assert steps[-1]["loss"] < 0.1
    prompt = chat.encode(policy.tokenizer, chat.prompt_text(policy.tokenizer, messages[:1]))
    with Sampler(policy, rows=1, cache_mb=1) as sampler:
        written = sampler.submit(prompt, 40, SamplingParams(temperature=0), stop_ids=[264]).result(timeout=30)
    assert policy.tokenizer.decode(written.ids) == "the abc answer<|im_end|>"


def test_the_loss_is_the_mean_over_the_batch_s_trained_tokens(policy, tmp_path):
    examples = EXAMPLES[:3]
    twin = tiny.plain(policy)
    with torch.no_grad():
        expected = -row_logprobs(twin, examples).mean()
    (step,) = train(policy, tmp_path, examples, epochs=1, batch_size=3)
    assert step["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert step["trained_tokens"] == sum(len(e.trained) for e in examples)
    assert step["tokens"] == sum(len(e.ids) for e in examples)


@pytest.mark.parametrize("forest_tokens", [1, 20, 4096])
def test_any_split_into_forests_is_the_same_step(llama, tmp_path, forest_tokens):
    whole, split = tiny.policy_of(llama), tiny.policy_of(llama)
    (one,) = train(whole, tmp_path / "whole", epochs=1, batch_size=7)
    (other,) = train(split, tmp_path / "split", epochs=1, batch_size=7, forest_tokens=forest_tokens)
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-5)


def test_every_example_is_seen_once_an_epoch_in_a_new_order(policy):
    module = SftModule(policy, EXAMPLES, settings(), lambda step: None)
    epochs = [[e for step in range(4 * n, 4 * n + 4) for e in module.batch(step)] for n in range(2)]
    for seen in epochs:
        assert sorted(map(id, seen)) == sorted(map(id, EXAMPLES))
    assert epochs[0] != epochs[1]
    other = SftModule(policy, EXAMPLES, settings(), lambda step: None, seed=2)
    assert [module.batch(s) for s in range(4)] != [other.batch(s) for s in range(4)]


def test_steps_count_the_smaller_last_batch():
    assert steps_of(7, settings()) == 8
    assert steps_of(8, settings()) == 8
    assert steps_of(1, settings(epochs=3)) == 3


@pytest.mark.parametrize(("quantization", "dropout"), [("none", 0.0), ("nf4", 0.0), ("none", 0.3)])
def test_a_resumed_run_ends_bit_equal(llama, tmp_path, quantization, dropout):
    def fresh():
        lora = LoraConfig(r=4, alpha=8, dropout=dropout)
        return tiny.policy_of(llama, quantization=quantization, lora=lora)

    whole = fresh()
    straight = train(whole, tmp_path / "whole")

    def interrupt(step):
        if step["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fresh(), tmp_path / "broken", log=interrupt)
    assert checkpoint_step(newest_checkpoint(tmp_path / "broken")) == 3
    resumed = fresh()
    rest = train(resumed, tmp_path / "broken")
    assert [s["step"] for s in rest] == [4, 5, 6, 7, 8]
    assert [s["loss"] for s in rest] == [s["loss"] for s in straight[3:]]
    assert_equal(resumed, whole)


def test_a_finished_run_is_not_done_again(llama, tmp_path):
    first = tiny.policy_of(llama)
    train(first, tmp_path)
    again = tiny.policy_of(llama)
    assert train(again, tmp_path) == []
    assert_equal(first, again)


def test_dropout_of_the_adapter_is_on_while_training_and_off_afterwards(llama, tmp_path):
    def first_loss(dropout):
        policy = tiny.policy_of(llama, lora=LoraConfig(r=4, alpha=8, dropout=dropout))
        forest = TokenForest.build(EXAMPLES)
        before = policy.logprobs(forest)
        steps = train(policy, tmp_path / str(dropout), epochs=1, batch_size=7, learning_rate=1e-30)
        assert torch.equal(policy.logprobs(forest), before), "dropout was left on"
        assert any(isinstance(m, nn.Dropout) for m in policy.model.modules()) is (dropout > 0)
        return steps[0]["loss"]

    assert first_loss(0.5) != pytest.approx(first_loss(0.0), rel=1e-3)


def test_warm_up_rises_linearly_to_the_learning_rate(llama, tmp_path):
    """AdamW's first steps are as long as the rate, so what moved tells the rate."""
    warm = train(tiny.policy_of(llama), tmp_path / "warm", learning_rate=1e-3, warmup_steps=4)
    cold = train(tiny.policy_of(llama), tmp_path / "cold", learning_rate=1e-3)
    assert warm[0]["weight_change"] == pytest.approx(cold[0]["weight_change"] / 4, rel=1e-3)
    assert warm[5]["weight_change"] == pytest.approx(cold[5]["weight_change"], rel=0.3)


def test_the_gradient_is_clipped_to_its_limit(policy, tmp_path, monkeypatch):
    seen = []
    original = torch.optim.AdamW.step

    def spy(self, *arguments, **options):
        seen.append(float(torch.cat([p.grad.flatten() for g in self.param_groups for p in g["params"]]).norm()))
        return original(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    steps = train(policy, tmp_path, epochs=1, learning_rate=1e-3, clip=0.01)
    assert all(s["grad_norm"] > 0.01 for s in steps)
    assert seen == pytest.approx([0.01] * 4, rel=1e-3)


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_does_harm(policy, tmp_path):
    before = policy.adapter_state()
    with torch.no_grad():
        policy.model.model.norm.weight[0] = float("inf")
    with pytest.raises(HomegroundError, match="gradient of step 0 is not finite") as caught:
        train(policy, tmp_path)
    assert "compute_dtype to fp32" in caught.value.hint
    assert all(torch.equal(t, before[n]) for n, t in policy.adapter_state().items())
    assert newest_checkpoint(tmp_path) is None
