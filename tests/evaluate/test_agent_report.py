"""The page of an agent of one's own."""

import pytest

from homeground.evaluate.agent_report import write_agent_report

from .example_run import example_group, example_steps
from .test_report import Page

RESULTS = {
    "run": "mine",
    "commit": None,
    "machine": {"cpu": "a processor"},
    "seed": 3,
    "heldout_tasks": 2,
    "stages": {
        "before": {"reward": {"value": 0.25, "low": 0.1, "high": 0.4, "n": 2}},
        "after": {"reward": {"value": 0.75, "low": 0.6, "high": 0.9, "n": 2}},
    },
    "paired": {"reward": {"value": 0.5, "low": 0.3, "high": 0.7, "n": 2}},
    "seconds": {"rl": 61.0},
    "peak_memory_mb": {"rl": 512.0},
}


def answer(reward, said, error=None):
    return {"task": "0123", "reward": reward, "parts": {"right": reward}, "error": error, "answer": said}


@pytest.fixture
def written(tmp_path):
    def write(results=RESULTS, before="no idea", after=None):
        rows = {
            "before": [answer(0.0, before), answer(0.5, "5")],
            "after": [answer(1.0, {"sum": 4} if after is None else after), answer(0.0, None, error="timeout")],
        }
        file = tmp_path / "report.html"
        write_agent_report(
            file,
            results,
            example_steps(),
            ["2 + 2?", "2 + 3?"],
            rows,
            recipe={"seed": 3},
            groups=[example_group(2, 0, (0.1, 0.9))],
        )
        return Page(file.read_text())

    return write


def test_it_says_what_changed_with_every_answer_before_and_after(written):
    page = written()
    text = page.text
    assert text.index("GRPO improved reward by +0.500 [+0.300, +0.700]") < text.index("Before and after")
    assert "before 2 0.250 [0.100, 0.400]" in text
    assert "after minus before 2 +0.500 [+0.300, +0.700] ▲" in text
    for said in (
        "2 + 2?",
        "no idea",
        '"sum": 4',
        "failed: timeout",
        "What training tried",
        "1 min 01 s",
        "a processor",
    ):
        assert said in text
    assert "right answer" not in text
    assert "scripted agent uses no model" not in text


def test_a_loss_is_called_one(written):
    worse = {**RESULTS, "paired": {"reward": {"value": -0.5, "low": -0.7, "high": -0.3, "n": 2}}}
    page = written(worse)
    assert "No gain shown: GRPO made reward worse" in page.text
    assert ("class", "verdict gained") not in page.attributes


def test_what_an_agent_says_is_text(written):
    page = written(before="<script>alert(1)</script>", after='<img src="x">')
    assert not {"script", "img"} & set(page.tags)
    assert "<script>alert(1)</script>" in page.text
