"""The policy: one open model, its quantized base, its adapters, and its log-probabilities over token forests."""

from homeground.policy.chat import Rendered, render
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import LoraSettings, Policy, load_policy
from homeground.policy.logprobs import forest_logprobs, row_logprobs
from homeground.policy.strategy import Strategy, StrategyWarning

__all__ = [
    "LoraSettings",
    "Policy",
    "Rendered",
    "Strategy",
    "StrategyWarning",
    "TokenForest",
    "TokenPath",
    "forest_logprobs",
    "load_policy",
    "render",
    "row_logprobs",
]
