"""What all tests share: no network, few threads, and no workspace of the person who runs them."""

import os
import signal

# Before torch and the Hugging Face libraries are imported: they read these once. Tiny models want few threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Each of several workers has one of the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ["MPLBACKEND"] = "Agg"
os.environ["GOMP_SPINCOUNT"] = "30000"

import pytest
from hypothesis import settings

from tests.small_demo import small_demo

__all__ = ["small_demo"]

# The same examples on every run, so that a change is judged by what it changed; --hypothesis-profile=default
# seeks new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Whoever runs the tests in the background makes them, and so the commands they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = "tests/pipeline/test_demo.py"
NEED_THE_DEMO = (LONGEST, "tests/pipeline/test_documents.py", "tests/serve/test_app.py")


def pytest_collection_modifyitems(items):
    """What takes longest comes first: with two workers, one begins with the demo."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With several workers a file's tests stay together, and so do all that need the small demo: it runs once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return LONGEST if nodeid.startswith(NEED_THE_DEMO) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def _no_workspace_from_outside(monkeypatch):
    monkeypatch.delenv("HOMEGROUND_HOME", raising=False)


@pytest.fixture(scope="session")
def smollm():
    """The folder of the bundled SmolLM2-135M-Instruct."""
    from homeground.base.weights import resolve_model

    return resolve_model("smollm2-135m-instruct")
