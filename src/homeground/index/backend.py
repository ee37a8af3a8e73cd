"""Which backend embeds soonest: what each takes to start, and how fast it was measured to be on this machine."""

from __future__ import annotations

import importlib.util
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_json, read_json
from homeground.base.hardware import bf16_is_fast, usable_cores, version_of
from homeground.base.weights import cache_home

PROBE_TOKENS = 60_000
"""Less to embed does not repay loading torch and measuring every backend."""

_PACKAGES = ("torch", "onnxruntime", "openvino", "sentence-transformers")
_STARTS_S = {"bf16": 9.0, "fp32": 9.0, "onnx": 0.5, "openvino": 1.0}
_STARTS_S_IMPORTED = 0.7


def soonest(rates: Mapping[str, float], tokens: int, started: set[str]) -> str:
    """The backend that is done first.

    Args:
        rates: tokens a second of each.
        tokens: how many there are to embed.
        started: the backends that are loaded already.
    """

    def seconds(name: str) -> float:
        start = 0.0 if name in started else _STARTS_S[name]
        if start and name in ("bf16", "fp32") and "sentence_transformers" in sys.modules:
            start = _STARTS_S_IMPORTED
        return start + tokens / rates[name]

    return min(rates, key=seconds)


def available() -> list[str]:
    """The backends that are installed and may be chosen by themselves, on the CPU."""
    found = ["bf16", "fp32", "onnx"] if bf16_is_fast() else ["fp32", "onnx"]
    return [*found, "openvino"] if importlib.util.find_spec("openvino") is not None else found


def remembered(revision: str) -> dict[str, float] | None:
    """The rates measured with these weights, this machine and these versions; None where none were."""
    try:
        return cast("dict[str, float]", read_json(_file(revision))["rates"][_here()])
    except (HomegroundError, KeyError, TypeError):
        return None


def remember(revision: str, rates: Mapping[str, float]) -> None:
    """Keeps measured rates (tokens a second), beside those of other machines that share the folder."""
    try:
        before: dict[str, Any] = read_json(_file(revision))["rates"]
    except (HomegroundError, KeyError, TypeError):
        before = {}
    try:
        atomic_write_json(_file(revision), {"rates": {**before, _here(): dict(rates)}})
    except OSError:  # it is measured again
        return


def measure(encode: Callable[[], int], seconds: float = 1.0) -> float:
    """Tokens a second of a call that returns how many it embedded; the first call warms up.

    The fastest of several calls counts: a busy machine only ever makes one slower.
    """
    encode()
    best, stop = 0.0, time.perf_counter() + seconds
    while not best or time.perf_counter() < stop:
        began = time.perf_counter()
        tokens = encode()
        best = max(best, tokens / (time.perf_counter() - began))
    return best


def _file(revision: str) -> Path:
    return cache_home() / "encoders" / f"{revision}.json"


def _here() -> str:
    versions = [f"{name} {version_of(name)}" for name in _PACKAGES]
    return ", ".join([platform.node(), platform.machine(), f"{usable_cores()} cores", *versions])
