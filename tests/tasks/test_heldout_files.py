from pathlib import Path

import pytest

from homeground.corpus import Walk
from homeground.tasks import TasksConfig, build_lookup_tasks, heldout_files


@pytest.mark.parametrize("seed", range(4))
def test_files_are_held_out_as_the_tasks_hold_them_out(village_index, seed):
    tasks = build_lookup_tasks(village_index, TasksConfig(heldout_share=0.5), seed=seed)
    sources = list(Walk(Path(village_index.roots[0])))
    held = heldout_files(sources, TasksConfig(min_chars=25, max_chars=220, heldout_share=0.5), seed=seed)
    assert {task.path for task in tasks.heldout} <= held
    assert not {task.path for task in tasks.train} & held


def test_files_without_questions_are_held_out_in_the_same_share(tmp_path):
    for number in range(200):
        (tmp_path / f"{number}.md").write_text(f"# {number}\n\nText.")
    sources = list(Walk(tmp_path))
    held = heldout_files(sources, TasksConfig(min_chars=25, max_chars=220, heldout_share=0.25), seed=0)
    assert 30 <= len(held) <= 70
    assert held == heldout_files(
        reversed(sources), TasksConfig(min_chars=25, max_chars=220, heldout_share=0.25), seed=0
    )
