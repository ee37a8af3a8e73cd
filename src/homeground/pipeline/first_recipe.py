"""The first recipe of a folder, with comments that say what was found there and why each choice was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeground.corpus import Corpus
from homeground.pipeline.model_choice import Considered, best
from homeground.recipe import Recipe, commented_yaml

SHOWN: dict[str, tuple[str, ...]] = {
    "corpus": ("roots", "exclude"),
    "tasks": ("train", "heldout"),
    "model": ("name", "quantization", "gradient_checkpointing"),
    "sft": ("examples", "epochs", "learning_rate"),
    "rl": ("steps", "tasks_per_step", "group_size"),
    "eval": ("tasks",),
    "seed": (),
}
"""The settings that a person is likely to change first; all others keep their defaults."""

_SECTIONS = {
    "tasks": "Look-up tasks are made from docstrings; `homeground tasks` says how many it found.",
    "sft": "The cold start: scripted look-ups, or the rows of a section `data` (see examples/sft).",
    "rl": "Improvement by trying. More steps cost time, larger groups cost memory.",
    "eval": "Before and after, on tasks from other modules than those that were trained on.",
}
_LANGUAGES_NAMED = 6


@dataclass(frozen=True)
class Found:
    """What a folder holds: files and bytes of each language, and what is left out, by reason."""

    languages: dict[str, tuple[int, int]]
    skipped: dict[str, int]

    @property
    def files(self) -> int:
        """Of all languages."""
        return sum(files for files, _ in self.languages.values())

    @property
    def size(self) -> int:
        """Bytes of all languages."""
        return sum(size for _, size in self.languages.values())


def look_around(recipe: Recipe) -> Found:
    """Count what the recipe's corpus holds, by language, most bytes first; files are read as indexing would.

    Raises:
        HomegroundError: a root does not exist or may not be read.
    """
    corpus = Corpus([Path(root) for root in recipe.corpus.roots], recipe.corpus)
    counted: dict[str, tuple[int, int]] = {}
    for _, file in corpus:
        files, size = counted.get(file.language.name, (0, 0))
        counted[file.language.name] = (files + 1, size + len(file.data))
    languages = dict(sorted(counted.items(), key=lambda item: -item[1][1]))
    return Found(languages, {str(reason): count for reason, count in corpus.skipped.most_common()})


def chosen_recipe(recipe: Recipe, considered: list[Considered]) -> Recipe:
    """The recipe with the model that suits this machine."""
    model = recipe.model.model_copy(update={"name": best(considered).candidate.name})
    return recipe.model_copy(update={"model": model})


def recipe_text(recipe: Recipe, found: Found, considered: Sequence[Considered], *, every: bool = False) -> str:
    """The recipe as commented YAML: the settings of `SHOWN`, or all of them."""
    notes: dict[str, Sequence[str]] = {name: [text] for name, text in _SECTIONS.items()}
    notes |= {"corpus": _corpus_words(found), "model": _model_words(recipe, considered)}
    head = (
        "# The recipe of this folder, written by `homeground init`. Verbs that run here read it by themselves;\n"
        "# --recipe FILE takes another. A key that is left out keeps its default.\n\n"
    )
    return head + commented_yaml(recipe, None if every else SHOWN, notes)


def _corpus_words(found: Found) -> list[str]:
    if not found.files:
        return ["No file that can be read was found here: name the folders of your code and documents."]
    worth = [(name, counts) for name, counts in found.languages.items() if counts[1] >= found.size / 100]
    named = worth[:_LANGUAGES_NAMED]
    listed = ", ".join(f"{name} {size / found.size:.0%}" for name, (_, size) in named)
    more = len(found.languages) - len(named)
    words = [f"Found {found.files} files, {found.size / 1e3:,.0f} kB: {listed}{f' and {more} more' if more else ''}."]
    if found.skipped:
        reasons = _counts(found.skipped)
        words.append(f"Left out: {reasons}; `homeground index --dry-run` lists them.")
    return words


def _model_words(recipe: Recipe, considered: Sequence[Considered]) -> list[str]:
    words = [f"By `homeground plan`, of {considered[0].device_mb:,.0f} MB here:"]
    for one in considered:
        if one.seconds is None:
            words.append(f"  {one.candidate.name}: needs {one.total_mb:,.0f} MB, too much")
            continue
        time = (
            f"{one.seconds / 60:,.0f} minutes of training" if one.seconds < 6000 else f"{one.seconds / 3600:.1f} hours"
        )
        mark = " (taken)" if one.candidate.name == recipe.model.name else ""
        fetch = (
            "" if one.here else f"; fetch {one.candidate.download_gb:.1f} GB: homeground weights {one.candidate.name}"
        )
        words.append(f"  {one.candidate.name}: {one.total_mb:,.0f} MB, about {time}{mark}{fetch}")
    return words


def _counts(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
