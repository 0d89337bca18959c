"""What a single write says, per kind: what is terminal, what is a wait, what goes on, and what says nothing at all."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gotk_exporter.flux.kinds import BY_NAME, KINDS
from gotk_exporter.flux.objects import FluxObject, decode
from gotk_exporter.flux.readiness import Sign, case_of, observe
from gotk_exporter.flux.rows import Case, Kind, Meaning, Via
from gotk_exporter.flux.verdicts import Seen, Status
from tests.flux.examples import json_bytes
from tests.flux.histories import EPOCH, Controller, GitRepositories, HelmReleases, Kustomizations
from tests.flux.series import DAY, HOUR, assert_series, verdicts

RETRY = ("Reconciling", "True", "ProgressingWithRetry", "")
NO_RETRY = ("Reconciling", "False", "ProgressingWithRetry", "")
RUN = ("Reconciling", "True", "Progressing", "")
NO_RUN = ("Reconciling", "False", "Progressing", "")


def written(*conditions: tuple[str, str, str, str], **status: Any) -> FluxObject:
    """An object with these conditions: type, status, reason, message."""
    keys = ("type", "status", "reason", "message")
    listed = [dict(zip(keys, condition, strict=True)) for condition in conditions]
    obj, _ = decode(json_bytes({"metadata": {"name": "a"}, "status": {"conditions": listed, **status}}))
    return obj


def sign_of(kind: str, obj: FluxObject) -> Sign:
    observation = observe(BY_NAME[kind], obj, Seen.live(0.0))
    assert observation is not None
    return observation.sign


def ready(status: str, reason: str = "Any", message: str = "") -> tuple[str, str, str, str]:
    return ("Ready", status, reason, message)


SIGNS = [
    # kind, conditions, what they say
    ("Kustomization", [], Sign.UNTOUCHED),
    ("Kustomization", [ready("True")], Sign.WELL),
    ("Kustomization", [ready("Unknown", "Progressing"), RUN], Sign.RUNS),
    ("Kustomization", [ready("true")], Sign.RUNS),
    ("Kustomization", [ready("")], Sign.RUNS),
    ("Kustomization", [("Healthy", "False", "HealthCheckFailed", "")], Sign.RUNS),
    ("Kustomization", [ready("False", "HealthCheckFailed"), RETRY], Sign.FAILED),
    ("Kustomization", [ready("False", "BuildFailed"), RETRY], Sign.FAILED),
    ("Kustomization", [ready("False", "InvalidCELExpression"), ("Stalled", "True", "Any", "")], Sign.FAILED),
    ("Kustomization", [ready("False", "HealthCheckCanceled")], Sign.RESTS),
    ("Kustomization", [ready("True", "HealthCheckCanceled")], Sign.WELL),
    ("Kustomization", [ready("False", "DependencyNotReady")], Sign.WAITS),
    ("Kustomization", [ready("False", "DependencyNotReady"), RETRY], Sign.WAITS),
    # One reason, many causes: the text tells, and where it does not, whether a failed run stands beside it.
    ("Kustomization", [ready("False", "ArtifactFailed", "Source artifact not found, retrying in 30s")], Sign.WAITS),
    ("Kustomization", [ready("False", "ArtifactFailed", "kustomization path not found: stat /x"), RETRY], Sign.FAILED),
    ("Kustomization", [ready("False", "ArtifactFailed", "something new"), RETRY], Sign.FAILED),
    ("Kustomization", [ready("False", "ArtifactFailed", "something new"), NO_RETRY], Sign.WAITS),
    ("Kustomization", [ready("False", "ArtifactFailed", "something new")], Sign.WAITS),
    ("Kustomization", [ready("False", "ArtifactFailed", "Source is not ready, artifact not found"), RETRY], Sign.WAITS),
    ("HelmRelease", [ready("False", "ArtifactFailed", "Source not ready: no artifact")], Sign.WAITS),
    ("HelmRelease", [ready("False", "ArtifactFailed", "Could not load chart: EOF")], Sign.FAILED),
    ("HelmRelease", [ready("False", "SourceNotReady")], Sign.WAITS),
    ("HelmRelease", [ready("False", "DependencyNotReady")], Sign.WAITS),
    ("HelmRelease", [ready("False", "UpgradeFailed"), ("Stalled", "True", "RetriesExceeded", "")], Sign.FAILED),
    ("HelmRelease", [ready("Unknown", "Progressing"), ("Stalled", "True", "RetriesExceeded", "")], Sign.FAILED),
    ("HelmRelease", [ready("False", "UpgradeFailed"), RUN], Sign.RETRYING),
    ("HelmRelease", [ready("True"), RUN], Sign.REFRESHING),
    ("HelmRelease", [ready("Unknown", "Progressing"), RUN], Sign.RUNS),
    ("GitRepository", [ready("True"), RUN], Sign.REFRESHING),
    ("GitRepository", [ready("True"), NO_RUN], Sign.WELL),
    ("GitRepository", [ready("False", "GitOperationFailed")], Sign.FAILED),
    ("GitRepository", [ready("False", "DependencyNotReady")], Sign.FAILED),
    ("HelmChart", [ready("False", "SourceUnavailable", 'GitRepository "a" not found')], Sign.WAITS),
    ("HelmChart", [ready("False", "NoSourceArtifact")], Sign.WAITS),
    ("HelmChart", [ready("False", "InvalidChartReference"), ("Stalled", "True", "Any", "")], Sign.FAILED),
    ("Receiver", [ready("False", "TokenNotFound")], Sign.FAILED),
    ("Terraform", [ready("Unknown", "TerraformPlannedWithChanges")], Sign.RESTS),
    ("Terraform", [ready("True", "TerraformPlannedWithChanges")], Sign.WELL),
    ("ImagePolicy", [ready("False", "DependencyNotReady")], Sign.WAITS),
    # Another kind's verdict follows another condition.
    ("Canary", [("Promoted", "False", "Any", ""), ready("True")], Sign.FAILED),
]


@pytest.mark.parametrize(("kind", "conditions", "sign"), SIGNS)
def test_a_write_says(kind: str, conditions: list[tuple[str, str, str, str]], sign: Sign) -> None:
    assert sign_of(kind, written(*conditions)) is sign


PHASES = [
    ("Initializing", Sign.RUNS),
    ("Initialized", Sign.WELL),
    ("Progressing", Sign.RUNS),
    ("Waiting", Sign.RESTS),
    ("WaitingPromotion", Sign.RESTS),
    ("Succeeded", Sign.WELL),
    ("Failed", Sign.FAILED),
    ("NeverHeardOf", Sign.WELL),
    ("", Sign.WELL),
]


@pytest.mark.parametrize(("phase", "sign"), PHASES)
def test_a_canary_says_with_its_phase_what_its_condition_does_not(phase: str, sign: Sign) -> None:
    assert sign_of("Canary", written(("Promoted", "True", "Any", ""), phase=phase)) is sign
    # Another kind's phase means nothing to us.
    assert sign_of("Kustomization", written(ready("True"), phase=phase)) is Sign.WELL


@pytest.mark.parametrize(("kind", "conditions", "sign"), SIGNS)
def test_deletion_wins_over_everything_that_is_written(
    kind: str, conditions: list[tuple[str, str, str, str]], sign: Sign
) -> None:
    listed = [{"type": it[0], "status": it[1], "reason": it[2]} for it in conditions]
    metadata = {"name": "a", "deletionTimestamp": "2026-11-20T08:20:00Z"}
    obj, _ = decode(json_bytes({"metadata": metadata, "status": {"conditions": listed}}))
    assert sign_of(kind, obj) is Sign.TERMINATES


MEANT = {
    Meaning.WAITS: Sign.WAITS,
    Meaning.RESTS: Sign.RESTS,
    Meaning.RUNS: Sign.RUNS,
    Meaning.WELL: Sign.WELL,
    Meaning.FAILS: Sign.FAILED,
}
PLAIN = [(kind, case) for kind in KINDS for case in kind.cases if not case.text and case.retrying is None]


@pytest.mark.parametrize(("kind", "case"), PLAIN, ids=lambda it: getattr(it, "name", getattr(it, "reason", None)))
def test_a_reason_of_the_table_means_what_the_table_says_unless_the_condition_is_true(kind: Kind, case: Case) -> None:
    for status in ("False", "Unknown"):
        obj = written((kind.condition, status, case.reason, "no text that a pattern knows"))
        found = case_of(kind, obj)
        assert found is not None
        assert (found.reason, found.meaning) == (case.reason, case.meaning)
        assert sign_of(kind.name, obj) is MEANT[case.meaning]
    well = written((kind.condition, "True", case.reason, ""))
    assert case_of(kind, well) is None
    assert sign_of(kind.name, well) is Sign.WELL


def test_what_waits_says_for_what_and_nothing_else_does() -> None:
    for kind in KINDS:
        assert all((case.via is not None) == (case.meaning is Meaning.WAITS) for case in kind.cases)


def test_every_pattern_of_the_table_is_one() -> None:
    for kind in KINDS:
        for case in kind.cases:
            re.compile(case.text)


def test_a_kustomization_waits_for_its_dependencies_and_for_its_source() -> None:
    reasons = ("DependencyNotReady", "ArtifactFailed")
    cases = [case_of(BY_NAME["Kustomization"], written(ready("False", reason))) for reason in reasons]
    assert [case.via for case in cases if case] == [Via.DEPENDS_ON, Via.SOURCE_REF]


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
    return observe(BY_NAME[kind], obj, Seen.live(0.0)) is not None


@pytest.mark.parametrize(("kind", "spec", "status"), WITHOUT_RECONCILER)
def test_what_nothing_reconciles_has_no_verdict(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> None:
    assert not has_verdict(kind, spec, status)


@pytest.mark.parametrize(("kind", "spec", "status"), WITH_RECONCILER)
def test_what_a_controller_reconciles_has_one_from_the_start(
    kind: str, spec: dict[str, Any], status: dict[str, Any]
) -> None:
    assert has_verdict(kind, spec, status)


# What lasts, in the kinds' own ways


def at(controller: Controller, seconds: float) -> None:
    controller.now = EPOCH + seconds


@pytest.mark.parametrize("step", ["path", "build"])
def test_a_path_or_a_build_that_fails_is_the_objects_own_fault_for_as_long_as_it_lasts(step: str) -> None:
    broken = Kustomizations(EPOCH, 0)
    at(broken, 60)
    while broken.now < EPOCH + DAY:
        broken.step(step, 0.29, 29.7)
    assert_series(
        broken,
        status=[(0, 61, "Unknown"), (61, DAY + 1, "False")],
        failing_since=[(0, 61, None), (61, DAY + 1, 60.3)],
        waiting_since=[(0, DAY + 1, None)],
    )


def test_a_missing_source_is_nobodys_failure_and_is_waited_for_as_long_as_it_lasts() -> None:
    orphan = Kustomizations(EPOCH, 0)
    at(orphan, 30)
    orphan.no_source(0)
    assert_series(
        orphan,
        status=[(0, 30, "Unknown"), (30, DAY + 1, "False")],
        failing_since=[(0, DAY + 1, None)],
        waiting_since=[(0, 30, None), (30, DAY + 1, 30)],
    )


@pytest.mark.parametrize(("step", "status", "failing"), [("well", "True", None), ("health", "False", 30)])
def test_health_checks_that_new_revisions_cancel_again_and_again_judge_nothing(
    step: str, status: str, failing: float | None
) -> None:
    busy = Kustomizations(EPOCH, 0)
    busy.step(step, 29.99, 0)
    for minute in range(1, 24 * 60):
        at(busy, minute * 60)
        busy.canceled(45)
    assert_series(
        busy,
        status=[(0, 30, "Unknown"), (30, DAY + 1, status)],
        failing_since=[(0, 30, None), (30, DAY + 1, failing)],
    )
    reasons = {verdict.reason for time, verdict in verdicts(busy) if time > 30}
    assert reasons == {"HealthCheckFailed" if failing else ""}


def test_every_final_status_comes_in_two_writes_and_the_second_changes_nothing() -> None:
    stuck = Kustomizations(EPOCH, 0)
    for step in ("well", "health", "well", "apply", "health"):
        stuck.step(step, 10, 20)
    seen = verdicts(stuck)
    pairs = [
        (seen[index][1], seen[index + 1][1])
        for index, write in enumerate(stuck.writes[:-1])
        if write.truth.settled and stuck.writes[index + 1].at - write.at < 0.05
    ]
    assert len(pairs) == 5
    assert all(first == second for first, second in pairs)


def test_a_stalled_release_fails_since_its_last_attempt_but_one_though_nothing_is_written_any_more() -> None:
    stalled = HelmReleases(EPOCH, 0)
    stalled.step("well", 60, 0)
    at(stalled, 600)
    stalled.fail_and_roll_back(15)
    at(stalled, 660)
    stalled.run()
    at(stalled, 675)
    stalled.mark("Stalled", "True", "RetriesExceeded", "Failed to upgrade after 2 attempt(s)")
    stalled.end(False, "UpgradeFailed", "Helm upgrade failed: timeout")
    assert_series(
        stalled,
        status=[(0, 60, "Unknown"), (60, 615, "True"), (615, DAY + 1, "False")],
        failing_since=[(0, 615, None), (615, DAY + 1, 615)],
    )


def test_a_rollback_is_no_success() -> None:
    release = HelmReleases(EPOCH, 0)
    release.step("well", 15, 0)
    for hour in range(1, 24):
        at(release, hour * HOUR)
        release.fail_and_roll_back(300)
    assert_series(
        release,
        status=[(0, HOUR + 300, "True"), (HOUR + 300, DAY + 1, "False")],
        failing_since=[(0, HOUR + 300, None), (HOUR + 300, DAY + 1, HOUR + 300)],
    )


def test_a_rollback_that_takes_its_time_is_a_run_of_a_failing_release() -> None:
    release = HelmReleases(EPOCH, 0)
    release.step("fail", 60, 0)
    at(release, 120)
    release.mark("Reconciling", "True", "Progressing", "Running 'rollback' action")
    release.write()
    at(release, 420)
    release.end(False, "RollbackSucceeded", "Helm rollback succeeded")
    assert_series(
        release,
        HOUR,
        failing_since=[(0, 60, None), (60, HOUR + 1, 60)],
        running_since=[(0, 60, 0), (60, 120, None), (120, 420, 120), (420, HOUR + 1, None)],
    )


def test_a_release_in_sync_shows_a_run_for_some_milliseconds_of_each_interval_and_is_true_throughout() -> None:
    release = HelmReleases(EPOCH, 0)
    release.step("well", 14.9, 0)
    for run in range(1, 24 * 60 * 2):
        at(release, run * 30 - 0.01)
        release.in_sync(0)
    seen = [verdict for time, verdict in verdicts(release) if time > 20]
    assert {verdict.status for verdict in seen} == {Status.TRUE}
    assert {verdict.failure for verdict in seen} == {None}
    # A scrape that falls into it sees a run of ten milliseconds, never one of a day.
    runs = [(run * 30, run * 30 + 30, run * 30 - 0.01) for run in range(1, 24 * 60 * 2)]
    assert_series(release, status=[(0, DAY + 1, "True")], running_since=[*runs, (DAY, DAY + 1, None)])


def test_a_source_that_stays_true_while_it_fetches_is_true_and_its_run_has_an_age() -> None:
    source = GitRepositories(EPOCH, 0)
    source.new_revision(0)
    for hour in range(1, 24):
        at(source, hour * HOUR)
        source.same_revision(60)
    assert_series(
        source,
        status=[(0, DAY + 1, "True")],
        running_since=[
            (0, HOUR, None),
            *((hour * HOUR, hour * HOUR + 60, hour * HOUR) for hour in range(1, 24)),
            *((hour * HOUR + 60, (hour + 1) * HOUR, None) for hour in range(1, 24)),
            (DAY, DAY + 1, None),
        ],
    )


@pytest.mark.parametrize("has_artifact", [True, False])
def test_a_source_whose_server_hangs_fails_since_the_first_time_whether_it_goes_unknown_or_not(
    has_artifact: bool,
) -> None:
    source = GitRepositories(EPOCH, 0)
    if has_artifact:
        source.new_revision(0)
    at(source, 60)
    source.fail(60 if not has_artifact else 0)
    first = source.now - EPOCH
    for retry in range(1, 95):
        at(source, retry * 900)
        source.other_text(0)
        source.fail(60)
    assert_series(
        source,
        status=[(0, first, "True" if has_artifact else "Unknown"), (first, DAY + 1, "False")],
        failing_since=[(0, first, None), (first, DAY + 1, first)],
    )
