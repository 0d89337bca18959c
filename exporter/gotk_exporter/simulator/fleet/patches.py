"""How a controller writes what it changed, as fluxcd/pkg's runtime/patch does: conditions, then metadata, then status.

Each of the three is a request of its own, sent only where something differs from what was sent before. That is why a
final status comes as two writes, and why Building and lastAttemptedRevision do.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from gotk_exporter.simulator.fleet.conditions import Conditions, same_state
from gotk_exporter.simulator.fleet.objects import Json


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Patch:
    """A JSON merge patch of the object that is being reconciled."""

    body: Json
    status: bool
    """Of its status subresource."""


@dataclass(frozen=True, slots=True)
class Emit:
    """An event about the object that is being reconciled."""

    severity: str
    reason: str
    message: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Apply:
    """Create or update an object that the reconciled one owns."""

    obj: Json


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete an object that the reconciled one owns."""

    kind: str
    namespace: str
    name: str


Effect = Wait | Patch | Emit | Apply | Remove
"""What a run asks of the fleet. Everything else it only reads."""

Doing = Generator[Effect, Any, None]
"""A part of a run."""


def merge_patch(before: Json, after: Json) -> Json:
    """The JSON merge patch (RFC 7386) from one to the other; empty if they are equal."""
    patch: Json = {}
    for name, old in before.items():
        if name not in after:
            patch[name] = None
            continue
        new = after[name]
        if new is old or new == old:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            patch[name] = merge_patch(old, new)
        else:
            patch[name] = new
    for name, new in after.items():
        if name not in before:
            patch[name] = new
    return patch


class Working:
    """The copy of an object that one run works on.

    ``status`` holds everything but the conditions. Values in it are replaced, never changed: they are shared with what
    the API server has.
    """

    def __init__(self, obj: Json, stamp: str) -> None:
        self.metadata: Json = obj["metadata"]
        self.spec: Json = obj.get("spec", {})
        self.generation: int = self.metadata.get("generation", 1)
        self.status: Json = dict(obj.get("status", {}))
        self.conditions = Conditions(self.status.pop("conditions", ()), self.generation, stamp)
        self.finalizers: list[str] = list(self.metadata.get("finalizers", ()))
        self._before_status = dict(self.status)
        self._before_conditions = self.conditions.as_list()
        self._before_finalizers = list(self.finalizers)

    def changed_conditions(self, stored: Json, stamp: str) -> list[Json] | None:
        """The stored conditions with this run's changes on top; None if that makes no difference.

        The present generation counts here, not that of the run's start: a controller reads the object again before it
        patches conditions.
        """
        wanted = {condition["type"]: condition for condition in self.conditions.as_list()}
        known = {condition["type"]: condition for condition in self._before_conditions}
        self._before_conditions = self.conditions.as_list()
        present = stored.get("status", {}).get("conditions", [])
        merged = Conditions(present, stored["metadata"].get("generation", 1), stamp)
        for type, condition in wanted.items():
            old = known.get(type)
            if (
                old is None
                or not same_state(old, condition)
                or old["observedGeneration"] != condition["observedGeneration"]
            ):
                merged.set(type, condition["status"], condition["reason"], condition["message"])
        merged.delete(*(type for type in known if type not in wanted))
        result = merged.as_list()
        return None if result == present else result

    def changed_finalizers(self) -> list[str] | None:
        if self.finalizers == self._before_finalizers:
            return None
        self._before_finalizers = list(self.finalizers)
        return list(self.finalizers)

    def changed_status(self) -> Json:
        patch = merge_patch(self._before_status, self.status)
        self._before_status = dict(self.status)
        return patch
