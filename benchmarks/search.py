"""Search beside what people use: MRR@10, speed, memory and size on the same sources with the same embedding model.

Run as ``make bench-search``. Corpora: the functions with docstrings of the standard library and of three installed
packages; a question is a docstring's first paragraph, and every docstring is taken out of the sources. The weight of
the fusion is fitted, and the tuned models are trained, on one half of the standard library's modules; figures are
those of the other half and of the packages. Every corpus and side is a process of its own. What is compared, and how,
is in docs/benchmarks.md.

The raw measurements are kept in ``benchmarks/results/search.json``; a run replaces those that it measures again, so the
bench can be run in parts::

    python -m benchmarks.search --only ours --corpora rich
    python -m benchmarks.search --only peer --queries 300
    python -m benchmarks.search --only tuned
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from benchmarks.peers.command_line import TOOLS
from benchmarks.sides import results
from benchmarks.sides.children import Child, run_bench
from benchmarks.sides.fusions import DESIGNS
from benchmarks.sides.search_corpora import PACKAGES, STDLIB
from homeground.evaluate.stats import format_interval, paired_difference

BENCH = "search"
PARTS = ("ours", "fp32", "changed", "peer", "semble", *TOOLS, "tune", "tuned")
CORPORA = (STDLIB, *PACKAGES)
SPEED_CORPUS = "pydantic"
FUSED_GAIN, TUNED_GAIN, SPEED, LOSS, UNCHANGED, CHANGED_S = 0.03, 0.10, 4.0, 0.005, 0.02, 1.0
CHUNK_SIZES: dict[str, tuple[object, ...]] = {"defaults": (), "chunks of 1000": ("--chunk-size", 1000)}
TUNED = Path("build") / "bench-search"
"""Where the tuned models lie between the parts of the bench, from the root of the repository."""
PEERS = {"peer": "langchain_chroma", "semble": "semble"}
SEMBLE_MODEL = "minishlab/potion-code-16M"


def main() -> None:
    """Measure what was asked for, merge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part; may be repeated")
    parser.add_argument("--corpora", nargs="*", choices=CORPORA, default=CORPORA)
    parser.add_argument("--queries", type=int, default=1500, help="most questions of a corpus")
    parser.add_argument(
        "--reranked", type=int, default=300, help="most questions of a corpus to rerank, or to put to a command line"
    )
    parser.add_argument("--limit", type=float, default=1200, help="seconds after which one process is stopped")
    options = parser.parse_args()
    parts = options.only or PARTS
    for part, package in PEERS.items():
        if part in parts and importlib.util.find_spec(package) is None:
            parser.error(
                f"{package} is not installed: run 'make bench-search', install '.[bench]', or choose with --only"
            )
    children = with_fitted(plan(parts, options.corpora, options.queries, options.reranked))
    run_bench(BENCH, children, rows_of, limit_s=options.limit, report=print_report)


def with_fitted(children: Sequence[Child]) -> Iterator[Child]:
    """The processes, with the settings that those before them fitted."""
    for child in children:
        arguments = child.arguments
        if child.module == "benchmarks.sides.search" and "--fit" not in arguments:
            tuned = "--tuned" in arguments
            fitted = results.read_measurements(BENCH).get("tune" if tuned else _key("ours", STDLIB), {})
            arguments = tuple(one for one in arguments if one != "--tuned")
            for name in ("dense_weight", *(("embedder", "rerank", "rerank_weight") if tuned else ())):
                if fitted.get(name) is not None:
                    arguments = (*arguments, f"--{name.replace('_', '-')}", fitted[name])
        yield child._replace(arguments=arguments)


def plan(parts: Any, corpora: Any, queries: int, reranked: int) -> list[Child]:
    """Each process of the bench, in the order in which they need each other."""
    ours, most = "benchmarks.sides.search", ("--queries", queries)
    found: list[Child] = []
    if "ours" in parts:
        fits = {STDLIB: ("--fit",)}
        found += [Child(_key("ours", name), ours, ("--corpus", name, *most, *fits.get(name, ()))) for name in corpora]
    if "fp32" in parts:
        arguments = ("--corpus", SPEED_CORPUS, *most, "--backend", "fp32")
        found.append(Child(_key("fp32", SPEED_CORPUS), ours, arguments))
    if "changed" in parts:
        found.append(Child("changed", "benchmarks.sides.search_changed"))
    if "peer" in parts:
        found += [
            Child(_key(f"peer, {how}", name), "benchmarks.peers.langchain_chroma", ("--corpus", name, *most, *size))
            for name in corpora
            for how, size in CHUNK_SIZES.items()
            if how == "defaults" or name == SPEED_CORPUS
        ]
    if "semble" in parts:
        models = ("minilm", "own") if try_to_load_from_cache(SEMBLE_MODEL, "config.json") else ("minilm",)
        found += [
            Child(
                _key(f"semble, {model}", name),
                "benchmarks.peers.semble_index",
                ("--corpus", name, *most, "--model", model),
            )
            for name in corpora
            for model in models
        ]
    for tool in TOOLS:
        if tool in parts and TOOLS[tool].lacks() is None:
            module, asked = "benchmarks.peers.command_line", ("--queries", reranked, "--tool", tool)
            found += [Child(_key(tool, name), module, ("--corpus", name, *asked)) for name in corpora]
    if "tune" in parts:
        found.append(Child("tune", "benchmarks.sides.search_tune", ("--folder", TUNED)))
    if "tuned" in parts:
        models = ("--tuned",)
        found += [
            Child(_key("tuned", name), ours, ("--corpus", name, "--queries", reranked, *models)) for name in corpora
        ]
    return found


def _key(part: str, corpus: str) -> str:
    return f"{part}: {corpus}"


def rows_of(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims that the measurements allow."""
    rows: list[dict[str, Any]] = []
    for corpus in CORPORA:
        if (ours := measurements.get(_key("ours", corpus))) is None:
            continue
        named = ("peer, defaults", "semble, minilm", "semble, own", *TOOLS)
        peers = [measurements[key] for key in (_key(one, corpus) for one in named) if key in measurements]
        rows += _quality(corpus, ours, peers, measurements.get(_key("tuned", corpus)))
    if ours := measurements.get(_key("ours", SPEED_CORPUS)):
        for how in CHUNK_SIZES:
            if peer := measurements.get(_key(f"peer, {how}", SPEED_CORPUS)):
                rows += _costs(f"{SPEED_CORPUS}, LangChain with {how}", ours, peer)
        if slow := measurements.get(_key("fp32", SPEED_CORPUS)):
            loss = max(_mrr(slow, "fused") - _mrr(ours, "fused"), 1e-6)
            rows.append(results.smaller(SPEED_CORPUS, "MRR@10 lost to fp32", "", loss, LOSS, "limit", 1.0))
        share = ours["unchanged_seconds"] / ours["seconds"]
        rows.append(results.smaller(SPEED_CORPUS, "unchanged re-index, share", "", share, UNCHANGED, "limit", 1.0))
    if changed := measurements.get("changed"):
        seconds = changed["seconds"]
        rows.append(results.smaller("1,000 files", "one changed file", "s", seconds, CHANGED_S, "limit", 1.0))
    return rows


def _quality(
    corpus: str, ours: dict[str, Any], peers: Sequence[dict[str, Any]], tuned: dict[str, Any] | None
) -> list[dict[str, Any]]:
    best = ours["gain"]["over"]
    gain = _mrr(ours, "fused") - _mrr(ours, best)
    rows = [
        results.row(corpus, "MRR@10", "", _mrr(ours, "fused"), _mrr(ours, best), f"ours, {best} only", gain, FUSED_GAIN)
    ]
    rows += [
        results.larger(corpus, "MRR@10", "", _mrr(ours, "fused"), _mrr(ours, name), f"design of {name}", None)
        for name in DESIGNS
    ]
    for peer in peers:
        rows.append(results.larger(corpus, "MRR@10", "", *_against(ours, peer), peer["peer"], 1.0))
    if tuned is not None:
        for name in tuned["reciprocal_ranks"]:
            rows.append(_tuned_row(corpus, ours, tuned, name))
    return rows


def _against(ours: dict[str, Any], peer: dict[str, Any]) -> tuple[float, float]:
    """MRR@10 of ours and of a peer, over the questions that both were asked: a command line is asked fewer."""
    if (theirs := peer.get("reciprocal_ranks")) is None:
        return _mrr(ours, "fused"), peer["metrics"]["mrr@10"]["value"]
    ranks, others = _same_questions(ours["reciprocal_ranks"]["fused"], theirs)
    return sum(ranks.values()) / len(ranks), sum(others.values()) / len(others)


def _tuned_row(corpus: str, ours: dict[str, Any], tuned: dict[str, Any], stage: str) -> dict[str, Any]:
    """A tuned stage against the untuned embedding alone, over the questions that both were asked."""
    same = _same_questions(tuned["reciprocal_ranks"][stage], ours["reciprocal_ranks"]["dense"])
    pair = [sum(ranks.values()) / len(ranks) for ranks in same]
    last = stage == list(tuned["reciprocal_ranks"])[-1]
    target = TUNED_GAIN if last and corpus != STDLIB else None
    return results.row(
        corpus, f"MRR@10, tuned {stage}", "", *pair, "ours, untuned, dense only", pair[0] - pair[1], target
    )


def _same_questions(one: dict[str, float], other: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Two sides' reciprocal ranks, by question that both were asked."""
    same = sorted(one.keys() & other.keys())
    return {task: one[task] for task in same}, {task: other[task] for task in same}


def _costs(setting: str, ours: dict[str, Any], peer: dict[str, Any]) -> list[dict[str, Any]]:
    name = peer["peer"]
    return [
        results.larger(setting, "indexing", "MB/s", ours["mb_per_s"], peer["mb_per_s"], name, SPEED),
        results.smaller(setting, "peak memory", "MB", ours["peak_mb"], peer["peak_mb"], name, None),
        results.smaller(setting, "disk", "MB", ours["disk_mb"], peer["disk_mb"], name, None),
    ]


def _mrr(measured: dict[str, Any], stage: str) -> float:
    return float(measured["metrics"][stage]["mrr@10"]["value"])


def print_report(measurements: dict[str, Any]) -> None:
    """Everything beside the claims."""
    print_settings(measurements)
    print_tuned(measurements)
    tell_elsewhere()


def print_settings(measurements: dict[str, Any]) -> None:
    """MRR@10 of everything that was asked, with its interval."""
    for key, measured in measurements.items():
        metrics = measured.get("metrics", {})
        for name, found in metrics.items() if "mrr@10" not in metrics else [("", metrics)]:
            value = found["mrr@10"]
            print(f"{key:<32}{name:<12}{format_interval(value)}  R@1 {found['recall@1']['value']:.3f}  n {value['n']}")


def print_tuned(measurements: dict[str, Any]) -> None:
    """What tuning gained above the untuned embedding alone, paired over the same questions."""
    for corpus in CORPORA:
        tuned, ours = measurements.get(_key("tuned", corpus)), measurements.get(_key("ours", corpus))
        if tuned is None or ours is None:
            continue
        for stage in tuned["reciprocal_ranks"]:
            after, before = _same_questions(tuned["reciprocal_ranks"][stage], ours["reciprocal_ranks"]["dense"])
            gain = paired_difference(after, before)
            interval = format_interval(gain, signed=True)
            print(f"{corpus}, tuned {stage:<10}{interval} MRR@10 above the untuned embedding alone, n {gain['n']}")


def tell_elsewhere() -> None:
    """Which other tools could not be measured here, and what each lacks."""
    for name, tool in TOOLS.items():
        if (lacks := tool.lacks()) is not None:
            print(f"{name}: not measured, {lacks}; its way to rank is among the designs where it fuses")


if __name__ == "__main__":
    main()
