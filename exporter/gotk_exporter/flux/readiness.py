"""The verdict on an object: an observation goes in, with the verdict so far, and a verdict comes out.

The live Ready condition is no verdict. kustomize-controller sets Unknown at the start of almost every run, so a lasting
failure is never False for long, and every healthy commit makes dependents False for half a minute. Here the last
terminal status stands until another one is written, and failing (its own run failed) is told from waiting (what it
needs is not there). Nothing changes because time passes: an overdue run is judged in rules, from ``running_since``.

``TABLE`` says what each write does. What was missed (before the first look, while a connection was lost, while we were
restarted) is made up for from what the object proves (evidence) before the table is applied.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gotk_exporter.flux.evidence import BEHIND, Evidence, condition_of, evidence_of
from gotk_exporter.flux.objects import Condition, FluxObject
from gotk_exporter.flux.rows import Case, Kind, Meaning, Past, Reconciled
from gotk_exporter.flux.timestamps import parse_timestamp
from gotk_exporter.flux.verdicts import Seen, Span, Status, Verdict


class Sign(enum.Enum):
    """What a write says about the object, whatever was before."""

    UNTOUCHED = "no controller has written anything"
    WELL = "Ready is True"
    REFRESHING = "Ready is True while a run goes on, as sources and releases in sync do it"
    FAILED = "Ready is False because its own run failed"
    RETRYING = "the same, and the next run goes on without an Unknown"
    WAITS = "Ready is False because something else is not there"
    RUNS = "Ready is neither True nor False"
    RESTS = "what is written says nothing about success: a run was cut short, or waits for an approval"
    TERMINATES = "the object is being deleted"


class Change(enum.Enum):
    """What a write does to one of the things that last."""

    KEEP = "stays as it is, begun or not"
    BEGIN = "begins with this write, unless it has begun before"
    END = "is over"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. ``status`` None: the last terminal one stands."""

    status: Status | None
    failure: Change
    waiting: Change
    running: Change


TABLE: Mapping[Sign, Row] = {
    Sign.UNTOUCHED: Row(None, Change.KEEP, Change.END, Change.BEGIN),
    Sign.WELL: Row(Status.TRUE, Change.END, Change.END, Change.END),
    Sign.REFRESHING: Row(Status.TRUE, Change.END, Change.END, Change.BEGIN),
    Sign.FAILED: Row(Status.FALSE, Change.BEGIN, Change.END, Change.END),
    Sign.RETRYING: Row(Status.FALSE, Change.BEGIN, Change.END, Change.BEGIN),
    Sign.WAITS: Row(Status.FALSE, Change.KEEP, Change.BEGIN, Change.END),
    # Waiting has ended. The failure before it, if there was one, has not: only a success ends that.
    Sign.RUNS: Row(None, Change.KEEP, Change.END, Change.BEGIN),
    Sign.RESTS: Row(None, Change.KEEP, Change.END, Change.END),
    Sign.TERMINATES: Row(Status.DELETED, Change.END, Change.END, Change.END),
}


@dataclass(frozen=True, slots=True)
class Observation:
    """What one write of an object says."""

    sign: Sign
    seen: Seen
    reason: str
    """Of Ready=False; empty otherwise."""
    since: float | None
    """The time that the object itself gives for the state that the sign names; it may be wrong."""
    created_at: float | None
    evidence: Callable[[], Evidence]
    """Only asked for where something was missed."""


def observe(kind: Kind, obj: FluxObject, seen: Seen) -> Observation | None:
    """What the object says now; None where no controller judges it, so that it has no verdict at all."""
    if not _IS_RECONCILED[kind.reconciled](obj):
        return None
    ready, reconciling = condition_of(obj, kind.condition), condition_of(obj, "Reconciling")
    sign = _sign(kind, obj, ready, reconciling)
    witness = reconciling if ready is None or sign in (Sign.REFRESHING, Sign.RETRYING) else ready
    return Observation(
        sign,
        seen,
        ready.reason if ready is not None and ready.status == "False" and sign is not Sign.RESTS else "",
        parse_timestamp(witness.last_transition_time) if witness is not None else None,
        parse_timestamp(obj.metadata.creation_timestamp),
        lambda: _evidence(kind, obj, sign, ready),
    )


def case_of(kind: Kind, obj: FluxObject) -> Case | None:
    """The row of the kind's table that says what is meant; None where the condition's status says it all."""
    ready = condition_of(obj, kind.condition)
    if ready is None or ready.status == "True":
        return None
    retries = _is_retried(condition_of(obj, "Reconciling"))
    return next((case for case in kind.cases if case.fits(ready.reason, ready.message, retries)), None)


def judge(previous: Verdict | None, observation: Observation) -> Verdict:
    """The verdict after this observation; ``previous`` is the same object's (by uid) until now."""
    sign, seen = observation.sign, observation.seen
    row = TABLE[sign]
    if sign is Sign.WELL:
        return _WELL
    if previous is None:
        previous = _at_first_sight(observation) if row.failure is not Change.END else _UNSEEN
    elif row.failure is not Change.END and seen.followed_until is not None and seen.followed_until < seen.at:
        previous = _after_gap(previous, seen.followed_until, observation)
    return Verdict(
        row.status or previous.status,
        _failure(row.failure, previous, observation),
        _began(row.waiting, previous.waiting_since, observation),
        _began(row.running, previous.running_since, observation),
        observation.reason or ("" if row.failure is Change.END else previous.reason),
        previous.unseen_since if row.failure is Change.KEEP and sign is not Sign.UNTOUCHED else None,
    )


_UNSEEN = Verdict(Status.UNKNOWN)
_WELL = Verdict(Status.TRUE)
"""Most objects, most of the time: one value serves them all."""


def _failure(change: Change, previous: Verdict, observation: Observation) -> Span | None:
    if change is Change.END:
        return None
    if change is Change.KEEP:
        return previous.failure
    if previous.unseen_since is not None:
        return Span.between(min(_known_starts(previous)), observation.seen.at)
    return previous.failure or _written(observation)


def _written(observation: Observation) -> Span:
    """When this write was made: now, as far as we know, or somewhere in the time for which we were cut off."""
    now, after, since = observation.seen.at, observation.seen.written_after, observation.since
    if after is None:
        return Span(now)
    if since is None or not after - BEHIND <= since <= now:
        return Span.between(after, now)
    return Span.between(max(after, since), min(now, since + BEHIND))


def _began(change: Change, before: float | None, observation: Observation) -> float | None:
    if change is not Change.BEGIN:
        return before if change is Change.KEEP else None
    # A first run begins when it does; until then the time since creation was counted.
    first_run = observation.sign is not Sign.UNTOUCHED and before == observation.created_at
    return _begun_at(observation) if before is None or first_run or _began_unseen(observation) else before


def _began_unseen(observation: Observation) -> bool:
    """Whether the state of before has been left in a gap and entered anew: its time has moved."""
    since, seen = observation.since, observation.seen
    return since is not None and seen.followed_until != seen.at and since + BEHIND > (seen.followed_until or 0.0)


def _begun_at(observation: Observation) -> float:
    """When the state began that we see for the first time. Seen as it happened, it began now, by our own clock;
    otherwise the object's word is taken as far as it can be true."""
    seen = observation.seen
    if observation.sign is Sign.UNTOUCHED:
        return min(seen.at, seen.at if observation.created_at is None else observation.created_at)
    if observation.since is None or (seen.followed_until == seen.at and seen.written_after is None):
        return seen.at
    earliest = observation.created_at if seen.followed_until is None else seen.followed_until
    if seen.written_after is not None:
        earliest = seen.written_after
    # What came just after the earliest may bear a time before it.
    if earliest is not None and observation.since < earliest - BEHIND:
        return seen.at
    return min(observation.since, seen.at)


# What was missed


def _at_first_sight(observation: Observation) -> Verdict:
    """The verdict that an object had before the write by which we got to know it, from what it proves."""
    if observation.sign is Sign.UNTOUCHED:
        return _UNSEEN
    evidence, now = observation.evidence(), observation.seen.at
    began = evidence.well_at if evidence.well_at is not None else observation.created_at
    earliest = now if began is None else min(began, now)
    failed = observation.sign in (Sign.FAILED, Sign.RETRYING) or evidence.ended_well is False
    if failed or evidence.failed_by is not None:
        by = now if evidence.failed_by is None else min(evidence.failed_by, now)
        # One that was restored from a backup has a status that is older than itself.
        earliest = min(earliest, max(by - BEHIND, 0.0)) if by < earliest else earliest
        return Verdict(Status.FALSE, Span.between(earliest, by), reason=evidence.reason)
    status = Status.TRUE if evidence.ended_well else Status.FALSE if evidence.waited else Status.UNKNOWN
    # Build failures leave no trace, so that even a run after a success may be the retry of a failed one.
    return Verdict(status, unseen_since=earliest)


def _after_gap(previous: Verdict, until: float, observation: Observation) -> Verdict:
    """The verdict before this write where we know the one at ``until`` and have missed writes since."""
    if observation.sign is Sign.UNTOUCHED:
        return previous
    evidence, now = observation.evidence(), observation.seen.at
    unbroken = evidence.no_success_since is not None and evidence.no_success_since <= until
    if unbroken and previous.failure is not None and previous.unseen_since is None:
        return previous
    # A success counts as missed if it came after the failure that we know of, or after all that we know.
    known_by = until if previous.failure is None else min(until, previous.failure.end)
    well_at = evidence.well_at if evidence.well_at is not None and evidence.well_at >= known_by else None
    failed = observation.sign in (Sign.FAILED, Sign.RETRYING) or evidence.ended_well is False
    # The oldest time at which the failure of now may have begun.
    earliest = min(now, well_at) if well_at is not None else min(_known_starts(previous), default=until)
    if failed:
        by = now if evidence.failed_by is None or evidence.failed_by < earliest else min(evidence.failed_by, now)
        latest = max([by, *([previous.failure.end] if previous.failure is not None and well_at is None else [])])
        return replace(
            previous,
            status=Status.FALSE,
            failure=Span.between(earliest, latest),
            unseen_since=None,
            reason=evidence.reason or previous.reason,
        )
    if well_at is not None or evidence.ended_well:
        return replace(previous, status=Status.TRUE, failure=None, unseen_since=earliest, reason="")
    # Nothing tells whether a failure of before has ended: if there is another one now, it began at any time since.
    failure = previous.failure and Span.between(previous.failure.start, now)
    return replace(previous, failure=failure, unseen_since=earliest)


def _known_starts(previous: Verdict) -> list[float]:
    starts = [previous.unseen_since, previous.failure.start if previous.failure is not None else None]
    return [start for start in starts if start is not None]


# What a write says


_IS_RECONCILED: Mapping[Reconciled, Callable[[FluxObject], bool]] = {
    Reconciled.ALWAYS: lambda obj: True,
    Reconciled.IF_CONDITIONS: lambda obj: bool(obj.status.conditions),
    Reconciled.UNLESS_OCI: lambda obj: obj.spec.type != "oci" or bool(obj.status.conditions),
    Reconciled.NEVER: lambda obj: False,
}


def _sign(kind: Kind, obj: FluxObject, ready: Condition | None, reconciling: Condition | None) -> Sign:
    if obj.metadata.deletion_timestamp is not None:
        return Sign.TERMINATES
    meaning = kind.phases.get(obj.status.phase or "")
    if meaning is None and ready is not None:
        case = case_of(kind, obj)
        meaning = case.meaning if case is not None else _STATUSES.get(ready.status, Meaning.RUNS)
    if meaning is None:
        return Sign.RUNS if obj.status.conditions else Sign.UNTOUCHED
    if meaning is Meaning.RUNS and _is_true(condition_of(obj, "Stalled")):
        # A release that is out of retries may be left Unknown after its dependency has recovered.
        meaning = Meaning.FAILS
    runs = _is_true(reconciling) and not _is_retried(reconciling)
    if meaning is Meaning.FAILS and kind.past is Past.RELEASES and _has_failed(ready, reconciling):
        runs = False
    return (_SIGNS_IN_A_RUN if runs else _SIGNS).get(meaning) or _SIGNS[meaning]


_STATUSES = {"True": Meaning.WELL, "False": Meaning.FAILS}
_SIGNS = {
    Meaning.WELL: Sign.WELL,
    Meaning.FAILS: Sign.FAILED,
    Meaning.WAITS: Sign.WAITS,
    Meaning.RESTS: Sign.RESTS,
    Meaning.RUNS: Sign.RUNS,
}
_SIGNS_IN_A_RUN = {Meaning.WELL: Sign.REFRESHING, Meaning.FAILS: Sign.RETRYING}


def _is_true(condition: Condition | None) -> bool:
    return condition is not None and condition.status == "True"


def _is_retried(reconciling: Condition | None) -> bool:
    """Between two attempts: the last one failed, and the next is announced."""
    return reconciling is not None and reconciling.status == "True" and reconciling.reason == "ProgressingWithRetry"


_ACTION = re.compile(r"Running '(\w+)' action")
_OUTCOMES = frozenset(
    {
        *("InstallFailed", "UpgradeFailed", "TestFailed", "RollbackFailed", "UninstallFailed"),
        *("RollbackSucceeded", "UninstallSucceeded"),
    }
)


def _has_failed(ready: Condition | None, reconciling: Condition | None) -> bool:
    """Whether Reconciling speaks of the attempt that Ready says has failed: helm-controller leaves it as it was while
    it backs off, which may be for a quarter of an hour."""
    if ready is None or reconciling is None:
        return False
    action = _ACTION.match(reconciling.message)
    if action is not None:
        return ready.reason.lower() == f"{action[1]}failed"
    return reconciling.message == "Fulfilling prerequisites" and ready.reason not in _OUTCOMES


def _evidence(kind: Kind, obj: FluxObject, sign: Sign, ready: Condition | None) -> Evidence:
    """The kind's evidence, and what Ready=False itself proves: it has been False since its lastTransitionTime."""
    evidence = evidence_of(kind, obj)
    changed = parse_timestamp(ready.last_transition_time) if ready is not None and ready.status == "False" else None
    if changed is None:
        return evidence
    by = changed + BEHIND
    since = by if evidence.no_success_since is None else min(evidence.no_success_since, by)
    failed_by = evidence.failed_by
    if sign in (Sign.FAILED, Sign.RETRYING):
        failed_by = by if failed_by is None else min(failed_by, by)
    return replace(evidence, no_success_since=since, failed_by=failed_by)
