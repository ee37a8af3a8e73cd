from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError
from homeground.data import DataConfig, Mixing, Part, SourceConfig, mix, shuffled
from homeground.training import example_of


def part(name, size, **more):
    return Part(SourceConfig(source=name, **more), [example_of({"text": f"{name}{n}"}) for n in range(size)])


def counts(parts, **options):
    return [len(taken) for taken in mix(parts, DataConfig(**options))]


@pytest.mark.parametrize(("parts", "options", "wanted"), [
    ([part("a", 10), part("b", 4, epochs=2.5)], {}, [10, 10]),
    ([part("a", 10, max_samples=3), part("b", 4)], {}, [3, 4]),
    ([part("a", 10, weight=3), part("b", 10)], {"mixing": Mixing.WEIGHTS}, [10, 3]),
    ([part("a", 10, weight=3), part("b", 10)], {"mixing": Mixing.WEIGHTS, "rows": 8}, [6, 2]),
    ([part("a", 10, weight=3, epochs=3), part("b", 10)], {"mixing": Mixing.WEIGHTS}, [30, 10]),
    ([part("a", 100), part("b", 4)], {"mixing": Mixing.TEMPERATURE, "temperature": 1}, [100, 4]),
    ([part("a", 100), part("b", 4)], {"mixing": Mixing.TEMPERATURE, "temperature": 2}, [20, 4]),
    ([part("a", 100), part("b", 4, epochs=5)], {"mixing": Mixing.TEMPERATURE, "temperature": 2}, [100, 20]),
])  # fmt: skip
def test_each_way_of_mixing_takes_the_rows_that_its_table_says(parts, options, wanted):
    assert counts(parts, **options) == wanted


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 9), st.floats(0.5, 3)), min_size=1, max_size=4),
    st.sampled_from([Mixing.WEIGHTS, Mixing.TEMPERATURE]),
)
def test_shares_are_exact_to_a_row_and_epochs_are_kept(sizes, mixing):
    parts = [part(f"p{i}", n, weight=w, epochs=e) for i, (n, w, e) in enumerate(sizes)]
    taken = mix(parts, DataConfig(mixing=mixing, temperature=2))
    weights = [p.config.weight if mixing is Mixing.WEIGHTS else p.size**0.5 for p in parts]
    for one, rows, weight in zip(parts, taken, weights, strict=True):
        assert abs(len(rows) - sum(map(len, taken)) * weight / sum(weights)) < 1 + 1e-6
        assert len(rows) <= one.most + 1
        times = Counter(row.text for row in rows)
        assert not times or max(times.values()) - min((times[e.text] for e in one.examples), default=0) <= 1


def test_the_seed_decides_which_rows_and_their_order_and_other_sources_do_not():
    parts = [part("a", 50, max_samples=5), part("b", 20)]
    assert mix(parts, seed=1) == mix(parts, seed=1)
    assert mix(parts, seed=1)[0] != mix(parts, seed=2)[0]
    assert mix(parts, seed=1)[0] == mix(parts[:1], seed=1)[0]
    taken = mix(parts, seed=1)
    assert shuffled(taken, 1) == shuffled(taken, 1) != shuffled(taken, 2)
    assert Counter(e.text for e in shuffled(taken, 1)) == Counter(e.text for rows in taken for e in rows)


def test_more_rows_than_there_are_says_which_epochs_would_do():
    parts = [part("a", 10, weight=3), part("b", 10)]
    with pytest.raises(HomegroundError, match="the mixture of 20 rows needs 15 of this source, which has 10") as caught:
        mix(parts, DataConfig(mixing=Mixing.WEIGHTS, rows=20))
    assert caught.value.where == "a"
    assert "epochs: 1.5, or ask for data.rows: 13" in str(caught.value.hint)
    assert counts([part("a", 10, weight=3, epochs=1.5), parts[1]], mixing=Mixing.WEIGHTS, rows=20) == [15, 5]


def test_a_share_of_nothing_is_an_error():
    with pytest.raises(HomegroundError, match="no row of this source is left") as caught:
        mix([part("a", 3), part("b", 0)], DataConfig(mixing=Mixing.WEIGHTS))
    assert caught.value.where == "b"
    assert counts([part("a", 3), part("b", 0)]) == [3, 0]
