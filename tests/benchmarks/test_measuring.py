"""What the numbers of the benchmarks rest on: memory, operations, claims."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import grpo, learning
from benchmarks.sides import children, results
from benchmarks.sides.growth import grown, plot
from benchmarks.sides.operations import attended_pairs, operations
from benchmarks.sides.ours import measure
from benchmarks.sides.workload import SETTINGS, Setting
from homeground.policy import TokenForest, TokenPath
from homeground.policy.attention import visible

from ..policy import tiny

HOLDS_200_MB_FOR_A_MOMENT = """
import torch
from benchmarks.sides.memory import PeakAboveModel
big = torch.ones(100_000_000)  # 400 MB that are not counted
model = torch.nn.Linear(10, 10)
memory = PeakAboveModel(model)
torch.ones(50_000_000)  # freed at once
print(memory.peak_mb(), memory.loaded_mb)
"""


def test_a_short_peak_is_seen_and_what_was_there_before_is_not():
    done = subprocess.run([sys.executable, "-c", HOLDS_200_MB_FOR_A_MOMENT], capture_output=True, text=True, check=True)
    peak, loaded = map(float, done.stdout.split())
    assert 195 < peak < 230
    assert loaded > 400


def test_attended_pairs_are_those_of_the_mask():
    forest = TokenForest.build(tiny.random_paths(3))
    assert attended_pairs(forest) == int(visible(forest).sum())


def forest_of_one_path(policy, length=40):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 256, (length,), generator=generator).tolist()
    return TokenForest.build([TokenPath(ids, list(range(20, length)))])


def counted(policy, forest, *, backward):
    """Operations as torch counts them; plain attention multiplies the masked half too."""
    model, lora = tiny.trainable_plain(policy, "eager")
    with FlopCounterMode(display=False) as counter:
        hidden = model.get_decoder()(input_ids=forest.ids[None], use_cache=False).last_hidden_state[0]
        logits = model.get_output_embeddings()(hidden[torch.unique(forest.source)])
        if backward:
            logits.sum().backward()
    assert lora
    return counter.get_total_flops()


def test_operations_are_those_torch_counts(tmp_path):
    config = tiny.llama_config(num_hidden_layers=12)
    policy = tiny.policy_of(tiny.build(tmp_path / "deep", config))
    forest = forest_of_one_path(policy)
    found = operations(policy, forest)
    masked = (len(forest) ** 2 - attended_pairs(forest)) * config.num_hidden_layers * config.hidden_size
    forward = counted(policy, forest, backward=False)
    assert found.forward + 4 * masked == pytest.approx(forward, rel=1e-9)
    # The first layer's input needs no gradient, and a sum's gradient is no matrix product: a little less.
    both = counted(policy, forest, backward=True)
    assert found.forward + found.backward + 12 * masked == pytest.approx(both, rel=0.05)
    assert found.update == 2 * found.forward + found.backward


def test_a_shared_prompt_is_counted_once(llama):
    policy = tiny.policy_of(llama)
    alone = operations(policy, TokenForest.build([TokenPath(list(range(40)), [39])]))
    twice = operations(policy, TokenForest.build([TokenPath(list(range(40)), [39])] * 2))
    assert twice == alone


def test_ratios_are_larger_is_better():
    assert results.smaller("s", "time", "s", 2.0, 10.0, "peer", 4)["ratio"] == 5
    assert results.smaller("s", "time", "s", 2.0, 10.0, "peer", 4)["met"] is True
    assert results.smaller("s", "time", "s", 5.0, 10.0, "peer", 4)["met"] is False
    assert results.larger("s", "rate", "", 0.1, 0.15, "floor", 1.0)["met"] is False
    assert results.smaller("s", "time", "s", 5.0, 10.0, "peer", None)["met"] is None


def measured(update, **more):
    return {"update": update, "step": [2 * u for u in update], "peak_mb": 100.0, "commit": "c", "measured_at": "t",
            "peer": "trl", "update_tflop": 1.0, "matmul_tflops": 2.0, **more}  # fmt: skip


def test_rows_take_medians_and_carry_where_they_come_from():
    measurements = {
        "P512-R64: ours": measured([1.0, 2.0, 90.0]),
        "P512-R64: peer": measured([12.0], peak_mb=400.0, commit="older"),
    }
    rows = {row["metric"]: row for row in grpo.rows_of(measurements)}
    assert (rows["whole step"]["ours"], rows["whole step"]["peer"], rows["whole step"]["met"]) == (4, 24, True)
    assert (rows["update"]["ratio"], rows["update"]["target"], rows["update"]["met"]) == (6, 5.5, True)
    assert rows["peak memory"]["met"] is True
    assert (rows["update"]["commit"], rows["update"]["peer_commit"]) == ("c", "older")
    assert rows["update's share of the bf16 matmul rate"]["ours"] == 0.25


def test_both_agent_settings_use_one_measurement_of_ours():
    measurements = {"agent: ours": measured([1.0])}
    measurements |= {f"{name}: peer": measured([4.0]) for name in ("agent vs tool loop", "agent vs row a turn")}
    updates = [row for row in grpo.rows_of(measurements) if row["metric"] == "update"]
    assert [(row["setting"], row["met"]) for row in updates] == [
        ("agent vs tool loop", True),
        ("agent vs row a turn", False),
    ]


def test_a_part_measures_only_what_it_is_asked_for():
    everything = [key for key, *_ in grpo.plan([s.name for s in SETTINGS], ours=True, peer=True, steps=None)]
    # Six peers, four different works of ours.
    assert len(everything) == len(set(everything)) == 10
    assert [key for key, *_ in grpo.plan(["agent vs row a turn"], ours=True, peer=False, steps=1)] == ["agent: ours"]


def test_parts_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    results.write("toy", [], {"a": {"update": [1]}})
    results.write("toy", [], results.read_measurements("toy") | {"b": {"update": [2]}})
    document = json.loads((tmp_path / "toy.json").read_text())
    assert document["measurements"].keys() == {"a", "b"}
    assert document.keys() >= {"bench", "commit", "machine", "rows"}


def test_a_child_that_fails_or_takes_too_long_is_no_measurement(capfd):
    assert children.run("benchmarks.sides.nothing_of_that_name", limit_s=60) is None
    assert "No module named" in capfd.readouterr().err
    assert children.run("benchmarks.sides.sampling", "--prompts", 1, limit_s=0.5) is None
    assert "stopped after 0 s" in capfd.readouterr().err


def test_a_bench_keeps_what_it_measured_and_fails_when_one_process_fails(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy_side.py").write_text(
        "import json, sys\nopen(sys.argv[-1], 'w').write(json.dumps({'seconds': 2.0, 'asked': sys.argv[1]}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    plan = [
        children.Child("a", "toy_side", ("--fast",), {"predicted": 1.0}),
        children.Child("b", "toy_side.of_no_such_name"),
    ]
    rows = [results.smaller("toy", "time", "s", 2.0, 1.0, "peer", None)]
    with pytest.raises(SystemExit) as stop:
        children.run_bench(
            "toy", plan, lambda measured: rows, limit_s=60, report=lambda measured: print(list(measured))
        )
    assert stop.value.code == 1
    (measured,) = results.read_measurements("toy").values()
    assert (measured["seconds"], measured["asked"], measured["predicted"]) == (2.0, "--fast", 1.0)
    assert capsys.readouterr().out.startswith("['a']\nsetting")


@pytest.mark.parametrize("written", [True, False])
def test_our_side_measures_steps_after_the_first(llama, letters, written):
    setting = Setting("toy", 32, 4, 8, group=4)
    found = measure(tiny.policy_of(llama), setting, 2, written=written, text=letters)
    assert len(found["step"]) == len(found["update"]) == len(found["rollout"]) == 2
    for step, rollout, update in zip(found["step"], found["rollout"], found["update"], strict=True):
        assert step >= rollout + update > 0
    assert found["distinct_tokens"] < found["path_tokens"]
    assert found["update_tflop"] > 0
    assert sum(found["forest_tokens"]) >= 2 * found["distinct_tokens"] - 8


def test_the_plot_of_growth(llama, letters, tmp_path):
    found = grown(tiny.policy_of(llama), Setting("toy", 32, 4, 8), (2, 4), 1, text=letters)
    assert found["distinct_tokens"][0] < found["distinct_tokens"][1]
    plot(found, tmp_path / "g.png")
    assert (tmp_path / "g.png").stat().st_size > 5000


def run_of(rewards, each):
    return [{"seconds": each * (i + 1), "reward": r} for i, r in enumerate(rewards)]


def test_learning_compares_the_time_to_what_the_peer_reached(monkeypatch):
    monkeypatch.setattr(learning, "WINDOW", 2)
    peer = {"peer": "trl", "steps": run_of([0, 0, 0.2, 0.6, 0.4], 10), "commit": "p"}
    ours = {"steps": run_of([0, 0.1, 0.3, 0.9, 0.9, 0.9], 1), "commit": "o"}
    (row,) = learning.rows_of({"ours, seed 0": ours, "peer, seed 0": peer})
    # The peer's last two steps have 0.5; ours have 0.6 after four.
    assert (row["peer"], row["ours"], row["ratio"], row["met"]) == (50, 4, 12.5, True)
    ours["steps"] = ours["steps"][:3]
    (row,) = learning.rows_of({"ours, seed 0": ours, "peer, seed 0": peer})
    assert (row["ours"], row["ratio"], row["met"]) == (None, 0, False)
