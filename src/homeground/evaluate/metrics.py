"""`metrics.json`: what a run measured, as typed records, with a check and a verdict in words.

The JSON schema in `docs/schemas/metrics.json` is generated from these records by `metrics_schema`.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, with_config

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_text
from homeground.evaluate.agent import METRICS
from homeground.evaluate.stats import Interval

type Stage = Literal["scripted", "base", "sft", "rl"]
type Pair = Literal["sft-base", "rl-sft"]

STAGES: tuple[Stage, ...] = ("scripted", "base", "sft", "rl")
STAGE_NAMES: dict[str, str] = {
    "scripted": "scripted agent",
    "base": "untrained model",
    "sft": "SFT",
    "rl": "GRPO",
}
METRIC_NAMES: dict[str, str] = {
    "reward": "reward",
    "success": "success rate",
    "reciprocal_rank": "reciprocal rank",
    "well_formed": "well-formed calls",
}
_SCHEMA_TITLE = "metrics.json of a Homeground run"


def _ordered(interval: Interval) -> Interval:
    if not interval["low"] <= interval["value"] <= interval["high"]:
        raise ValueError("the interval does not hold its own value: low <= value <= high is expected")
    return interval


def _complete(metrics: dict[str, Any]) -> dict[str, Any]:
    if missing := [name for name in METRICS if name not in metrics]:
        raise ValueError(f"missing metrics: {', '.join(missing)}")
    return metrics


type StageMetrics = Annotated[
    dict[str, Annotated[Interval, AfterValidator(_ordered)]],
    AfterValidator(_complete),
    Field(json_schema_extra={"required": list(METRICS)}),
]


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False, title=_SCHEMA_TITLE))
class Metrics(TypedDict):
    """The content of `metrics.json`.

    `stages` holds each evaluated stage's metrics, `paired` their differences over the same tasks; `seconds` and
    `peak_memory_mb` are by stage of work (index, tasks, sft, rl, ...), memory over the whole process tree.
    """

    run: str
    commit: str | None
    machine: str | dict[str, JsonValue]
    seed: int
    stages: dict[Stage, StageMetrics]
    paired: dict[Pair, StageMetrics]
    seconds: dict[str, Annotated[float, Field(ge=0)]]
    peak_memory_mb: dict[str, Annotated[float, Field(ge=0)]]


_adapter: TypeAdapter[Metrics] = TypeAdapter(Metrics)


def evaluated(metrics: Metrics) -> list[Stage]:
    """The stages that were evaluated, in the order in which a run passes them."""
    return [stage for stage in STAGES if stage in set(metrics["stages"])]


def metrics_schema() -> dict[str, Any]:
    """JSON schema of `metrics.json` (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter.json_schema()}


def check_metrics(data: object, *, where: str = "metrics.json") -> Metrics:
    """Return `data` as typed metrics.

    Raises:
        HomegroundError: a key is missing, unknown or of the wrong type; the message names it.
    """
    try:
        return _adapter.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the document"
        raise HomegroundError(
            f"these are not the metrics of a run: {key}: {first['msg']}",
            where=where,
            hint="write the file again with homeground eval; its schema is docs/schemas/metrics.json",
        ) from error


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Check and write `metrics.json`, whole or not at all."""
    checked = check_metrics(metrics, where=str(path))
    atomic_write_text(path, json.dumps(checked, indent=2, allow_nan=False) + "\n")


def read_metrics(path: Path) -> Metrics:
    """Read and check `metrics.json`.

    Raises:
        HomegroundError: it is missing, is no JSON, or lacks what it must hold.
    """
    try:
        data: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HomegroundError(
            f"the run's metrics cannot be read: {error}",
            where=str(path),
            hint="evaluate the run first: homeground eval agent",
        ) from error
    return check_metrics(data, where=str(path))
