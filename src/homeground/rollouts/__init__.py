"""Rollouts: the sampler, the model server, the Agent Lightning gateway, and the trajectories that come out.

What speaks HTTP is imported when it is first asked for: the sampler and the direct source need none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from homeground.rollouts.client import LocalClient
from homeground.rollouts.engine import Engine, FinishReason, Generation
from homeground.rollouts.sampler import Sampler
from homeground.rollouts.sampling import SamplingParams
from homeground.rollouts.source import Agent, DirectSource, Source
from homeground.rollouts.trajectory import Failure, SampledPath, Trajectory, TrajectoryGroup, Turn, sampled_paths
from homeground.rollouts.vllm_engine import VllmEngine

if TYPE_CHECKING:
    from homeground.rollouts.gateway import Gateway, GatewayClient
    from homeground.rollouts.gateway_source import GatewaySource, run_agents
    from homeground.rollouts.kubernetes import Job, KubernetesRunner
    from homeground.rollouts.process import ProcessRunner
    from homeground.rollouts.program import Program
    from homeground.rollouts.server import ModelServer

_LATER = {
    "Gateway": "gateway",
    "GatewayClient": "gateway",
    "GatewaySource": "gateway_source",
    "Job": "kubernetes",
    "KubernetesRunner": "kubernetes",
    "ModelServer": "server",
    "ProcessRunner": "process",
    "Program": "program",
    "run_agents": "gateway_source",
}

__all__ = [
    "Agent",
    "DirectSource",
    "Engine",
    "Failure",
    "FinishReason",
    "Gateway",
    "GatewayClient",
    "GatewaySource",
    "Generation",
    "Job",
    "KubernetesRunner",
    "LocalClient",
    "ModelServer",
    "ProcessRunner",
    "Program",
    "SampledPath",
    "Sampler",
    "SamplingParams",
    "Source",
    "Trajectory",
    "TrajectoryGroup",
    "Turn",
    "VllmEngine",
    "run_agents",
    "sampled_paths",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
