"""What the search bench runs, and which claims its measurements allow."""

import pytest

from benchmarks import search
from benchmarks.sides.search_corpora import Question, asked


def measured(**metrics):
    return {
        "metrics": {name: {"mrr@10": {"value": value}} for name, value in metrics.items()},
        "gain": {"over": "dense"},
        "reciprocal_ranks": {"dense": {"a": 0.5, "b": 0.1}, "fused": {"a": 1.0, "b": 0.5}},
    }


def peer(name, value):
    return {"peer": name, "metrics": {"mrr@10": {"value": value}}}


SINGLE = {"dense": 0.4, "lexical": 0.3, "rrf 60": 0.41, "osgrep": 0.42, "semble": 0.43}


def test_every_part_is_run_after_what_it_needs():
    keys = [key for key, *_ in search.plan(search.PARTS, search.CORPORA, 10, 5)]
    assert keys.index("ours: stdlib") < keys.index("fp32: pydantic") < keys.index("tuned: stdlib")
    assert keys.index("tune") < keys.index("tuned: stdlib")
    assert len(keys) == len(set(keys))


def test_a_peer_that_ran_has_a_row_and_one_that_did_not_has_none():
    ours = {"ours: rich": measured(fused=0.5, **SINGLE)}
    assert "semble 1 with X" not in {row["peer_name"] for row in search.rows_of(ours)}
    rows = search.rows_of(ours | {"semble, minilm: rich": peer("semble 1 with X", 0.25)})
    (row,) = [row for row in rows if row["peer_name"] == "semble 1 with X"]
    assert (row["ours"], row["peer"], row["ratio"], row["met"]) == (0.5, 0.25, 2.0, True)


def test_a_tuned_stage_is_compared_over_the_questions_that_both_were_asked():
    tuned = {"reciprocal_ranks": {"dense": {"a": 0.5, "c": 1.0}, "reranked": {"a": 1.0, "c": 0.0}}}
    rows = search.rows_of({"ours: rich": measured(fused=0.5, **SINGLE), "tuned: rich": tuned})
    by_metric = {row["metric"]: row for row in rows}
    assert by_metric["MRR@10, tuned reranked"]["ratio"] == pytest.approx(0.5)
    assert by_metric["MRR@10, tuned reranked"]["met"] is True
    assert by_metric["MRR@10, tuned dense"]["target"] is None


def test_semble_s_own_model_is_measured_only_where_it_is(monkeypatch):
    def models(cached):
        monkeypatch.setattr(search, "try_to_load_from_cache", lambda *_: cached)
        return [key for key, *_ in search.plan(["semble"], ["rich"], 10, 5)]

    assert models(None) == ["semble, minilm: rich"]
    assert models("config.json") == ["semble, minilm: rich", "semble, own: rich"]


def test_fewer_questions_are_some_of_the_more():
    questions = [Question(f"what {n} does, in words", "m.py", f"f{n}", n, n) for n in range(3000)]
    few, many = (set(asked("rich", questions, most)) for most in (300, 1500))
    assert len(few) == 300
    assert few < many
