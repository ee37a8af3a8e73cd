import copy
import json
from pathlib import Path

import jsonschema
import pytest

from homeground.base.errors import HomegroundError
from homeground.evaluate.metrics import check_metrics, metrics_schema, read_metrics, write_metrics

from .example_run import example_metrics

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "metrics.json"


def test_the_published_schema_is_the_one_the_records_give():
    assert json.loads(SCHEMA.read_text()) == metrics_schema()


def test_written_metrics_satisfy_the_published_schema_and_come_back_equal(tmp_path):
    metrics = example_metrics()
    write_metrics(tmp_path / "metrics.json", metrics)
    jsonschema.validate(
        json.loads((tmp_path / "metrics.json").read_text()),
        json.loads(SCHEMA.read_text()),
        cls=jsonschema.Draft202012Validator,
    )
    assert read_metrics(tmp_path / "metrics.json") == metrics


def without(*path):
    def change(metrics):
        for key in path[:-1]:
            metrics = metrics[key]
        del metrics[path[-1]]

    return change


def setting(value, *path):
    def change(metrics):
        for key in path[:-1]:
            metrics = metrics[key]
        metrics[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("seed"), "seed: Field required"),
        (without("stages", "rl", "success"), "stages.rl: .*missing metrics: success"),
        (setting("zero", "seed"), "seed: Input should be a valid integer"),
        (setting(1, "surprise"), "surprise: Extra inputs"),
        (setting({}, "stages", "pretrained"), "stages.pretrained"),
        (setting(float("nan"), "stages", "sft", "reward", "value"), "stages.sft.reward.value: .*finite"),
        (setting(0.99, "stages", "sft", "reward", "low"), "low <= value <= high"),
        (setting(-1.0, "seconds", "rl"), "seconds.rl: .*greater than or equal"),
    ],
)
def test_metrics_that_break_the_contract_are_refused_and_the_key_is_named(tmp_path, change, complaint):
    metrics = copy.deepcopy(example_metrics())
    change(metrics)
    with pytest.raises(HomegroundError, match=complaint) as error:
        write_metrics(tmp_path / "metrics.json", metrics)
    assert "docs/schemas/metrics.json" in str(error.value.hint)
    assert not (tmp_path / "metrics.json").exists()


def test_stages_that_were_not_evaluated_may_be_absent():
    metrics = example_metrics()
    del metrics["stages"]["rl"]
    del metrics["paired"]["rl-sft"]
    assert check_metrics(metrics) == metrics


@pytest.mark.parametrize("content", [None, "{", "\udcff"])
def test_unreadable_metrics_say_which_command_makes_them(tmp_path, content):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(HomegroundError, match="cannot be read") as error:
        read_metrics(path)
    assert error.value.where == str(path)
    assert "homeground eval agent" in str(error.value.hint)
