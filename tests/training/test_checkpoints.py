"""What can happen to a checkpoint: bits flip, disks fill up, and the process is killed at any moment."""

import itertools
import os
import random
import resource
import signal
import time
from hashlib import sha256

import pytest
import torch

from homeground.base.errors import HomegroundError
from homeground.policy import LoraConfig
from homeground.rollouts import Sampler
from homeground.training import SftConfig
from homeground.training.checkpoints import adapter_at, checkpoint_step, is_whole, newest_checkpoint

from ..policy import tiny
from ..processes import forkserver
from .fitting import fit_sft
from .test_grpo import Replay
from .test_grpo import train as train_grpo

EXAMPLES = tiny.random_paths(0, roots=4, depth=1)
DROPOUT = LoraConfig(r=4, alpha=8, dropout=0.3)


def train(policy, folder, *, epochs=3, every=2, log=None):
    """Steps of two examples: two an epoch."""
    steps = []

    def keep(step):
        steps.append(step["step"])
        if log is not None:
            log(step)

    settings = SftConfig(epochs=epochs, batch_size=2, learning_rate=1e-3, checkpoint_every=every)
    fit_sft(policy, EXAMPLES, settings, folder, keep)
    return steps


def assert_equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "no archive"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(llama, tmp_path, damage):
    train(tiny.policy_of(llama), tmp_path)
    newest = tmp_path / "step-000006.ckpt"
    data = newest.read_bytes()
    newest.write_bytes(
        {"truncated": data[:-100], "flipped": flipped(data, len(data) // 2), "empty": b"", "no archive": b"x" * 999}[
            damage
        ]
    )
    with pytest.warns(UserWarning, match=r"step-000006.ckpt is damaged; going back"):
        assert train(tiny.policy_of(llama), tmp_path) == [5, 6]
    assert is_whole(newest), "and it is written anew"


def test_a_flipped_bit_is_noticed_wherever_it_is(llama, tmp_path):
    train(tiny.policy_of(llama), tmp_path, epochs=1)
    file = newest_checkpoint(tmp_path)
    data = file.read_bytes()
    chance = random.Random(0)
    for at in [0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(60))]:
        file.write_bytes(flipped(data, at))
        assert not is_whole(file)
    file.write_bytes(data)
    assert is_whole(file)


def test_with_no_whole_checkpoint_left_a_run_begins_anew(llama, tmp_path):
    train(tiny.policy_of(llama), tmp_path, epochs=1)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:200])
    with pytest.warns(UserWarning, match="is damaged"):
        assert train(tiny.policy_of(llama), tmp_path, epochs=1) == [1, 2]


def test_a_full_disk_names_what_is_needed_and_leaves_the_checkpoint_before_it(llama, tmp_path):
    """The system refuses to write more than a part of the second checkpoint."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(step):
        if step["step"] == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    policy = tiny.policy_of(llama)
    try:
        with pytest.raises(HomegroundError, match=r"needs 0\.\d MB, [\d.]+ MB are free") as caught:
            train(policy, tmp_path, log=fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.where == str(tmp_path / "step-000004.ckpt")
    assert "--resume" in caught.value.hint
    assert [file.name for file in tmp_path.iterdir()] == ["step-000002.ckpt"], "no half of one takes up room"
    assert train(tiny.policy_of(llama), tmp_path) == [3, 4, 5, 6]


def test_other_examples_are_refused(llama, tmp_path):
    train(tiny.policy_of(llama), tmp_path, epochs=1)
    settings = SftConfig(epochs=2, batch_size=2, learning_rate=1e-3, checkpoint_every=2)
    with pytest.raises(HomegroundError, match="other examples, or with another batch size or seed"):
        fit_sft(tiny.policy_of(llama), EXAMPLES[1:], settings, tmp_path, lambda step: None)


def signals_at(step, *numbers):
    def send(found):
        if found["step"] == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    return send


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_step_end_and_saves(llama, tmp_path, capfd, number):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        train(tiny.policy_of(llama, lora=DROPOUT), tmp_path / "broken", every=100, log=signals_at(3, number))
    assert "stopping after this step" in capfd.readouterr().err
    assert [file.name for file in (tmp_path / "broken").iterdir()] == ["step-000003.ckpt"]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    resumed = tiny.policy_of(llama, lora=DROPOUT)
    assert train(resumed, tmp_path / "broken", every=100) == [4, 5, 6]
    whole = tiny.policy_of(llama, lora=DROPOUT)
    train(whole, tmp_path / "whole", every=100)
    assert_equal(resumed.adapter_state(), whole.adapter_state())


def test_the_second_signal_stops_at_once(llama, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tiny.policy_of(llama), tmp_path, log=signals_at(3, signal.SIGINT, signal.SIGINT))
    assert [file.name for file in tmp_path.iterdir()] == ["step-000002.ckpt"]


def test_reinforcement_learning_stops_and_goes_on_the_same_way(llama, tmp_path):
    def run(folder, log=None):
        policy = tiny.policy_of(llama)
        with Sampler(policy, rows=2, cache_mb=1) as sampler:
            steps = train_grpo(policy, sampler, Replay(), folder, log=log)
        return policy.adapter_state(), [s["step"] for s in steps]

    whole, straight = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", signals_at(3, signal.SIGTERM))
    assert checkpoint_step(newest_checkpoint(tmp_path / "broken" / "checkpoints" / "rl")) == 3
    resumed, rest = run(tmp_path / "broken")
    assert rest == straight[3:]
    assert_equal(resumed, whole)


def life(model, folder, log):
    """A run that may be killed; it says each step, and leaves its adapter when it ends."""
    torch.set_num_threads(1)
    policy = tiny.policy_of(model, lora=DROPOUT)
    with log.open("a", buffering=1) as said:
        train(policy, folder, epochs=30, log=lambda step: said.write(f"{step['step']}\n"))
    torch.save(policy.adapter_state(), folder / "end.pt")


def test_killed_at_any_moment_a_run_loses_no_more_than_the_steps_since_its_last_checkpoint(llama, tmp_path):
    context = forkserver()
    chance = random.Random()
    log = tmp_path / "steps"
    log.touch()
    lives = []
    while not (tmp_path / "end.pt").exists():
        before = log.read_text().count("\n")
        child = context.Process(target=life, args=(llama, tmp_path, log))
        child.start()
        if len(lives) < 4:
            while child.is_alive() and log.read_text().count("\n") < before + chance.randint(1, 12):
                time.sleep(chance.uniform(0, 0.02))
            child.kill()
        child.join(60)
        assert child.exitcode in (0, -signal.SIGKILL)
        lives.append([int(line) for line in log.read_text().split("\n")[before:-1]])
    assert len(lives) > 3, "it was hardly killed"
    assert lives[-1][-1] == 60
    for died, next_life in itertools.pairwise(lives):
        if died and next_life:
            assert died[-1] - 2 < next_life[0] <= died[-1] + 1
    whole = tiny.policy_of(llama, lora=DROPOUT)
    train(whole, tmp_path / "whole", epochs=30)
    assert_equal(torch.load(tmp_path / "end.pt"), whole.adapter_state())


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def rewrite(checkpoint, content):
    torch.save(content, checkpoint)
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data + sha256(data).digest())


def test_a_checkpoint_that_holds_code_is_refused_and_runs_nothing(llama, tmp_path):
    train(tiny.policy_of(llama), tmp_path, epochs=1)
    newest = newest_checkpoint(tmp_path)
    rewrite(newest, {"state_dict": {}, "more": Evil(tmp_path / "marker")})
    for read in (lambda: adapter_at(newest), lambda: train(tiny.policy_of(llama), tmp_path)):
        with pytest.raises(HomegroundError, match="this checkpoint cannot be read") as caught:
            read()
        assert caught.value.where == str(newest)
        assert "delete it" in caught.value.hint
    assert not (tmp_path / "marker").exists()


def test_a_checkpoint_that_became_nan_is_not_gone_on_from(llama, tmp_path):
    train(tiny.policy_of(llama), tmp_path, epochs=1)
    newest = newest_checkpoint(tmp_path)
    content = torch.load(newest, weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name][0, 0] = float("nan")
    rewrite(newest, content)
    with pytest.raises(HomegroundError, match="values that are not finite") as caught:
        train(tiny.policy_of(llama), tmp_path)
    assert name in caught.value.message
    assert caught.value.where == str(newest)


def test_a_step_that_makes_the_weights_infinite_ends_the_training(llama, tmp_path):
    settings = SftConfig(epochs=3, batch_size=2, checkpoint_every=1).model_copy(update={"learning_rate": float("inf")})
    with pytest.raises(HomegroundError, match=r"the training has diverged: step .* not finite") as caught:
        fit_sft(tiny.policy_of(llama), EXAMPLES, settings, tmp_path, lambda step: None)
    assert "learning rate" in caught.value.hint
    assert newest_checkpoint(tmp_path) is None
