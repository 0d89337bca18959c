"""What is known of an object's runs: when the last one ended, and how long its longest good one took.

Flux can stop reconciling without any condition changing (kustomize-controller#1499), so the proof that it has not must
come from the object: with some kinds every run writes the status, with others a time in it moves, and sources show
nothing at all. Whether too much time has passed since is not judged here: rules compare it with the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

from gotk_exporter.flux.durations import parse_duration
from gotk_exporter.flux.evidence import BEHIND, SUCCEEDED, condition_of
from gotk_exporter.flux.fields import is_suspended, read
from gotk_exporter.flux.objects import FluxObject
from gotk_exporter.flux.periods import interval_seconds, timeout_seconds
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.timestamps import parse_timestamp
from gotk_exporter.flux.verdicts import Seen, Status, Verdict


@dataclass(frozen=True, slots=True)
class Runs:
    """None where the object does not tell."""

    ended_at: float | None = None
    """Unix seconds: the newest proof that a reconcile ended; also kept while the next one runs. None while its
    controller has no reason to write (suspended, stalled, waiting), since nothing can be read from its silence then."""
    longest_seconds: float | None = None
    """Of the successful runs that are known."""
    suspended_at: float | None = None
    """The same while it was suspended. The edit may have moved it, and no run."""


UNKNOWN = Runs()


def runs_of(
    kind: Kind, obj: FluxObject, verdict: Verdict | None, before: Runs, verdict_before: Verdict | None, seen: Seen
) -> Runs:
    """What is known after this write; ``before`` and ``verdict_before`` are the same object's (by uid) until now."""
    if verdict is None:
        return UNKNOWN
    ended_at = _ended_at(kind, obj, verdict, before, verdict_before)
    longest = _longest(kind, obj, verdict, before, verdict_before, seen)
    suspended_at = before.suspended_at if ended_at is None else None
    if is_suspended(kind, obj):
        suspended_at = _proof(kind, obj)
    if ended_at is None and longest is None and suspended_at is None:
        return UNKNOWN
    return Runs(ended_at, longest, suspended_at)


def _ended_at(
    kind: Kind, obj: FluxObject, verdict: Verdict, before: Runs, verdict_before: Verdict | None
) -> float | None:
    if kind.reconciled_path is None and not kind.written_by_runs:
        return None
    if kind.reconciled_path is not None and verdict.failing:
        # That it tries, and fails, moves nothing.
        return None
    stalled = condition_of(obj, "Stalled")
    if (
        verdict.waiting_since is not None
        or verdict.status is Status.DELETED
        or is_suspended(kind, obj)
        or (stalled is not None and stalled.status == "True")
    ):
        return None
    if verdict.running_since is not None and verdict_before is not None:
        # The status is written when a run begins, too. After a pause (it waited, it was suspended) the run before that
        # is old, and no controller is to blame: nothing is said before this one has ended.
        return before.ended_at
    if verdict.running_since is not None and kind.reconciled_path is None:
        return _recorded(obj)
    proof = _proof(kind, obj)
    # Resumed, it has not run yet.
    return proof if proof is None or proof != before.suspended_at else None


def _proof(kind: Kind, obj: FluxObject) -> float | None:
    """What moves with every run, between two of them."""
    if kind.reconciled_path is not None:
        return _time_at(obj, kind.reconciled_path)
    return _status_written(obj) or _recorded(obj)


def _time_at(obj: FluxObject, path: str) -> float | None:
    value = read(obj, path)
    return parse_timestamp(value) if isinstance(value, str) else None


def _status_written(obj: FluxObject) -> float | None:
    entries = obj.metadata.managed_fields or ()
    times = [parse_timestamp(entry.time) for entry in entries if entry.subresource == "status"]
    return max((time for time in times if time is not None), default=None)


def _recorded(obj: FluxObject) -> float | None:
    """From status.history, which has no entry for a run that failed before it applied anything."""
    times = [parse_timestamp(entry.last_reconciled) for entry in obj.status.history or ()]
    return max((time for time in times if time is not None), default=None)


def _longest(
    kind: Kind, obj: FluxObject, verdict: Verdict, before: Runs, verdict_before: Verdict | None, seen: Seen
) -> float | None:
    was_seen = seen.followed_until == seen.at and seen.written_after is None
    history = obj.status.history or []
    known = [before.longest_seconds]
    known += [
        parse_duration(entry.last_reconciled_duration)
        # A run changes the newest entry, or puts one before it.
        for entry in (history[:1] if was_seen and verdict_before is not None else history)
        if entry.last_reconciled_status == SUCCEEDED and entry.last_reconciled_duration
    ]
    began = verdict_before.running_since if verdict_before is not None else None
    if began == parse_timestamp(obj.metadata.creation_timestamp):
        # No controller had touched it: that time is no run's.
        began = None
    if began is not None and was_seen and _has_succeeded(kind, obj, verdict, began):
        # No run outlasts its timeout; one that seems to was begun by a controller that has died since.
        timeout, _ = timeout_seconds(kind, obj, interval_seconds(kind, obj)[0])
        known.append(max(0.0, seen.at - began) if timeout is None else min(max(0.0, seen.at - began), timeout))
    return max((seconds for seconds in known if seconds is not None), default=None)


def _has_succeeded(kind: Kind, obj: FluxObject, verdict: Verdict, began: float) -> bool:
    """Whether a run ended in this write that did something: one that only looks leaves Ready as it was."""
    ready = condition_of(obj, kind.condition)
    changed = parse_timestamp(ready.last_transition_time) if ready is not None else None
    # One that was cut short, or unlocked, leaves the verdict as it was.
    ended = ready is not None and ready.status == "True" and verdict.running_since is None
    return ended and changed is not None and changed > began - BEHIND
