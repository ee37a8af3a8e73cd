import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from homeground.index import Stage


@pytest.mark.parametrize(
    ("query", "symbol"),
    [
        ("which coins does the customer get back", "give_change"),
        ("raise the heat", "Oven.heat_up"),
        ("read a receipt", "parse_receipt"),
        ("weigh_horse", "weigh_horse"),
    ],
)
def test_finds_a_function_by_what_it_does_or_what_it_is_called(shared_index, query, symbol):
    assert shared_index.search(query, 3)[0].symbol == symbol


def test_a_hit_cites_the_lines_it_shows(shared_index, shared_village):
    for hit in shared_index.search("price of the shopping", 10):
        lines = (shared_village / hit.path).read_text().split("\n")
        assert hit.text == "\n".join(lines[hit.start - 1 : hit.end])
        assert hit.citation == f"{hit.path}:{hit.start}-{hit.end}"
        assert shared_index.resolve(hit.path) == shared_village / hit.path


def test_hits_are_sorted_and_show_the_score_of_every_stage(shared_index):
    hits = shared_index.search("bread", 10)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert set(hit.scores) == {"dense", "lexical", "fused"}
        assert hit.score == hit.scores["fused"]
        assert 0 <= hit.scores["fused"] <= 1
        assert -1 <= hit.scores["dense"] <= 1
        assert hit.scores["lexical"] >= 0
        assert all(math.isfinite(score) for score in hit.scores.values())
    weights = shared_index.config
    assert weights.dense_weight > weights.lexical_weight > 0


def test_the_json_of_a_hit_is_the_contract(shared_index):
    (hit,) = shared_index.search("bread", 1)
    assert list(hit.to_json()) == [
        "path", "start", "end", "symbol", "kind", "language", "score", "scores", "text"
    ]  # fmt: skip


def test_one_stage_alone_scores_alone(shared_index):
    dense = shared_index.search("hot iron", 5, stages=[Stage.DENSE])
    lexical = shared_index.search("hot iron", 5, stages=[Stage.LEXICAL])
    assert all(set(hit.scores) == {"dense"} and hit.score == hit.scores["dense"] for hit in dense)
    assert all(set(hit.scores) == {"lexical"} and hit.score == hit.scores["lexical"] > 0 for hit in lexical)
    assert "iron" in lexical[0].text


def test_words_that_occur_nowhere_leave_the_ranking_to_the_vectors(shared_index):
    hits = shared_index.search("zyxw", 3)
    assert [hit.scores["lexical"] for hit in hits] == [0, 0, 0]
    assert [hit.symbol for hit in hits] == [hit.symbol for hit in shared_index.search("zyxw", 3, stages=[Stage.DENSE])]
    assert shared_index.search("zyxw", 3, stages=[Stage.LEXICAL]) == []


@pytest.mark.parametrize("query", ["", "  \n"])
def test_a_blank_query_finds_nothing(shared_index, query):
    assert shared_index.search(query) == []


def test_the_number_of_hits_is_the_callers_or_the_settings(shared_index):
    assert len(shared_index.search("village", 2)) == 2
    assert len(shared_index.search("village")) == shared_index.config.top_k
    assert shared_index.search("village", 0) == []
    assert len(shared_index.search("village", 1000)) <= len(shared_index.chunks())


def test_a_very_long_or_odd_query_is_answered(shared_index):
    for query in ("bread " * 5000, "\x00\ud800", "))) AND (", "日本語"):
        assert shared_index.search(query, 1)


def test_threads_see_what_one_caller_sees(shared_index):
    queries = ["bread", "hot iron", "coins back", "patient horse", "sharp blade", "crumbs on the table"] * 8
    alone = [[hit.id for hit in shared_index.search(query)] for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: [hit.id for hit in shared_index.search(query)], queries))
    assert together == alone


def test_every_symbol_is_shown_once_by_its_best_chunk(tmp_path):
    from homeground.index import Index

    body = "".join(f"    loaf_{n} = knead(flour_{n}, water_{n}, salt_{n}, yeast_{n})\n" for n in range(40))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "bread.py").write_text(f"def bake(flour):\n{body}\n\ndef eat():\n    pass\n")
    index, report = Index.build(tmp_path / "index", [tmp_path / "src"])
    assert report.chunks > 4
    hits = index.search("knead flour_30", 10)
    assert [hit.symbol for hit in hits] == ["bake", "eat"]
    assert "flour_30" in hits[0].text
