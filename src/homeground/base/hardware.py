"""What this machine can do, measured where a data sheet would mislead.

bf16 is five to eight times faster than fp32 on a CPU with AMX and can be slower on one without AVX512-BF16, so the
choice between them is measured, not looked up.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from homeground.base.errors import UsageError
from homeground.base.heap import limit_primitives

if TYPE_CHECKING:
    import torch

type Device = Literal["cuda", "mps", "cpu"]

_LONGEST_PRODUCT_S = 0.05


@dataclass(frozen=True)
class MatmulRates:
    """Square matrix products per data type, in TFLOP/s (2 n^3 operations each)."""

    bf16: float
    fp32: float

    @property
    def bf16_fast(self) -> bool:
        """Whether bf16 pays on this device: at least as fast as fp32."""
        return self.bf16 >= self.fp32


@dataclass(frozen=True)
class Hardware:
    """What `homeground doctor` prints. Memory and disk in MB (10^6 bytes)."""

    python: str
    torch: str
    bitsandbytes: str | None
    platform: str
    device: Device
    cpu: str
    cores: int
    amx: bool
    avx512_bf16: bool
    cuda_name: str | None
    cuda_memory_mb: float | None
    free_memory_mb: float
    free_disk_mb: float
    rates: MatmulRates

    @property
    def bf16_fast(self) -> bool:
        return self.rates.bf16_fast

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "bf16_fast": self.bf16_fast}

    def slow(self) -> list[str]:
        """What will be slow here, and what to do about it; empty when nothing stands out."""
        notes: list[str] = []
        if self.device == "cpu":
            notes.append("no GPU: models of about 0.1 to 0.5 billion parameters train in minutes, larger ones in hours")
            if not self.bf16_fast:
                notes.append("bf16 is slower than fp32 on this CPU: compute_dtype 'auto' will take fp32")
        if self.device == "mps":
            notes.append("4-bit layers on Apple GPUs are untested: set model.quantization to none if they fail")
        if self.cores < 4:
            notes.append(f"{self.cores} cores: run nothing else heavy meanwhile; two busy programs slow each other 10x")
        if self.free_memory_mb < 8000:
            notes.append("less than 8 GB of free memory: the demo may not fit")
        if self.free_disk_mb < 2000:
            notes.append("less than 2 GB of free disk: checkpoints and caches may not fit")
        return notes


def probe(folder: Path | None = None) -> Hardware:
    """Look at this machine; takes about a second, most of it importing torch and measuring.

    Args:
        folder: where free disk is measured (the current directory when None, or its nearest existing parent).
    """
    import torch

    device = best_device()
    flags = _cpu_flags()
    cuda = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return Hardware(
        python=platform.python_version(),
        torch=torch.__version__,
        bitsandbytes=version_of("bitsandbytes"),
        platform=f"{platform.system()} {platform.machine()}",
        device=device,
        cpu=cpu_name(),
        cores=usable_cores(),
        amx="amx_bf16" in flags,
        avx512_bf16="avx512_bf16" in flags,
        cuda_name=cuda.name if cuda is not None else None,
        cuda_memory_mb=round(cuda.total_memory / 1e6) if cuda is not None else None,
        free_memory_mb=round(free_memory_mb()),
        free_disk_mb=round(free_disk_mb(folder)),
        rates=matmul_rates(device),
    )


def best_device() -> Device:
    """CUDA if there is one, else Apple's GPU, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def bf16_is_fast() -> bool:
    """Whether the best device multiplies in bf16; a processor that emulates it is slower than in fp32."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(_cpu_flags() & {"amx_bf16", "avx512_bf16"})


def found_device(name: str) -> str:
    """A torch device's name that is known to be there; ``auto`` takes :func:`best_device`.

    Raises:
        UsageError: it is not there; says what is.
    """
    if name == "auto":
        return best_device()
    import torch

    try:
        kind = device_kind(name)
    except ValueError as error:
        raise UsageError(str(error), where="model.device", hint="auto takes the best one") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if there[kind]:
        return name
    built = "this torch is built without it" if kind == "cuda" and not torch.version.cuda else "torch finds none"
    raise UsageError(
        f"the device '{name}' was asked for, and {built} (torch {torch.__version__})",
        where="model.device",
        hint=f"found here: {best_device()}; set model.device to auto, or see `homeground doctor`",
    )


def device_kind(name: str) -> Device:
    """The kind of a torch device's name: "cuda:1" is "cuda".

    Raises:
        ValueError: a kind that nothing here computes on.
    """
    kind = name.partition(":")[0]
    if kind not in ("cuda", "mps", "cpu"):
        raise ValueError(f"unknown device {name!r}: use cuda, mps or cpu")
    return kind


@lru_cache
def matmul_rates(device: Device) -> MatmulRates:
    """Measure matrix products of `device` for about a third of a second; measured once a process."""
    import torch

    limit_primitives()
    small, large = (1024, 4096) if device == "cuda" else (256, 1024)
    both = (torch.bfloat16, torch.float32)
    best = _products(device, small, both)
    # Where bf16 is emulated one large product takes seconds, and the small one has told all there is to tell.
    quick = [dtype for dtype in both if _operations(large) / best[dtype] < _LONGEST_PRODUCT_S]
    best |= _products(device, large, quick)
    bf16, fp32 = (float(f"{best[dtype]:.3g}") for dtype in both)
    return MatmulRates(bf16, fp32)


def _products(device: Device, size: int, dtypes: Sequence[torch.dtype]) -> dict[torch.dtype, float]:
    """TFLOP/s of the fastest of some square products of each type."""
    import torch

    # A generator of its own: whether something is measured must not change what a seeded run draws.
    chance = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device, generator=chance) for _ in range(2))
    pairs = {dtype: (left.to(dtype), right.to(dtype)) for dtype in dtypes}
    best = dict.fromkeys(dtypes, 0.0)
    # The types take turns, so that a disturbance hits all.
    for round_number in range(6):
        for dtype, (left, right) in pairs.items():
            started = time.perf_counter()
            product = left @ right
            product[0, 0].item()  # waits for the device
            if round_number > 0:
                best[dtype] = max(best[dtype], _operations(size) / (time.perf_counter() - started))
    return best


def _operations(size: int) -> float:
    return 2 * size**3 / 1e12


def usable_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory_mb() -> float:
    """Memory that can be had without swapping, within this container's limit where there is one."""
    import psutil

    available = float(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            available = min(available, int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no cgroup v2, or none of our own
    return max(available, 0.0) / 1e6


def free_disk_mb(folder: Path | None = None) -> float:
    """Free disk at `folder` (or its nearest existing parent) for this user."""
    place = (folder or Path.cwd()).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free / 1e6


def _cpu_flags() -> frozenset[str]:
    for line in _cpu_info():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def cpu_name() -> str:
    """What the processor says it is called."""
    for line in _cpu_info():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _cpu_info() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []  # not Linux


def version_of(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def missing_parts() -> list[str]:
    """What the demo needs and this installation lacks, each with what to do; empty is good."""
    problems: list[str] = []
    try:
        importlib.import_module("bitsandbytes")
    except Exception as error:  # its native library can fail in many ways
        problems.append(f"bitsandbytes cannot be loaded ({error}): 4-bit weights need it; run 'make setup' again")
    if not (Path(sys.executable).parent / "agl-server").exists() and shutil.which("agl-server") is None:
        problems.append("the Agent Lightning gateway (agl-server) is missing: run 'make setup' again")
    return problems
