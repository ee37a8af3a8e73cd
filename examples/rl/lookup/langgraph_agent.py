"""The same agent as a LangGraph graph of three nodes, with LangChain's own chat model.

Nothing here knows that it is trained: `ChatOpenAI` finds the model in OPENAI_BASE_URL, as it would OpenAI's, and the
search is an HTTP service like any other.
"""

from typing import Annotated, Any, TypedDict

from agent import ANSWER, SEARCH, SYSTEM, listed, one_line, outcome
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from search_service import search


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    hits: list[dict[str, Any]]


def write(state: State) -> dict[str, Any]:
    """The model writes a query."""
    return {"messages": [ChatOpenAI(model="policy", max_completion_tokens=24).invoke(state["messages"])]}


def look(state: State) -> dict[str, Any]:
    """The query is searched for, and the hits are shown."""
    asked = str(state["messages"][-1].content)
    call = SEARCH.fullmatch(asked)
    hits = search(call["query"] if call else asked, 10)
    return {"messages": [HumanMessage(listed(hits))], "hits": hits}


def cite(state: State) -> dict[str, Any]:
    """The model cites one of them."""
    return {"messages": [ChatOpenAI(model="policy", max_completion_tokens=8).invoke(state["messages"])]}


graph = StateGraph(State)
for node in (write, look, cite):
    graph.add_node(node.__name__, node)
graph.add_edge(START, "write")
graph.add_edge("write", "look")
graph.add_edge("look", "cite")
graph.add_edge("cite", END)


def agent(task):
    question = f"Which function does this? {one_line(task['question'], 200)}"
    done = graph.compile().invoke({"messages": [SystemMessage(SYSTEM), HumanMessage(question)], "hits": []})
    _, _, asked, _, cited = [str(message.content) for message in done["messages"]]
    picked = ANSWER.fullmatch(cited)
    return outcome(done["hits"], SEARCH.fullmatch(asked) is not None, int(picked["number"]) if picked else 0)
