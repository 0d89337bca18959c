"""Defaults of a CRD's OpenAPI schema. Nothing else of a schema is looked at: objects are neither checked nor pruned.

Defaults matter because Flux relies on them: status.observedGeneration of a new object is -1 by default.

Reference: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions", Defaulting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class _Missing:
    pass


_MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Defaults:
    """The part of a schema that leads to defaults."""

    default: Any = _MISSING
    properties: Mapping[str, Defaults] = field(default_factory=dict)
    others: Defaults | None = None
    """Of the values of a map, or of the items of a list."""

    @property
    def empty(self) -> bool:
        return self.default is _MISSING and not self.properties and self.others is None

    def completed(self, value: Any) -> Any:
        """``value`` with what is missing inside of it; itself where nothing is. It is not changed."""
        if isinstance(value, dict):
            return self._completed_map(value)
        if isinstance(value, list) and self.others is not None:
            return [self.others.completed(one) for one in value]
        return value

    def _completed_map(self, value: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, below in self.properties.items():
            before = value.get(name, below.default)
            after = below.completed(before)
            if after is not _MISSING and (name not in value or after is not before):
                found[name] = after
        if self.others is not None:
            found |= {name: self.others.completed(one) for name, one in value.items()}
        return {**value, **found} if found else value


NO_DEFAULTS = Defaults()


def defaults_of(schema: Mapping[str, Any]) -> Defaults:
    """What ``schema`` sets where an object is silent."""
    properties = {name: defaults_of(below) for name, below in (schema.get("properties") or {}).items()}
    below = schema.get("items") or schema.get("additionalProperties")
    others = defaults_of(below) if isinstance(below, dict) else NO_DEFAULTS
    return Defaults(
        schema.get("default", _MISSING),
        {name: found for name, found in properties.items() if not found.empty},
        None if others.empty else others,
    )
