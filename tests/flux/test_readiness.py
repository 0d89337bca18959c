"""The verdict: what a write does to it, who has none, and what an operator sees in the situations that there are."""

from __future__ import annotations

from typing import Any

import pytest

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.evidence import Evidence
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.readiness import TABLE, Observation, Sign, judge
from gotk_exporter.flux.verdicts import Seen, Span, Status, Verdict
from gotk_exporter.metrics.families import RECONCILE_CONDITION
from gotk_exporter.metrics.store import Store
from tests.flux.examples import json_bytes, text_of
from tests.flux.histories import EPOCH, Controller, GitRepositories, HelmReleases, Kustomizations, stamp
from tests.flux.series import DAY, HOUR, assert_series, verdicts

# The state table

NOW = 1000.0
BEFORE = {
    "new": Verdict(Status.UNKNOWN),
    "well": Verdict(Status.TRUE),
    "failing": Verdict(Status.FALSE, Span(50)),
    "waiting": Verdict(Status.FALSE, waiting_since=100),
    "failed, then waiting": Verdict(Status.FALSE, Span(50), waiting_since=100),
    "running": Verdict(Status.TRUE, running_since=100),
    "failed, then running": Verdict(Status.FALSE, Span(50), running_since=100),
}
# Status (its first letter), and since when it fails, waits and runs, in the order of the verdicts before.
AFTER = {
    Sign.UNTOUCHED: "U - - now | T - - now | F 50 - now | F - - now | F 50 - now | T - - 100 | F 50 - 100",
    Sign.WELL: "T - - - | T - - - | T - - - | T - - - | T - - - | T - - - | T - - -",
    Sign.REFRESHING: "T - - now | T - - now | T - - now | T - - now | T - - now | T - - 100 | T - - 100",
    Sign.FAILED: "F now - - | F now - - | F 50 - - | F now - - | F 50 - - | F now - - | F 50 - -",
    Sign.RETRYING: "F now - now | F now - now | F 50 - now | F now - now | F 50 - now | F now - 100 | F 50 - 100",
    Sign.WAITS: "F - now - | F - now - | F 50 now - | F - 100 - | F 50 100 - | F - now - | F 50 now -",
    Sign.RUNS: "U - - now | T - - now | F 50 - now | F - - now | F 50 - now | T - - 100 | F 50 - 100",
    Sign.RESTS: "U - - - | T - - - | F 50 - - | F - - - | F 50 - - | T - - - | F 50 - -",
    Sign.TERMINATES: " | ".join(["D - - -"] * 7),
}


def test_every_sign_has_a_row_and_every_row_a_test() -> None:
    assert TABLE.keys() == AFTER.keys() == set(Sign)


@pytest.mark.parametrize("column", range(len(BEFORE)), ids=list(BEFORE))
@pytest.mark.parametrize("sign", AFTER, ids=lambda sign: sign.name.lower())
def test_a_write_leaves_this_verdict(sign: Sign, column: int) -> None:
    before = list(BEFORE.values())[column]
    observation = Observation(sign, Seen.live(NOW), "", None, None, Evidence)
    verdict = judge(before, observation)
    times = (verdict.failure.start if verdict.failure else None, verdict.waiting_since, verdict.running_since)
    shown = ["-" if time is None else "now" if time == NOW else f"{time:g}" for time in times]
    assert " ".join([verdict.status.value[0], *shown]) == AFTER[sign].split(" | ")[column]
    assert verdict.failure is None or verdict.failure.width == 0


def test_a_failure_that_may_have_ended_unseen_stays_uncertain_whatever_has_not_happened_since() -> None:
    before = Verdict(Status.FALSE, Span(50), unseen_since=50)
    seen = Seen(NOW, followed_until=900)
    verdict = judge(before, Observation(Sign.FAILED, seen, "", None, None, lambda: Evidence(no_success_since=800)))
    assert verdict.failure == Span.between(50, NOW)


def test_a_waiting_object_is_not_failing_whatever_it_did_before() -> None:
    assert not BEFORE["failed, then waiting"].failing
    assert BEFORE["failed, then running"].failing


# Situations, as an operator would name them. A script writes what the controllers write; a run begins with Unknown.


def kustomization(begin: float = 0.0) -> Kustomizations:
    return Kustomizations(EPOCH + begin, latency=0.0)


def at(controller: Controller, seconds: float) -> None:
    """Nothing happens until this time."""
    assert controller.now <= EPOCH + seconds
    controller.now = EPOCH + seconds


def well_at_first(controller: Controller) -> None:
    """Its first run takes five seconds, and it is left alone until the minute is full."""
    controller.step("well", 4.99, 0)
    at(controller, 60)


def fail_from_the_minute_on(controller: Kustomizations, until: float = DAY) -> None:
    """A run of half a minute every 50 seconds. The first one ends at 90."""
    while controller.now < EPOCH + until:
        controller.step("health", 29.99, 19.995)


def test_a_permanent_health_check_failure_that_goes_unknown_at_each_retry_is_one_failure() -> None:
    stuck = kustomization()
    well_at_first(stuck)
    fail_from_the_minute_on(stuck)
    assert sum(write.truth.settled for write in stuck.writes) > 1700
    assert_series(
        stuck,
        status=[(0, 90, "True"), (90, DAY + 1, "False")],
        failing_since=[(0, 90, None), (90, DAY + 1, 90)],
        waiting_since=[(0, DAY + 1, None)],
    )


def test_a_healthy_object_that_goes_unknown_on_each_run_is_always_true() -> None:
    healthy = kustomization()
    well_at_first(healthy)
    for run in range(1, 24 * 6):
        # Half a minute of every ten, so that a scrape falls into each.
        at(healthy, run * 600 + 45)
        healthy.well(29.99)
    assert_series(
        healthy,
        status=[(0, DAY + 1, "True")],
        failing_since=[(0, DAY + 1, None)],
        running_since=[
            *((run * 600, run * 600 + 60, None) for run in range(24 * 6)),
            *((run * 600 + 60, run * 600 + 75, run * 600 + 45 if run else None) for run in range(24 * 6)),
            *((run * 600 + 75, run * 600 + 600, None) for run in range(24 * 6)),
            (DAY, DAY + 1, None),
        ],
    )


def test_a_first_install_waits_for_its_source_and_then_runs_and_never_fails() -> None:
    fresh = kustomization()
    at(fresh, 30)
    fresh.no_source(0)
    at(fresh, 300)
    fresh.well(HOUR)
    assert_series(
        fresh,
        status=[(0, 30, "Unknown"), (30, 301 + HOUR, "False"), (301 + HOUR, DAY + 1, "True")],
        failing_since=[(0, DAY + 1, None)],
        waiting_since=[(0, 30, None), (30, 300, 30), (300, DAY + 1, None)],
        running_since=[(0, 30, 0), (30, 300, None), (300, 301 + HOUR, 300), (301 + HOUR, DAY + 1, None)],
    )


def test_a_first_run_without_any_wait_is_unknown_until_it_ends() -> None:
    fresh = kustomization()
    fresh.well(HOUR - 1)
    assert_series(
        fresh,
        status=[(0, HOUR, "Unknown"), (HOUR, DAY + 1, "True")],
        running_since=[(0, HOUR, 0.01), (HOUR, DAY + 1, None)],
    )


def test_an_object_that_was_left_alone_for_long_begins_its_run_when_it_does() -> None:
    late = kustomization()
    at(late, 12 * HOUR)
    late.well(599)
    (begun, *_) = [write.at - EPOCH for write in late.writes if write.at > EPOCH + 1]
    assert_series(
        late,
        status=[(0, 12 * HOUR + 600, "Unknown"), (12 * HOUR + 600, DAY + 1, "True")],
        running_since=[
            (0, 12 * HOUR, 0),
            (12 * HOUR, 12 * HOUR + 600, round(begun, 2)),
            (12 * HOUR + 600, DAY + 1, None),
        ],
    )


@pytest.mark.parametrize(("step", "status", "failing"), [("well", "True", None), ("health", "False", 5)])
def test_a_run_that_never_ends_keeps_the_verdict_and_its_own_age(step: str, status: str, failing: float | None) -> None:
    # As after its controller was killed: nothing is written any more.
    hanging = kustomization()
    hanging.step(step, 4.99, 0)
    at(hanging, 600)
    hanging.run()
    assert_series(
        hanging,
        status=[(0, DAY + 1, status)],
        failing_since=[(0, DAY + 1, failing)],
        running_since=[(0, 600, None), (600, DAY + 1, 600)],
    )


def test_a_controller_killed_in_mid_run_starts_the_run_again_and_its_age_goes_on() -> None:
    killed = kustomization()
    killed.step("health", 4.99, 0)
    at(killed, 600)
    killed.run()
    at(killed, HOUR)
    killed.health(119.99)
    assert_series(
        killed,
        status=[(0, DAY + 1, "False")],
        failing_since=[(0, DAY + 1, 5)],
        running_since=[(0, 600, None), (600, HOUR + 120, 600), (HOUR + 120, DAY + 1, None)],
    )


@pytest.mark.parametrize("kind", [Kustomizations, HelmReleases, GitRepositories, Controller], ids=lambda it: it.kind)
def test_an_object_that_no_controller_ever_touched_is_unknown_and_waits_to_be_run_since_its_creation(
    kind: type[Controller],
) -> None:
    untouched = kind(EPOCH, latency=12.0)
    assert_series(untouched, status=[(0, DAY + 1, "Unknown")], running_since=[(0, DAY + 1, 0)])


def suspend(controller: Controller, suspended: bool = True) -> None:
    controller.spec["suspend"] = suspended
    controller.write()


def test_an_object_suspended_while_it_fails_stays_as_it_is() -> None:
    frozen = kustomization()
    well_at_first(frozen)
    frozen.health(29.99)
    at(frozen, 100)
    suspend(frozen)
    assert_series(
        frozen,
        status=[(0, 90, "True"), (90, DAY + 1, "False")],
        failing_since=[(0, 90, None), (90, DAY + 1, 90)],
    )


@pytest.mark.parametrize(("outcome", "status", "failing"), [("health", "False", 90), ("well", "True", None)])
def test_a_run_that_was_going_on_when_somebody_suspended_the_object_ends_and_counts(
    outcome: str, status: str, failing: float | None
) -> None:
    frozen = kustomization()
    well_at_first(frozen)
    frozen.run()
    at(frozen, 70)
    suspend(frozen)
    at(frozen, 90)
    recorded = {"health": "HealthCheckFailed", "well": "ReconciliationSucceeded"}[outcome]
    frozen.finish(outcome == "well", recorded, "", recorded=True)
    assert_series(
        frozen,
        status=[(0, 90, "True"), (90, DAY + 1, status)],
        failing_since=[(0, 90, None), (90, DAY + 1, failing)],
        running_since=[(0, 60, None), (60, 90, 60), (90, DAY + 1, None)],
    )


def test_a_resumed_object_runs_at_once_and_its_failure_is_as_old_as_it_was() -> None:
    resumed = kustomization()
    resumed.health(29.99)
    at(resumed, 60)
    suspend(resumed)
    at(resumed, 12 * HOUR)
    suspend(resumed, False)
    resumed.health(59.99)
    at(resumed, 18 * HOUR)
    resumed.well(59.99)
    assert_series(
        resumed,
        status=[(0, 30, "Unknown"), (30, 18 * HOUR + 60, "False"), (18 * HOUR + 60, DAY + 1, "True")],
        failing_since=[(0, 30, None), (30, 18 * HOUR + 60, 30), (18 * HOUR + 60, DAY + 1, None)],
    )


@pytest.mark.parametrize("last", ["health", "well", "dependency", "killed"])
def test_an_object_that_terminates_behind_a_stuck_finalizer_is_deleted_and_nothing_else(last: str) -> None:
    stuck = kustomization()
    stuck.step(last, 10, 0)
    at(stuck, 60)
    stuck.metadata["deletionTimestamp"] = stamp(stuck.now)
    stuck.write()
    # Others still write to it.
    at(stuck, 12 * HOUR)
    stuck.write()
    (*_, (_, verdict)) = verdicts(stuck)
    assert verdict == Verdict(Status.DELETED, reason=verdict.reason)
    held = {"health": "False", "well": "True", "dependency": "False", "killed": "Unknown"}[last]
    assert_series(stuck, status=[(0, 60, held), (60, DAY + 1, "Deleted")])
    times = {"health": "failing_since", "dependency": "waiting_since", "killed": "running_since"}
    for before, field in times.items():
        since = {"health": 10.01, "dependency": 0, "killed": 0.01}[last] if before == last else None
        spans: dict[str, Any] = {field: [(0, 60, since), (60, DAY + 1, None)]}
        assert_series(stuck, **spans)


class Listing:
    """One object after the other under one name, by way of the collector."""

    def __init__(self, kind: str = "Kustomization") -> None:
        self.store = Store([RECONCILE_CONDITION])
        self.collector = Collector(BY_NAME[kind], "scope", self.store)

    def hear(self, controller: Controller, uid: str) -> str:
        """The status that is shown after the last write."""
        document = controller.document()
        document["metadata"] |= {"uid": uid, "resourceVersion": str(len(controller.writes))}
        self.collector.upsert("b/a", json_bytes(document), Seen.live(controller.now))
        (status,) = [it.split('status="')[1].split('"')[0] for it in text_of(self.store).splitlines() if it[-1] == "1"]
        return status


def test_an_object_created_anew_under_the_same_name_has_no_past() -> None:
    listing, old, new = Listing(), kustomization(), kustomization(600)
    old.health(5)
    assert listing.hear(old, "old") == "False"
    old.metadata["deletionTimestamp"] = stamp(old.now)
    assert listing.hear(old, "old") == "Deleted"
    assert listing.hear(new, "new") == "Unknown"
    new.run()
    assert listing.hear(new, "new") == "Unknown"
    # The same object again keeps what it has.
    new.finish(False, "BuildFailed", "", recorded=False)
    assert listing.hear(new, "new") == "False"
    new.run()
    assert listing.hear(new, "new") == "False"


def test_neither_reason_nor_message_nor_revision_nor_generation_moves_the_start_of_a_failure() -> None:
    changing = kustomization()
    well_at_first(changing)
    changing.health(29.99)
    for hour in range(1, 24):
        at(changing, hour * HOUR)
        changing.metadata["generation"] = hour
        changing.commit(0)
        changing.step(["apply", "build", "path", "health", "revert", "canceled"][hour % 6], 600.0, 0)
    assert_series(
        changing,
        status=[(0, 90, "True"), (90, DAY + 1, "False")],
        failing_since=[(0, 90, None), (90, DAY + 1, 90)],
    )


# Failing and waiting


def test_an_object_that_waited_and_then_fails_fails_from_then_on() -> None:
    late = kustomization()
    well_at_first(late)
    late.dependency(0)
    at(late, 6 * HOUR)
    late.health(59.99)
    end = 6 * HOUR + 60
    assert_series(
        late,
        status=[(0, 60, "True"), (60, DAY + 1, "False")],
        waiting_since=[(0, 60, None), (60, 6 * HOUR, 60), (6 * HOUR, DAY + 1, None)],
        running_since=[(0, 6 * HOUR, None), (6 * HOUR, end, 6 * HOUR), (end, DAY + 1, None)],
        failing_since=[(0, end, None), (end, DAY + 1, end)],
    )


def test_a_failure_goes_on_behind_a_wait_that_no_success_ended() -> None:
    patient = kustomization()
    well_at_first(patient)
    patient.health(29.99)
    at(patient, HOUR)
    patient.dependency(0)
    patient.step("other_text", 0, 1800)
    patient.dependency(0)
    at(patient, 12 * HOUR)
    # Its own run begins: no wait any more, and failing again before that run has ended.
    patient.health(599.99)
    assert_series(
        patient,
        status=[(0, 90, "True"), (90, DAY + 1, "False")],
        failing_since=[(0, 90, None), (90, HOUR, 90), (HOUR, 12 * HOUR, None), (12 * HOUR, DAY + 1, 90)],
        waiting_since=[(0, HOUR, None), (HOUR, 12 * HOUR, HOUR), (12 * HOUR, DAY + 1, None)],
    )


def test_a_success_between_wait_and_failure_ends_both() -> None:
    recovered = kustomization()
    recovered.health(29.99)
    at(recovered, HOUR)
    recovered.dependency(0)
    at(recovered, 2 * HOUR)
    recovered.well(29.99)
    at(recovered, 3 * HOUR)
    recovered.health(29.99)
    assert_series(
        recovered,
        status=[
            (0, 30, "Unknown"),
            (30, 2 * HOUR + 30, "False"),
            (2 * HOUR + 30, 3 * HOUR + 30, "True"),
            (3 * HOUR + 30, DAY + 1, "False"),
        ],
        failing_since=[
            (0, 30, None),
            (30, HOUR, 30),
            (HOUR, 2 * HOUR, None),
            (2 * HOUR, 2 * HOUR + 30, 30),
            (2 * HOUR + 30, 3 * HOUR + 30, None),
            (3 * HOUR + 30, DAY + 1, 3 * HOUR + 30),
        ],
    )


def test_every_commit_that_passes_a_chain_makes_its_members_wait_and_never_fail() -> None:
    leaf = kustomization()
    well_at_first(leaf)
    for hour in range(1, 24):
        at(leaf, hour * HOUR)
        leaf.dependency(0)
        at(leaf, hour * HOUR + 60)
        leaf.well(0.2)
    assert_series(
        leaf,
        failing_since=[(0, DAY + 1, None)],
        waiting_since=[
            (0, HOUR, None),
            *((hour * HOUR, hour * HOUR + 60, hour * HOUR) for hour in range(1, 24)),
            *((hour * HOUR + 60, (hour + 1) * HOUR, None) for hour in range(1, 24)),
            (DAY, DAY + 1, None),
        ],
    )
