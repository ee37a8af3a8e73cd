"""What verbs print with --json is what docs/schemas promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from tests.small_demo import SmallDemo

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"


def check(name: str, document: Any) -> None:
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    registry = Registry().with_resources((file, Resource.from_contents(schema)) for file, schema in schemas.items())
    jsonschema.Draft202012Validator(schemas[f"{name}.json"], registry=registry).validate(document)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("search", ["search", "parse an HTTP date"]),
        ("ask", ["ask", "how is an HTTP date parsed?"]),
        ("results", ["eval", "agent", "--run", "demo"]),
    ],
)
def test_document_matches_its_schema(small_demo: SmallDemo, name: str, arguments: list[str]) -> None:
    done = small_demo.homeground(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    check(name, json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_failure_matches_the_schema_of_errors(small_demo: SmallDemo) -> None:
    done = small_demo.homeground("eval", "agent", "--run", "nobody", "--json")
    assert done.returncode == 2
    check("error", json.loads(done.stdout))


def test_a_wrong_document_is_noticed() -> None:
    with pytest.raises(jsonschema.ValidationError):
        check("ask", {"answer": "", "citations": [{"path": "a", "start": 0, "end": 1}], "found": True})
