"""Makes the demonstrations that lie here: the form of a search and of an answer, over functions that do not exist.

    .venv/bin/python examples/rl/lookup/make_demonstrations.py

The query is a few words of the question; the answer is any of the hits. So they teach how to say something, and nothing
about what is right. The same conversations are written as calls of a tool, for agents_sdk_agent.py.
"""

import json
import random
from pathlib import Path

from agent import SYSTEM, listed

HERE = Path(__file__).parent
DEMONSTRATIONS = 48
VERBS = ("Parse", "Write", "Merge", "Count", "Remove", "Find", "Sort", "Check", "Split", "Open", "Close", "Draw")
THINGS = ("dates", "boats", "rivers", "maps", "letters", "gardens", "clocks", "bridges", "recipes", "songs", "stamps",
          "lamps")  # fmt: skip
WAYS = ("by their age", "in a given order", "without their names", "of one owner", "that are broken", "from a list",
        "as plain text", "when none is left", "of the last week", "with a limit")  # fmt: skip


def conversation(rng):
    """Question, query, hits and the number that is cited."""
    verb, thing, way = rng.choice(VERBS), rng.choice(THINGS), rng.choice(WAYS)
    question = f"{verb} the {thing} {way}."
    words = [word for word in f"{verb} {thing} {way}".lower().split() if len(word) > 3]
    query = " ".join(rng.sample(words, min(len(words), rng.randint(1, 4))))
    hits = [
        {
            "path": f"{rng.choice(THINGS)}/{rng.choice(VERBS).lower()}.py",
            "symbol": f"{rng.choice(VERBS).lower()}_{rng.choice(THINGS)}",
        }
        for _ in range(5)
    ]
    return question, query, hits, rng.randint(1, 5)


def turns(question, query, hits, number):
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"Which function does this? {question}"},
            {"role": "assistant", "content": f"search: {query}"},
            {"role": "user", "content": listed(hits)},
            {"role": "assistant", "content": f"answer: [{number}]"},
        ]
    }


TOOL_SYSTEM = (
    "You find functions in a code base. Call search once. Then reply 'answer: ' and the number of the right hit."
)
"""And the schema below: what agents_sdk_agent.py sends."""
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "The five best hits.",
            "parameters": {
                "properties": {"query": {"title": "Query", "type": "string"}},
                "required": ["query"],
                "title": "search_args",
                "type": "object",
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
]


def calls(question, query, hits, number):
    call = {"type": "function", "function": {"name": "search", "arguments": {"query": query}}}
    return {
        "tools": TOOLS,
        "messages": [
            {"role": "system", "content": TOOL_SYSTEM},
            {"role": "user", "content": f"Which function does this? {question}"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": listed(hits)},
            {"role": "assistant", "content": f"answer: [{number}]"},
        ],
    }


def write(name, rows):
    (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    rng = random.Random(0)
    conversations = [conversation(rng) for _ in range(DEMONSTRATIONS)]
    write("demonstrations.jsonl", [turns(*one) for one in conversations])
    write("tool_demonstrations.jsonl", [calls(*one) for one in conversations])
