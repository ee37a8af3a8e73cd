"""The JSON of a record and its schema agree, hidden and empty fields included."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import jsonschema
import pytest

from homeground.base.record import HIDDEN, UNLESS_EMPTY, Record, json_schema


class Crumb(StrEnum):
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Loaf(Record):
    number: Annotated[int, HIDDEN]
    crumb: Crumb


@dataclass(frozen=True)
class Shelf(Record):
    loaves: list[Loaf]
    notes: Annotated[list[str], UNLESS_EMPTY] = field(default_factory=list)


def test_hidden_fields_are_never_in_the_json_and_empty_ones_only_if_they_hold_something():
    assert Shelf([Loaf(1, Crumb.FINE)]).to_json() == {"loaves": [{"crumb": "fine"}]}
    assert Shelf([], ["sold"]).to_json() == {"loaves": [], "notes": ["sold"]}


def test_the_schema_holds_for_the_json_and_for_nothing_more():
    schema, found = json_schema(Shelf), Shelf([Loaf(1, Crumb.FINE)], ["warm"]).to_json()
    jsonschema.validate(found, schema)
    for wrong in (found | {"more": 1}, found | {"loaves": [{"crumb": "coarse"}]}, {"notes": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
