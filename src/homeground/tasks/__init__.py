"""Verifiable tasks made from a corpus, without labels and without a judge."""

from homeground.tasks.decontaminate import near_duplicates, ngrams, shingles, words
from homeground.tasks.findable import keep_findable
from homeground.tasks.lookup import build_lookup_tasks, heldout_files
from homeground.tasks.task import RANK_DEPTH, LookupTask, Split, rank_of
from homeground.tasks.taskset import TaskSet

__all__ = [
    "RANK_DEPTH",
    "LookupTask",
    "Split",
    "TaskSet",
    "build_lookup_tasks",
    "heldout_files",
    "keep_findable",
    "near_duplicates",
    "ngrams",
    "rank_of",
    "shingles",
    "words",
]
