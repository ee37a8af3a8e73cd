"""`homeground eval data`: held-out rows before and after, written by the base model and by a run's adapter."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.files import atomic_write_json, atomic_write_jsonl
from homeground.base.progress import Progress
from homeground.pipeline.workbench import Workbench
from homeground.recipe import Recipe
from homeground.runs.workspace import RunFolder, Workspace

if TYPE_CHECKING:
    from homeground.evaluate.text import HeldOutText, TextOutcome
    from homeground.training import Example


def evaluate_texts(
    recipe: Recipe, workspace: Workspace, run: RunFolder, progress: Progress, source: str
) -> dict[str, Any]:
    """Measure base model and a run's adapter on rows of a source; keeps the result and every completion in the run.

    Args:
        recipe: of the run; `eval.tasks` rows are drawn by its seed.
        workspace: of the run.
        run: its newest adapter is what is measured.
        progress: where bars go.
        source: as `homeground sft --data` takes it.

    Raises:
        HomegroundError: the source cannot be read, or holds no row that can be scored.
    """
    from homeground.data import read_examples
    from homeground.evaluate.text import held_out_texts
    from homeground.policy.rope import longest_path

    examples = read_examples(source).examples
    if len(examples) > recipe.eval.tasks:
        chosen = sorted(random.Random(recipe.seed).sample(range(len(examples)), recipe.eval.tasks))
        examples = [examples[i] for i in chosen]
    outcomes: dict[str, list[TextOutcome]] = {}
    left_out = 0
    references: list[str] = []
    languages: list[str | None] = []
    for stage, adapter in (("before", None), ("after", run.adapter)):
        with Workbench(recipe, workspace, run, progress) as bench:
            bench.start_from(adapter)
            context = longest_path(bench.policy.model.config)
            texts, left_out = held_out_texts(bench.policy.tokenizer, examples, limit=context)
            references = [text.reference for text in texts]
            languages = [_language(examples[int(text.id) - 1]) for text in texts]
            outcomes[stage] = measure(bench, stage, texts, context)
    how: dict[str, Any] = {"resamples": recipe.eval.bootstrap, "seed": recipe.seed}
    result = {
        "run": run.name,
        "data": source,
        "rows": len(references),
        "left_out": left_out,
        **_measured(outcomes, **how),
        "languages": {
            name: {
                "rows": languages.count(name),
                **_measured(
                    {
                        stage: [row for row, language in zip(rows, languages, strict=True) if language == name]
                        for stage, rows in outcomes.items()
                    },
                    **how,
                ),
            }
            for name in sorted({name for name in languages if name is not None})
        },
    }
    path = Path(source)
    file = run.path / "evaluations" / f"data-{path.parent.name}-{path.stem}.json"
    atomic_write_json(file, result)
    rows = zip(references, outcomes["before"], outcomes["after"], strict=True)
    atomic_write_jsonl(
        file.with_suffix(".jsonl"),
        ({"reference": text, "before": one.to_json(), "after": other.to_json()} for text, one, other in rows),
    )
    return {"path": str(file), **result}


def _language(example: Example) -> str | None:
    """Language of the file that a row is about."""
    from homeground.corpus import language_of

    path, mark, _ = example.origin.partition("::")
    language = language_of(path) if mark else None
    return language.name if language is not None else None


def _measured(outcomes: dict[str, list[TextOutcome]], **how: Any) -> dict[str, Any]:
    """Metrics of both stages, and their paired difference."""
    from homeground.evaluate.text import compare_texts, text_metrics

    return {
        "stages": {stage: text_metrics(rows, **how) for stage, rows in outcomes.items()},
        "paired": {"after-before": compare_texts(outcomes["after"], outcomes["before"], **how)},
    }


def measure(bench: Workbench, stage: str, texts: list[HeldOutText], context: int) -> list[TextOutcome]:
    """Log-probabilities and greedy completions of the policy as it is."""
    from homeground.evaluate.text import completions_of, nats_of, outcomes_of

    bar = bench.progress.bar(f"scoring: {stage}", total=len(texts))
    scored = nats_of(bench.policy, [[text.path] for text in texts], on_done=bar.advance)
    bar.done(f"{len(texts)} rows scored: {stage}")
    bar = bench.progress.bar(f"writing: {stage}")
    wanted = bench.recipe.eval.completion_tokens
    written = completions_of(bench.sampler, bench.policy.tokenizer, texts, max_tokens=wanted, context=context)
    bar.done(f"{len(texts)} completions written: {stage}")
    return outcomes_of(texts, [nats for (nats,) in scored], written)
