"""Verifiable tasks made from a corpus, without labels and without a judge."""

from homeground.tasks.decontaminate import near_duplicates, ngrams, shingles, words
from homeground.tasks.findable import keep_findable
from homeground.tasks.lookup import build_lookup_tasks, heldout_files
from homeground.tasks.queries import Answer, QueryKind, SearchTask, SearchTasks, ranks_of
from homeground.tasks.search_tasks import build_search_tasks
from homeground.tasks.task import RANK_DEPTH, LookupTask, Split, rank_of
from homeground.tasks.taskset import TaskSet

__all__ = [
    "RANK_DEPTH",
    "Answer",
    "LookupTask",
    "QueryKind",
    "SearchTask",
    "SearchTasks",
    "Split",
    "TaskSet",
    "build_lookup_tasks",
    "build_search_tasks",
    "heldout_files",
    "keep_findable",
    "near_duplicates",
    "ngrams",
    "rank_of",
    "ranks_of",
    "shingles",
    "words",
]
