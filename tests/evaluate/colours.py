"""A task of lm-evaluation-harness that lies in a folder: its YAML file and its data."""

import json

QUESTIONS = [
    {"question": f"{thing} is", "choices": ["red", "green", "blue"], "answer": n % 3, "text": f"{thing} is {colour}."}
    for n, (thing, colour) in enumerate(
        [
            ("A rose", "red"),
            ("Grass", "green"),
            ("The sky", "blue"),
            ("Blood", "red"),
            ("A leaf", "green"),
            ("Ink", "blue"),
        ]
    )
]


def write_task(folder, name="colours", **changes):
    """Write a task and its data; returns the path of its YAML file. Keys whose value is None are left out."""
    data = folder / "colours.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metadata": {"version": 1.5},
    }
    config = {key: value for key, value in (config | changes).items() if value is not None}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(config))
    return path
