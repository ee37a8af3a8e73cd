"""Two processes with a half of a step each take the step that one process with all of it takes."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from homeground.rollouts import Sampler
from homeground.training import Loss

from ..policy import tiny
from .test_grpo import TASKS, Gradients, Replay, settings, step_of


class Stepping(Gradients):
    def optimizer_step_now(self):
        from homeground.training.ranks import add_up_gradients

        add_up_gradients(list(self.policy.trainable().values()))
        return super().optimizer_step_now()


def gradient(llama, trajectories, loss):
    policy = tiny.policy_of(llama)
    with Sampler(policy, rows=2, cache_mb=1) as sampler:
        module = Stepping(policy, sampler, Replay(), TASKS, settings(loss=loss), lambda step: None)
        tiny.shake(policy, seed=77)
        module.train_on(trajectories)
    return module.gradient


def one_rank(rank, llama, file, out, loss):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    # The second task lost a rollout, so the halves differ in size.
    mine = [t for t in step_of(b2="x") if t.task == rank]
    torch.save(gradient(llama, mine, loss), f"{out}-{rank}")
    dist.destroy_process_group()


def test_the_normaliser_is_the_whole_step_s_over_all_ranks(llama, tmp_path):
    for loss in (Loss.GRPO, Loss.DAPO):
        whole = gradient(llama, step_of(b2="x"), loss)
        arguments = (llama, str(tmp_path / f"meet-{loss}"), str(tmp_path / f"gradient-{loss}"), loss)
        mp.start_processes(one_rank, arguments, nprocs=2, start_method="spawn")
        for rank in (0, 1):
            found = torch.load(f"{arguments[2]}-{rank}")
            assert (found - whole).norm() / whole.norm() < 1e-5
