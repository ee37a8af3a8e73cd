"""The agents that ship; they get their tools as arguments and speak the chat-completions API."""

from homeground.agents.lookup import LookupOutcome, SearchTool, lookup_agent, settle
from homeground.agents.lookup_reward import lookup_reward
from homeground.agents.protocol import SYSTEM_PROMPT, Message, SearchCall, parse_answer, parse_search
from homeground.agents.scripted import scripted_lookup, scripted_trajectory

__all__ = [
    "SYSTEM_PROMPT",
    "LookupOutcome",
    "Message",
    "SearchCall",
    "SearchTool",
    "lookup_agent",
    "lookup_reward",
    "parse_answer",
    "parse_search",
    "scripted_lookup",
    "scripted_trajectory",
    "settle",
]
