"""The small parts: durations and times, conditions, patches, expressions, history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gotk_exporter.simulator.fleet.conditions import Conditions
from gotk_exporter.simulator.fleet.expressions import expression_error
from gotk_exporter.simulator.fleet.helm import previous, replaced, truncated
from gotk_exporter.simulator.fleet.inventory import entries, ids
from gotk_exporter.simulator.fleet.kustomizations import upserted
from gotk_exporter.simulator.fleet.objects import duration, micro_timestamp, seconds, timestamp
from gotk_exporter.simulator.fleet.patches import Working, merge_patch
from gotk_exporter.simulator.fleet.sources import summarize


@pytest.mark.parametrize(
    ("text", "value"),
    [("30s", 30), ("1m30s", 90), ("1h0m5.5s", 3605.5), ("500ms", 0.5), ("1.5h", 5400), ("20us", 2e-5), ("0s", 0)],
)
def test_durations_are_read_as_go_reads_them(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "30", "s", "1m 30s", "-5s", "1d"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 1m30s"):
        seconds(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (30, "30s"),
        (60, "1m0s"),
        (600, "10m0s"),
        (3600, "1h0m0s"),
        (5.145773174, "5.145773174s"),
        (0.12377766, "123.77766ms"),
        (0.000812, "812µs"),
        (0, "0s"),
        (90.5, "1m30.5s"),
    ],
)
def test_durations_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert duration(value) == text


@given(st.integers(0, 10**13))
def test_a_written_duration_is_read_as_it_was(nanoseconds: int) -> None:
    assert seconds(duration(nanoseconds / 1e9)) == pytest.approx(nanoseconds / 1e9, abs=1e-9)


def test_times_are_cut_to_seconds_and_those_of_leases_are_not() -> None:
    assert timestamp(1_795_273_200.999) == "2026-11-21T15:00:00Z"
    assert micro_timestamp(1_795_273_200.25) == "2026-11-21T15:00:00.250000Z"


class TestConditions:
    def test_the_transition_time_moves_with_the_message_and_not_with_the_generation(self) -> None:
        conditions = Conditions([], 1, "then")
        conditions.true("Ready", "Succeeded", "revision 1")
        later = Conditions(conditions.as_list(), 2, "now")
        later.true("Ready", "Succeeded", "revision 1")
        (same,) = later.as_list()
        assert (same["lastTransitionTime"], same["observedGeneration"]) == ("then", 2)
        later.true("Ready", "Succeeded", "revision 2")
        (moved,) = later.as_list()
        assert moved["lastTransitionTime"] == "now"

    def test_stalled_reconciling_and_ready_come_first(self) -> None:
        conditions = Conditions([], 1, "now")
        for type in ("Healthy", "ArtifactInStorage", "Ready", "Reconciling"):
            conditions.true(type, "Reason", "")
        assert [one["type"] for one in conditions.as_list()] == [
            "Reconciling",
            "Ready",
            "ArtifactInStorage",
            "Healthy",
        ]

    def test_stalled_and_reconciling_exclude_each_other(self) -> None:
        conditions = Conditions([], 1, "now")
        conditions.reconciling("Progressing", "")
        conditions.stalled("RetriesExceeded", "")
        assert "Reconciling" not in conditions
        conditions.reconciling("Progressing", "")
        assert "Stalled" not in conditions

    def test_a_source_is_ready_unless_something_bad_is_true(self) -> None:
        conditions = Conditions([], 1, "now")
        conditions.true("ArtifactInStorage", "Succeeded", "stored")
        summarize(conditions)
        assert conditions.is_true("Ready")
        conditions.true("FetchFailed", "GitOperationFailed", "refused")
        conditions.true("Reconciling", "ProgressingWithRetry", "again")
        summarize(conditions)
        assert (conditions.status("Ready"), conditions.reason("Ready")) == ("False", "GitOperationFailed")


_leaves = st.integers(0, 2) | st.lists(st.integers(0, 2), max_size=2)
_names = st.sampled_from("abc")
_documents = st.dictionaries(_names, _leaves | st.dictionaries(_names, _leaves | st.dictionaries(_names, _leaves)))


def _merged(target: object, patch: object) -> object:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


@given(_documents, _documents)
def test_a_merge_patch_leads_from_the_one_to_the_other(before: dict[str, object], after: dict[str, object]) -> None:
    assert _merged(before, merge_patch(before, after)) == after


def test_a_write_of_conditions_has_the_generation_that_is_there_now() -> None:
    metadata = {"name": "app", "generation": 1}
    work = Working({"metadata": metadata, "status": {}}, "then")
    work.conditions.false("Ready", "HealthCheckFailed", "message")
    suspended = {"metadata": {**metadata, "generation": 2}, "status": {}}
    (written,) = work.changed_conditions(suspended, "now") or []
    assert (written["observedGeneration"], written["lastTransitionTime"]) == (2, "now")
    assert work.changed_conditions(suspended, "now") is None


@pytest.mark.parametrize("expression", ["", "status.phase == (", "a ==", "'open", "status.conditions)"])
def test_what_cannot_be_read_as_an_expression_is_found(expression: str) -> None:
    obj = {"spec": {"healthCheckExprs": [{"kind": "Cluster", "current": expression}]}}
    assert "healthchecks[0]" in expression_error(obj)


@pytest.mark.parametrize(
    "expression", ["status.phase == 'Ready'", 'status.conditions.filter(e, e.type == "A(").all(e, true)', "true"]
)
def test_what_can_is_not(expression: str) -> None:
    assert expression_error({"spec": {"healthCheckExprs": [{"kind": "Cluster", "current": expression}]}}) == ""


def test_a_run_counts_in_the_entry_of_its_digest_and_status() -> None:
    history = upserted([], "one", "HealthCheckFailed", "first", 30.0, "main@sha1:1")
    history = upserted(history, "one", "ReconciliationSucceeded", "second", 0.1, "main@sha1:1")
    history = upserted(history, "one", "HealthCheckFailed", "third", 30.0, "main@sha1:2")
    assert [
        (
            entry["lastReconciledStatus"],
            entry["totalReconciliations"],
            entry["firstReconciled"],
            entry["lastReconciled"],
        )
        for entry in history
    ] == [("HealthCheckFailed", 2, "first", "third"), ("ReconciliationSucceeded", 1, "second", "second")]
    assert history[0]["metadata"] == {"revision": "main@sha1:2"}


def test_history_never_has_more_than_five_entries() -> None:
    history: list[dict[str, object]] = []
    for number in range(8):
        history = upserted(history, str(number), "HealthCheckFailed", "now", 1.0, "main@sha1:1")
    assert [entry["digest"] for entry in history] == ["7", "6", "5", "4", "3"]


def test_an_inventory_is_read_back_as_it_was_written() -> None:
    applied = [
        "Deployment/apps/web",
        "ConfigMap/apps/web",
        "Kustomization/flux-system/apps",
        "ClusterIssuer//letsencrypt",
    ]
    inventory = entries(applied)
    assert inventory["entries"][0] == {"id": "apps_web_apps_Deployment", "v": "v1"}
    assert ids(inventory) == applied


class TestHelmHistory:
    history = [  # noqa: RUF012
        {"version": version, "status": status}
        for version, status in [(5, "failed"), (4, "failed"), (3, "superseded"), (2, "superseded"), (1, "deployed")]
    ]

    def test_what_to_roll_back_to_is_the_newest_good_one(self) -> None:
        assert previous(self.history) == {"version": 3, "status": "superseded"}
        assert previous(self.history[:2]) is None

    def test_it_is_cut_behind_that(self) -> None:
        assert [one["version"] for one in truncated(self.history)] == [5, 4, 3]

    def test_a_changed_release_takes_the_place_of_its_version(self) -> None:
        changed = replaced(self.history, {"version": 3, "status": "deployed"})
        assert [one["status"] for one in changed if one["version"] == 3] == ["deployed"]
        assert len(replaced(self.history, {"version": 6, "status": "deployed"})) == 6
