"""Checkpoints: what they hold, what they refuse, and that they are whole or absent."""

import os

import pytest
import torch

from homeground.base.errors import HomegroundError
from homeground.policy import LoraConfig
from homeground.training import SftConfig
from homeground.training.checkpoints import checkpoint_step, newest_checkpoint

from ..policy import tiny
from .fitting import fit_sft

EXAMPLES = tiny.random_paths(0, roots=4, depth=1)


def train(policy, folder, *, epochs=3, every=2, rate=1e-3):
    """Steps of two examples: two an epoch."""
    steps = []
    settings = SftConfig(epochs=epochs, batch_size=2, learning_rate=rate, checkpoint_every=every)
    fit_sft(policy, EXAMPLES, settings, folder, steps.append)
    return steps


def test_a_checkpoint_holds_the_adapter_and_never_the_base(tmp_path):
    folder = tiny.build(tmp_path / "model", tiny.llama_config(hidden_size=128, vocab_size=4096))
    policy = tiny.policy_of(folder)
    train(policy, tmp_path / "run")
    file = newest_checkpoint(tmp_path / "run")
    checkpoint = torch.load(file, weights_only=True)
    assert checkpoint["state_dict"].keys() == policy.trainable().keys()
    adapter = sum(p.numel() * 4 for p in policy.trainable().values())
    base = sum(p.numel() * 4 for p in policy.model.parameters()) - adapter
    # The weights, AdamW's two moments, and the random state.
    assert 3 * adapter < file.stat().st_size < 3 * adapter + 100_000 < base / 2
    assert checkpoint["base"] == policy.base_fingerprint()


def test_the_newest_checkpoint_and_the_one_before_it_are_kept(policy, tmp_path):
    train(policy, tmp_path)
    assert [f.name for f in sorted(tmp_path.iterdir())] == ["step-000004.ckpt", "step-000006.ckpt"]
    assert checkpoint_step(newest_checkpoint(tmp_path)) == 6


@pytest.mark.parametrize("every", [4, 5, 100])
def test_the_last_step_is_always_saved(llama, tmp_path, every):
    policy = tiny.policy_of(llama)
    train(policy, tmp_path, every=every)
    assert checkpoint_step(newest_checkpoint(tmp_path)) == 6
    again = tiny.policy_of(llama)
    assert train(again, tmp_path, every=every) == []
    assert all(torch.equal(t, policy.adapter_state()[n]) for n, t in again.adapter_state().items())


def test_a_longer_run_goes_on_where_a_shorter_one_ended(llama, tmp_path):
    straight, longer = tiny.policy_of(llama), tiny.policy_of(llama)
    train(straight, tmp_path / "straight", epochs=4)
    train(longer, tmp_path / "longer", epochs=2)
    resumed = tiny.policy_of(llama)
    assert [s["step"] for s in train(resumed, tmp_path / "longer", epochs=4)] == [5, 6, 7, 8]
    assert all(torch.equal(t, straight.adapter_state()[n]) for n, t in resumed.adapter_state().items())


def test_a_half_written_checkpoint_is_never_taken(llama, tmp_path):
    train(tiny.policy_of(llama), tmp_path, epochs=2)
    leftover = tmp_path / ".step-000099.ckpt.a1b2c3"
    leftover.write_bytes(b"half")
    assert checkpoint_step(newest_checkpoint(tmp_path)) == 4
    assert [s["step"] for s in train(tiny.policy_of(llama), tmp_path, epochs=3)] == [5, 6]
    assert not leftover.exists()


def test_an_interrupted_write_leaves_the_checkpoint_before_it(llama, tmp_path, monkeypatch):
    """The second checkpoint lies on the disk in full, and the machine stops before it is declared to be one."""
    original = os.fsync
    synced = []

    def fails_at_the_second(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError("No space left on device")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fails_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        train(tiny.policy_of(llama), tmp_path)
    assert checkpoint_step(newest_checkpoint(tmp_path)) == 2
    assert [f.name for f in sorted(tmp_path.iterdir())] == ["step-000002.ckpt"]


def test_the_random_state_goes_on(llama, tmp_path):
    train(tiny.policy_of(llama), tmp_path, epochs=2)
    kept = torch.load(newest_checkpoint(tmp_path), weights_only=True)["rng"]
    torch.manual_seed(12345)
    train(tiny.policy_of(llama), tmp_path, epochs=2)
    assert torch.equal(torch.get_rng_state(), kept)


@pytest.mark.parametrize("change", ["weights", "quantization"])
def test_a_checkpoint_of_another_base_is_refused(llama, tmp_path, change):
    train(tiny.policy_of(llama), tmp_path / "run", epochs=1)
    if change == "weights":
        other = tiny.policy_of(tiny.build(tmp_path / "other", tiny.llama_config(), seed=1))
    else:
        other = tiny.policy_of(llama, quantization="nf4")
    with pytest.raises(HomegroundError, match="another base model or another quantization") as caught:
        train(other, tmp_path / "run")
    assert "recipe that the run was started with" in caught.value.hint


@pytest.mark.parametrize("lora", [LoraConfig(r=2, alpha=8), LoraConfig(r=4, alpha=8, targets=["q_proj"])])
def test_a_checkpoint_of_another_adapter_is_refused(llama, tmp_path, lora):
    train(tiny.policy_of(llama), tmp_path, epochs=1)
    with pytest.raises(HomegroundError, match="another adapter than this recipe's") as caught:
        train(tiny.policy_of(llama, lora=lora), tmp_path)
    assert "recipe that the run was started with" in caught.value.hint


def test_no_checkpoint_yet_is_none(tmp_path):
    assert newest_checkpoint(tmp_path / "nowhere") is None
