"""Makes the tasks and the demonstrations that lie here, from reasoning-gym's generators.

    .venv/bin/uv pip install --python .venv/bin/python -c constraints.txt reasoning-gym
    .venv/bin/python examples/rl/calculator/make_tasks.py

The demonstrations are of train tasks alone. They show the form of a call and of an answer, and little more: half of
them copy the question's expression, half only its first two terms, so that the tool alone does not make them right.
"""

import json
import random
import re
from pathlib import Path

import reasoning_gym
from agent import SYSTEM, TOOLS, calculate

HERE = Path(__file__).parent
TRAIN, HELDOUT, DEMONSTRATIONS = 200, 80, 24
KINDS = {
    "chain_sum": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 3},
    "basic_arithmetic": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 3},
}


def tasks(count, seed):
    """Distinct tasks, half of each kind."""
    found = {}
    for kind, options in KINDS.items():
        for entry in reasoning_gym.create_dataset(kind, size=count, seed=seed, **options):
            found[entry["question"]] = {"question": entry["question"], "answer": entry["answer"]}
    rows = list(found.values())
    random.Random(seed).shuffle(rows)
    return rows[:count]


def expression(question):
    return re.search(r"[-(\d][-+*/(). \d]*[\d)]", question)[0]


def demonstration(task, rng):
    whole = expression(task["question"])
    shown = whole if rng.random() < 0.5 else " ".join(whole.split()[:3]).strip("()")
    call = {"name": "calculator", "arguments": {"expression": shown}}
    value = calculate(shown)
    return {
        "tools": TOOLS,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": task["question"]},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]},
            {"role": "tool", "content": value},
            {"role": "assistant", "content": value},
        ],
    }


def write(name, rows):
    (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    every = tasks(TRAIN + HELDOUT, seed=0)
    heldout, train = every[:HELDOUT], every[HELDOUT:]
    rng = random.Random(0)
    write("tasks.jsonl", train)
    write("heldout.jsonl", heldout)
    write("demonstrations.jsonl", [demonstration(task, rng) for task in rng.sample(train, DEMONSTRATIONS)])
