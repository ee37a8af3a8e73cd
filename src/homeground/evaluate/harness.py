"""Tasks of EleutherAI's lm-evaluation-harness before and after training: the optional extra `lm-eval`.

Prompts, choices and scores are the harness's own (https://github.com/EleutherAI/lm-evaluation-harness), through its
`HFLM` and `evaluate`, and as by its default without a chat template. What is done here besides:

- `HFLM` knows nothing of forests, so it gets a frozen twin of the policy (same base tensors, the adapter as it is)
  that attends as the model's own code does; logits become log-probabilities in float32.
- A task is loaded once. Both sides see the same samples, drawn by the seed where a task has more than are asked for.
- Metrics are taken that are a mean over samples, and bits per byte: only these have paired intervals.
- Nothing is run that comes from a hub or that the model writes. A task's own Python lies beside its YAML file, in the
  installed package or in a folder of the person who named it.
"""

from __future__ import annotations

import copy
import difflib
import logging
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from homeground.base.errors import HomegroundError, UsageError
from homeground.evaluate.stats import RESAMPLES, Interval, mean_interval, paired_difference, ratio_interval
from homeground.evaluate.text import bits
from homeground.policy import Policy
from homeground.training.random_state import random_state, restore_random_state

ROWS = 4
"""Rows of one forward: the harness holds the logits of every token of them."""


@dataclass(frozen=True)
class HarnessTasks:
    """Tasks with their data.

    Attributes:
        tasks: the harness's, by name.
        samples: of each task, places of those that are scored.
        counts: of each task, how many it has.
        version: of the harness.
    """

    tasks: dict[str, Any]
    samples: dict[str, list[int]]
    counts: dict[str, int]
    version: str

    def to_json(self) -> dict[str, Any]:
        """What was measured, and which way is better."""
        tasks = {
            name: {
                "version": str(task.VERSION),
                "shots": task.get_config("num_fewshot") or 0,
                "samples": len(self.samples[name]),
                "of": self.counts[name],
                "higher_is_better": {metric: task.higher_is_better().get(metric) for metric in _reported(task)},
                "left_out": sorted(set(task.aggregation()) - set(_reported(task))),
            }
            for name, task in self.tasks.items()
        }
        return {"version": self.version, "tasks": tasks}


@dataclass(frozen=True)
class HarnessOutcome:
    """What one policy made of the tasks.

    Attributes:
        values: of each metric (`TASK/METRIC`, with a filter `TASK/METRIC,FILTER`), a number by sample.
        sizes: of each metric that is a ratio, what its numbers are divided by once they are added up.
        prompts: of each task, hashes of its prompts.
    """

    values: dict[str, dict[str, float]]
    sizes: dict[str, dict[str, float]]
    prompts: dict[str, list[str]]


def load_tasks(names: Sequence[str], *, limit: int, seed: int = 0) -> HarnessTasks:
    """Find tasks and read their data: from the hub or its cache, or from where a YAML file of one's own says.

    Args:
        names: tasks, groups or tags of the harness; or paths (with a slash, or ending in .yaml) of a task's file, or of
            a folder whose tasks are all taken.
        limit: samples of each task, at most.
        seed: draws them.

    Raises:
        UsageError: an unknown name, a path without a task, or a task that is not run here.
        HomegroundError: the extra is not installed, the hub cannot be reached, or a task cannot be loaded.
    """
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager

        from evaluate import config
    except ImportError as cause:
        raise HomegroundError(
            f"tasks of lm-evaluation-harness need a package that is not installed: {cause.name}",
            where=", ".join(names),
            hint="install the extra: pip install 'homeground[lm-eval]'",
        ) from cause
    # It warns of everything that it chooses by itself, and names metrics' errors that are told here.
    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)
    # Metrics that the harness does not know would be programs from the hub, and each use of one is counted there.
    config.HF_EVALUATE_OFFLINE = True

    paths = [name for name in names if _is_path(name)]
    folders: list[str | Path] = [_existing(path) for path in paths if _existing(path).is_dir()]
    # Reading the harness's own 14,000 files takes its time.
    manager = TaskManager(include_path=folders, include_defaults=len(paths) < len(names))
    tasks: dict[str, Any] = {}
    for name in names:
        if not _is_path(name) and name not in manager.task_index:
            raise _unknown(name, manager.all_tasks)
        for one in _tasks_at(_existing(name)) if _is_path(name) else [name]:
            tasks |= _loaded(manager, one)
    counts: dict[str, int] = {}
    samples: dict[str, list[int]] = {}
    for name, task in tasks.items():
        _refuse_what_is_not_run(name, task)
        counts[name] = len(task.eval_docs)
        samples[name] = sorted(random.Random(seed).sample(range(counts[name]), min(limit, counts[name])))
    return HarnessTasks(tasks, samples, counts, lm_eval.__version__)


def run_tasks(
    policy: Policy, loaded: HarnessTasks, *, seed: int = 0, on_done: Callable[[int], None] = lambda _: None
) -> HarnessOutcome:
    """Score a policy, its adapter as it is, on tasks. The random generators are left as they were.

    Args:
        policy: in any quantization.
        loaded: from :func:`load_tasks`.
        seed: of the shots' choice, and of what a task draws.
        on_done: is called after each of the requests to the model, with their number.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.models import huggingface

    twin = policy.reference()
    twin.set_attn_implementation("eager")
    # They are tied already, and transformers does not find those that an adapter wraps.
    twin.tie_weights = lambda *_, **__: None
    model: Any = huggingface.HFLM  # typed as what registers it
    lm = model(
        pretrained=twin,
        # It may give it a padding token.
        tokenizer=copy.deepcopy(policy.tokenizer),
        backend="causal",
        batch_size=ROWS,
        mixed_precision_dtype=None if policy.dtype is torch.float32 else policy.dtype,
        softmax_dtype=torch.float32,
    )
    for name in ("loglikelihood", "loglikelihood_rolling", "generate_until", "_loglikelihood_tokens"):
        setattr(lm, name, _without_bars(getattr(lm, name)))
    lm.set_cache_hook(_Counter(loaded, on_done))
    held = random_state()
    try:
        # As `simple_evaluate` begins, which goes on to ask git and pip about this machine.
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        for task in loaded.tasks.values():
            if task.get_config("num_fewshot") is None:
                task.set_config("num_fewshot", 0)
            task.set_fewshot_seed(seed)
        found: Any = evaluate(
            lm=lm,
            task_dict={"tasks": loaded.tasks},
            samples={name: drawn for name, drawn in loaded.samples.items() if len(drawn) < loaded.counts[name]},
            bootstrap_iters=0,
        )
    finally:
        restore_random_state(held)
    outcome = HarnessOutcome({}, {}, {})
    for name, task in loaded.tasks.items():
        _read(outcome, name, _reported(task), found["samples"][name])
    return outcome


def harness_metrics(outcome: HarnessOutcome, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """Each metric with its interval over samples."""
    how: dict[str, Any] = {"resamples": resamples, "seed": seed}
    return {
        name: _ratio(values, outcome.sizes[name], **how)
        if name in outcome.sizes
        else mean_interval(list(values.values()), **how)
        for name, values in outcome.values.items()
    }


def compare_harness(
    after: HarnessOutcome, before: HarnessOutcome, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Differences after - before over the same samples, with their intervals.

    Raises:
        HomegroundError: they were not asked the same.
    """
    if after.prompts != before.prompts or after.sizes != before.sizes:
        raise HomegroundError("the two policies were not asked the same questions", hint="measure both again")
    how: dict[str, Any] = {"resamples": resamples, "seed": seed}
    change: dict[str, Interval] = {}
    for name, values in after.values.items():
        if name in after.sizes:
            differences = {sample: value - before.values[name][sample] for sample, value in values.items()}
            change[name] = _ratio(differences, after.sizes[name], **how)
        else:
            change[name] = paired_difference(values, before.values[name], **how)
    return change


def _without_bars(method: Callable[..., Any]) -> Callable[..., Any]:
    """The harness draws bars of its own unless it is told each time."""
    return lambda *given, **named: method(*given, **{**named, "disable_tqdm": True})


class _Counter:
    """What the harness tells of each answer, so that it can be cached."""

    def __init__(self, loaded: HarnessTasks, on_done: Callable[[int], None]) -> None:
        self._tasks = loaded.tasks.values()
        self._on_done = on_done
        self._total = 0

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        """One answer more."""
        del kind, request, answer
        self._total = self._total or sum(one.repeats for task in self._tasks for one in task.instances)
        self._on_done(self._total)


def _ratio(values: dict[str, float], sizes: dict[str, float], **how: Any) -> Interval:
    return ratio_interval(list(values.values()), [sizes[sample] for sample in values], **how)


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith((".yaml", ".yml"))


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.exists():
        raise UsageError(
            "there is no such task file or folder", where=name, hint="give a task's YAML file, or a folder of them"
        )
    return path.resolve()


def _tasks_at(path: Path) -> list[str]:
    """What the harness takes: a file, or the names of a folder's tasks."""
    from lm_eval.tasks import TaskManager

    if path.is_file():
        return [str(path)]
    found = TaskManager(include_path=str(path), include_defaults=False).all_subtasks
    if not found:
        raise UsageError(
            "the folder holds no task", where=str(path), hint="a task is a .yaml file with the key 'task': docs/data.md"
        )
    return found


def _unknown(name: str, known: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=5)
    words = f"did you mean {' or '.join(near)}?" if near else "'lm-eval ls tasks' lists them"
    return UsageError(
        f"lm-evaluation-harness has no task '{name}'",
        where=name,
        hint=f"{words} A task of your own is named by the path of its YAML file, such as ./{name}.yaml",
    )


def _loaded(manager: Any, name: str) -> dict[str, Any]:
    """The task of a name or a file, or those of a group, by their names."""
    try:
        return dict(manager.load([name])["tasks"])
    except ConnectionError as cause:
        raise HomegroundError(
            f"the data of the task '{name}' cannot be fetched: the hub cannot be reached",
            where=str(cause).splitlines()[0],
            hint="connect once, and they are kept; or measure tasks of your own, whose data lie here: docs/data.md",
        ) from cause
    except Exception as cause:  # a task is a program: whatever goes wrong in it
        said = next(iter(str(cause).splitlines()), "")
        raise HomegroundError(
            f"the task '{name}' cannot be loaded: {type(cause).__name__}: {said}",
            where=name,
            hint="see what its YAML file names: data, splits, metrics, and packages that it wants",
        ) from cause


def _refuse_what_is_not_run(name: str, task: Any) -> None:
    """Raise UsageError where a task would run foreign code, shows the model pictures, or has nothing to report."""
    from lm_eval.api.registry import metric_registry

    hint = "leave it out; for lm-eval itself, `homeground export merged` writes a model that it loads"
    if getattr(task, "UNSAFE_CODE", False):
        raise UsageError(f"the task '{name}' runs code that the model writes", where=name, hint=hint)
    if getattr(task, "MULTIMODAL", False):
        raise UsageError(f"the task '{name}' shows pictures or plays sounds to the model", where=name, hint=hint)
    for entry in task.get_config("metric_list") or []:
        metric = entry["metric"]
        if isinstance(metric, str) and (entry.get("hf_evaluate") or metric not in metric_registry):
            raise UsageError(
                f"the metric '{metric}' of the task '{name}' is a program on the hub, which is not run here",
                where=name,
                hint=hint,
            )
    if not _reported(task):
        raise UsageError(
            f"no metric of the task '{name}' is a mean over its samples: {', '.join(task.aggregation())}",
            where=name,
            hint=hint,
        )


def _reported(task: Any) -> list[str]:
    """Metrics of a task that have intervals over samples."""
    from lm_eval.api.metrics import bits_per_byte, mean

    return [name for name, how in task.aggregation().items() if how in (mean, bits_per_byte)]


def _read(outcome: HarnessOutcome, task: str, reported: Sequence[str], samples: Sequence[dict[str, Any]]) -> None:
    """Add a task's samples, as the harness logs them: one for each document and filter."""
    outcome.prompts[task] = [sample["prompt_hash"] for sample in samples]
    for sample in samples:
        for metric in sample["metrics"]:
            if metric not in reported:
                continue
            how = "" if sample["filter"] == "none" else f",{sample['filter']}"
            name, place, value = f"{task}/{metric}{how}", str(sample["doc_id"]), sample[metric]
            if isinstance(value, tuple):
                nats, size = value
                outcome.sizes.setdefault(name, {})[place] = float(size)
                value = bits(-nats)
            outcome.values.setdefault(name, {})[place] = float(value)
