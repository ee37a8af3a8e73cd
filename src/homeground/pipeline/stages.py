"""The stages of a run. Each reads what earlier ones left in the run folder, leaves its own results there, and returns
its one-line result; verbs and the demo call the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import openai

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_jsonl, read_jsonl
from homeground.base.reward import Reward
from homeground.pipeline.threshold import fit_least_confidence
from homeground.pipeline.workbench import Workbench
from homeground.runs.workspace import RunFolder

if TYPE_CHECKING:
    from homeground.index import IndexReport
    from homeground.rollouts import Source
    from homeground.tasks import LookupTask, TasksConfig, TaskSet

SPARE_CANDIDATES = 2
"""Candidates that a wanted train task gets if it must be findable; plain search finds more than half of them."""

type EvalStage = Literal["scripted", "base", "sft", "rl"]


def build_index(bench: Workbench, roots: list[Path]) -> tuple[str, IndexReport]:
    """Index folders into the workspace.

    Raises:
        HomegroundError: the workspace's index is of other folders, whose entries would be lost.
    """
    from homeground.index import Index

    recipe = bench.recipe
    refuse_other_roots(bench, roots)
    index, report = Index.build(bench.workspace.index, roots, recipe.index, recipe.corpus, progress=bench.progress)
    index.close()
    words = f"{report.files} files, {report.chunks} chunks, {report.embedded} embedded, {report.reused} reused"
    return words, report


def make_tasks(bench: Workbench) -> str:
    """Verifiable look-up tasks from the index's docstrings, and the index in which those docstrings are masked."""
    from homeground.tasks import keep_findable

    wanted = bench.recipe.tasks
    spare = SPARE_CANDIDATES if wanted.findable else 1
    more = wanted.model_copy(update={"train": spare * wanted.train})
    tasks = _lookup_tasks(bench, more)
    bench.run.create()
    tasks.save(bench.tasks_file)
    if wanted.findable:
        masked = bench.masked
        bar = bench.progress.bar("trying candidates", total=len(tasks.train))
        tasks = keep_findable(tasks, masked.search, wanted, bar.advance)
        tasks.save(bench.tasks_file)
        bench.forget_tasks()
    else:
        bar = bench.progress.bar("making tasks")
    words = (
        f"{len(tasks.train)} train and {len(tasks.heldout)} held-out tasks from other modules, "
        f"{tasks.removed_near_duplicates} near-duplicates removed"
    )
    bar.done(words)
    asked = [(task.question, task.path) for task in bench.tasks.heldout]
    fit_least_confidence(bench.workspace, bench.masked, asked, bench.progress)
    return words


def _lookup_tasks(bench: Workbench, wanted: TasksConfig) -> TaskSet:
    """Tasks from documentation comments, or from headings where there are none in two files."""
    from homeground.tasks import build_lookup_tasks, build_section_tasks

    try:
        return build_lookup_tasks(bench.index, wanted, seed=bench.recipe.seed)
    except HomegroundError:
        sections = build_section_tasks(bench.index, wanted, seed=bench.recipe.seed)
        if not sections.train or not sections.heldout:
            raise
        return sections


def evaluate(bench: Workbench, stage: EvalStage) -> str:
    """Run the held-out tasks greedily with the policy as it is, or by script, and keep every outcome."""
    from homeground.agents import scripted_lookup
    from homeground.evaluate import outcome_of, rollout_record, save_outcomes
    from homeground.rollouts import run_agents

    tasks = bench.tasks.heldout[: bench.recipe.eval.tasks]
    _ = bench.masked
    bar = bench.progress.bar(f"evaluating: {stage}", total=len(tasks))
    if stage == "scripted":
        outcomes = []
        for task in tasks:
            outcomes.append(scripted_lookup(task, bench.search))
            bar.advance()
    else:
        bench.sampler.publish()
        agent = lookup_rollout(bench, temperature=0.0)
        results = run_agents(agent, tasks, bench.server, concurrency=bench.recipe.eval.batch, on_done=bar.advance)
        outcomes = [result.outcome for result in results]
    folder = _evaluations(bench.run)
    folder.mkdir(parents=True, exist_ok=True)
    records = [rollout_record(task, outcome, stage) for task, outcome in zip(tasks, outcomes, strict=True)]
    atomic_write_jsonl(folder / f"{stage}-rollouts.jsonl", records)
    save_outcomes(folder / f"{stage}.jsonl", map(outcome_of, outcomes))
    reward = sum(o.reward.value for o in outcomes) / len(outcomes)
    success = sum(o.success for o in outcomes) / len(outcomes)
    words = f"mean reward {reward:.3f}, success {success:.1%} on {len(outcomes)} held-out tasks"
    bar.done(words)
    return words


def reinforce(bench: Workbench) -> str:
    """GRPO on the look-up agent from the SFT adapter, through the Agent Lightning gateway."""
    from homeground.rollouts import Gateway, GatewaySource

    rl = bench.recipe.rl
    _ = bench.masked
    tasks = bench.tasks.train
    server = bench.server
    with (
        Gateway(train_temperature=rl.temperature) as gateway,
        GatewaySource(
            gateway,
            server,
            lookup_rollout(bench),
            timeout_s=rl.timeout_s,
            failure_reward=rl.failure_reward,
            describe=lambda task: {"data_id": task.id},
            max_tokens=max(rl.max_query_tokens, rl.max_answer_tokens),
            seed=bench.recipe.seed,
        ) as source,
    ):
        return grpo(bench, source, tasks)


def grpo(bench: Workbench, source: Source, tasks: Sequence[Any]) -> str:
    """The recipe's steps of GRPO on what a source rolls out; leaves the run's adapter."""
    from homeground.training import train_grpo

    rl = bench.recipe.rl
    run = train_grpo(
        bench.policy, tasks, config=rl, source=source, folder=bench.run, progress=bench.progress, seed=bench.recipe.seed
    )
    return run.summary


def lookup_rollout(bench: Workbench, temperature: float | None = None) -> Callable[..., Any]:
    """The look-up agent as a source of rollouts: (task, client) -> Reward."""
    from homeground.agents import lookup_agent

    rl = bench.recipe.rl

    async def rollout(task: LookupTask, client: openai.AsyncOpenAI) -> Reward:
        outcome = await lookup_agent(
            task,
            client,
            bench.search,
            temperature=temperature,
            max_query_tokens=rl.max_query_tokens,
            max_answer_tokens=rl.max_answer_tokens,
        )
        return replace(outcome.reward, outcome=outcome)

    return rollout


def evaluation_file(run: RunFolder, stage: str) -> Path:
    """Where a stage's outcomes are kept."""
    return _evaluations(run) / f"{stage}.jsonl"


def rollout_rows(run: RunFolder, stages: list[str]) -> list[dict[str, Any]]:
    """Evaluated rollouts of some stages, as the report shows them."""
    files = [_evaluations(run) / f"{stage}-rollouts.jsonl" for stage in stages]
    return [row for file in files for row in read_jsonl(file)]


def refuse_other_roots(bench: Workbench, roots: list[Path]) -> None:
    """Raise where the workspace has an index of other folders.

    Raises:
        HomegroundError: with the folders that are indexed there.
    """
    from homeground.index import Index

    if not bench.workspace.index.exists():
        return
    try:
        index = Index.open(bench.workspace.index)
    except HomegroundError:
        return  # unfinished: building finishes or replaces it
    try:
        there = set(index.roots)
    finally:
        index.close()
    if there != {root.resolve() for root in roots}:
        raise HomegroundError(
            f"this workspace already indexes {', '.join(map(str, sorted(there)))}, which would be lost",
            where=str(bench.workspace.path),
            hint="run it in another folder, or name another workspace with --home",
        )


def _evaluations(run: RunFolder) -> Path:
    return run.path / "evaluations"
