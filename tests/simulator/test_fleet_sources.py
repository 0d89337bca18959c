"""What the recorded scenarios e (source down), f, i and j say of sources; and that the other kinds follow the same."""

from __future__ import annotations

import pytest

from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.objects import Key
from tests.simulator.fleet_traces import conditions
from tests.simulator.fleets import URL, Stage, config

HOST = "git.test"
REPO = "GitRepository"
NEVER = "http://other.test/never"


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.fleet.start()
    return stage


@pytest.fixture
def repo(stage: Stage) -> Key:
    """One that is well, on a host that is about to go."""
    repo = stage.repository({"./user": config("user")})
    stage.kustomization("user", interval="30s")
    stage.fleet.run(46)
    return repo


def test_a_source_that_is_well_writes_nothing(stage: Stage) -> None:
    repo = stage.repository({})
    stage.fleet.run(175)
    assert len(stage.writes(repo)) == 7
    assert stage.fleet.runs(repo) == 7
    assert stage.states(repo)[-1] == ("True", "Succeeded")


def test_with_an_artifact_a_failure_is_one_write_and_stays(stage: Stage, repo: Key) -> None:
    steps.refuse(HOST)(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(191)
    (write,) = stage.writes(repo, since)
    assert write.time - since < 30
    found = conditions(write.status)
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ("False", "GitOperationFailed")
    assert found["FetchFailed"]["status"] == "True"
    assert found["ArtifactInStorage"]["status"] == "True"
    assert found["Reconciling"]["reason"] == "ProgressingWithRetry"
    assert found["Ready"]["lastTransitionTime"] == found["FetchFailed"]["lastTransitionTime"]


def test_what_uses_a_failing_source_does_not_notice(stage: Stage, repo: Key) -> None:
    steps.refuse(HOST)(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(191)
    user = stage.key("user")
    assert set(stage.states(user, since)) == {
        ("True", "ReconciliationSucceeded"),
        ("Unknown", "Progressing"),
    }


def test_without_an_artifact_every_retry_passes_through_unknown_with_gaps_that_double(stage: Stage) -> None:
    steps.refuse("other.test")(stage.fleet)
    stage.world.repository(NEVER)
    source = stage.create(REPO, "never", {"interval": "30s", "timeout": "20s", "url": NEVER})
    stage.fleet.run(400)
    phases = stage.phases(source)[1:]
    assert {phase[:2] for phase in phases} == {("Unknown", "Progressing"), ("False", "GitOperationFailed")}
    assert all(took < 0.2 for status, _, took in phases if status == "Unknown")
    gaps = [took for status, _, took in phases if status == "False"][:-1]
    assert gaps == pytest.approx([1.5, 3, 6, 12, 24, 48, 96, 192], abs=0.1)
    failing_since = {
        conditions(write.status)["FetchFailed"]["lastTransitionTime"]
        for write in stage.writes(source)
        if "FetchFailed" in conditions(write.status)
    }
    assert len(failing_since) == 1
    assert stage.status(source)["observedGeneration"] == -1


def test_back_off_ends_at_a_quarter_of_an_hour(stage: Stage, repo: Key) -> None:
    steps.refuse(HOST)(stage.fleet)
    stage.fleet.run(3600)
    before = stage.fleet.runs(repo)
    stage.fleet.run(1800)
    assert stage.fleet.runs(repo) - before == 2


def test_recovery_comes_only_with_the_next_attempt(stage: Stage, repo: Key) -> None:
    steps.refuse(HOST)(stage.fleet)
    stage.fleet.run(150)
    steps.restore(HOST)(stage.fleet)
    steps.commit(URL, "meanwhile", {"./user": config("user", "2")})(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(100)
    false, unknown, true = stage.phases(repo, since)
    assert (false[0], unknown[0], true[0]) == ("False", "Unknown", "True")
    assert false[2] > 30
    assert unknown[2] < 0.1
    assert "FetchFailed" not in conditions(stage.status(repo))
    applied = [
        write.time for write in stage.writes(stage.key("user"), since) if write.status["observedGeneration"] == 1
    ]
    assert applied[0] > since
    assert stage.status(stage.key("user"))["lastAppliedRevision"] == stage.status(repo)["artifact"]["revision"]


def test_recovered_without_a_new_revision_it_goes_to_true_directly(stage: Stage, repo: Key) -> None:
    steps.refuse(HOST)(stage.fleet)
    stage.fleet.run(60)
    steps.restore(HOST)(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(60)
    assert stage.states(repo, since) == [("False", "GitOperationFailed"), ("True", "Succeeded")]
    assert stage.events(repo, since)[0][0] == "Succeeded"


def test_a_server_that_hangs_fails_an_interval_and_a_timeout_later(stage: Stage, repo: Key) -> None:
    steps.hang(HOST)(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(110)
    (write,) = stage.writes(repo, since)
    assert 20 < write.time - since < 52
    assert "context deadline exceeded" in conditions(write.status)["Ready"]["message"]


def test_without_an_artifact_a_hanging_server_means_unknown_for_the_whole_timeout(stage: Stage) -> None:
    steps.hang("other.test")(stage.fleet)
    source = stage.create(REPO, "never", {"interval": "30s", "timeout": "20s", "url": NEVER})
    stage.fleet.run(120)
    unknown = [took for status, _, took in stage.phases(source) if status == "Unknown"]
    assert all(took == pytest.approx(20, abs=0.1) for took in unknown[:-1])
    assert len(unknown) > 2


def test_who_waits_for_a_source_without_artifact_says_so_once(stage: Stage) -> None:
    steps.refuse(HOST)(stage.fleet)
    stage.repository({"./user": config("user")})
    user = stage.kustomization("user", interval="30s")
    stage.fleet.run(427)
    assert len(stage.writes(user)) == 3
    assert stage.fleet.runs(user) == 16
    assert stage.condition(user) == ("False", "ArtifactFailed")


def test_a_suspended_source_is_frozen_but_says_which_generation_it_saw(stage: Stage, repo: Key) -> None:
    steps.refuse(HOST)(stage.fleet)
    stage.fleet.run(60)
    steps.suspend(repo)(stage.fleet)
    stage.fleet.run(5)
    since = stage.schedule.now
    stage.fleet.run(200)
    assert stage.writes(repo, since) == []
    assert stage.condition(repo) == ("False", "GitOperationFailed")
    assert stage.status(repo)["observedGeneration"] == 2


def test_a_request_leaves_ready_alone(stage: Stage, repo: Key) -> None:
    since = stage.schedule.now
    stage.fleet.request(repo, "token")
    stage.fleet.run(3)
    seen = [
        (conditions(write.status).get("Reconciling", {}).get("reason"), write.status.get("lastHandledReconcileAt"))
        for write in stage.writes(repo, since)
    ]
    assert seen == [(None, None), ("Progressing", None), (None, None), (None, "token")]
    assert stage.states(repo, since) == [("True", "Succeeded")]


def test_an_emptied_storage_is_refilled_and_those_that_cannot_be_are_without_artifact(stage: Stage, repo: Key) -> None:
    other = "http://other.test/other"
    stage.repository({"./far": config("far")}, name="other", url=other)
    far = stage.kustomization("far", interval="40s", sourceRef={"kind": REPO, "name": "other"})
    stage.fleet.run(20)
    steps.refuse("other.test")(stage.fleet)
    steps.kill("source-controller")(stage.fleet)
    steps.empty_storage()(stage.fleet)
    since = stage.schedule.now
    steps.restart("source-controller")(stage.fleet)
    stage.fleet.run(120)
    unknown = stage.phases(repo, since)[1]
    assert (unknown[0], unknown[2] < 0.2) == ("Unknown", True)
    messages = {conditions(write.status)["Ready"]["message"] for write in stage.writes(repo, since)}
    assert "building artifact: disappeared from storage" in messages
    assert stage.condition(repo) == ("True", "Succeeded")
    lost = stage.key("other", REPO)
    assert stage.condition(lost) == ("False", "GitOperationFailed")
    assert "artifact" not in stage.status(lost)
    # Only at its next interval does it see that.
    true, false = stage.phases(far, since)[-2:]
    assert (true[0], false[:2]) == ("True", ("False", "ArtifactFailed"))
    assert conditions(stage.status(far)).get("Reconciling") is None


def test_deleted_it_goes_at_once(stage: Stage, repo: Key) -> None:
    steps.delete(repo)(stage.fleet)
    stage.fleet.run(1)
    assert stage.fleet.get(repo) is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("OCIRepository", "OCIArtifactPullFailed"), ("HelmRepository", "Failed"), ("Bucket", "BucketOperationFailed")],
)
def test_the_other_kinds_fail_and_recover_alike(stage: Stage, kind: str, reason: str) -> None:
    url = "oci://ghcr.test/manifests"
    if kind == "HelmRepository":
        stage.world.helm_repository(url, {"podinfo": ["6.9.0"]})
    else:
        stage.world.oci(url, "1.0.0")
    field = "endpoint" if kind == "Bucket" else "url"
    source = stage.create(kind, "source", {"interval": "30s", "timeout": "20s", field: url})
    stage.fleet.run(60)
    assert len(stage.writes(source)) == 7
    steps.refuse("ghcr.test")(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(100)
    assert len(stage.writes(source, since)) == 1
    assert stage.condition(source) == ("False", reason)
    steps.restore("ghcr.test")(stage.fleet)
    stage.fleet.run(130)
    assert stage.condition(source) == ("True", "Succeeded")


def test_a_new_tag_is_a_new_revision(stage: Stage) -> None:
    url = "oci://ghcr.test/manifests"
    stage.world.oci(url, "1.0.0")
    source = stage.create("OCIRepository", "source", {"interval": "30s", "url": url})
    stage.fleet.run(40)
    steps.publish_tag(url, "1.1.0")(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(40)
    assert [state[0] for state in stage.states(source, since)] == ["True", "Unknown", "True"]
    assert stage.status(source)["artifact"]["revision"].startswith("1.1.0@sha256:")


def test_a_helm_repository_of_type_oci_has_no_status(stage: Stage) -> None:
    source = stage.create("HelmRepository", "charts", {"type": "oci", "url": "oci://ghcr.test/charts"})
    stage.fleet.run(100)
    assert len(stage.writes(source)) == 1
