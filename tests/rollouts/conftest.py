import threading
from dataclasses import dataclass

import openai
import pytest

from homeground.policy import Policy
from homeground.rollouts import ModelServer, Sampler

from ..policy import tiny
from ..policy.conftest import _one_thread, llama, policy

__all__ = ["_one_thread", "llama", "policy"]


@pytest.fixture
def sampler(policy):
    with Sampler(policy, rows=8, cache_mb=4) as sampler:
        yield sampler


@pytest.fixture(scope="module")
def served(llama):
    """A policy, its sampler and its model server, shared by the tests of a file."""
    policy, lock = tiny.policy_of(llama), threading.Lock()
    with (
        Sampler(policy, rows=16, cache_mb=4, compute=lock) as sampler,
        ModelServer(sampler, policy.tokenizer, seed=7) as server,
    ):
        yield Served(policy, sampler, server, lock)


@dataclass
class Served:
    policy: Policy
    sampler: Sampler
    server: ModelServer
    compute: threading.Lock

    def client(self, **options):
        fields = {"base_url": f"{self.server.root}/v1", "api_key": self.server.secret, "max_retries": 0}
        return openai.OpenAI(**(fields | options))
