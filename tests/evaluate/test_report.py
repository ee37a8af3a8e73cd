import copy
from html.parser import HTMLParser

import pytest

from homeground.evaluate.metrics import STAGE_NAMES
from homeground.evaluate.report import duration, render_report, write_report
from homeground.evaluate.stats import format_interval
from homeground.evaluate.tried import tried
from homeground.evaluate.verdict import verdict
from homeground.runs.rolloutlog import RolloutLog
from homeground.runs.workspace import RunFolder

from .example_run import HEADER, example_group, example_metrics, example_rollouts, example_steps


class Page(HTMLParser):
    """Collects every tag, attribute and piece of text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.said = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


def page(metrics=None, steps=None, rollouts=None, **options):
    return Page(
        render_report(
            metrics or example_metrics(),
            example_steps() if steps is None else steps,
            example_rollouts() if rollouts is None else rollouts,
            **options,
        )
    )


def test_the_report_opens_with_the_verdict_in_words():
    text = page().text
    sentences = verdict(example_metrics())
    assert all(sentence in text for sentence in sentences)
    assert text.index(sentences[0]) < text.index("Before and after")


def test_a_run_without_a_gain_is_not_dressed_as_one():
    metrics = copy.deepcopy(example_metrics())
    assert ("class", "verdict gained") in page(metrics).attributes
    metrics["paired"]["rl-sft"]["reward"].update(low=-0.1)
    assert ("class", "verdict gained") not in page(metrics).attributes


def test_the_report_loads_nothing_and_runs_nothing():
    report = page()
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(report.tags)
    for name, value in report.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert value.startswith("#")
    assert "url(" not in "".join(report.said).replace("url(#", "")


def test_text_written_by_a_model_cannot_become_markup():
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'</div>"
    rollouts = example_rollouts(tasks=1)
    rollouts[0] |= {"question": hostile, "gold": hostile, "stage": hostile, "parts": {hostile: 1.0}, "task": "task-000"}
    rollouts[0]["messages"] = [{"role": hostile, "content": hostile}, {"role": "assistant", "content": hostile}]
    metrics = example_metrics()
    metrics["run"] = metrics["commit"] = hostile
    metrics["machine"] = {hostile: hostile}
    report = page(metrics, rollouts=rollouts, recipe=hostile)
    assert not {"script", "img"} & set(report.tags)
    assert "".join(report.said).count(hostile) >= 8


def test_both_tables_show_value_and_interval_of_every_stage():
    text = page().text
    metrics = example_metrics()
    for signed, group in ((False, metrics["stages"]), (True, metrics["paired"])):
        for interval in (one for measured in group.values() for one in measured.values()):
            assert format_interval(interval, signed=signed) in text


def test_five_tasks_are_shown_with_their_stages_side_by_side():
    report = page(rollouts=example_rollouts(tasks=7))
    assert f"{HEADER} 4" in report.text
    assert f"{HEADER} 5" not in report.text
    assert report.tags.count("section") == 15
    assert ("class", "turn assistant") in report.attributes


def test_rollouts_of_one_task_follow_the_order_of_the_stages():
    report = page(rollouts=list(reversed(example_rollouts(tasks=1))))
    classes = [value for name, value in report.attributes if name == "class" and value.startswith("rollout ")]
    assert classes == ["rollout base", "rollout sft", "rollout rl"]


def test_what_training_tried_is_shown_best_against_worst(tmp_path):
    run = RunFolder(tmp_path)
    log = RolloutLog(run, done=0)
    for step in range(1, 12):
        log(step, [example_group(step, number, [0.1, 0.9, 0.5]) for number in range(8)])
    report = page(groups=tried(run))
    shown = [n for n in range(1, 12) if f"Step {n} " in report.text]
    assert shown == [1, 3, 6, 9, 11]
    assert report.text.count("group 7, rewards 0.10 0.90 0.50") == 0, "only the widest groups of a step"
    classes = [value for name, value in report.attributes if name == "class" and value.startswith("rollout tried")]
    assert classes[:3] == ["rollout tried above much", "rollout tried below much", "rollout tried even"]
    assert report.text.index("reward 0.900, advantage +1.22") < report.text.index("reward 0.100, advantage -1.22")
    assert "calls find({&quot;q&quot;: 1})" in render_report(
        example_metrics(), [], [], groups=[example_group(1, 0, [0, 1])]
    ).replace("&#34;", "&quot;")


def test_what_a_model_wrote_in_training_cannot_become_markup():
    hostile = "<script>alert(1)</script>"
    group = example_group(1, 0, [0.0, 1.0], text=hostile)
    group["task"] = hostile
    assert "script" not in page(groups=[group]).tags


def test_a_group_whose_rewards_are_equal_says_so():
    text = page(groups=[example_group(1, 0, [0.5, 0.5])]).text
    assert "No two rewards differ: 2 rollouts" in text


def test_warnings_of_the_steps_are_on_the_page():
    steps = example_steps()
    assert 'class="warned"' not in render_report(example_metrics(), steps, [])
    steps[-1]["warnings"] = ["the reward <b> follows the length alone"]
    assert "rl, step 25: the reward <b> follows the length alone" in page(steps=steps).text


def test_a_run_with_nothing_in_it_still_renders():
    metrics = example_metrics()
    metrics |= {"stages": {}, "paired": {}, "seconds": {}, "peak_memory_mb": {}, "machine": "a machine", "commit": None}
    report = page(metrics, steps=[], rollouts=[])
    for sentence in ("No gain shown", "No training steps", "No rollouts", "No timings", "unknown commit", "a machine"):
        assert sentence in report.text


def test_costs_machine_and_recipe_are_on_the_page():
    text = page(recipe={"rl": {"steps": 25}}).text
    assert "1 h 02 min" in text
    assert "3.03 GB" in text
    assert "an example processor" in text
    assert "steps: 25" in text


def test_the_page_follows_light_and_dark_and_fits_a_phone():
    html = render_report(example_metrics(), example_steps(), example_rollouts())
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport" content="width=device-width' in html


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (8.44, "8.4 s"), (59.97, "1 min 00 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")],
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text


def test_writing_leaves_one_complete_file(tmp_path):
    write_report(tmp_path / "report.html", example_metrics(), example_steps(), example_rollouts())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.rstrip().endswith("</html>")
    assert all(name in html for name in STAGE_NAMES.values())
