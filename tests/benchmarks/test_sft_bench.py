"""What the figures of bench-sft and bench-qlora rest on."""

import pytest

from benchmarks import qlora, sft
from benchmarks.sides import docstrings
from benchmarks.sides.sft import BATCH, rates, steps_of_rows
from homeground.policy import TokenPath

from ..policy import tiny

STAMP = {"commit": "c", "measured_at": "t"}


def test_rows_are_the_same_on_every_call_and_have_the_stated_lengths():
    rows = docstrings.docstring_rows(tiny.tokenizer(), 5)
    assert rows == docstrings.docstring_rows(tiny.tokenizer(), 5)
    assert all(docstrings.SHORTEST <= len(row.ids) <= docstrings.LONGEST for row in rows)
    assert all(0 < len(row.trained) < len(row.ids) for row in rows)


def test_no_module_is_on_both_sides_of_the_split():
    tokenizer = tiny.tokenizer()
    train, heldout = docstrings.docstring_split(tokenizer, 5, 5)
    modules = sorted(docstrings._functions().items())
    texts = ["".join(code for code, _ in functions) for _, functions in modules]

    def homes(row):
        code = tokenizer.decode(row.ids[: row.trained[0]]).partition("function.")[2][2:60].partition("<|")[0]
        return {number % docstrings.HELD_OUT == 0 for number, text in enumerate(texts) if code in text}

    assert all(False in homes(row) for row in train)
    assert all(True in homes(row) for row in heldout)


def test_a_step_is_eight_rows_and_an_epoch_visits_each_row_once():
    rows = [TokenPath([n, n, n], [1]) for n in range(20)]
    steps = steps_of_rows(rows, 3)
    assert [len(step) for step in steps] == [BATCH, BATCH, 4]
    assert sorted(row.ids[0] for step in steps for row in step) == list(range(20))


def test_the_rate_leaves_out_what_warms_up():
    assert rates([100.0, 110.0, 111.0, 112.0], [1000, 1000, 30, 50]) == pytest.approx(40)


def measured(rate, peak, loss=()):
    return {"tokens_per_s": rate, "peak_mb": peak, "peer": "trl", "loss": list(loss), **STAMP}


def test_speed_is_compared_with_the_defaults_and_with_the_fastest():
    found = sft.rows_of(
        {
            "ours: forests of 2048": measured(600, 1000),
            "ours: forests of 512": measured(500, 500),
            "peer: batch 8": measured(100, 5000),
            "peer: batch 1": measured(200, 900),
            "peer: batch 4": measured(250, 2000),
        }
    )
    assert [(row["setting"], row["ratio"], row["met"]) for row in found] == [
        ("against its defaults", 6.0, True),
        ("against its fastest setting (batch 4)", 2.4, False),
        ("forests of 2048 against batch 8", 5.0, True),
        ("forests of 512 against batch 1", 1.8, True),
    ]


@pytest.mark.parametrize(("moved", "inside"), [(0.0, True), (0.5, False)])
def test_a_curve_outside_the_peers_band_is_seen(moved, inside):
    curves = {f"peer: curve of seed {s}": measured(1, 1, [3.0, 2.0 + 0.01 * s]) for s in sft.SEEDS}
    curves |= {f"ours: curve of seed {s}": measured(1, 1, [3.0, 2.01 + moved]) for s in sft.SEEDS}
    first, band = sft.rows_of(curves)
    assert first["met"]
    assert band["met"] is inside


def test_a_loss_is_compared_with_the_band_of_sixteen_bit_seeds():
    runs = {f"long: none, seed {s}": {"after": 2.0 + 0.01 * s, "before": 3.0} for s in qlora.SEEDS}
    near = {f"long: nf4, seed {s}": {"after": 2.02 + 0.01 * s, "before": 3.0} for s in qlora.SEEDS}
    far = {f"long: nf4, seed {s}": {"after": 2.2 + 0.01 * s, "before": 3.0} for s in qlora.SEEDS}
    assert [row["met"] for row in qlora.rows_of(runs | near)] == [True]
    assert [row["met"] for row in qlora.rows_of(runs | far)] == [False]
    errors = {"weights: nf4": {"error_mean": 0.09, "bits": 4.127}, "weights: fp4": {"error_mean": 0.11, "bits": 4.127}}
    assert [row["met"] for row in qlora.rows_of(errors)] == [True, True]
