"""The same agent in the OpenAI Agents SDK: the calculator is a function tool, and the SDK's own loop calls it.

Nothing here knows that it is trained: the SDK finds the model in OPENAI_BASE_URL. It is told to speak chat completions
(its default is the Responses API) and to upload no traces.
"""

from agent import MOST_CALLS, SYSTEM, calculate
from agents.exceptions import AgentsException

from agents import Agent, ModelSettings, Runner, function_tool, set_default_openai_api, set_tracing_disabled

set_default_openai_api("chat_completions")
set_tracing_disabled(True)


@function_tool
def calculator(expression: str) -> str:
    """The value of an arithmetic expression."""
    return calculate(expression)


calculating = Agent(
    name="calculator",
    instructions=SYSTEM,
    model="policy",
    tools=[calculator],
    model_settings=ModelSettings(max_tokens=64),
)


async def agent(task):
    try:
        done = await Runner.run(calculating, task["question"], max_turns=MOST_CALLS + 1)
    except AgentsException:  # it called something else, or went on calling
        return None
    return done.final_output
