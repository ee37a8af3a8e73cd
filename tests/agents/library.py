"""A library of eight functions with a plain word-overlap search, and tasks about it."""

import re

from homeground.index import Hit
from homeground.tasks import LookupTask

SOURCES = {
    (
        "threading.py",
        "_shutdown",
    ): 'def _shutdown():\n    """Wait for daemon threads at exit.\n\n    More words."""\n    join()',
    ("threading.py", "Thread.join"): "def join(self, timeout=None):\n    wait for one thread until it ends",
    ("http/date.py", "parse_date"): 'def parse_date(text):\n    """Parse an HTTP date\n    header."""\n    return text',
    ("http/date.py", "format_date"): "def format_date(when):\n    return write an HTTP date header",
    ("shutil.py", "copytree"): "def copytree(src, dst):\n    copy a whole directory tree recursively",
    ("shutil.py", "rmtree"): "def rmtree(path):\n    delete a whole directory tree",
    ("heapq.py", "merge"): "def merge(*iterables):\n    merge sorted inputs into one sorted output",
    ("bisect.py", "insort"): "def insort(a, x):\n    insert an item into a sorted list and keep it sorted",
}


def hit(path, symbol, score=0.5, **changes):
    text = SOURCES.get((path, symbol), "pass")
    fields = {
        "path": path,
        "start": 10,
        "end": 10 + text.count("\n"),
        "symbol": symbol,
        "kind": "function",
        "language": "python",
        "score": score,
        "scores": {"dense": score},
        "text": text,
    }
    return Hit(**fields | changes)


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


def search(query, k):
    """The k functions that share most words with the query; all of them are ranked, the worst with score 0."""
    asked = words(query)
    scored = [(len(asked & words(text)) / max(1, len(asked)), path, symbol) for (path, symbol), text in SOURCES.items()]
    return [hit(path, symbol, score) for score, path, symbol in sorted(scored, key=lambda s: (-s[0], s[1:]))[:k]]


def task(path="heapq.py", symbol="merge", question="Merge sorted inputs into one sorted output."):
    return LookupTask(
        id=f"task-{symbol}", question=question, gold=f"{path}::{symbol}", path=path, symbol=symbol, split="heldout"
    )
