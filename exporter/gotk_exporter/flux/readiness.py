"""The verdict on an object: an observation goes in, with the verdict so far, and a verdict comes out.

The live Ready condition is no verdict: kustomize-controller sets Unknown at the start of almost every run, so a lasting
failure never stays False for long. For now the verdict is the last terminal status (True or False) that was seen. What
the object itself proves after a restart, failing-since and the special cases of single kinds belong here as well, and
are still to come; the seam is complete: nothing else decides what an object's status is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gotk_exporter.flux.kinds import Kind, Reconciled
from gotk_exporter.flux.objects import Condition, FluxObject


class Status(enum.Enum):
    """The status label of gotk_reconcile_condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
    DELETED = "Deleted"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one write of an object says about its state."""

    condition: Condition | None
    """The condition that the kind's verdict follows."""
    terminating: bool
    seen_at: float
    """Unix seconds at which the write reached us."""


@dataclass(frozen=True, slots=True)
class Verdict:
    status: Status


_VERDICTS = {status: Verdict(status) for status in Status}
_TERMINAL = {"True": _VERDICTS[Status.TRUE], "False": _VERDICTS[Status.FALSE]}

_IS_RECONCILED: Mapping[Reconciled, Callable[[FluxObject], bool]] = {
    Reconciled.ALWAYS: lambda obj: True,
    Reconciled.IF_CONDITIONS: lambda obj: bool(obj.status.conditions),
    Reconciled.UNLESS_OCI: lambda obj: obj.spec.type != "oci" or bool(obj.status.conditions),
    Reconciled.NEVER: lambda obj: False,
}


def observe(kind: Kind, obj: FluxObject, seen_at: float) -> Observation | None:
    """What the object says now; None where no controller judges it, so that it has no verdict at all."""
    if not _IS_RECONCILED[kind.reconciled](obj):
        return None
    conditions = obj.status.conditions or ()
    condition = next((condition for condition in conditions if condition.type == kind.condition), None)
    return Observation(condition, obj.metadata.deletion_timestamp is not None, seen_at)


def judge(previous: Verdict | None, observation: Observation) -> Verdict:
    """The verdict after this observation; ``previous`` is the same object's (by uid) until now."""
    if observation.terminating:
        return _VERDICTS[Status.DELETED]
    if observation.condition is not None:
        terminal = _TERMINAL.get(observation.condition.status)
        if terminal is not None:
            return terminal
    return previous or _VERDICTS[Status.UNKNOWN]
