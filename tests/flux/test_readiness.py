"""The verdict: what a write does to it, who has none, and what it made of the real controllers' writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME, KINDS
from gotk_exporter.flux.objects import Condition, decode
from gotk_exporter.flux.readiness import Observation, Status, Verdict, judge, observe
from gotk_exporter.metrics.families import RECONCILE_CONDITION
from gotk_exporter.metrics.store import Store
from tests.flux.examples import text_of

# The state table

STATES = [None, Status.UNKNOWN, Status.TRUE, Status.FALSE]
KEEP = "keep"
# What a write says of Ready, and the verdict after it: a status, or the one before (Unknown where there is none).
WRITES: list[tuple[str, Condition | None, bool, Status | str]] = [
    ("Ready=True", Condition("Ready", "True", "ReconciliationSucceeded"), False, Status.TRUE),
    ("Ready=False", Condition("Ready", "False", "HealthCheckFailed"), False, Status.FALSE),
    ("Ready=False while it waits", Condition("Ready", "False", "DependencyNotReady"), False, Status.FALSE),
    ("a run goes on", Condition("Ready", "Unknown", "Progressing"), False, KEEP),
    ("no condition", None, False, KEEP),
    ("no such status", Condition("Ready", "true"), False, KEEP),
    ("an empty status", Condition("Ready", ""), False, KEEP),
    ("deleted while True", Condition("Ready", "True"), True, Status.DELETED),
    ("deleted while False", Condition("Ready", "False"), True, Status.DELETED),
    ("deleted in a run", Condition("Ready", "Unknown", "Progressing"), True, Status.DELETED),
    ("deleted before its first run", None, True, Status.DELETED),
]


@pytest.mark.parametrize("before", STATES, ids=lambda state: state.value if state else "unseen")
@pytest.mark.parametrize(("condition", "terminating", "after"), [row[1:] for row in WRITES], ids=[r[0] for r in WRITES])
def test_a_write_leaves_this_verdict(
    before: Status | None, condition: Condition | None, terminating: bool, after: Status | str
) -> None:
    verdict = judge(None if before is None else Verdict(before), Observation(condition, terminating, 0.0))
    assert verdict.status is ((before or Status.UNKNOWN) if after == KEEP else after)


def write(ready: str | None, uid: str = "uid", **more: Any) -> bytes:
    conditions = [] if ready is None else [{"type": "Ready", "status": ready, "reason": "Any"}]
    metadata = {"name": "a", "namespace": "b", "uid": uid, "resourceVersion": "1", **more}
    return json.dumps({"metadata": metadata, "status": {"conditions": conditions}}).encode()


def verdicts_of(writes: Iterable[bytes], kind: str = "Kustomization") -> list[str]:
    """The status that gotk_reconcile_condition shows after each write."""
    store = Store([RECONCILE_CONDITION])
    collector = Collector(BY_NAME[kind], "scope", store)
    shown = []
    for raw in writes:
        collector.upsert("b/a", raw, 0.0)
        (status,) = [line.split('status="')[1].split('"')[0] for line in text_of(store).splitlines() if line[-1] == "1"]
        shown.append(status)
    return shown


@settings(deadline=None)
@given(st.lists(st.sampled_from(["True", "False", "Unknown", None, "", "unknown"]), min_size=1))
def test_the_verdict_is_the_last_terminal_status_that_was_written(statuses: list[str | None]) -> None:
    expected, last = [], "Unknown"
    for status in statuses:
        last = status if status in ("True", "False") else last
        expected.append(last)
    assert verdicts_of([write(status) for status in statuses]) == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from(["True", "False", "Unknown", None])), st.sampled_from(["True", "False", "Unknown"]))
def test_deletion_wins_over_everything(statuses: list[str | None], live: str) -> None:
    writes = [*map(write, statuses), write(live, deletionTimestamp="2026-11-20T08:20:00Z")]
    assert verdicts_of(writes)[-1] == "Deleted"


def test_a_new_object_under_an_old_name_starts_afresh() -> None:
    writes = [write("False", uid="old"), write("Unknown", uid="new"), write(None, uid="newer")]
    assert verdicts_of(writes) == ["False", "Unknown", "Unknown"]


def test_an_object_that_took_the_name_of_a_terminating_one_is_not_deleted() -> None:
    gone = write("True", uid="old", deletionTimestamp="2026-11-20T08:20:00Z")
    assert verdicts_of([gone, write(None, uid="new"), write("True", uid="new")]) == ["Deleted", "Unknown", "True"]


def test_a_canary_is_judged_by_its_own_condition() -> None:
    promoted = {"type": "Promoted", "status": "False"}
    ready = {"type": "Ready", "status": "True"}
    raw = json.dumps({"metadata": {"name": "a"}, "status": {"conditions": [ready, promoted]}}).encode()
    assert verdicts_of([raw], "Canary") == ["False"]
    assert verdicts_of([raw], "Kustomization") == ["True"]


# Who has a verdict

CONDITIONED = {"conditions": [{"type": "Ready", "status": "True"}]}
WITHOUT_RECONCILER = [
    ("Alert", {}, {}),
    ("Provider", {}, {}),
    ("ExternalArtifact", {}, {"artifact": {"revision": "v1"}}),
    ("HelmRepository", {"type": "oci"}, {}),
    ("HelmRepository", {"type": "oci"}, {"conditions": []}),
    ("FluxReport", {}, {}),
    ("FluxReport", {}, CONDITIONED),
    ("MetricTemplate", {}, {}),
    ("AlertProvider", {}, CONDITIONED),
]
WITH_RECONCILER = [
    # Notification controllers before Flux 2.2 reconciled them.
    ("Alert", {}, CONDITIONED),
    ("Provider", {}, CONDITIONED),
    ("ExternalArtifact", {}, CONDITIONED),
    ("HelmRepository", {"type": "oci"}, CONDITIONED),
    # An object that no controller ever touched is no static object.
    ("HelmRepository", {}, {}),
    ("HelmRepository", {"type": "default"}, {}),
    *((kind.name, {}, {}) for kind in KINDS if kind.name not in {name for name, _, _ in WITHOUT_RECONCILER}),
]


def has_verdict(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> bool:
    obj, _ = decode(json.dumps({"metadata": {"name": "a"}, "spec": spec, "status": status}).encode())
    return observe(BY_NAME[kind], obj, 0.0) is not None


@pytest.mark.parametrize(("kind", "spec", "status"), WITHOUT_RECONCILER)
def test_what_nothing_reconciles_has_no_verdict(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> None:
    assert not has_verdict(kind, spec, status)


@pytest.mark.parametrize(("kind", "spec", "status"), WITH_RECONCILER)
def test_what_a_controller_reconciles_has_one_from_the_start(
    kind: str, spec: dict[str, Any], status: dict[str, Any]
) -> None:
    assert has_verdict(kind, spec, status)


# What the real controllers wrote: seconds since the start of the recording, and the verdict from then on. The live
# condition of "stuck" changes 26 times in those ten minutes.
RECORDED = [
    ("a-healthy", "repo", [(0, "Unknown"), (2, "True")]),
    ("a-healthy", "plain", [(0, "Unknown"), (2, "False"), (3, "True")]),
    ("b-health-check-fails", "stuck", [(0, "Unknown"), (1, "False"), (303, "True"), (453, "False")]),
    ("d-depends-on", "root", [(0, "Unknown"), (1, "False"), (7, "True"), (221, "False"), (392, "True")]),
    (
        "d-depends-on",
        "leaf",
        [(0, "Unknown"), (1, "False"), (61, "True"), (91, "False"), (151, "True"), (191, "False"), (432, "True")],
    ),
]


@pytest.mark.parametrize(("trace", "name", "expected"), RECORDED, ids=[f"{row[0]}-{row[1]}" for row in RECORDED])
def test_a_recorded_object_gets_this_verdict(
    trace: str, name: str, expected: list[tuple[int, str]], shared_data: Callable[[str], Path]
) -> None:
    text = shared_data(f"traces/flux/{trace}.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    start = next(moment(record) for record in records if record["rec"] == "step")
    writes = [record for record in records if record["rec"] == "obj" and record["name"] == name]
    assert len(writes) > len(expected)
    documents = [
        {"metadata": {"name": name, "uid": "uid", "resourceVersion": record["rv"]}, "status": record["status"]}
        for record in writes
    ]

    shown = verdicts_of([json.dumps(document).encode() for document in documents], writes[0]["kind"])

    changes: list[tuple[int, str]] = []
    for record, status in zip(writes, shown, strict=True):
        if not changes or changes[-1][1] != status:
            changes.append((round(moment(record) - start), status))
    assert changes == expected


def moment(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record["t"]).timestamp()
