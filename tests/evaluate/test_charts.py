import re
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from homeground.evaluate.charts import bars_svg, curve_svg, moving_average, points, report_png
from homeground.evaluate.curves import CURVES
from homeground.evaluate.metrics import METRIC_NAMES

from .example_run import example_metrics, example_steps


def test_moving_average_looks_back_only():
    assert moving_average([1, 2, 3, 4], window=2) == [1, 1.5, 2.5, 3.5]
    assert moving_average([], window=2) == []


def test_points_leave_out_other_stages_and_what_is_no_number():
    rows = [
        {"step": 1, "stage": "sft", "reward_mean": 9},
        {"step": 1, "stage": "rl", "reward_mean": 0.1},
        {"step": 2, "stage": "rl", "reward_mean": None},
        {"step": 3, "stage": "rl", "reward_mean": float("nan")},
        {"step": 4, "stage": "rl"},
        {"step": 5, "stage": "rl", "reward_mean": 0.5},
    ]
    assert points(rows, CURVES[0]) == ([1.0, 5.0], [0.1, 0.5])


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: f"{curve.stage}-{curve.key}")
def test_each_curve_becomes_well_formed_svg_in_the_colours_of_the_page(curve):
    svg = curve_svg(example_steps(), curve)
    assert ElementTree.fromstring(svg).get("aria-label")
    assert f"var(--{curve.stage})" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg)


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_bars_show_each_stage_in_its_own_colour_with_its_value(metric):
    metrics = example_metrics()
    svg = bars_svg(metrics, metric)
    ElementTree.fromstring(svg)
    for stage, measured in metrics["stages"].items():
        assert f"var(--{stage})" in svg
        assert f"{measured[metric]['value']:.3f}" in svg


def test_equal_data_draws_equal_svg():
    assert curve_svg(example_steps(), CURVES[0]) == curve_svg(example_steps(), CURVES[0])


def test_nothing_logged_draws_nothing():
    assert curve_svg([], CURVES[0]) == ""
    assert curve_svg([{"stage": "rl", "step": 1}], CURVES[0]) == ""
    metrics = example_metrics()
    metrics["stages"] = {}
    assert bars_svg(metrics, "reward") == ""


def test_a_single_step_is_drawn_as_a_dot():
    row = [{"stage": "rl", "step": 1, "reward_mean": 0.3}]
    assert "<use" in curve_svg(row, CURVES[0])


@pytest.mark.parametrize("steps", [example_steps(), []], ids=["with steps", "without steps"])
def test_png_has_bars_in_the_colours_of_the_stages(tmp_path, steps):
    report_png(example_metrics(), steps, tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as image:
        assert image.size == (1760, 672)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {(0x8A, 0x93, 0x9E), (0xC9, 0x8A, 0x1B), (0x3B, 0x76, 0xC4), (0x1F, 0x8F, 0x5F)} <= colours
