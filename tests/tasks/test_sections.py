from pathlib import Path

import pytest

from homeground.corpus import Walk
from homeground.index import Index
from homeground.tasks import TasksConfig, build_section_tasks, heldout_files, rank_of

SECTIONS = {
    "ferry": [
        ("Crossing at night", "Lanterns hang on both sides, and the boatman rings twice before he leaves the pier."),
        ("Carts and horses", "Wheels are chained to the deck, and whoever brings an animal stands beside it."),
    ],
    "market": [
        ("Renting a stall", "Ask the warden before sunrise; the corner places cost twice as much as the others."),
        ("Honest weights only", "Scales are tested each month against the stones that lie in the town hall."),
    ],
    "school": [
        ("Long summer holidays", "Lessons end when the hay is ripe and begin again after the last field is cut."),
        ("Borrowing some books", "A volume may stay at home for three weeks and must come back without stains."),
    ],
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """An index of Markdown only."""
    folder = tmp_path_factory.mktemp("sections")
    (folder / "docs").mkdir()
    for name, sections in SECTIONS.items():
        body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
        (folder / "docs" / f"{name}.md").write_text(f"# The {name}\n\n{body}\n")
    index, _ = Index.build(folder / "index", [folder / "docs"])
    yield index
    index.close()


@pytest.mark.parametrize("seed", range(3))
def test_titles_ask_for_sections_and_the_split_is_that_of_the_files(documents, seed):
    tasks = build_section_tasks(documents, TasksConfig(), seed=seed)
    asked = {task.question for task in (*tasks.train, *tasks.heldout)}
    assert asked == {title for sections in SECTIONS.values() for title, _ in sections}
    held = heldout_files(Walk(Path(documents.roots[0])), TasksConfig(), seed=seed)
    assert {task.path for task in tasks.heldout} == held
    assert not {task.path for task in tasks.train} & held
    assert 0 < len(held) < len(SECTIONS)


def test_the_masked_view_names_no_section_and_is_judged_all_the_same(documents, tmp_path):
    tasks = build_section_tasks(documents, TasksConfig())
    masked = documents.masked(tmp_path / "masked", tasks.masks)
    texts = {title: text for sections in SECTIONS.values() for title, text in sections}
    for task in (*tasks.train, *tasks.heldout):
        hits = masked.search(texts[task.question], 5)
        assert rank_of(hits, task) == 1
        assert not any(task.question in f"{hit.symbol}\n{hit.text}" for hit in hits)
        assert rank_of(documents.search(task.question, 5), task) == 1
    masked.close()
