"""Rollouts: the sampler, the model server, the Agent Lightning gateway, and the trajectories that come out."""

from homeground.rollouts.gateway import Gateway, GatewayClient
from homeground.rollouts.sampler import FinishReason, Generation, Sampler
from homeground.rollouts.sampling import SamplingParams
from homeground.rollouts.server import ModelServer
from homeground.rollouts.source import DirectSource, GatewaySource, Source, run_agents
from homeground.rollouts.trajectory import AgentResult, SampledPath, Trajectory, Turn, sampled_paths

__all__ = [
    "AgentResult",
    "DirectSource",
    "FinishReason",
    "Gateway",
    "GatewayClient",
    "GatewaySource",
    "Generation",
    "ModelServer",
    "SampledPath",
    "Sampler",
    "SamplingParams",
    "Source",
    "Trajectory",
    "Turn",
    "run_agents",
    "sampled_paths",
]
