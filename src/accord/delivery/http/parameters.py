"""What is common to the parameters of all calls."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

_schemas: dict[Any, dict[str, Any]] = {}


class Parameters(BaseModel):
    """Parameters in the query; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The schema; made once, since the library asks for it at every request."""
        key = (cls, args, tuple(sorted(options.items())))
        if key not in _schemas:
            _schemas[key] = super().model_json_schema(*args, **options)
        return _schemas[key]


class NoQuery(Parameters):
    """A call without parameters."""
