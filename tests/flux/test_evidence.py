"""What an object proves about its own past: the rules that were measured on the recorded timelines, one by one.

Expected are the bounds: what was well at or after, without a success since, failed by. A time in an object may be two
seconds behind what it dates, so whatever it bounds from above is two seconds later.
"""

from __future__ import annotations

from typing import Any

import pytest

from gotk_exporter.flux.evidence import Evidence, evidence_of
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.objects import decode
from gotk_exporter.flux.readiness import judge, observe
from gotk_exporter.flux.verdicts import Seen, Span, Status, Verdict
from tests.flux.examples import json_bytes
from tests.flux.histories import EPOCH, stamp

CREATED = 0
OK, HEALTH, APPLY = "ReconciliationSucceeded", "HealthCheckFailed", "ReconciliationFailed"


def time(seconds: float) -> str:
    return stamp(EPOCH + seconds)


def document(*conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    metadata = {"name": "a", "creationTimestamp": time(CREATED)}
    return {"metadata": metadata, "status": {"conditions": list(conditions), **status}}


def condition(type_: str, status: str, since: float | str, reason: str = "Any", message: str = "") -> dict[str, Any]:
    changed = since if isinstance(since, str) else time(since)
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": changed}


def run(status: str, first: float | str, last: float | str) -> dict[str, Any]:
    """An entry of an applier's history."""
    times = [it if isinstance(it, str) else time(it) for it in (first, last)]
    return {"lastReconciledStatus": status, "firstReconciled": times[0], "lastReconciled": times[1]}


def release(status: str, deployed: float | str, action: str | None = "upgrade") -> dict[str, Any]:
    entry = {"status": status, "lastDeployed": deployed if isinstance(deployed, str) else time(deployed)}
    return entry if action is None else {**entry, "action": action}


def proved(kind: str, told: dict[str, Any]) -> tuple[bool | None, float | None, float | None, float | None]:
    """Ended well; and in seconds since the creation: well at, no success since, failed by."""
    obj, _ = decode(json_bytes(told))
    evidence = evidence_of(BY_NAME[kind], obj)
    bounds = [
        None if it is None else it - EPOCH for it in (evidence.well_at, evidence.no_success_since, evidence.failed_by)
    ]
    return evidence.ended_well, bounds[0], bounds[1], bounds[2]


RUNS = [
    # what the case is, the history (newest first), ended well, well at, no success since, failed by
    ("no history, as before Flux 2.7", None, None, None, None, None),
    ("no run has left an entry yet", [], None, None, 0, None),
    ("never failed", [run(OK, 10, 70)], True, 70, 72, None),
    ("never succeeded", [run(HEALTH, 31, 232)], False, None, 0, 33),
    ("never succeeded, with two causes", [run(HEALTH, 90, 232), run(APPLY, 31, 60)], False, None, 0, 33),
    ("in its first episode of failure", [run(HEALTH, 131, 232), run(OK, 10, 70)], False, 70, 72, 133),
    (
        "failing, with a second commit",
        [run(HEALTH, 200, 232), run(APPLY, 131, 180), run(OK, 10, 70)],
        False,
        70,
        72,
        133,
    ),
    ("recovered", [run(OK, 10, 300), run(HEALTH, 131, 232)], True, 300, 302, None),
    # Recorded (b): the same digest had failed before; its first time is that of the old episode, seven minutes early.
    ("failing again as it once did", [run(HEALTH, 31, 452), run(OK, 302, 363)], False, 363, 365, 454),
    (
        "failing again, first in a new way",
        [run(HEALTH, 31, 500), run(APPLY, 452, 452), run(OK, 302, 363)],
        False,
        363,
        365,
        454,
    ),
    # Recorded (c): build failures leave nothing, so this is also what one looks like that fails.
    ("failing to build since 100", [run(OK, 10, 70)], True, 70, 72, None),
    # Five failing commits have pushed the success out: the first times may be of an older episode.
    (
        "full of failures",
        [run(HEALTH, 31, 500), *(run(HEALTH, it - 40, it) for it in (450, 400, 350, 300))],
        False,
        None,
        None,
        302,
    ),
    ("four failures and no success", [run(HEALTH, it - 40, it) for it in (450, 400, 350, 300)], False, None, 0, 262),
    (
        "five with a success",
        [*(run(HEALTH, it, it) for it in (450, 400, 350, 300)), run(OK, 10, 70)],
        False,
        70,
        72,
        302,
    ),
    # Of two events in one second nobody knows the order, but that the newer entry stands first.
    ("succeeded and failed in one second", [run(HEALTH, 70, 70), run(OK, 10, 70)], False, 70, 72, None),
    ("failed and succeeded in one second", [run(OK, 10, 70), run(HEALTH, 70, 70)], True, 70, 72, None),
    ("failed twice, once in the second of success", [run(HEALTH, 70, 71), run(OK, 10, 70)], False, 70, 72, 73),
    # Garbage costs itself.
    ("a failure without times", [{"lastReconciledStatus": HEALTH}, run(OK, 10, 70)], False, 70, 72, None),
    ("a failure with a garbled first time", [run(HEALTH, "soon", 131), run(OK, 10, 70)], False, 70, 72, 133),
    # It may be the newest success, and then all other times may be of an older episode.
    ("a success without times", [run(HEALTH, 31, 500), {"lastReconciledStatus": OK}], False, None, None, None),
    ("an entry without a status", [{"firstReconciled": time(5), "lastReconciled": time(9)}], False, None, 0, 7),
]


@pytest.mark.parametrize(("history", "expected"), [(row[1], row[2:]) for row in RUNS], ids=[row[0] for row in RUNS])
def test_the_history_of_an_applier_proves(history: list[dict[str, Any]] | None, expected: tuple[Any, ...]) -> None:
    told = document() if history is None else document(history=history)
    assert proved("Kustomization", told) == expected
    assert proved("ResourceSet", told) in (expected, (None, None, None, None))


INSTALLED, UPGRADED = release("superseded", 10, "install"), release("deployed", 100)
RELEASED, BROKEN = condition("Released", "True", 130), condition("Released", "False", 200)


def after_tests(phase: str) -> dict[str, Any]:
    """The upgrade, with a test that came to this."""
    return {**UPGRADED, "testHooks": {"podinfo-test": {"phase": phase}}}


ROLLED_BACK = [release("deployed", 205, "rollback"), release("failed", 180), release("superseded", 100, "rollback")]
RELEASES = [
    # what the case is, Released and other conditions, the history, ended well, well at, no success since, failed by
    ("never installed", [], [], None, None, None, None),
    ("installed", [RELEASED], [release("deployed", 10, "install")], True, 10, None, None),
    ("upgraded", [RELEASED], [UPGRADED, INSTALLED], True, 100, None, None),
    ("failing", [BROKEN], [release("failed", 180), UPGRADED], False, 100, 202, 202),
    # A render error stores no release.
    ("failing to render", [BROKEN], [UPGRADED], False, 100, 202, 202),
    ("failed to install", [BROKEN], [release("failed", 10, "install")], False, None, 202, 202),
    # What a rollback deployed is an old release, and when the new one failed, all was not well.
    ("rolled back", [BROKEN, condition("Remediated", "True", 210)], ROLLED_BACK, False, None, 202, 202),
    (
        "rolled back by a controller that tells no action",
        [BROKEN],
        [release("deployed", 205, None)],
        False,
        None,
        202,
        202,
    ),
    # Recorded (i): emptied after a lock was removed.
    ("emptied", [BROKEN], [], False, None, 202, 202),
    ("upgrading", [RELEASED], [release("pending-upgrade", 200), UPGRADED], True, 100, None, None),
    # It was deployed, and was not well: its tests had failed.
    ("tests failed", [RELEASED, condition("TestSuccess", "False", 140)], [UPGRADED], True, None, None, None),
    # The condition goes when the next upgrade begins; the entry still has what became of its tests.
    ("upgrading after tests that failed", [RELEASED], [after_tests("Failed"), INSTALLED], False, None, None, None),
    ("upgrading after tests that succeeded", [RELEASED], [after_tests("Succeeded"), INSTALLED], True, 100, None, None),
    ("tests succeeded", [RELEASED, condition("TestSuccess", "True", 140)], [UPGRADED], True, 100, None, None),
    ("neither True nor False", [condition("Released", "Unknown", 130)], [UPGRADED], None, 100, None, None),
    ("a garbled time", [condition("Released", "False", "yesterday")], [UPGRADED], False, 100, None, None),
    ("a garbled deployment", [RELEASED], [release("deployed", "now")], True, None, None, None),
]


@pytest.mark.parametrize(
    ("conditions", "history", "expected"),
    [(row[1], row[2], row[3:]) for row in RELEASES],
    ids=[it[0] for it in RELEASES],
)
def test_a_release_proves(
    conditions: list[dict[str, Any]], history: list[dict[str, Any]], expected: tuple[Any, ...]
) -> None:
    assert proved("HelmRelease", document(*conditions, history=history)) == expected


STORED = {"revision": "main@sha1:1", "lastUpdateTime": time(10)}
FAILED = condition("FetchFailed", "True", 200, "GitOperationFailed")
FETCHES = [
    # what the case is, conditions, the artifact, ended well, well at, no success since, failed by
    ("never fetched", [], None, None, None, None, None),
    ("fetched", [], STORED, True, 10, None, None),
    ("failing, with an old artifact", [FAILED], STORED, False, 10, 202, 202),
    ("failing, without one", [FAILED], None, False, None, 202, 202),
    ("FetchFailed that is over", [condition("FetchFailed", "False", 200)], STORED, True, 10, None, None),
    ("a garbled time", [condition("FetchFailed", "True", "")], STORED, False, 10, None, None),
    ("an artifact without a time", [], {"revision": "v1"}, True, None, None, None),
]


@pytest.mark.parametrize("kind", ["GitRepository", "OCIRepository", "Bucket", "HelmRepository", "HelmChart"])
@pytest.mark.parametrize(
    ("conditions", "artifact", "expected"),
    [(row[1], row[2], row[3:]) for row in FETCHES],
    ids=[it[0] for it in FETCHES],
)
def test_a_source_proves(
    kind: str, conditions: list[dict[str, Any]], artifact: dict[str, Any] | None, expected: tuple[Any, ...]
) -> None:
    assert proved(kind, document(*conditions, artifact=artifact)) == expected


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("ImageRepository", {"lastScanResult": {"scanTime": time(10)}}),
        ("Terraform", {"lastSuccessfulReconcileAt": time(10)}),
    ],
)
def test_the_time_of_the_last_success_is_one_at_which_it_was_well(kind: str, status: dict[str, Any]) -> None:
    assert proved(kind, document(condition("Ready", "False", 99), **status)) == (None, 10, None, None)
    assert proved(kind, document()) == (None, None, None, None)
    assert proved(kind, document(**{next(iter(status)): 5})) == (None, None, None, None)


def test_a_receiver_proves_nothing() -> None:
    obj, _ = decode(json_bytes(document(condition("Ready", "False", 99), history=[run(OK, 1, 2)])))
    assert evidence_of(BY_NAME["Receiver"], obj) == Evidence()


# What the verdict at first sight makes of it


def at_first_sight(kind: str, seen: float, told: dict[str, Any]) -> Verdict:
    obj, _ = decode(json_bytes(told))
    observation = observe(BY_NAME[kind], obj, Seen(EPOCH + seen))
    assert observation is not None
    return judge(None, observation)


def span(start: float, end: float) -> Span:
    return Span.between(EPOCH + start, EPOCH + end)


def ready(status: str, since: float, reason: str = "Progressing") -> dict[str, Any]:
    return condition("Ready", status, since, reason)


def test_the_reason_of_a_failure_in_mid_run_is_that_of_the_last_run_that_failed() -> None:
    told = document(ready("Unknown", 240), history=[run(HEALTH, 131, 232), run(OK, 10, 70)])
    verdict = at_first_sight("Kustomization", 250, told)
    assert verdict == Verdict(Status.FALSE, span(70, 133), running_since=EPOCH + 240, reason=HEALTH)


def test_a_failure_in_the_second_of_the_success_is_one_though_nothing_tells_when_it_began() -> None:
    told = document(ready("Unknown", 71), history=[run(HEALTH, 70, 70), run(OK, 10, 70)])
    verdict = at_first_sight("Kustomization", 90, told)
    assert (verdict.status, verdict.failure) == (Status.FALSE, span(70, 90))


def test_a_failure_without_an_entry_is_as_old_as_the_last_success_and_as_young_as_its_condition() -> None:
    told = document(ready("False", 240, "BuildFailed"), history=[run(OK, 10, 70)])
    verdict = at_first_sight("Kustomization", 250, told)
    assert verdict == Verdict(Status.FALSE, span(70, 242), reason="BuildFailed")


def test_what_nothing_dates_began_between_its_creation_and_now() -> None:
    told = document({"type": "Ready", "status": "False", "reason": "TokenNotFound"})
    assert at_first_sight("Receiver", 250, told).failure == span(CREATED, 250)
    del told["metadata"]["creationTimestamp"]
    assert at_first_sight("Receiver", 250, told).failure == span(250, 250)


def test_no_failure_began_later_than_it_was_seen() -> None:
    assert at_first_sight("Receiver", 250.5, document(ready("False", 250, "TokenNotFound"))).failure == span(0, 250.5)


def test_a_chart_that_waits_for_its_source_proves_no_failure_by_the_condition_of_its_wait() -> None:
    text = 'failed to get source: GitRepository "a" not found'
    waits = [
        condition(it, "True" if it == "FetchFailed" else "False", 200, "SourceUnavailable", text)
        for it in ("FetchFailed", "Ready")
    ]
    verdict = at_first_sight("HelmChart", 250, document(*waits, artifact=STORED))
    assert (verdict.failure, verdict.waiting_since) == (None, EPOCH + 200)


def test_an_object_restored_from_a_backup_has_failed_for_as_long_as_its_status_says() -> None:
    told = document(ready("False", -86_400, "TokenNotFound"))
    assert at_first_sight("Receiver", 250, told).failure == span(-86_400, -86_398)
