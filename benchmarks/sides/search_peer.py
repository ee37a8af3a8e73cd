"""Another tool's search on one corpus of ``make bench-search``: what every peer is asked, and how it is measured.

Each peer reads the same tree of sources as ours, and a hit answers a question when it shows a line of the function; its
hits may repeat a function, as they do for its users.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.sides.search import RESAMPLES, size_mb, task_of
from benchmarks.sides.search_corpora import asked, masked_tree
from homeground.base.hardware import usable_cores
from homeground.base.memory import PeakMemory
from homeground.evaluate.search import HEADLINE, latency, outcomes_of, search_metrics

MODEL = "all-minilm-l6-v2"


@dataclass(frozen=True)
class Lines:
    """What a hit shows: lines ``start`` to ``end`` of a file of the tree."""

    path: str
    start: int
    end: int


@dataclass(frozen=True)
class Indexed:
    """A tree that a peer made searchable.

    Attributes:
        search: (query, count) -> its best hits, best first.
        chunks: that it cut; None where it does not say.
    """

    search: Callable[[str, int], Sequence[Lines]]
    chunks: int | None


type Peer = Callable[[Path, Path], Indexed]
"""(tree, empty folder to keep things in) -> the tree, indexed; its models are loaded already."""


def arguments(about: str | None) -> argparse.ArgumentParser:
    """What every peer's process is told."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--queries", type=int, default=10**6)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def measure(peer: Peer, name: str, options: argparse.Namespace, *, apart: bool = False, **settings: Any) -> None:
    """Write speed, memory and size of indexing, and MRR@10 over the corpus's questions.

    Args:
        peer: what is measured.
        name: its, with its version.
        options: of `arguments`.
        apart: the peer computes in processes that it starts: this one's memory is not the peer's.
        settings: kept with the measurement.
    """
    torch.set_num_threads(usable_cores())
    with tempfile.TemporaryDirectory() as made:
        tree, kept = Path(made) / "tree", Path(made) / "kept"
        questions = masked_tree(options.corpus, tree)
        source_mb = size_mb(tree)
        began = time.perf_counter()
        with PeakMemory() as memory:
            not_its = memory.peak_mb if apart else 0.0
            indexed = peer(tree, kept)
        seconds = time.perf_counter() - began
        tasks = [task_of(one) for one in asked(options.corpus, questions, options.queries)]
        outcomes = outcomes_of(tasks, lambda query, count: list(indexed.search(query, count)), lambda _: None)
        measured = {
            "corpus": options.corpus,
            "peer": name,
            **settings,
            "chunks": indexed.chunks,
            "source_mb": source_mb,
            "seconds": seconds,
            "mb_per_s": source_mb / seconds,
            "peak_mb": memory.peak_mb - not_its,
            # Some keep their index in the tree.
            "disk_mb": size_mb(kept) + size_mb(tree) - source_mb,
            "metrics": search_metrics(outcomes, resamples=RESAMPLES, seed=0)["all"],
            "latency": latency(outcomes),
            "reciprocal_ranks": {one.task: round(one.metrics()[HEADLINE], 6) for one in outcomes},
        }
    options.out.write_text(json.dumps(measured))
