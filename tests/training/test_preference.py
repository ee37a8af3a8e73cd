import math

import pytest
import torch

from homeground.base.errors import HomegroundError, UsageError
from homeground.policy import TokenPath, render, row_logprobs
from homeground.training import DpoConfig, PreferencePair, train_dpo
from homeground.training.preference import DpoModule, dpo_loss
from homeground.training.rendering import render_pairs

from ..policy import tiny


def pair(seed, prompt=6):
    generator = torch.Generator().manual_seed(seed)

    def run(n):
        return torch.randint(0, 250, (n,), generator=generator).tolist()

    shared = run(prompt)
    chosen, rejected = run(4), run(3)
    return PreferencePair(*(TokenPath(shared + a, list(range(prompt, prompt + len(a)))) for a in (chosen, rejected)))


PAIRS = [pair(seed) for seed in range(5)]


def settings(**changes):
    fields = {"epochs": 2, "batch_size": 2, "learning_rate": 2e-3, "checkpoint_every": 2}
    return DpoConfig(**(fields | changes))


class Gradients(DpoModule):
    """Keeps the gradient of a step in place of taking it; needs no Lightning trainer."""

    global_step = 0

    def manual_backward(self, loss, *_, **__):
        loss.backward()

    def optimizer_step_now(self):
        self.gradient = tiny.gradient_of(list(self.policy.trainable().values()))
        return {}


def test_the_loss_is_the_paper_s():
    policy = torch.tensor([[-3.0, -5.0], [-2.0, -1.0]], dtype=torch.float64)
    reference = torch.tensor([[-4.0, -4.0], [-2.0, -1.5]], dtype=torch.float64)
    losses, margin = dpo_loss(policy, reference, beta=0.5)
    expected = [0.5 * ((-3 + 4) - (-5 + 4)), 0.5 * ((-2 + 2) - (-1 + 1.5))]
    assert margin.tolist() == pytest.approx(expected)
    assert losses.tolist() == pytest.approx([-math.log(1 / (1 + math.exp(-m))) for m in expected])


@pytest.mark.parametrize("forest_tokens", [1, 10_000])
def test_the_gradient_equals_plain_rows(policy, forest_tokens):
    reference = tiny.plain(policy)
    steps = []
    module = Gradients(policy, PAIRS, settings(batch_size=5, forest_tokens=forest_tokens), steps.append)
    tiny.shake(policy, seed=77)
    module.training_step()
    twin, lora = tiny.trainable_plain(policy)
    total = 0.0
    for p in PAIRS:
        with torch.no_grad():
            theirs = [row_logprobs(reference, [path]).sum() for path in (p.chosen, p.rejected)]
        mine = [row_logprobs(twin, [path]).sum() for path in (p.chosen, p.rejected)]
        margin = 0.1 * ((mine[0] - theirs[0]) - (mine[1] - theirs[1]))
        total = total - torch.nn.functional.logsigmoid(margin) / len(PAIRS)
    total.backward()
    expected = tiny.gradient_of(lora)
    assert (module.gradient - expected).norm() / expected.norm() < 1e-4
    assert steps[0]["loss"] == pytest.approx(float(total.detach()), rel=1e-4)


def test_preferences_are_learned_and_the_first_step_is_a_coin_toss(policy, tmp_path):
    run = train_dpo(policy, PAIRS, settings(epochs=8, learning_rate=5e-3), tmp_path, quiet=True)
    steps = run.history
    assert steps[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert steps[0]["margin"] == 0
    assert steps[-1]["accuracy"] == 1.0
    assert steps[-1]["loss"] < 0.5
    assert run.summary == f"5 pairs, loss 0.69 -> {steps[-1]['loss']:.2f}"
    assert (run.adapter / "adapter_config.json").is_file()
    with pytest.raises(UsageError, match="holds a run already"):
        train_dpo(policy, PAIRS, settings(), tmp_path, quiet=True)


def test_a_resumed_run_ends_bit_equal(llama, tmp_path):
    def run(folder, stop=None):
        policy = tiny.policy_of(llama)

        def log(step):
            if step["step"] == stop:
                raise KeyboardInterrupt

        try:
            train_dpo(policy, PAIRS, settings(), folder, resume=True, quiet=True, on_step=log)
        except KeyboardInterrupt:
            assert stop
        return policy.adapter_state()

    whole = run(tmp_path / "whole")
    run(tmp_path / "broken", stop=5)
    resumed = run(tmp_path / "broken")
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)


ASKED = [{"role": "user", "content": "ab"}]


def test_a_row_is_rendered_as_two_conversations_with_the_answers_trained(policy):
    rows = [
        {"prompt": "ab", "chosen": "the", "rejected": "abc"},
        {"chosen": [*ASKED, {"role": "assistant", "content": "the"}],
         "rejected": [*ASKED, {"role": "assistant", "content": "abc"}]},
    ]  # fmt: skip
    one, other = render_pairs(policy, rows)
    assert one == other
    for path, text in ((one.chosen, "the"), (one.rejected, "abc")):
        rendered = render(policy.tokenizer, [*ASKED, {"role": "assistant", "content": text}])
        assert (path.ids, path.trained) == (rendered.ids, rendered.trained)


def test_rows_are_trained_and_those_beyond_the_context_left_out(policy, tmp_path, capsys):
    long = {"prompt": "ab", "chosen": "the", "rejected": "x" * 5000}
    row = {"prompt": "ab", "chosen": "the", "rejected": "abc"}
    run = train_dpo(policy, [long, row], settings(), tmp_path)
    assert [step["step"] for step in run.history] == [1, 2]
    assert "1 pairs; 1 too long, left out; 2 steps" in capsys.readouterr().err
    with pytest.raises(HomegroundError, match="none of the 1 pairs fits the context"):
        train_dpo(policy, [long], settings(), tmp_path / "long", quiet=True)


@pytest.mark.parametrize(("pairs", "message", "where"), [
    ([], "has no pairs", None),
    ([PreferencePair(PAIRS[0].chosen, TokenPath([1, 2, 3], []))], "an answer has no trained token", "row 1"),
    ([{"prompt": "a", "completion": "b"}], "a row of prompt-completion is no preference pair", "row 1"),
    ([{"prompt": "a", "chosen": "b", "rejected": "b"}], "'chosen' and 'rejected' are the same", "row 1"),
    (["hi"], "a row must be a mapping of its fields, not str", "row 1"),
    (iter(PAIRS), "the rows are an iterator", None),
])  # fmt: skip
def test_pairs_that_teach_nothing_are_told(policy, tmp_path, pairs, message, where):
    with pytest.raises(UsageError, match=message) as caught:
        train_dpo(policy, pairs, settings(), tmp_path, quiet=True)
    assert caught.value.where == where
    assert caught.value.hint
