from dataclasses import replace

import pytest

from benchmarks.sides.sources import SampledSource, WrittenSource
from benchmarks.sides.workload import SETTINGS, Delivery, Workload, setting_named, standard_library_ids
from homeground.policy import TokenForest
from homeground.rollouts import Sampler, sampled_paths

from ..policy import tiny


def test_two_processes_agree_on_the_work(toy_agent, letters):
    first, second = Workload(toy_agent, letters), Workload(toy_agent, letters)
    assert [first.task(step) for step in range(4)] == [second.task(step) for step in range(4)]
    assert first.written(2) == second.written(2)
    assert first.task(0).prompt != first.task(1).prompt


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_a_task_has_the_setting_s_sizes(setting, letters):
    task = Workload(setting, letters * 10).task(3)
    assert len(task.prompt) == setting.prompt
    assert len(task.lengths) == len(task.results) == len(task.rewards) == setting.group
    assert all(setting.shortest <= n <= setting.longest for turns in task.lengths for n in turns)
    assert {len(turns) for turns in task.lengths} == {setting.turns}
    assert {len(result) for results in task.results for result in results} == ({256} if setting.turns > 1 else set())
    assert len(set(task.rewards)) == setting.group


def test_the_two_agent_settings_are_the_same_work(letters):
    loop, turns = (Workload(setting_named(n), letters * 10) for n in ("agent vs tool loop", "agent vs row a turn"))
    assert loop.task(5) == turns.task(5)
    assert loop.setting.ours == turns.setting.ours
    assert (loop.setting.peer_rows, turns.setting.peer_rows) == (8, 24)


def test_lengths_are_drawn_once_and_do_differ(letters):
    workload = Workload(setting_named("P1536-R16..128"), letters)
    assert workload.task(0).lengths == workload.task(7).lengths
    assert len({n for (n,) in workload.task(0).lengths}) > 4


def test_rows_resend_the_history(toy_agent, letters):
    workload = Workload(toy_agent, letters)
    task, sampled = workload.task(0), workload.written(0)
    for calls, ids, results in zip(task.rows(sampled), sampled, task.results, strict=True):
        assert [response for _, response in calls] == ids
        assert calls[0][0] == task.prompt
        assert calls[1][0] == [*task.prompt, *ids[0], *results[0]]
        assert calls[2][0] == [*task.prompt, *ids[0], *results[0], *ids[1], *results[1]]


def test_a_sampled_rollout_has_its_drawn_lengths_and_one_path(toy_agent, letters, llama):
    policy = tiny.policy_of(llama)
    workload = Workload(toy_agent, letters)
    with Sampler(policy) as sampler:
        trajectories = SampledSource(sampler, workload).collect([1], toy_agent.group, 0)
    task = workload.task(1)
    for trajectory, lengths, results in zip(trajectories, task.lengths, task.results, strict=True):
        assert [len(turn.ids) for turn in trajectory.turns] == lengths
        (path,) = sampled_paths(trajectory.turns)
        expected = list(task.prompt)
        for turn, result in zip(trajectory.turns, [*results, []], strict=True):
            expected += [*turn.ids, *result]
        assert path.tokens.ids == expected
        assert len(path.tokens.trained) == sum(lengths)


def test_written_rollouts_have_the_shape_of_sampled_ones(toy_agent, letters, llama):
    workload = Workload(toy_agent, letters)
    written = WrittenSource(workload).collect([1], toy_agent.group, 0)
    with Sampler(tiny.policy_of(llama)) as sampler:
        sampled = SampledSource(sampler, workload).collect([1], toy_agent.group, 0)

    def shape(trajectories):
        return [[(len(t.prompt_ids), len(t.ids), len(t.logprobs)) for t in one.turns] for one in trajectories]

    assert shape(written) == shape(sampled)
    assert [t.reward for t in written] == [t.reward for t in sampled]


def test_distinct_tokens_of_a_group_are_prompt_and_completions(letters):
    setting = replace(setting_named("P512-R64"), delivery=Delivery.GENERATE)
    trajectories = WrittenSource(Workload(setting, range(4000))).collect([0], 8, 0)
    forest = TokenForest.build([p.tokens for t in trajectories for p in sampled_paths(t.turns)])
    # Random completions may begin alike by chance.
    assert 0 <= 512 + 8 * 64 - len(forest) <= 4
    assert forest.path_tokens == 8 * (512 + 64)


def test_the_text_is_source_code():
    tokenizer = tiny.tokenizer()
    ids = standard_library_ids(tokenizer)
    assert "import" in tokenizer.decode(ids[:4000])
    assert len(ids) > 100_000
