"""Makes the tasks and the demonstrations that lie here: small functions, each from a sentence that says what it does.

    .venv/bin/python examples/rl/coder/make_tasks.py

Every task has two examples, which the agent sees, and five tests, which it does not. A sentence in the held-out file is
in no other. A demonstration shows the form; half of them get the body of another task, so that there is much to learn.
"""

import itertools
import json
import random
from pathlib import Path

from agent import SYSTEM

HERE = Path(__file__).parent
HELDOUT, DEMONSTRATIONS = 60, 32
NAMES = ("solve", "work", "apply", "run")
NUMBERS = [7, 2, 0, 1, 5, -3, 12]
LISTS = [[3, 1, 2], [5], [4, 4, 9, -1], [0, 7], [2, 8, 6, 1, 3], [-2, -5, 1], [10, 20, 30]]
WORDS = ["apple", "Sun", "aba", "Hello", "x", "kitten", "Banana"]


def kinds():
    """(what it does, the expression that does it, its argument, inputs)."""
    for a in range(2, 10):
        yield f"adds {a} to n", f"n + {a}", "n", NUMBERS
        yield f"subtracts {a} from n", f"n - {a}", "n", NUMBERS
        yield f"multiplies n by {a}", f"n * {a}", "n", NUMBERS
        yield f"tells whether n is larger than {a}", f"n > {a}", "n", NUMBERS
        yield f"gives the remainder of n divided by {a}", f"n % {a}", "n", NUMBERS
        yield f"repeats the text s {a} times", f"s * {a}", "s", WORDS
        yield f"adds {a} to every number of the list xs", f"[x + {a} for x in xs]", "xs", LISTS
        yield f"multiplies every number of the list xs by {a}", f"[x * {a} for x in xs]", "xs", LISTS
    for a, b in itertools.product(range(2, 6), range(1, 5)):
        yield f"multiplies n by {a} and adds {b}", f"n * {a} + {b}", "n", NUMBERS
    for words, body in (
        ("sum", "sum(xs)"),
        ("largest number", "max(xs)"),
        ("smallest number", "min(xs)"),
        ("number of items", "len(xs)"),
        ("first item", "xs[0]"),
        ("last item", "xs[-1]"),
    ):
        yield f"gives the {words} of the list xs", body, "xs", LISTS
    for words, body in (("in capitals", "s.upper()"), ("in small letters", "s.lower()"), ("backwards", "s[::-1]")):
        yield f"gives the text s {words}", body, "s", WORDS


def every_task():
    for (does, body, argument, inputs), name in itertools.product(kinds(), NAMES):
        results = [eval(body, {argument: value}) for value in inputs]  # our own expressions, above
        tests = [{"call": [value], "returns": result} for value, result in zip(inputs, results, strict=True)]
        example = tests[0]
        yield {
            "question": f"Write a function {name}({argument}) that {does}. "
            f"For instance, {name}({example['call'][0]!r}) is {example['returns']!r}.",
            "entry": name,
            "does": does,
            "examples": tests[:2],
            "tests": tests[2:],
            "body": body,
            "argument": argument,
        }


def demonstration(task, other):
    body = other["body"].replace(other["argument"], task["argument"]) if other else task["body"]
    code = f"def {task['entry']}({task['argument']}):\n    return {body}"
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": task["question"]},
            {"role": "assistant", "content": code},
        ]
    }


def write(name, rows):
    (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def shown(task):
    return {name: task[name] for name in ("question", "entry", "examples", "tests")}


if __name__ == "__main__":
    rng = random.Random(0)
    sentences = [does for does, *_ in kinds()]
    held = set(rng.sample(sentences, HELDOUT // 2))
    tasks = list(every_task())
    train = [task for task in tasks if task["does"] not in held]
    heldout = [task for task in tasks if task["does"] in held]
    chosen = rng.sample(train, DEMONSTRATIONS)
    write("tasks.jsonl", map(shown, rng.sample(train, 200)))
    write("heldout.jsonl", map(shown, rng.sample(heldout, HELDOUT)))
    write(
        "demonstrations.jsonl",
        [demonstration(task, rng.choice(train) if place % 2 else None) for place, task in enumerate(chosen)],
    )
