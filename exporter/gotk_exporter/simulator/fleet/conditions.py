"""Conditions as fluxcd/pkg's runtime/conditions keeps them; decides none of them.

lastTransitionTime moves when the status, the reason or the message changes, not with the status alone. The observed
generation of a condition is that of the object at the moment it is set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Condition = dict[str, Any]

READY, RECONCILING, STALLED, HEALTHY = "Ready", "Reconciling", "Stalled", "Healthy"

_WEIGHTS = {STALLED: 0, RECONCILING: 1, READY: 2}


def same_state(one: Condition, other: Condition) -> bool:
    return bool(
        one["status"] == other["status"] and one["reason"] == other["reason"] and one["message"] == other["message"]
    )


def _order(condition: Condition) -> tuple[int, int, str]:
    weight = _WEIGHTS.get(condition["type"])
    return (3, -condition["observedGeneration"], condition["type"]) if weight is None else (weight, 0, "")


class Conditions:
    """The conditions of one object while a controller works on it."""

    def __init__(self, conditions: Iterable[Condition], generation: int, now: str) -> None:
        self._conditions: list[Condition] = list(conditions)
        self.generation = generation
        self.now = now
        """What lastTransitionTime becomes."""

    def __contains__(self, type: str) -> bool:
        return self.get(type) is not None

    def get(self, type: str) -> Condition | None:
        return next((condition for condition in self._conditions if condition["type"] == type), None)

    def status(self, type: str) -> str | None:
        condition = self.get(type)
        return condition["status"] if condition else None

    def reason(self, type: str) -> str | None:
        condition = self.get(type)
        return condition["reason"] if condition else None

    def message(self, type: str) -> str:
        condition = self.get(type)
        return condition["message"] if condition else ""

    def is_true(self, type: str) -> bool:
        return self.status(type) == "True"

    def is_false(self, type: str) -> bool:
        return self.status(type) == "False"

    def is_unknown(self, type: str) -> bool:
        """Also where the condition is absent, as in fluxcd/pkg."""
        return self.status(type) in (None, "Unknown")

    def set(self, type: str, status: str, reason: str, message: str) -> None:
        old = self.get(type)
        new: Condition = {
            "lastTransitionTime": self.now,
            "message": message,
            "observedGeneration": self.generation,
            "reason": reason,
            "status": status,
            "type": type,
        }
        if old is not None:
            if same_state(old, new):
                if old["observedGeneration"] == self.generation:
                    return
                new["lastTransitionTime"] = old["lastTransitionTime"]
            self._conditions[self._conditions.index(old)] = new
        else:
            self._conditions.append(new)
        self._conditions.sort(key=_order)

    def true(self, type: str, reason: str, message: str) -> None:
        self.set(type, "True", reason, message)

    def false(self, type: str, reason: str, message: str) -> None:
        self.set(type, "False", reason, message)

    def unknown(self, type: str, reason: str, message: str) -> None:
        self.set(type, "Unknown", reason, message)

    def delete(self, *types: str) -> None:
        self._conditions = [condition for condition in self._conditions if condition["type"] not in types]

    def reconciling(self, reason: str, message: str) -> None:
        """Reconciling and Stalled exclude each other."""
        self.delete(STALLED)
        self.true(RECONCILING, reason, message)

    def stalled(self, reason: str, message: str) -> None:
        self.delete(RECONCILING)
        self.true(STALLED, reason, message)

    def retrying(self) -> None:
        """What was being done is being done again: a run that is over, and not well, says so in the reason."""
        condition = self.get(RECONCILING)
        if condition is not None:
            self.true(RECONCILING, "ProgressingWithRetry", condition["message"])

    def progressing(self, message: str, drift: bool = False) -> None:
        """What sources do at the start of a run: Ready becomes Unknown only where there is something to change."""
        self.reconciling("Progressing", message)
        if drift or self.is_unknown(READY):
            self.unknown(READY, "Progressing", message)

    def as_list(self) -> list[Condition]:
        return list(self._conditions)
