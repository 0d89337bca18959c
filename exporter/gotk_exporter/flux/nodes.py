"""What the graph of causes needs to know of each object: its place, its state as others see it, and whom it waits for.

A node is made from one write and from the node before it; it looks at no other object.
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass

from gotk_exporter.flux.attempts import Attempt
from gotk_exporter.flux.durations import parse_duration
from gotk_exporter.flux.evidence import REMEDIES, condition_of, evidence_of
from gotk_exporter.flux.fields import is_suspended, shard_of
from gotk_exporter.flux.objects import FluxObject
from gotk_exporter.flux.offers import Offer, Push, Selector, offer_of, push_of, selects_of
from gotk_exporter.flux.readiness import case_of
from gotk_exporter.flux.references import (
    Awaited,
    Edge,
    Key,
    awaited_in,
    children_of,
    dependency_named,
    edges_of,
    key_of,
    managed_by,
    owners_claimed,
    produced_by,
)
from gotk_exporter.flux.rows import Kind, Meaning, Via
from gotk_exporter.flux.timestamps import parse_timestamp
from gotk_exporter.flux.verdicts import Seen, Status, Verdict

REQUEUE_DEPENDENCY_SECONDS = 30.0
"""How often an object that waits is looked at again: the flag requeue-dependency of Flux's controllers."""


EXPRESSION_RETRIES = 2
"""After how many looks at a ready dependency a readyExpr that does not hold is the object's own fault."""
QUEUE_RETRIES = 20
"""The same where the message speaks of no expression: then it says what was, and nobody has looked at the object again.
With four workers and sixty new Kustomizations that takes minutes, and is nobody's fault."""


class Phase(enum.Enum):
    """The state of an object as those see it that wait for it."""

    READY = "well, or of a kind that nobody judges"
    FAILING = "its own run failed"
    WAITING = "it waits itself"
    RUNNING = "none of these yet: it runs, or has never run"


@dataclass(frozen=True, slots=True)
class Health:
    """A failed health check: which run it was, and what it waited for."""

    ended_at: float
    """Unix seconds. What recovers after that cannot have let the run end well."""
    awaited: Awaited | None
    """None where the next run went on already when we came, and its message was gone."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Why an object does not try."""

    via: Via
    since: float
    """Since when it waits and looks again and again."""
    named: Key | None
    """The dependency that the message speaks of."""
    patience_seconds: float
    """How long it may wait for what is ready before that is a fault of its own."""


@dataclass(frozen=True, slots=True)
class Node:
    """One object in the graph. Times are Unix seconds."""

    key: Key
    edges: tuple[Edge, ...] = ()
    phase: Phase = Phase.READY
    reason: str = ""
    terminating: bool = False
    suspended: bool = False
    running_since: float | None = None
    confirmed: bool = True
    """Whether its controller has seen its newest generation; before that it counts as not ready."""
    revision: str = ""
    """What it has applied last with success, or what it offers as a source."""
    ready_since: float = 0.0
    """Since when it is ready at this revision; runs in between do not count."""
    unwell_until: float | None = None
    """When it was last failing, waiting or suspended, if it is not now."""
    wait: Wait | None = None
    health: Health | None = None
    children: tuple[Key, ...] = ()
    claims: tuple[Key, ...] = ()
    """Owners that its labels name."""
    produces: tuple[Key, ...] = ()
    failed_with: str = ""
    """The reason of its last failed run, while that counts: also while it waits, or runs again."""
    attempt: Attempt | None = None
    """Its last one, while it fails."""
    succeeded_at: float | None = None
    """When it turned well, if it is: as we saw it, or as it says itself."""
    offer: Offer | None = None
    selects: tuple[Selector, ...] = ()
    push: Push | None = None
    shard: str = ""
    """Its sharding label."""

    @property
    def unwell(self) -> bool:
        """Whether what waits for it, waits because of it."""
        return _is_unwell(self.phase, self.suspended, self.terminating)

    @property
    def receives(self) -> bool:
        """Whether it is well and there to receive what comes next."""
        return self.phase is Phase.READY and not self.terminating

    @property
    def outward(self) -> tuple[object, ...]:
        """All that others look at when they ask what they wait for."""
        return (
            self.phase,
            self.reason,
            self.terminating,
            self.suspended,
            self.running_since,
            self.confirmed,
            self.revision,
            self.ready_since,
            self.unwell_until,
            self.edges,
        )


def node_of(
    kind: Kind,
    obj: FluxObject,
    verdict: Verdict | None,
    before: Node | None,
    seen: Seen,
    attempt: Attempt | None,
) -> Node:
    """The object's node after this write; ``before`` is the same object's (by uid) until now."""
    now = seen.at
    phase = _phase(verdict)
    suspended = bool(is_suspended(kind, obj))
    terminating = obj.metadata.deletion_timestamp is not None
    revision = sys.intern(_revision(obj))
    said = verdict.reason if verdict is not None else ""
    failed_with = _failed_with(kind, obj, verdict, before, phase)
    return Node(
        key_of(kind, obj),
        edges_of(kind, obj),
        phase,
        failed_with if phase is Phase.FAILING else said,
        terminating,
        suspended,
        verdict.running_since if verdict is not None else None,
        _is_confirmed(obj),
        revision,
        _ready_since(phase, revision, before, now),
        None if _is_unwell(phase, suspended, terminating) else _unwell_until(before, now),
        _wait(kind, obj, verdict, before, now) if phase is Phase.WAITING else None,
        _health(kind, obj, verdict, before, now) if verdict is not None and verdict.failure is not None else None,
        children_of(obj),
        owners_claimed(kind, obj),
        produced_by(kind, obj),
        failed_with,
        attempt,
        _succeeded_at(kind, obj, verdict, before, seen),
        offer_of(kind, obj),
        selects_of(kind, obj),
        push_of(kind, obj),
        shard_of(obj),
    )


def _is_unwell(phase: Phase, suspended: bool, terminating: bool) -> bool:
    return phase in (Phase.FAILING, Phase.WAITING) or suspended or terminating


def _unwell_until(before: Node | None, now: float) -> float | None:
    if before is None:
        return None
    return now if before.unwell else before.unwell_until


def _phase(verdict: Verdict | None) -> Phase:
    if verdict is None or (verdict.status is Status.TRUE and not verdict.failing):
        return Phase.READY
    if verdict.waiting_since is not None:
        return Phase.WAITING
    return Phase.FAILING if verdict.failing else Phase.RUNNING


def _revision(obj: FluxObject) -> str:
    artifact = obj.status.artifact
    if artifact is not None:
        return artifact.revision or ""
    if obj.status.last_applied_revision:
        return obj.status.last_applied_revision
    deployed = (entry.chart_version for entry in obj.status.history or () if entry.status == "deployed")
    return next((version for version in deployed if version), "")


def _is_confirmed(obj: FluxObject) -> bool:
    generation, observed = obj.metadata.generation, obj.status.observed_generation
    return generation is None or observed is None or observed >= generation


def _ready_since(phase: Phase, revision: str, before: Node | None, now: float) -> float:
    if before is not None and before.phase is phase and before.revision == revision:
        return before.ready_since
    return now


def _succeeded_at(
    kind: Kind, obj: FluxObject, verdict: Verdict | None, before: Node | None, seen: Seen
) -> float | None:
    if verdict is None or verdict.status is not Status.TRUE or verdict.failing:
        return None
    if before is not None and before.succeeded_at is not None:
        return before.succeeded_at
    ready = condition_of(obj, kind.condition)
    changed = parse_timestamp(ready.last_transition_time) if ready is not None else None
    return seen.at if seen.followed_until == seen.at or changed is None else min(changed, seen.at)


def _wait(kind: Kind, obj: FluxObject, verdict: Verdict | None, before: Node | None, now: float) -> Wait | None:
    case = case_of(kind, obj)
    ready = condition_of(obj, kind.condition)
    if case is None or case.meaning is not Meaning.WAITS or case.via is None or ready is None or verdict is None:
        return None
    named = dependency_named(kind, ready.message) if case.via is Via.DEPENDS_ON else None
    since = verdict.waiting_since if verdict.waiting_since is not None else 0.0
    if before is not None and before.wait is not None:
        # While it was suspended, nobody looked whether it must wait still.
        resumed = before.suspended and not is_suspended(kind, obj)
        since = now if resumed else max(since, before.wait.since)
    return Wait(case.via, since, named, _patience_seconds(case.via, obj, ready.message))


def _patience_seconds(via: Via, obj: FluxObject, message: str) -> float:
    if via is Via.DEPENDS_ON:
        return REQUEUE_DEPENDENCY_SECONDS * (EXPRESSION_RETRIES if "xpr" in message else QUEUE_RETRIES)
    stated = parse_duration(obj.spec.retry_interval or obj.spec.interval or "") or 0.0
    return max(stated * EXPRESSION_RETRIES, REQUEUE_DEPENDENCY_SECONDS * QUEUE_RETRIES)


def _has_ended_in_failure(kind: Kind, obj: FluxObject, phase: Phase) -> bool:
    """Whether its conditions are those of a run of its own that has failed: it neither waits nor runs, and was not cut
    short."""
    ready, case = condition_of(obj, kind.condition), case_of(kind, obj)
    rests = case is not None and case.meaning is Meaning.RESTS
    return phase is Phase.FAILING and ready is not None and ready.status == "False" and not rests


def _failed_with(kind: Kind, obj: FluxObject, verdict: Verdict | None, before: Node | None, phase: Phase) -> str:
    if verdict is None or verdict.failure is None:
        return ""
    if _has_ended_in_failure(kind, obj, phase):
        remedied = evidence_of(kind, obj).reason if verdict.reason in REMEDIES else ""
        return remedied or verdict.reason
    # What it said last may be why it waited.
    known = before.failed_with if before is not None else evidence_of(kind, obj).reason
    return known or (verdict.reason if phase is Phase.FAILING else "")


def _health(kind: Kind, obj: FluxObject, verdict: Verdict, before: Node | None, now: float) -> Health | None:
    """What is found at the end of a failed run stays until the next run ends: while it waits for that, and runs."""
    ready = condition_of(obj, kind.condition)
    known = before.health if before is not None else None
    if ready is None or not _has_ended_in_failure(kind, obj, _phase(verdict)):
        came_in_a_run = before is None and verdict.reason == "HealthCheckFailed" and children_of(obj)
        return Health(now, None) if came_in_a_run else known
    managed = managed_by(obj)
    awaited = awaited_in(ready.message, managed) if managed else None
    if awaited is None:
        return None
    # A run ends with two writes, and the first has told when.
    if known is not None and known.awaited == awaited and before is not None and before.running_since is None:
        return known
    return Health(now, awaited)
