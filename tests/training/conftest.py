import gc

import pytest

from homeground.rollouts import Sampler

from ..policy.conftest import _one_thread, llama, policy, tokenizer

__all__ = ["_one_thread", "llama", "policy", "tokenizer"]


@pytest.fixture(scope="session", autouse=True)
def _quick_collections():
    """An optimizer step collects garbage; what was imported before need not be looked through each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def sampler(policy):
    with Sampler(policy, rows=32, cache_mb=4) as sampler:
        yield sampler
