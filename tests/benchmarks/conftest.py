import pytest
import torch

from benchmarks.sides.workload import Delivery, Setting

from ..policy import tiny


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """The folder of a tiny Llama."""
    return tiny.build(tmp_path_factory.getbasetemp() / "tiny-llama", tiny.llama_config())


@pytest.fixture
def toy_agent():
    """Three rollouts of three turns, ragged."""
    return Setting("toy", 11, 2, 5, turns=3, result=7, group=3, delivery=Delivery.TOOL_LOOP)


@pytest.fixture
def letters():
    """Token ids to cut text from; a run of them seldom occurs twice."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4000,), generator=generator).tolist()
