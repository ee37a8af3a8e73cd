import math

import pytest

from homeground.corpus import Chunk
from homeground.evaluate.search import (
    METRICS,
    ChangedF1,
    SearchOutcome,
    changed_f1,
    changed_metrics,
    latency,
    markdown,
    metrics_by_language,
    outcome_records,
    outcomes_of,
    search_difference,
    search_metrics,
    search_rows,
)
from homeground.evaluate.search_chart import search_png
from homeground.tasks import Answer, QueryKind, SearchTask

OUTCOMES = [
    SearchOutcome("a", "docstring", (1,), 0.010),
    SearchOutcome("b", "docstring", (4,), 0.020),
    SearchOutcome("c", "commit", (11, None), 0.030),
    SearchOutcome("d", "commit", (3, 2), 0.040),
]


def test_metrics_of_one_task_by_hand():
    assert SearchOutcome("a", "docstring", (1,)).metrics() == dict.fromkeys(METRICS, 1.0)
    two = SearchOutcome("d", "commit", (3, 2)).metrics()
    assert two["mrr@10"] == 0.5
    assert (two["recall@1"], two["recall@5"]) == (0.0, 1.0)
    ideal = 1 + 1 / math.log2(3)
    assert two["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(4)) / ideal)
    late = SearchOutcome("c", "commit", (11, None)).metrics()
    assert (late["mrr@10"], late["ndcg@10"], late["recall@10"], late["recall@50"]) == (0.0, 0.0, 0.0, 0.5)


def test_two_answers_in_one_hit_gain_no_more_than_the_ideal():
    assert SearchOutcome("a", "commit", (1, 1)).metrics()["ndcg@10"] == 1.0


def test_means_are_by_kind_and_over_all():
    found = search_metrics(OUTCOMES, resamples=200, seed=0)
    assert list(found) == ["all", "commit", "docstring"]
    assert found["all"]["mrr@10"]["value"] == pytest.approx((1 + 0.25 + 0 + 0.5) / 4)
    assert found["docstring"]["mrr@10"]["value"] == pytest.approx(0.625)
    assert found["commit"]["mrr@10"]["n"] == 2
    interval = found["all"]["recall@5"]
    assert interval["low"] <= interval["value"] <= interval["high"]


def test_the_difference_is_of_the_same_tasks():
    before = [SearchOutcome(one.task, one.kind, (None,)) for one in OUTCOMES]
    found = search_difference(OUTCOMES, before, resamples=200, seed=0)
    assert found["value"] == pytest.approx(0.4375)


def test_latency_is_in_milliseconds():
    assert latency(OUTCOMES)["p50_ms"] == pytest.approx(25.0)


def test_each_search_is_asked_once_and_judged():
    task = SearchTask("t", QueryKind.IDENTIFIER, "sell", (Answer("a.py", "sell", ((1, 2),)),))
    asked = []

    def search(query, count):
        asked.append((query, count))
        return []

    (found,) = outcomes_of([task], search, lambda _: None)
    assert asked == [("sell", 50)]
    assert (found.ranks, found.kind) == ((None,), "identifier")
    (record,) = outcome_records({"dense": [found]}, [task])
    assert record == {
        "id": "t", "kind": "identifier", "query": "sell", "answers": ["a.py::sell"], "ranks": {"dense": [None]}
    }  # fmt: skip


def hit(path, line):
    return Chunk("", path, line, line, "", "function", "python", "", "")


def test_f1_of_what_a_commit_changed_by_hand():
    answers = (Answer("a.py", "f", ((1, 2),)), Answer("a.py", "g", ((4, 5),)), Answer("b.py", "h", ((1, 2),)))
    task = SearchTask("t", QueryKind.COMMIT, "?", (*answers, Answer("c.md", "", ((1, 9),))))
    hits = [hit("a.py", 1), hit("a.py", 2), hit("z.py", 1), hit("b.py", 1), hit("c.md", 3)]
    # Files a, z, b of three right ones; two of three hits show one of three definitions.
    found = changed_f1(hits, task)
    assert found.files == pytest.approx(2 / 3)
    assert found.definitions == pytest.approx(2 * (2 / 3) * (1 / 3) / (2 / 3 + 1 / 3))
    assert changed_f1([], task) == ChangedF1(0.0, 0.0)
    assert changed_f1(hits, SearchTask("t", QueryKind.COMMIT, "?", task.answers[3:])) == ChangedF1(0.0, None)
    many = SearchTask("t", QueryKind.COMMIT, "?", tuple(Answer(f"{n}.py", "f", ((1, 1),)) for n in range(20)))
    tenth = changed_f1([hit(f"{n}.py", 1) for n in range(20)], many)
    assert tenth == ChangedF1(pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_commits_are_scored_and_languages_told_apart():
    task = SearchTask("t", QueryKind.COMMIT, "?", (Answer("a.py", "f", ((1, 2),)),))
    found = outcomes_of([task], lambda *_: [hit("a.py", 1)], lambda _: None)
    changed = changed_metrics([*found, *OUTCOMES], resamples=100, seed=0)
    assert {name: (one["value"], one["n"]) for name, one in changed.items()} == {"files": (1, 1), "definitions": (1, 1)}
    (record,) = outcome_records({"dense": found}, [task])
    assert record["f1"] == {"dense": {"files": 1.0, "definitions": 1.0}}
    languages = {"a": "go", "b": "python", "c": "python", "d": "python"}
    by_language = metrics_by_language(OUTCOMES, languages, resamples=100, seed=0)
    assert [(name, one["value"], one["n"]) for name, one in by_language.items()] == [
        ("python", 0.25, 3),
        ("go", 1.0, 1),
    ]


def test_table_and_plot_hold_every_stage(tmp_path):
    stages = {name: search_metrics(OUTCOMES, resamples=100, seed=0) for name in ("dense", "fused")}
    rows = search_rows(stages, {name: latency(OUTCOMES) for name in stages})
    assert [row[:3] for row in rows[1:3]] == [["all", "4", "dense"], ["all", "4", "fused"]]
    assert len(rows) == 1 + 3 * 2
    assert {len(row) for row in rows} == {len(rows[0])}
    assert markdown(rows).count("\n") == len(rows) + 1
    search_png(stages, tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
