"""What the numbers say, in plain words: a gain is claimed only when its paired 95% interval lies above zero."""

from homeground.evaluate.metrics import METRIC_NAMES, STAGE_NAMES, Metrics, Pair, evaluated
from homeground.evaluate.stats import Interval, format_interval

PAIRS: tuple[tuple[Pair, str, str], ...] = (("rl-sft", "rl", "sft"), ("sft-base", "sft", "base"))
"""Paired differences as (key, later stage, earlier stage), the one that matters most first."""


def shows_gain(difference: Interval) -> bool:
    """Whether the whole interval lies above zero."""
    return difference["low"] > 0


def shows_loss(difference: Interval) -> bool:
    """Whether the whole interval lies below zero."""
    return difference["high"] < 0


def in_words(later: str, earlier: str, metric: str, difference: Interval) -> str:
    """One paired difference as a sentence.

    Args:
        later: name of the later stage, e.g. "GRPO".
        earlier: name of the stage it is compared with.
        metric: name of the metric.
        difference: later minus earlier, over the same tasks.
    """
    size = format_interval(difference, signed=True)
    tasks = f"{difference['n']} held-out task{'' if difference['n'] == 1 else 's'}"
    if shows_gain(difference):
        return f"{later} improved {metric} by {size} over {earlier} on {tasks}."
    if shows_loss(difference):
        return f"No gain shown: {later} made {metric} worse than {earlier}, by {size} on {tasks}."
    if difference["low"] == difference["high"]:
        return f"No gain shown: {later} and {earlier} have the same {metric} on each of {tasks}."
    return (
        f"No gain shown: {later} changed {metric} by {size} against {earlier} on {tasks}; the interval includes zero."
    )


def verdict(metrics: Metrics) -> list[str]:
    """The run's outcome in sentences, the most important first.

    The reward of each pair of stages; then, for GRPO over SFT, whether the gain is more than better-formed calls;
    then a warning when the trained model still earns less than the scripted agent.
    """
    sentences: list[str] = []
    for pair, later, earlier in PAIRS:
        if pair in metrics["paired"]:
            reward = metrics["paired"][pair]["reward"]
            before = "the untrained model" if earlier == "base" else STAGE_NAMES[earlier]
            sentences.append(in_words(STAGE_NAMES[later], before, "reward", reward))
    if "rl-sft" in metrics["paired"]:
        sentences.insert(1, _beyond_format(metrics["paired"]["rl-sft"]))
    if not sentences:
        return ["No gain shown: no two stages were compared on the same tasks."]
    sentences.extend(_against_script(metrics))
    return sentences


def stage_rows(metrics: Metrics) -> list[list[str]]:
    """The table of stages: a heading row (stage, tasks, metrics), then a row a stage that was evaluated."""
    rows = [["stage", "tasks", *METRIC_NAMES.values()]]
    for stage in evaluated(metrics):
        measured = metrics["stages"][stage]
        rows.append(
            [STAGE_NAMES[stage], str(measured["reward"]["n"]), *(format_interval(measured[m]) for m in METRIC_NAMES)]
        )
    return rows


def pair_rows(metrics: Metrics) -> list[list[str]]:
    """The table of paired differences: a heading row, then a row a pair that was compared."""
    rows = [["difference", "tasks", *METRIC_NAMES.values()]]
    for pair, later, earlier in PAIRS:
        if pair in metrics["paired"]:
            measured = metrics["paired"][pair]
            name = f"{STAGE_NAMES[later]} minus {STAGE_NAMES[earlier]}"
            rows.append(
                [name, str(measured["reward"]["n"]), *(format_interval(measured[m], signed=True) for m in METRIC_NAMES)]
            )
    return rows


def mark(difference: Interval) -> str:
    """What a cell of the table of differences shows: "gain", "loss" or "unclear"."""
    return "gain" if shows_gain(difference) else "loss" if shows_loss(difference) else "unclear"


def pair_marks(metrics: Metrics) -> list[list[str]]:
    """For each interval in `pair_rows`: "gain", "loss" or "unclear"."""
    return [
        [mark(measured[m]) for m in METRIC_NAMES]
        for measured in (metrics["paired"][pair] for pair, _, _ in PAIRS if pair in metrics["paired"])
    ]


def _beyond_format(differences: dict[str, Interval]) -> str:
    """Whether GRPO improved more than the form of its calls."""
    gained = [
        f"{METRIC_NAMES[name]} {format_interval(differences[name], signed=True)}"
        for name in ("success", "reciprocal_rank")
        if shows_gain(differences[name])
    ]
    if gained:
        return f"The gain is not only better-formed calls: {' and '.join(gained)}."
    return (
        "Beyond the form of its calls GRPO shows no gain over SFT: the intervals of success rate and reciprocal rank "
        "are not above zero."
    )


def _against_script(metrics: Metrics) -> list[str]:
    trained = evaluated(metrics)[-1]
    if trained not in ("sft", "rl") or "scripted" not in metrics["stages"]:
        return []
    script, model = metrics["stages"]["scripted"]["reward"]["value"], metrics["stages"][trained]["reward"]["value"]
    if script <= model:
        return []
    return [
        f"The scripted agent, which searches with the whole question and cites the first hit, still earns more: "
        f"{script:.3f} against {model:.3f} after {STAGE_NAMES[trained]}."
    ]
