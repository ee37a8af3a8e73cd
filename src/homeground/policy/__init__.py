"""The policy: one open model, its quantized base, its adapters, and its log-probabilities over token forests."""

from homeground.policy.adapters import AdapterWarning, LoraSettings
from homeground.policy.chat import Rendered, render
from homeground.policy.forest import TokenForest, TokenPath
from homeground.policy.load import Policy, load_policy
from homeground.policy.logprobs import forest_logprobs, row_logprobs
from homeground.policy.strategy import Strategy, StrategyWarning

__all__ = [
    "AdapterWarning",
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
