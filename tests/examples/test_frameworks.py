"""The LangGraph agent, unchanged and in its own environment, through a real gateway and a tiny model server."""

import sys

import pytest

from homeground.agents import launch
from homeground.agents.search_server import SearchServer
from homeground.index import Hit
from homeground.rollouts import Gateway, GatewaySource, ModelServer, ProcessRunner, Program, Sampler, sampled_paths

from ..policy import tiny
from .test_rl import EXAMPLES, FRAMEWORKS, TASK, needs_frameworks


@needs_frameworks
@pytest.mark.skipif(sys.platform != "linux", reason="the runner of processes is Linux's")
def test_every_call_of_a_langgraph_agent_is_recorded_and_can_be_trained(tmp_path):
    folder = tiny.build(tmp_path / "llama", tiny.llama_config(max_position_embeddings=1024))
    policy = tiny.policy_of(folder)
    hits = [Hit(f"a{n}.py", 1, 2, f"f{n}", "function", "python", 1.0, {}, "") for n in range(5)]
    answers = []

    def grade(task, printed):
        answers.append((task, printed))
        return 0.5

    with (
        SearchServer(lambda query, k: hits[:k]) as service,
        Sampler(policy, rows=4, cache_mb=4) as sampler,
        ModelServer(sampler, policy.tokenizer) as server,
        Gateway() as gateway,
    ):
        agent = f"{EXAMPLES / 'lookup' / 'langgraph_agent.py'}:agent"
        program = Program([launch.FILE, agent], python=str(FRAMEWORKS), env=service.environment)
        with GatewaySource(gateway, server, ProcessRunner(program), grade=grade) as source:
            (trajectory,) = source.collect([TASK], 1, 0)
    assert trajectory.error is None, trajectory.error
    assert trajectory.reward == 0.5
    assert answers[0][0] == TASK
    assert '"found": [["a0.py", "f0"]' in answers[0][1]
    first, second = trajectory.turns
    assert 1 <= len(first.ids) <= 24
    assert 1 <= len(second.ids) <= 8
    assert len(sampled_paths(trajectory.turns)) == 1, "the second turn goes on with the tokens that were sampled"
