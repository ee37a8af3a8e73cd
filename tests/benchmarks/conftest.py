import pytest
import torch

from benchmarks.sides.workload import Delivery, Setting

from ..policy.conftest import _one_thread, llama

__all__ = ["_one_thread", "llama"]


@pytest.fixture
def toy_agent():
    """Three rollouts of three turns, ragged."""
    return Setting("toy", 11, 2, 5, turns=3, result=7, group=3, delivery=Delivery.TOOL_LOOP)


@pytest.fixture
def letters():
    """Token ids to cut text from; a run of them seldom occurs twice."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4000,), generator=generator).tolist()
