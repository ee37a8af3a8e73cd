import copy

from homeground.evaluate.stats import format_interval
from homeground.evaluate.verdict import in_words, pair_rows, stage_rows, verdict

from .example_run import example_metrics


def interval(value, low, high, n=160):
    return {"value": value, "low": low, "high": high, "n": n}


def changed(**rl_sft):
    metrics = copy.deepcopy(example_metrics())
    metrics["paired"]["rl-sft"].update(rl_sft)
    return metrics


def test_a_gain_is_claimed_when_the_whole_interval_is_above_zero():
    assert (
        in_words("GRPO", "SFT", "reward", interval(0.071, 0.036, 0.105))
        == "GRPO improved reward by +0.071 [+0.036, +0.105] over SFT on 160 held-out tasks."
    )


def test_no_gain_is_claimed_when_the_interval_includes_or_touches_zero():
    for low in (-0.01, 0.0):
        sentence = in_words("GRPO", "SFT", "reward", interval(0.02, low, 0.05))
        assert sentence.startswith("No gain shown: GRPO changed reward by +0.020")
        assert "the interval includes zero" in sentence


def test_a_loss_is_called_one():
    sentence = in_words("GRPO", "SFT", "reward", interval(-0.05, -0.08, -0.02, n=1))
    assert sentence == "No gain shown: GRPO made reward worse than SFT, by -0.050 [-0.080, -0.020] on 1 held-out task."


def test_stages_that_agree_on_every_task_show_no_gain():
    assert in_words("GRPO", "SFT", "reward", interval(0.0, 0.0, 0.0)) == (
        "No gain shown: GRPO and SFT have the same reward on each of 160 held-out tasks."
    )


def test_the_verdict_opens_with_what_reinforcement_learning_added():
    sentences = verdict(changed(reward=interval(0.071, 0.036, 0.105)))
    assert sentences[0].startswith("GRPO improved reward by +0.071")
    assert any(sentence.startswith("SFT improved reward") for sentence in sentences)


def test_a_gain_in_form_alone_is_said_to_be_that():
    flat = interval(0.01, -0.02, 0.04)
    sentences = verdict(changed(reward=interval(0.07, 0.03, 0.1), success=flat, reciprocal_rank=flat))
    assert "Beyond the form of its calls GRPO shows no gain" in sentences[1]


def test_a_gain_beyond_form_names_the_metric():
    sentences = verdict(changed(success=interval(0.01, -0.02, 0.04), reciprocal_rank=interval(0.05, 0.02, 0.08)))
    assert sentences[1] == "The gain is not only better-formed calls: reciprocal rank +0.050 [+0.020, +0.080]."


def test_a_script_that_earns_more_is_not_hidden():
    metrics = example_metrics()
    assert metrics["stages"]["scripted"]["reward"]["value"] > metrics["stages"]["rl"]["reward"]["value"]
    assert verdict(metrics)[-1].startswith("The scripted agent")
    metrics["stages"]["scripted"]["reward"] = interval(0.0, 0.0, 0.0)
    assert not any(sentence.startswith("The scripted agent") for sentence in verdict(metrics))


def test_nothing_compared_is_no_gain():
    metrics = example_metrics()
    metrics["paired"], metrics["stages"] = {}, {}
    assert verdict(metrics) == ["No gain shown: no two stages were compared on the same tasks."]


def test_tables_have_a_row_for_each_stage_and_pair():
    metrics = example_metrics()
    assert [row[0] for row in stage_rows(metrics)] == ["stage", "scripted agent", "untrained model", "SFT", "GRPO"]
    assert [row[0] for row in pair_rows(metrics)] == ["difference", "GRPO minus SFT", "SFT minus untrained model"]
    assert {len(row) for row in stage_rows(metrics) + pair_rows(metrics)} == {6}


def test_a_cell_shows_value_and_interval():
    assert format_interval(interval(0.358, 0.31, 0.407)) == "0.358 [0.310, 0.407]"
    assert format_interval(interval(0.071, 0.036, 0.105), signed=True) == "+0.071 [+0.036, +0.105]"
