"""Processes that tests start and kill: forked from a clean one that has everything imported already."""

import multiprocessing

_IMPORTED = (
    "homeground.index",
    "homeground.training",
    "chromadb",
    "tokenizers",
    "tests.index.fake",
    "tests.policy.tiny",
)


def forkserver():
    """A context whose processes inherit no thread of the tests' own; all files share its one server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    return context
