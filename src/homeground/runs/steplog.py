"""What happened in each training step: a line of metrics.jsonl, TensorBoard curves, and a row of a table on stderr."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from time import monotonic
from types import TracebackType
from typing import Any, Self

from homeground.base.errors import HomegroundError
from homeground.base.files import append_jsonl, atomic_write_jsonl, read_jsonl
from homeground.base.progress import Bar, Progress, clock
from homeground.runs.workspace import RunFolder

SFT_COLUMNS = {
    "loss": "loss",
    "heldout_loss": "held-out",
    "learning_rate": "lr",
    "grad_norm": "grad",
    "tokens_per_s": "tok/s",
    "mfu": "MFU",
    "memory_mb": "MB",
    "seconds": "s",
    "eta_s": "ETA",
}
"""Metric and heading of each column that fine-tuning shows."""

DPO_COLUMNS = {"loss": "loss", "accuracy": "accuracy", "margin": "margin"} | {
    name: head for name, head in SFT_COLUMNS.items() if name not in ("heldout_loss", "mfu")
}
"""Metric and heading of each column that preference training shows."""

RL_COLUMNS = {
    "reward_mean": "reward",
    "reward_std": "std",
    "groups_with_signal": "signal",
    "kl": "KL",
    "entropy": "entropy",
    "clip_share": "clip",
    "logprob_gap": "gap",
    "response_tokens": "tokens",
    "truncated": "cut",
    "grad_norm": "grad",
    "seconds_rollout": "roll s",
    "seconds_update": "upd s",
    "eta_s": "ETA",
}
"""Metric and heading of each column that reinforcement learning shows."""

_WIDTH = 9
_CELLS: Mapping[str, Callable[[float], str]] = {"mfu": "{:.0%}".format, "eta_s": clock}
"""How a metric is shown that is no plain number."""


class StepLog:
    """Records the steps of one stage of a run; use it as a context manager and call it with each step's metrics.

    Args:
        run: gets `metrics.jsonl` and the folder `tensorboard`.
        stage: of the rows; what was logged of it after step `done` is dropped: those steps are done again.
        done: steps that a checkpoint holds.
        steps: of the whole stage; with the time that steps took so far, evaluations and checkpoints included, it gives
            ``eta_s``, the seconds that are left.
        progress: where the table and the bar go.
        title: of the bar.
        columns: metric and heading.
    """

    def __init__(
        self,
        run: RunFolder,
        stage: str,
        *,
        done: int,
        steps: int,
        progress: Progress,
        title: str,
        columns: Mapping[str, str],
    ) -> None:
        run.create()
        self.history: list[dict[str, Any]] = []
        self.bar: Bar = progress.bar(title, total=steps)
        self._run = run
        self._stage = stage
        self._progress = progress
        self._columns = columns
        self._done = done
        self._steps = steps
        self._began = monotonic()
        self._curves: Any = None
        _forget(run, stage, done)

    def __enter__(self) -> Self:
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter  # pyright: ignore[reportPrivateImportUsage]

            self._curves = SummaryWriter(str(self._run.path / "tensorboard"), purge_step=self._done + 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._curves is not None:
                self._curves.close()
        except OSError:
            if self._run.path.is_dir():
                raise
        # TensorBoard meets the missing folder only where it still had something to write.
        if error is None and self.history and not self._run.metrics_jsonl.exists():
            raise self._deleted()

    def __call__(self, step: dict[str, Any]) -> None:
        """Record one step."""
        if not self.history:
            # The first step ends a preparation (a rehearsal, a gateway that starts) that no later step repeats.
            self._began = monotonic() - step.get("seconds", monotonic() - self._began)
        pace = (monotonic() - self._began) / (step["step"] - self._done)
        step = {**step, "eta_s": round(pace * (self._steps - step["step"]), 1)}
        if self.history and not self._run.metrics_jsonl.exists():
            raise self._deleted()
        append_jsonl(self._run.metrics_jsonl, step)
        if self._curves is not None:
            for name, value in step.items():
                if isinstance(value, int | float) and name != "step":
                    self._curves.add_scalar(f"{self._stage}/{name}", value, step["step"])
        if not self.history:
            self._progress.line("".join(f"{head:>{_WIDTH}}" for head in ["step", *self._columns.values()]))
        cells = [str(step["step"]), *(_cell(name, step.get(name)) for name in self._columns)]
        self._progress.line("".join(f"{cell:>{_WIDTH}}" for cell in cells))
        self.history.append(step)
        self.bar.advance(step["step"] - self.bar.completed)

    def _deleted(self) -> HomegroundError:
        return HomegroundError(
            f"the folder of the run '{self._run.name}' was deleted while it was trained",
            where=str(self._run.path),
            hint="start it again; 'homeground runs remove' refuses to delete a run that is in use",
        )


def _forget(run: RunFolder, stage: str, done: int) -> None:
    if run.metrics_jsonl.exists():
        rows = read_jsonl(run.metrics_jsonl)
        kept = [row for row in rows if row["stage"] != stage or row["step"] <= done]
        if len(kept) < len(rows):
            atomic_write_jsonl(run.metrics_jsonl, kept)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name in _CELLS:
        return _CELLS[name](value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
