"""docs/schemas says what the records of the verbs are; `python -m tests.index.test_schemas` writes it anew."""

import json
from pathlib import Path

import pytest

from homeground.base.record import json_schema
from homeground.index import Excerpt, Skeleton, SymbolMatches, Trace
from homeground.index.search import Found
from homeground.pipeline.task_report import TaskReport

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
RECORDS = {
    "search": Found,
    "read": Excerpt,
    "symbols": SymbolMatches,
    "trace": Trace,
    "skeleton": Skeleton,
    "tasks": TaskReport,
}


def written(name):
    """The text of a schema's file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema = {**head, **json_schema(RECORDS[name]), "title": f"homeground {name} --json"}
    return json.dumps(schema, indent=2) + "\n"


@pytest.mark.parametrize("name", RECORDS)
def test_the_schema_of_a_verb_is_that_of_its_record(name):
    assert (SCHEMAS / f"{name}.json").read_text("utf-8") == written(name)


if __name__ == "__main__":
    for each in RECORDS:
        (SCHEMAS / f"{each}.json").write_text(written(each), "utf-8")
