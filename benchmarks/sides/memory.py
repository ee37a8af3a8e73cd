"""Peak memory of a process above its size with the model loaded, measured by the kernel and alike on both sides."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from homeground.base.errors import HomegroundError
from homeground.base.heap import give_back_memory


class PeakAboveModel:
    """Call it when the model is loaded and everything is imported; ask for the peak at the end.

    The kernel keeps the largest resident size of a process (VmHWM) and sets it back to the current one on request, so
    no peak is too short to be seen. Pages of a memory-mapped weight file become resident when they are first read:
    every parameter is read once before the count starts.

    Raises:
        HomegroundError: the system is not Linux or does not let a process reset its own peak.
    """

    def __init__(self, *models: nn.Module) -> None:
        for model in models:
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.device.type == "cpu":
                    tensor.detach().view(-1)[:: max(1, 1024 // tensor.element_size())].max()
        give_back_memory()
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError as cause:
            raise HomegroundError(
                f"the peak of this process's memory cannot be reset: {cause}",
                where="/proc/self/clear_refs",
                hint="run the benchmark on Linux, in a container that may write there",
            ) from cause
        self.loaded_mb = _status_mb("VmRSS")

    def peak_mb(self) -> float:
        """Largest resident memory since, above the size with the model loaded, in MB (10^6 bytes)."""
        return _status_mb("VmHWM") - self.loaded_mb


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024 / 1e6
    raise HomegroundError(f"the kernel does not report {field}", where="/proc/self/status")
