"""The first recipe of a folder, with comments that say what was found there and why each choice was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from homeground.corpus import Corpus, below
from homeground.corpus.git import Repository, git_installed
from homeground.pipeline.model_choice import Considered, best
from homeground.recipe import Recipe, commented_yaml
from homeground.tasks.contents import Contents, contents

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
    "tasks": "Look-up tasks are made from documentation comments; `homeground tasks` says how many it found.",
    "sft": "The cold start: scripted look-ups, or the rows of a section `data` (see examples/sft).",
    "rl": "Improvement by trying. More steps cost time, larger groups cost memory.",
    "eval": "Before and after, on tasks from other files than those that were trained on.",
}
_LANGUAGES_NAMED = 6
PARSED_BYTES = 2_000_000
"""Definitions and sections are counted in files of this size together, in about two seconds."""
_COMMITS_COUNTED = 10_000


@dataclass(frozen=True)
class Found:
    """Contents of a folder.

    Attributes:
        languages: counts by language, most bytes first.
        skipped: number of skipped files by reason.
        commits: number of commits of the folder's git history, without merges.
    """

    languages: dict[str, Contents]
    skipped: dict[str, int]
    commits: int = 0

    @property
    def files(self) -> int:
        """Number of files in all languages."""
        return sum(one.files for one in self.languages.values())

    @property
    def size(self) -> int:
        """Bytes of all languages."""
        return sum(one.bytes for one in self.languages.values())


def look_around(recipe: Recipe) -> Found:
    """Count what the recipe's corpus holds; files are read as indexing would.

    Raises:
        HomegroundError: a root does not exist or may not be read.
    """
    corpus = Corpus([Path(root) for root in recipe.corpus.roots], recipe.corpus)
    languages = contents((file for _, file in corpus), recipe.tasks, most=PARSED_BYTES)
    skipped = {str(reason): count for reason, count in corpus.skipped.most_common()}
    return Found(languages, skipped, sum(_commits(root) for root in corpus.roots))


def _commits(root: Path) -> int:
    repository = Repository.around(root) if git_installed() else None
    if repository is None or not (head := repository.head()):
        return 0
    counted = repository.read(
        "rev-list", "--count", "--no-merges", f"--max-count={_COMMITS_COUNTED}", head, "--",
        *filter(None, [below(repository.top, root)]), seconds=1,
    )  # fmt: skip
    return int(counted.strip() or 0)


def chosen_recipe(recipe: Recipe, considered: list[Considered]) -> Recipe:
    """The recipe with the model that suits this machine."""
    model = recipe.model.model_copy(update={"name": best(considered).candidate.name})
    return recipe.model_copy(update={"model": model})


def recipe_text(recipe: Recipe, found: Found, considered: Sequence[Considered], *, every: bool = False) -> str:
    """The recipe as commented YAML: the settings of `SHOWN`, or all of them."""
    notes: dict[str, Sequence[str]] = {name: [text] for name, text in _SECTIONS.items()}
    notes |= {"corpus": corpus_words(found), "model": _model_words(recipe, considered)}
    head = (
        "# The recipe of this folder, written by `homeground init`. Verbs that run here read it by themselves;\n"
        "# --recipe FILE takes another. A key that is left out keeps its default.\n\n"
    )
    return head + commented_yaml(recipe, None if every else SHOWN, notes)


def corpus_words(found: Found) -> list[str]:
    """Describe the folder: its languages, and what it gives tasks and training rows."""
    if not found.files:
        return ["No file that can be read was found here: name the folders of your code and documents."]
    worth = [(name, one) for name, one in found.languages.items() if one.bytes >= found.size / 100]
    named = worth[:_LANGUAGES_NAMED]
    listed = ", ".join(f"{name} {one.bytes / found.size:.0%}" for name, one in named)
    more = len(found.languages) - len(named)
    words = [f"Found {found.files} files, {found.size / 1e3:,.0f} kB: {listed}{f' and {more} more' if more else ''}."]
    words += [f"  {name}: {one.words()}" for name, one in named if one.definitions or one.sections]
    if found.commits:
        at_least = "at least " if found.commits >= _COMMITS_COUNTED else ""
        words.append(f"  git history: {at_least}{found.commits:,} commit{'' if found.commits == 1 else 's'}")
    if found.size > PARSED_BYTES:
        words.append(f"  (definitions and sections of the first {PARSED_BYTES / 1e6:.0f} MB)")
    if not any(one.documented for one in found.languages.values()):
        words.append("  No definition has a usable comment, so `homeground tasks` finds none; headings and commits")
        words.append("  still give `homeground eval search` its questions.")
    if found.skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in found.skipped.items())
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
