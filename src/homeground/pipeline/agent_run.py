"""`homeground rl run`: measure a user's agent on held-out tasks, train it with GRPO, and measure it again.

Every rollout, including those of the two evaluations, goes through the Agent Lightning gateway. The reward is computed
in this process from the task and the agent's answer, unless an agent in a process of its own posts it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_json, atomic_write_jsonl, read_jsonl
from homeground.base.hardware import found_device
from homeground.corpus import CorpusConfig
from homeground.pipeline import finetune, stages
from homeground.pipeline.agent_source import agent_source
from homeground.pipeline.measured import machine, source_commit
from homeground.pipeline.own_agent import LOOKUP, OwnAgent
from homeground.pipeline.workbench import Workbench
from homeground.runs.stage_timer import timed
from homeground.runs.workspace import RunFolder

if TYPE_CHECKING:
    from homeground.evaluate.stats import Interval
    from homeground.rollouts import GatewaySource

MOMENTS: tuple[Moment, ...] = ("before", "after")

type Moment = Literal["before", "after"]


def train_agent(bench: Workbench, agent: OwnAgent, *, resume: bool) -> dict[str, Any]:
    """Cold start, before, GRPO, after; returns what `results.json` of the run says.

    Args:
        bench: of the run; a run that `sft` has trained goes on from there, else the recipe's `data` is the cold start.
        agent: from the recipe's `agent` section.
        resume: stages that the run has finished are not done again.
    """
    from homeground.training.grpo import refuse_device

    bench.run.create()
    done = bench.run.finished() if resume else {}
    if bench.recipe.agent.tasks == LOOKUP or bench.recipe.agent.search:
        _index(bench)
    if bench.recipe.agent.tasks == LOOKUP:
        agent = _with_lookups(bench, agent)
    if "rl" not in done:
        refuse_device(bench.recipe.rl, found_device(bench.recipe.model.device))
    if "rl" in done:
        bench.start_from(bench.run.adapter)
    elif "sft" in bench.run.finished():
        bench.start_from(finetune.sft_adapter(bench.run))
    elif bench.recipe.data.sources:
        with timed(bench.run, "sft"):
            _cold_start(bench)
    left = [stage for stage in STAGES if stage not in done]
    with ExitStack() as open_:
        source = open_.enter_context(agent_source(bench, agent)) if left else None
        for stage in left:
            assert source is not None
            with timed(bench.run, stage):
                STAGES[stage](bench, agent, source)
    return write_agent_results(bench, agent)


def _index(bench: Workbench) -> None:
    """The index, and for look-ups their tasks, from the recipe's corpus where the workspace has none."""
    roots = [Path(root) for root in bench.recipe.corpus.roots]
    if bench.workspace.index.exists():
        # A recipe that names no folders takes the index as it is.
        if bench.recipe.corpus.roots != CorpusConfig().roots:
            stages.refuse_other_roots(bench, roots)
    else:
        with timed(bench.run, "index"):
            stages.build_index(bench, roots)
    # The run's own file may be what an interruption left of them.
    made = "tasks" in bench.run.finished() or (bench.workspace.tasks / bench.tasks_file.name).is_file()
    if bench.recipe.agent.tasks == LOOKUP and not made:
        with timed(bench.run, "tasks"):
            stages.make_tasks(bench)


def _with_lookups(bench: Workbench, agent: OwnAgent) -> OwnAgent:
    made = bench.tasks
    return replace(agent, train=[asdict(task) for task in made.train], heldout=[asdict(task) for task in made.heldout])


def _cold_start(bench: Workbench) -> None:
    from homeground.pipeline.sft_data import sft_data
    from homeground.pipeline.task_report import heldout_tasks

    recipe = bench.recipe
    tasks = heldout_tasks(bench.run, bench.workspace) if recipe.agent.tasks == LOOKUP else []
    made = sft_data(recipe, bench.progress, tasks=tasks, tokenizer=bench.policy.tokenizer)
    finetune.fine_tune(bench, made.train, made.heldout)


def _reinforce(bench: Workbench, agent: OwnAgent, source: GatewaySource) -> None:
    stages.grpo(bench, source, agent.train)


def _measure(bench: Workbench, agent: OwnAgent, source: GatewaySource, moment: Moment) -> None:
    """Run the held-out tasks greedily, once each, and keep every answer with its reward.

    Raises:
        HomegroundError: no rollout came to an answer.
    """
    from homeground.agents.own_code import task_id

    tasks = agent.heldout[: bench.recipe.eval.tasks]
    bar = bench.progress.bar(f"held-out tasks, {moment}", total=len(tasks))
    bench.sampler.publish()
    found = source.evaluate(tasks, on_done=bar.advance)
    failures = [t.error or "no reward" for t in found if t.reward is None]
    if len(failures) == len(tasks):
        raise HomegroundError(
            f"every one of {len(tasks)} held-out rollouts failed: {'; '.join(sorted(set(failures))[:3])}",
            where=bench.recipe.agent.code,
            hint="run the agent on one task by hand",
        )
    rows: list[dict[str, Any]] = [
        # A rollout that failed earned nothing: to leave it out would make a worse agent look better.
        {
            "task": task_id(task),
            "reward": t.reward or 0.0,
            "parts": dict(t.parts),
            "error": t.error,
            "answer": t.outcome,
        }
        for task, t in zip(tasks, found, strict=True)
    ]
    atomic_write_jsonl(_answers(bench.run, moment), rows)
    mean = sum(row["reward"] for row in rows) / len(rows)
    told = f", {len(failures)} of them failed: {failures[0]}" if failures else ""
    bar.done(f"mean reward {mean:.3f} on {len(rows)} held-out tasks{told}")


STAGES: dict[str, Callable[[Workbench, OwnAgent, GatewaySource], None]] = {
    "eval before": partial(_measure, moment="before"),
    "rl": _reinforce,
    "eval after": partial(_measure, moment="after"),
}


def write_agent_results(bench: Workbench, agent: OwnAgent) -> dict[str, Any]:
    """Before and after with 95% intervals, and their paired difference, as ``results.json`` and ``report.html``."""
    from homeground.evaluate.stats import mean_interval, paired_difference

    resampling: dict[str, Any] = {"resamples": bench.recipe.eval.bootstrap, "seed": bench.recipe.seed}
    numbers = {moment: _numbers(_answers(bench.run, moment)) for moment in MOMENTS}
    finished = bench.run.finished()
    stages_: dict[str, dict[str, Interval]] = {
        moment: {name: mean_interval(list(of.values()), **resampling) for name, of in columns.items()}
        for moment, columns in numbers.items()
    }
    shared = [name for name in numbers["before"] if name in numbers["after"]]
    results: dict[str, Any] = {
        "run": bench.run.name,
        "commit": source_commit(),
        "machine": machine(),
        "seed": bench.recipe.seed,
        "train_tasks": len(agent.train),
        "heldout_tasks": len(numbers["after"]["reward"]),
        "stages": stages_,
        "paired": {n: paired_difference(numbers["after"][n], numbers["before"][n], **resampling) for n in shared},
        "seconds": {stage: facts["seconds"] for stage, facts in finished.items() if "seconds" in facts},
        "peak_memory_mb": {s: facts["peak_memory_mb"] for s, facts in finished.items() if "peak_memory_mb" in facts},
    }
    atomic_write_json(bench.run.results, results)
    _write_report(bench, agent, results)
    return results


def _write_report(bench: Workbench, agent: OwnAgent, results: dict[str, Any]) -> None:
    from homeground.evaluate.agent_report import write_agent_report
    from homeground.evaluate.tried import tried
    from homeground.training.rollout_records import task_words

    run = bench.run
    write_agent_report(
        run.report,
        results,
        read_jsonl(run.metrics_jsonl) if run.metrics_jsonl.exists() else [],
        [task_words(task) for task in agent.heldout[: bench.recipe.eval.tasks]],
        {moment: read_jsonl(_answers(run, moment)) for moment in MOMENTS},
        recipe=bench.recipe.model_dump(mode="json"),
        groups=tried(run),
    )


def _answers(run: RunFolder, moment: Moment) -> Path:
    return run.path / "evaluations" / f"{moment}-answers.jsonl"


def _numbers(file: Path) -> dict[str, dict[str, float]]:
    """Reward and parts of each task: name -> task -> number. A part that a failed rollout has not is 0 there."""
    rows = read_jsonl(file)
    names = dict.fromkeys(name for row in rows for name in row["parts"] if name != "reward")
    columns: dict[str, dict[str, float]] = {"reward": {}, **{name: {} for name in names}}
    for place, row in enumerate(rows):
        task = f"{place}-{row['task']}"
        columns["reward"][task] = row["reward"]
        for name in names:
            columns[name][task] = row["parts"].get(name, 0.0)
    return columns
