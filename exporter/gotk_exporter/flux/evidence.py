"""What an object, as it stands, proves about its own past: after a restart it is the only witness.

One function per way of keeping a past; which of them a kind has stands in kinds. The rules were measured on recorded
timelines of the real controllers. Times in objects are whole seconds, and taken before the write: what they date was
seen up to ``BEHIND`` later. It judges nothing (readiness).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gotk_exporter.flux.fields import read
from gotk_exporter.flux.objects import Condition, FluxObject, HistoryEntry
from gotk_exporter.flux.rows import Kind, Meaning, Past
from gotk_exporter.flux.timestamps import parse_timestamp

BEHIND = 2.0
"""How far behind the write, as we see it, a time in an object may be: a second for the fractions that it lacks, and one
for the way of the write to us (recorded on an idle machine: 1.003 seconds in all)."""
HISTORY_LENGTH = 5
"""Entries that the appliers keep; older ones are lost."""
SUCCEEDED = "ReconciliationSucceeded"
REMEDIES = frozenset({"RollbackSucceeded", "UninstallSucceeded"})
"""With which helm-controller ends a failed attempt: that the old release is back is not what went wrong."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Unix seconds throughout; None where the object does not tell."""

    ended_well: bool | None = None
    """How its last finished run ended."""
    well_at: float | None = None
    """It was well then or later: no failure of now began before."""
    no_success_since: float | None = None
    """It has not been well at any time after this."""
    failed_by: float | None = None
    """Its present failure had begun by then."""
    reason: str = ""
    """Why its last run failed, where that did not end well."""
    waited: bool = False
    """When it said last how it is, it waited: it was not well, and had not failed."""


def evidence_of(kind: Kind, obj: FluxObject) -> Evidence:
    """What the object proves in the way of its kind."""
    if kind.success_path is not None:
        succeeded_at = read(obj, kind.success_path)
        return Evidence(well_at=parse_timestamp(succeeded_at if isinstance(succeeded_at, str) else None))
    return _PASTS[kind.past](kind, obj)


def condition_of(obj: FluxObject, condition_type: str) -> Condition | None:
    """The object's condition of this type."""
    for condition in obj.status.conditions or ():
        if condition.type == condition_type:
            return condition
    return None


def _nothing(kind: Kind, obj: FluxObject) -> Evidence:
    return Evidence()


def _runs(kind: Kind, obj: FluxObject) -> Evidence:
    """status.history of the appliers: one entry for each digest and status, re-used when both come back.

    An entry's firstReconciled may therefore belong to an older episode, and then only its lastReconciled belongs to
    this one. Build and artifact failures leave no entry, so the list bounds the start of a failure and never proves it.
    """
    history = obj.status.history
    if history is None:
        return Evidence()
    newest = history[0].last_reconciled_status or "" if history else SUCCEEDED
    ended_well = newest == SUCCEEDED if history else None
    reason = "" if newest == SUCCEEDED else newest
    successes = [parse_timestamp(e.last_reconciled) for e in history if e.last_reconciled_status == SUCCEEDED]
    if None in successes:
        # It may be the newest, and then every other time may be of an older episode.
        return Evidence(ended_well, reason=reason)
    well_at = max((time for time in successes if time is not None), default=None)
    if well_at is not None:
        no_success_since: float | None = well_at + BEHIND
    elif len(history) < HISTORY_LENGTH:
        no_success_since = parse_timestamp(obj.metadata.creation_timestamp)
    else:
        no_success_since = None
    # Where successes may have been pushed out of the list, only the newest time of an entry is of this episode.
    lost = well_at is None and len(history) >= HISTORY_LENGTH
    failures = [
        time
        for entry in history
        if entry.last_reconciled_status != SUCCEEDED
        for time in _failed_by(entry, well_at, lost)
    ]
    return Evidence(ended_well, well_at, no_success_since, min(failures, default=None), reason)


def _failed_by(entry: HistoryEntry, well_at: float | None, lost: bool) -> tuple[float, ...]:
    """When a failure after ``well_at`` had happened for certain, as far as this entry tells."""
    first, last = None if lost else parse_timestamp(entry.first_reconciled), parse_timestamp(entry.last_reconciled)
    for time in (first, last):
        # Of two events in one second nobody knows the order, so one in the second of the success proves nothing.
        if time is not None and (well_at is None or time > well_at):
            return (time + BEHIND,)
    return ()


def _release(kind: Kind, obj: FluxObject) -> Evidence:
    """A HelmRelease: its condition Released keeps the last action's result while the next one runs."""
    released = condition_of(obj, "Released")
    well_at = _deployed_at(obj)
    if released is None or released.status not in ("True", "False") or _says_nothing(released):
        return Evidence(well_at=well_at)
    changed = parse_timestamp(released.last_transition_time)
    if released.status == "True" and _tests_failed(obj):
        # The next upgrade takes the condition TestSuccess away, and leaves this.
        return Evidence(False, well_at, reason="TestFailed")
    if released.status == "True" or changed is None:
        return Evidence(released.status == "True", well_at)
    # Moves when the error's text changes, and is then late; early it never is.
    return Evidence(False, well_at, changed + BEHIND, changed + BEHIND, released.reason)


def _tests_failed(obj: FluxObject) -> bool:
    newest = next(iter(obj.status.history or ()), None)
    return newest is not None and any(hook.phase == "Failed" for hook in (newest.test_hooks or {}).values())


def _says_nothing(released: Condition) -> bool:
    """Of a lock that was taken away, or a release that is elsewhere from now on: neither is the end of a run."""
    unlocked = released.reason == "PendingRelease" and released.message.startswith("Unlocked ")
    return released.status == "False" and (unlocked or released.reason == "UninstallSucceeded")


def _deployed_at(obj: FluxObject) -> float | None:
    """The start of an install or upgrade that went well. A rollback's release is deployed too, in mid-failure."""
    tests = condition_of(obj, "TestSuccess")
    if tests is not None and tests.status != "True":
        return None
    times = [
        parse_timestamp(entry.last_deployed)
        for entry in obj.status.history or ()
        if entry.status == "deployed"
        and entry.action in ("install", "upgrade")
        # The condition goes when the next upgrade begins; the entry keeps what became of its tests.
        and all(hook.phase == "Succeeded" for hook in (entry.test_hooks or {}).values())
    ]
    return max((time for time in times if time is not None), default=None)


def _fetched(kind: Kind, obj: FluxObject) -> Evidence:
    """A source: FetchFailed stands still while Ready flips at each retry, and the artifact says when it was stored."""
    artifact, failed = obj.status.artifact, condition_of(obj, "FetchFailed")
    well_at = parse_timestamp(artifact.last_update_time) if artifact is not None else None
    if failed is None or failed.status != "True":
        return Evidence(True if artifact is not None else None, well_at)
    changed = parse_timestamp(failed.last_transition_time)
    by = None if changed is None else changed + BEHIND
    # It also says that there was nothing to fetch from, and that nobody could tell.
    case = next((case for case in kind.cases if case.fits(failed.reason, failed.message, False)), None)
    if case is None or case.meaning is Meaning.FAILS:
        return Evidence(False, well_at, by, by, failed.reason)
    if case.meaning is Meaning.WAITS:
        return Evidence(None, well_at, by, waited=True)
    return Evidence(True if artifact is not None else None, well_at)


_PASTS: Mapping[Past, Callable[[Kind, FluxObject], Evidence]] = {
    Past.NONE: _nothing,
    Past.RUNS: _runs,
    Past.RELEASES: _release,
    Past.FETCHES: _fetched,
}
