"""Several processes on one box take one optimizer step together: each has a share of the step's examples.

Every process holds the whole model and the whole state; gradients are added up before the step, so all take the same
one. Without a process group everything here is what a single process needs: a sum is the value itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed


def rank() -> int:
    """Which of the processes this is, 0 the one that logs and saves."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Element-wise sum over the processes of a distributed run; ``values`` themselves in a single process."""
    if not distributed.is_initialized():
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(total)
    return total.tolist()


def add_up_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Sum gradients over ranks: each rank's loss carries the whole step's normaliser already."""
    if not distributed.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)


def share_of_rank(sizes: Sequence[int], of: int, among: int) -> list[int]:
    """Which of some pieces of work are one process's: largest first, each to whoever has least so far.

    Args:
        sizes: of the pieces, any unit.
        of: the process.
        among: how many there are.

    Returns:
        Indices, ascending. All shares together hold every piece once; they differ by one piece's size at most.
    """
    loads = [0] * among
    mine: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        lightest = loads.index(min(loads))
        loads[lightest] += sizes[index]
        if lightest == of:
            mine.append(index)
    return sorted(mine)
