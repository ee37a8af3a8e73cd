"""Makes the tasks and the demonstrations that lie here, from Markdown files: sentences with a code span left out.

    .venv/bin/python examples/rl/search/make_tasks.py docs README.md

A held-out task is of a file that no other task is of. The demonstrations show the form: they search with a few
words of the question and answer with the right span in seven of ten, else with another span of what was found.
"""

import json
import random
import re
import sys
from pathlib import Path

from agent import SYSTEM, information, sentences_of

HERE = Path(__file__).parent
HELDOUT_SHARE, MOST_HELDOUT, DEMONSTRATIONS, RIGHT = 0.35, 100, 96, 0.7
SPAN = re.compile(r"`([A-Za-z_][\w.=-]{2,24})`")


def tasks_of(file):
    text = re.sub(r"^```.*?^```", "", file.read_text(), flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in sentences_of(paragraph):
            spans = SPAN.findall(sentence)
            if spans and len(set(spans)) == len(spans) and len(sentence.split()) >= 6:
                span = spans[0]
                if sentence.count(span) == 1:
                    yield {"question": sentence.replace(f"`{span}`", "___"), "answer": span, "file": file.name}


def demonstration(task, source, rng):
    asked = [word for word in re.findall(r"\w+", task["question"]) if len(word) > 3 and word.strip("_")]
    query = " ".join(rng.sample(asked, min(len(asked), rng.randint(2, 5))))
    found = information([{"text": source}], query)
    others = [span for span in re.findall(r"`([\w.=-]+)`", found["content"]) if span != task["answer"]]
    answer = task["answer"] if rng.random() < RIGHT or not others else rng.choice(others)
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": task["question"]},
            {"role": "assistant", "content": f"<think>I look it up.</think><search>{query}</search>"},
            found,
            {"role": "assistant", "content": f"<think>It says so.</think><answer>{answer}</answer>"},
        ]
    }


def write(name, rows):
    (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    rng = random.Random(0)
    named = [Path(argument) for argument in sys.argv[1:]]
    files = sorted(file for path in named for file in (path.rglob("*.md") if path.is_dir() else [path]))
    of_file = {file: list(tasks_of(file)) for file in files}
    held, count = [], sum(map(len, of_file.values()))
    for file in rng.sample(files, len(files)):
        if sum(len(of_file[one]) for one in held) < HELDOUT_SHARE * count:
            held.append(file)
    heldout = [task for file in held for task in of_file[file]]
    asked = {task["question"] for task in heldout}
    train = [(t, file) for file in files if file not in held for t in of_file[file] if t["question"] not in asked]
    write("tasks.jsonl", [task for task, _ in train])
    write("heldout.jsonl", rng.sample(heldout, min(MOST_HELDOUT, len(heldout))))
    chosen = rng.sample(train, min(DEMONSTRATIONS, len(train)))
    write("demonstrations.jsonl", [demonstration(task, file.read_text(), rng) for task, file in chosen])
