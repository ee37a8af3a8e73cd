import numpy as np
import pytest

from homeground.corpus import Chunk
from homeground.evaluate.fusion import FusionCase, best_weight, fit_dense_weight, fusion_cases
from homeground.index.fuse import fuse
from homeground.tasks import Answer, QueryKind, SearchTask


def case(dense, lexical, right, symbol=None):
    return FusionCase(
        np.array(dense, dtype=float),
        np.array(lexical, dtype=float),
        np.array(symbol if symbol is not None else range(len(dense))),
        np.array(right, dtype=bool),
    )


def test_only_the_first_chunk_of_a_symbol_takes_a_rank():
    one = case([1.0, 0.9, 0.8], [0, 0, 0], [False, False, True], symbol=[7, 7, 8])
    assert one.reciprocal_rank(1.0) == 0.5


def test_the_eleventh_symbol_counts_nothing():
    dense = np.linspace(1, 0, 12)
    assert case(dense, dense, np.arange(12) == 9).reciprocal_rank(1.0) == pytest.approx(0.1)
    assert case(dense, dense, np.arange(12) == 10).reciprocal_rank(1.0) == 0.0


def test_the_weight_goes_to_the_stage_that_is_right():
    lexical_knows = [case([1, 0.2], [0, 1], [False, True])] * 4
    dense_knows = [case([0, 1], [1, 0.2], [False, True])] * 4
    assert fit_dense_weight(lexical_knows)[0] < 0.5 <= fit_dense_weight(dense_knows)[0]
    weight, means = fit_dense_weight(lexical_knows + dense_knows)
    assert means[0.0] == means[1.0] == 0.75
    assert 0.0 <= weight <= 1.0


def test_one_lucky_weight_does_not_win_against_its_neighbours():
    means = {0.0: 0.1, 0.25: 0.9, 0.5: 0.1, 0.75: 0.8, 1.0: 0.8}
    assert best_weight(list(means), lambda weight: [means[weight]]) == 1.0


def test_cases_rank_as_the_index_fuses():
    chunks = [Chunk(name, "a.py", at, at, name, "function", "python", "", "") for at, name in enumerate("abcd")]
    dense = dict(zip("abcd", (0.9, 0.1, 0.5, 0.4), strict=True))
    lexical = dict(zip("abcd", (0.0, 7.0, 6.0, 1.0), strict=True))
    scores = {key: {"dense": dense[key], "lexical": lexical[key]} for key in "abcd"}
    for place, chunk in enumerate(chunks):
        task = SearchTask("t", QueryKind.DOCSTRING, "?", (Answer("a.py", chunk.symbol, ((place, place),)),))
        (made,) = fusion_cases([task], lambda _: scores, chunks)
        for weight in (0.0, 0.3, 0.6, 1.0):
            fused = fuse(dense, lexical, weight, 1 - weight)
            order = sorted(fused, key=lambda key: -fused[key])
            assert made.reciprocal_rank(weight) == pytest.approx(1 / (order.index(chunk.symbol) + 1))
