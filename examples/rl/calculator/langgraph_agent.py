"""The same agent as a LangGraph graph: a model node and LangGraph's own node of tools, in turns.

Nothing here knows that it is trained: `ChatOpenAI` finds the model in OPENAI_BASE_URL, as it would OpenAI's.
"""

from agent import MOST_CALLS, SYSTEM, calculate
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@tool
def calculator(expression: str) -> str:
    """The value of an arithmetic expression."""
    return calculate(expression)


def write(state: MessagesState):
    """The model calls the calculator, or answers."""
    model = ChatOpenAI(model="policy", max_completion_tokens=64).bind_tools([calculator])
    return {"messages": [model.invoke(state["messages"])]}


graph = StateGraph(MessagesState)
graph.add_node("write", write)
graph.add_node("tools", ToolNode([calculator]))
graph.add_edge(START, "write")
graph.add_conditional_edges("write", tools_condition)
graph.add_edge("tools", "write")
calculating = graph.compile()


def agent(task):
    messages = [SystemMessage(SYSTEM), HumanMessage(task["question"])]
    try:
        done = calculating.invoke({"messages": messages}, {"recursion_limit": 2 * MOST_CALLS + 2})
    except GraphRecursionError:  # it went on calling
        return None
    return done["messages"][-1].content
