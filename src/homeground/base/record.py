"""Records whose JSON and JSON schema follow from their fields."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter

HIDDEN: Any = Field(exclude=True)
"""In `Annotated`: the field is not in the JSON."""
UNLESS_EMPTY: Any = Field(exclude_if=lambda value: not value)
"""In `Annotated`: the field is in the JSON only if it holds something."""


class Record:
    """Base of dataclasses that verbs, servers and tools print."""

    __slots__ = ()
    __pydantic_config__ = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return _adapter(type(self)).dump_python(self, mode="json")


def json_schema(record: type[Record]) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of what `to_json` gives."""
    return _adapter(record).json_schema(mode="serialization")


@cache
def _adapter(record: type[Record]) -> TypeAdapter[Any]:
    return TypeAdapter(record)
