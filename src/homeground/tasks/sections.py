"""Look-up tasks for a corpus without documentation comments: the title of a section asks for the section.

In the masked view the section has neither its title nor its symbol, which names it; there it is called after its first
line, and that is the second right answer of the task.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from homeground.corpus import Chunk, digest
from homeground.index import Index
from homeground.tasks.config import TasksConfig
from homeground.tasks.headings import heading_tasks
from homeground.tasks.lookup import heldout_files, indexed_sources, without_repeats
from homeground.tasks.task import LookupTask, Split
from homeground.tasks.taskset import TaskSet


def build_section_tasks(index: Index, config: TasksConfig = TasksConfig(), *, seed: int = 0) -> TaskSet:
    """Tasks from the headings of an index, split by file as `heldout_files` says; one of the splits may be empty.

    Args:
        index: the full index; its sections are what gets masked.
        config: how many tasks of each split, and the share of the files that is held out.
        seed: seed of the split and of the draw.
    """
    chunks = index.chunks()
    sources = indexed_sources(index, sorted({chunk.path for chunk in chunks}), Counter())
    held = heldout_files(sources, config, seed=seed)
    found = heading_tasks(chunks)
    random.Random(seed).shuffle(found)
    made: dict[Split, list[LookupTask]] = {Split.TRAIN: [], Split.HELDOUT: []}
    masks: dict[str, dict[str, Chunk]] = {}
    for task, untitled in found:
        (answer,) = task.answers
        split = Split.HELDOUT if answer.path in held else Split.TRAIN
        nameless = f"line {min(chunk.start for chunk in untitled.values())}"
        gold = f"{answer.path}::{answer.symbol}"
        one = LookupTask(
            id=digest(gold, task.query)[:16],
            question=task.query,
            gold=gold,
            path=answer.path,
            symbol=answer.symbol,
            split=split,
            also=(f"{answer.path}::{nameless}",),
        )
        made[split].append(one)
        masks[one.id] = {
            old: replace(chunk, id=digest("nameless", old), symbol=nameless) for old, chunk in untitled.items()
        }
    chosen = made[Split.HELDOUT][: config.heldout]
    learned, repeats = without_repeats(made[Split.TRAIN], chosen, config)
    return TaskSet(
        train=learned,
        heldout=chosen,
        removed_near_duplicates=repeats,
        masks={old: chunk for one in (*learned, *chosen) for old, chunk in masks[one.id].items()},
    )
