"""What is known of a failing object's last attempt, and of the next one.

It reads one object. Whether what made the attempt fail is over since, which others tell, stands in retries.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gotk_exporter.flux.diagnosis import Diagnosis
from gotk_exporter.flux.evidence import condition_of
from gotk_exporter.flux.failures import FailureClass
from gotk_exporter.flux.fields import is_suspended
from gotk_exporter.flux.objects import Condition, FluxObject
from gotk_exporter.flux.periods import interval_seconds, retry_seconds, timeout_seconds
from gotk_exporter.flux.readiness import case_of
from gotk_exporter.flux.rows import Kind, Meaning, Via
from gotk_exporter.flux.runs import Runs
from gotk_exporter.flux.timestamps import parse_timestamp
from gotk_exporter.flux.verdicts import Seen, Span, Verdict

LONGEST_BACKOFF_SECONDS = 900.0
"""The flag max-retry-delay of Flux's controllers, 15 minutes."""
_RUN_SECONDS = 60.0
"""How long a run may take where neither the object nor its kind says: the fetch timeout of sources."""

_OF_A_SOURCE = frozenset(
    {FailureClass.TIMEOUT, FailureClass.CONNECT, FailureClass.DNS, FailureClass.TLS, FailureClass.NOT_FOUND}
)
_OF_A_DEPENDENCY = _OF_A_SOURCE | {
    FailureClass.WORKLOAD_UNHEALTHY,
    FailureClass.TEST_FAILED,
    FailureClass.WEBHOOK_UNAVAILABLE,
    FailureClass.CRD_MISSING,
}
_EXPLAINED: Mapping[Via, frozenset[FailureClass]] = {
    Via.DEPENDS_ON: _OF_A_DEPENDENCY,
    Via.SOURCE_REF: _OF_A_SOURCE,
    Via.CHART_REF: _OF_A_SOURCE,
    Via.IMAGE: _OF_A_SOURCE,
}
"""What one that was not well may bring about in those that need it. The other classes are in the object's own manifests
or rights; and what it has fetched is not unhealthy because the next fetch fails."""


class Cause(enum.Enum):
    """What made an object fail, and is over: the label cause."""

    DEPENDENCY = "dependency"
    CHILD = "child"
    SHARED_CAUSE = "shared_cause"
    NODE_DISRUPTION = "node_disruption"


@dataclass(frozen=True, slots=True)
class Awaiting:
    """An excuse, and how long it holds. Unix seconds."""

    cause: Cause
    ended_at: float
    """When what made it fail was over, as far as we know."""
    until: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last attempt of an object that fails; while the next one runs, still the one before it. Unix seconds."""

    began_at: float
    failure: Span
    """When the whole failure began, of which this is one attempt."""
    said_at: float | None
    """The time that the object itself gives for what it says of its failure."""
    shared_cause: str
    suspects: frozenset[Via]
    """What it needs that may explain the failure, if it was not well."""
    retry_seconds: float | None
    """The controller's wait between attempts; None where it backs off."""
    run_seconds: float
    """How long the next one may take."""
    excuse: Awaiting | None = None
    """What is remembered of it from before a restart."""

    def excused(self, excuse: Awaiting | None, is_same: bool) -> Attempt:
        """With what is remembered of it. ``is_same``: no attempt has ended since; otherwise this may be a later one
        than that which was excused."""
        if excuse is None or not (is_same or self.began_at < excuse.ended_at):
            return self
        return replace(self, excuse=excuse)

    def until(self, ended_at: float) -> float:
        """When the next attempt should have been made and have ended, if its cause ended at that time."""
        wait = self.retry_seconds
        if wait is None:
            # Each wait is twice the one before, so that none is longer than all before it together, and a second.
            wait = min(max(0.0, ended_at - self.failure.start) + 1.0, LONGEST_BACKOFF_SECONDS)
        return ended_at + wait + self.run_seconds


def attempt_of(
    kind: Kind,
    obj: FluxObject,
    verdict: Verdict | None,
    diagnosis: Diagnosis | None,
    runs: Runs,
    before: Attempt | None,
    verdict_before: Verdict | None,
    seen: Seen,
) -> Attempt | None:
    """The last attempt after this write; None where the object does not fail, or makes no further attempt."""
    if verdict is None or verdict.failure is None or not verdict.failing or diagnosis is None:
        return None
    stalled = condition_of(obj, "Stalled")
    if is_suspended(kind, obj) or (stalled is not None and stalled.status == "True"):
        return None
    interval, _ = interval_seconds(kind, obj)
    timeout, _ = timeout_seconds(kind, obj, interval)
    retry, _ = retry_seconds(kind, obj, interval)
    run = runs.longest_seconds if runs.longest_seconds is not None else timeout or _RUN_SECONDS
    failure = diagnosis.failure
    hanging = (timeout or _RUN_SECONDS) if failure.failure_class is FailureClass.TIMEOUT else 0.0
    began_at, said_at = _began(kind, obj, verdict, before, verdict_before, seen, hanging)
    attempt = Attempt(
        began_at,
        verdict.failure,
        said_at,
        failure.shared_cause,
        _suspects(failure.failure_class),
        retry,
        run,
    )
    if before is not None and before.excuse is not None and before.began_at == began_at:
        return replace(attempt, excuse=before.excuse)
    return attempt


@functools.cache
def _suspects(failure_class: FailureClass) -> frozenset[Via]:
    return frozenset(via for via, classes in _EXPLAINED.items() if failure_class in classes)


def _began(
    kind: Kind,
    obj: FluxObject,
    verdict: Verdict,
    before: Attempt | None,
    verdict_before: Verdict | None,
    seen: Seen,
    hanging: float,
) -> tuple[float, float | None]:
    """When the last attempt began that has failed, and the time that the object gives for its words."""
    ready, case = condition_of(obj, kind.condition), case_of(kind, obj)
    ended = ready is not None and ready.status == "False" and (case is None or case.meaning is not Meaning.RESTS)
    if not ended:
        if before is not None:
            return before.began_at, before.said_at
        if verdict.running_since is not None and verdict.failure is not None:
            # Whichever attempt it was that failed, it was over before this one began.
            return min(verdict.failure.end, verdict.running_since), None
    said_at = _said_at(obj, ready) if ready is not None and ended else None
    running_since = verdict_before.running_since if verdict_before is not None else None
    if running_since is not None and verdict.running_since is None:
        return running_since, said_at
    if before is not None and before.said_at == said_at:
        # The second of the two writes with which a run ends, or one that has nothing to do with a run.
        return before.began_at, said_at
    # Nobody saw it run. Seen as it was written, it ended now; otherwise when the object says so.
    live = seen.followed_until == seen.at and seen.written_after is None
    ended_at = seen.at if live or said_at is None else min(said_at, seen.at)
    return ended_at - hanging, said_at


def _said_at(obj: FluxObject, ready: Condition) -> float | None:
    """When the words of a failure changed last, here or where a source keeps them."""
    fetch = condition_of(obj, "FetchFailed")
    times = [parse_timestamp(condition.last_transition_time) for condition in (ready, fetch) if condition is not None]
    return max((time for time in times if time is not None), default=None)
