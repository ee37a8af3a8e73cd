"""The same agent in the OpenAI Agents SDK: the search is a function tool, which the model calls.

Nothing here knows that it is trained: the SDK finds the model in OPENAI_BASE_URL. It is told to speak chat completions
(its default is the Responses API) and to upload no traces.
"""

from agent import ANSWER, listed, one_line, outcome
from agents.exceptions import AgentsException
from search_service import search as search_index

from agents import (
    Agent,
    ModelSettings,
    RunConfig,
    Runner,
    function_tool,
    set_default_openai_api,
    set_tracing_disabled,
)

set_default_openai_api("chat_completions")
set_tracing_disabled(True)

SYSTEM = "You find functions in a code base. Call search once. Then reply 'answer: ' and the number of the right hit."
MOST_TURNS = 2


async def agent(task):
    found = []

    @function_tool
    def search(query: str) -> str:
        """The five best hits."""
        found[:] = search_index(query, 10)
        return listed(found)

    lookup = Agent(
        name="lookup",
        instructions=SYSTEM,
        model="policy",
        tools=[search],
        model_settings=ModelSettings(max_tokens=48),
    )
    question = f"Which function does this? {one_line(task['question'], 200)}"
    try:
        done = await Runner.run(lookup, question, max_turns=MOST_TURNS, run_config=RunConfig(tracing_disabled=True))
    except AgentsException:  # it called something else, or went on calling
        return outcome(found, bool(found), 0)
    picked = ANSWER.fullmatch(str(done.final_output))
    return outcome(found, bool(found), int(picked["number"]) if picked else 0)
