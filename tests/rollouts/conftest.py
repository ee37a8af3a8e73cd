import threading
from dataclasses import dataclass

import openai
import pytest
import torch

from homeground.policy import Policy
from homeground.rollouts import ModelServer, Sampler

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
def policy(llama):
    """float32, plain base, adapter with values that matter."""
    return tiny.policy_of(llama)


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
