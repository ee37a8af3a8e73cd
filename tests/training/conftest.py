import gc

import pytest
import torch

from homeground.rollouts import Sampler

from ..policy import tiny


@pytest.fixture(scope="session", autouse=True)
def _quick_collections():
    """An optimizer step collects garbage; what was imported before need not be looked through each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


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
def policy(llama):
    """float32, plain base, adapter with values that matter."""
    return tiny.policy_of(llama)


@pytest.fixture
def sampler(policy):
    with Sampler(policy, rows=32, cache_mb=4) as sampler:
        yield sampler
