"""Situations that are rare, and in which a wrong word is easily said: each as an operator would tell it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.references import MAX_REFERENCES
from gotk_exporter.flux.verdicts import Seen
from tests.flux.clusters import BEGINNING, MINUTE, Cluster, entry, on, timestamp

RECORDED_LENGTH = 150
"""Messages in recordings are cut there."""


def names(*dependencies: str) -> list[dict[str, str]]:
    return [{"name": name} for name in dependencies]


# Where it is


def test_a_dependency_in_another_namespace_is_the_one_there_and_not_the_one_here() -> None:
    cluster = Cluster()
    cluster.kustomization_fails("database", at=1, spec=on(), namespace="infra")
    cluster.kustomization_is_ready("database", spec=on())
    spec = {**on(), "dependsOn": [{"name": "database", "namespace": "infra"}]}
    message = "dependency 'infra/database' is not ready"
    cluster.write("Kustomization", "app", "False", "DependencyNotReady", message, at=1, spec=spec)
    (blocked,) = cluster.samples("gotk_resource_blocked")
    assert (blocked["by_name"], blocked["by_namespace"], blocked["via"]) == ("database", "infra", "dependsOn")
    (root,) = cluster.samples("gotk_root_cause_info")
    assert (root["namespace"], root["reason"]) == ("infra", "BuildFailed")


class Limited(Cluster):
    """An installation that follows the namespace apps alone."""

    def __init__(self) -> None:
        super().__init__(without=[kind.name for kind in KINDS])
        self._collectors = {kind.name: Collector(kind, "apps", self.store, self.relations) for kind in KINDS}
        for collector in self._collectors.values():
            collector.begin_replacement("v1").commit()


def test_what_lies_outside_of_the_followed_namespaces_is_not_watched_and_never_missing() -> None:
    cluster = Limited()
    spec = {**on(), "dependsOn": [{"name": "database", "namespace": "infra"}]}
    message = "dependency 'infra/database' is not ready"
    cluster.write("Kustomization", "app", "False", "DependencyNotReady", message, at=1, spec=spec)
    spec = {**on(), "sourceRef": {"kind": "GitRepository", "name": "flux", "namespace": "flux-system"}}
    cluster.write("Kustomization", "other", "False", "ArtifactFailed", "Source artifact not found", at=1, spec=spec)
    cluster.source_is_missed("third", at=1, source="gone", spec={**on(), "sourceRef": {**_git("gone")}})
    cluster.wait(until=60)
    assert cluster.roots() == {
        "Kustomization/database": "NotWatched",
        "GitRepository/flux": "NotWatched",
        "GitRepository/gone": "NotFound",
    }


def test_what_is_not_watched_is_not_blamed_where_the_message_names_another() -> None:
    cluster = Limited()
    cluster.source_is_ready()
    cluster.kustomization_fails("database", at=1, spec=on())
    spec = {**on(), "dependsOn": [{"name": "base", "namespace": "infra"}, {"name": "database"}]}
    cluster.kustomization_waits("app", at=1, on="database", spec=spec)
    assert cluster.blocked() == {"Kustomization/app": {"Kustomization/database"}}


def _git(name: str) -> dict[str, str]:
    return {"kind": "GitRepository", "name": name}


def test_one_that_is_deleted_and_made_anew_is_missing_in_between_and_then_another() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_fails("root", at=1, spec=on())
    cluster.kustomization_waits("leaf", at=1, on="root", spec=on("root"))
    cluster.delete("Kustomization", "root")
    assert cluster.roots() == {"Kustomization/root": "NotFound"}
    cluster.write("Kustomization", "root", at=3, spec=on(), uid="another")
    assert cluster.roots() == {"Kustomization/root": "Progressing"}
    assert cluster.failing() == set()
    cluster.kustomization_fails("root", at=4, spec=on(), uid="another")
    assert cluster.numbers("gotk_resource_failing_since_timestamp_seconds") == {
        "Kustomization/root": BEGINNING + 4 * MINUTE
    }
    assert cluster.blocked() == {"Kustomization/leaf": {"Kustomization/root"}}


# What it waits for, and what it does not


def test_of_several_dependencies_those_before_the_one_that_is_named_have_passed() -> None:
    """A readyExpr may hold of one whose runs fail: controllers look at them in order, and name the first that stops
    them."""
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_fails("known-bad", at=1, spec=on())
    cluster.kustomization_fails("database", at=2, spec=on())
    cluster.kustomization_waits("app", at=3, on="database", spec=on("known-bad", "database"))
    assert cluster.blocked() == {"Kustomization/app": {"Kustomization/database"}}


def test_a_release_that_takes_its_chart_from_a_registry_waits_for_that() -> None:
    cluster = Cluster()
    cluster.write("OCIRepository", "charts", "False", "OCIArtifactPullFailed", at=1)
    message = "OCIRepository 'apps/charts' is not ready: does not have an artifact"
    spec = {"interval": "10m", "chartRef": {"kind": "OCIRepository", "name": "charts"}}
    cluster.write("HelmRelease", "app", "False", "SourceNotReady", message, at=1, spec=spec, reconciling="Progressing")
    assert cluster.roots() == {"OCIRepository/charts": "OCIArtifactPullFailed"}
    assert [(s["by_kind"], s["via"]) for s in cluster.samples("gotk_resource_blocked")] == [
        ("OCIRepository", "chartRef")
    ]
    assert cluster.failing() == {"OCIRepository/charts"}


def test_of_two_sources_the_one_that_has_an_artifact_is_not_waited_for() -> None:
    for state in ({"spec": {"suspend": True}}, {"ready": "False", "reason": "GitOperationFailed"}):
        cluster = Cluster()
        cluster.source_is_ready("stored")
        cluster.write("GitRepository", "stored", at=1, **state)  # type: ignore[arg-type]
        cluster.write("GitRepository", "empty", "False", "AuthenticationFailed", at=1)
        spec = {"sources": [{"alias": name, **_git(name)} for name in ("stored", "empty")]}
        message = "get sources failed: source 'GitRepository/apps/empty' is not ready"
        cluster.write("ArtifactGenerator", "both", "False", "SourceFetchFailed", message, at=2, spec=spec)
        assert cluster.blocked() == {"ArtifactGenerator/both": {"GitRepository/empty"}}


def test_a_repository_waits_for_the_one_that_it_includes() -> None:
    cluster = Cluster()
    cluster.write("GitRepository", "library", "False", "GitOperationFailed", at=1)
    spec = {"include": [{"repository": {"name": "library"}}]}
    message = "no artifact available for include 'library'"
    cluster.write("GitRepository", "app", "False", "NoArtifact", message, at=1, spec=spec)
    assert cluster.roots() == {"GitRepository/library": "GitOperationFailed"}
    assert cluster.blocked() == {"GitRepository/app": {"GitRepository/library"}}


def resource_set(cluster: Cluster, dependency: dict[str, Any], message: str) -> None:
    message = f"Retrying dependency check: dependency {message}"
    spec = {"dependsOn": [dependency]}
    cluster.write("ResourceSet", "tenants", "False", "DependencyNotReady", message, at=1, spec=spec)


def test_a_resource_set_waits_for_what_we_follow_and_for_what_we_do_not() -> None:
    cluster = Cluster()
    cluster.write("HelmRelease", "crds", "False", "UpgradeFailed", at=1)
    dependency = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "name": "crds", "namespace": "apps"}
    resource_set(cluster, {**dependency, "ready": True}, "helm.toolkit.fluxcd.io/v2/HelmRelease/apps/crds not ready")
    assert cluster.roots() == {"HelmRelease/crds": "UpgradeFailed"}

    cluster = Cluster()
    widgets = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "name": "widgets.acme"}
    resource_set(cluster, widgets, "apiextensions.k8s.io/v1/CustomResourceDefinition/widgets.acme not found: nothing")
    (root,) = cluster.samples("gotk_root_cause_info")
    assert (root["kind"], root["name"], root["namespace"], root["reason"]) == (
        "CustomResourceDefinition",
        "widgets.acme",
        "",
        "NotWatched",
    )

    cluster = Cluster()
    secret = {"apiVersion": "v1", "kind": "Secret", "name": "tokens", "namespace": "apps"}
    resource_set(cluster, secret, 'v1/Secret/apps/tokens not found: secrets "tokens" not found')
    assert cluster.roots() == {"Secret/tokens": "NotWatched"}


def test_a_kind_of_another_group_with_the_name_of_one_of_ours_is_not_ours() -> None:
    cluster = Cluster()
    provider = {"apiVersion": "pkg.crossplane.io/v1", "kind": "Provider", "name": "aws"}
    resource_set(cluster, provider, "pkg.crossplane.io/v1/Provider/aws not ready")
    assert cluster.roots() == {"Provider.pkg.crossplane.io/aws": "NotWatched"}


# What a message tells


@pytest.mark.parametrize(
    ("message", "fails"),
    [
        ("kustomization path not found: stat /tmp/kustomization-1234567890/" + 20 * "deploy/", True),
        ("failed to download archive: GET http://source-controller.flux-system.svc.cluster.local./" + 90 * "x", True),
        ('gitrepositories.source.toolkit.fluxcd.io "repo" not found' + 120 * " ", False),
        ("Source artifact not found, retrying in 30s", False),
    ],
)
@pytest.mark.parametrize("reconciling", [None, "ProgressingWithRetry"])
def test_a_message_that_was_cut_still_tells_whose_fault_it_is(
    message: str, fails: bool, reconciling: str | None
) -> None:
    """Also beside a condition that an earlier failure has left behind."""
    cluster = Cluster()
    cut = message[:RECORDED_LENGTH]
    cluster.write("GitRepository", "repo", "False", "GitOperationFailed", at=0)
    cluster.write("Kustomization", "app", "False", "ArtifactFailed", cut, at=1, spec=on(), reconciling=reconciling)
    assert ("Kustomization/app" in cluster.failing()) is fails
    assert (cluster.blocked() == {}) is fails


def test_one_that_waits_beside_the_reconciling_of_a_failed_run_waits() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_fails("root", at=0, spec=on())
    cluster.kustomization_fails("leaf", at=1, spec=on("root"))
    cluster.kustomization_waits("leaf", at=2, on="root", reconciling="ProgressingWithRetry")
    assert cluster.failing() == {"Kustomization/root"}
    assert cluster.roots() == {"Kustomization/root": "BuildFailed"}
    assert set(cluster.numbers("gotk_resource_waiting_since_timestamp_seconds")) == {"Kustomization/leaf"}


def test_one_that_failed_and_then_waited_runs_as_one_that_failed_for_the_reason_that_it_had() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_is_ready("root", spec=on())
    cluster.kustomization_fails("leaf", at=1, spec=on("root"))
    cluster.kustomization_fails("root", at=1)
    cluster.kustomization_waits("leaf", at=2, on="root")
    cluster.kustomization_is_ready("root", at=3)
    cluster.kustomization_runs("leaf", at=3.5)
    assert cluster.roots() == {"Kustomization/leaf": "BuildFailed"}
    assert cluster.numbers("gotk_resource_failing_since_timestamp_seconds") == {
        "Kustomization/leaf": BEGINNING + 1 * MINUTE
    }


def test_one_that_is_resumed_after_a_long_wait_is_no_cause_before_it_has_looked_again() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_fails("root", at=1, spec=on())
    cluster.kustomization_waits("leaf", at=1, on="root", spec=on("root"))
    cluster.write("Kustomization", "leaf", at=2, spec={"suspend": True})
    cluster.kustomization_is_ready("root", at=3)
    cluster.write("Kustomization", "leaf", at=60, spec={"suspend": False})
    assert cluster.roots() == {}
    cluster.kustomization_is_ready("leaf", at=60.1)
    assert cluster.roots() == {}


def a_parent_of_a_failing_child(cluster: Cluster, *others: str) -> None:
    cluster.source_is_ready()
    inventory = [entry("Kustomization", name) for name in ("zebra", *others)]
    cluster.kustomization_is_ready("parent", spec={**on("base"), "wait": True}, inventory=inventory)
    cluster.kustomization_is_ready("base", spec=on())
    cluster.kustomization_fails("zebra", at=1, spec=on())
    cluster.health_check_fails("parent", 6, "Kustomization/apps/zebra")


def test_a_run_that_was_cut_short_or_put_off_leaves_the_blame_where_it_was() -> None:
    cluster = Cluster()
    a_parent_of_a_failing_child(cluster)
    assert cluster.roots() == {"Kustomization/zebra": "BuildFailed"}
    message = "New reconciliation triggered by GitRepository/apps/repo"
    cluster.write("Kustomization", "parent", "False", "HealthCheckCanceled", message, at=7)
    assert cluster.roots() == {"Kustomization/zebra": "BuildFailed"}
    cluster.kustomization_runs("parent", at=7.1)
    assert cluster.roots() == {"Kustomization/zebra": "BuildFailed"}
    cluster.kustomization_runs("base", at=8)
    cluster.kustomization_waits("parent", at=8, on="base")
    cluster.kustomization_is_ready("base", at=8.1)
    cluster.kustomization_runs("parent", at=8.5)
    assert cluster.roots() == {"Kustomization/zebra": "BuildFailed"}
    cluster.kustomization_fails("parent", at=9)
    assert cluster.roots() == {"Kustomization/parent": "BuildFailed", "Kustomization/zebra": "BuildFailed"}


def test_a_parent_that_failed_because_of_a_child_that_is_about_to_look_again_has_a_cause_all_the_time() -> None:
    """The child waits half a minute at most after what it waited for has become ready, and has no cause itself."""
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_fails("base", at=0, spec=on())
    inventory = [entry("Kustomization", "child")]
    cluster.kustomization_is_ready("parent", spec={**on(), "wait": True}, inventory=inventory)
    cluster.kustomization_waits("child", at=1, on="base", spec=on("base"))
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child")
    assert cluster.roots() == {"Kustomization/base": "BuildFailed"}
    cluster.kustomization_is_ready("base", at=7)
    assert cluster.roots() == {"Kustomization/child": "Progressing"}
    assert cluster.blocked() == {"Kustomization/parent": {"Kustomization/child"}}
    cluster.kustomization_runs("child", at=7.4)
    assert cluster.roots() == {"Kustomization/child": "Recovered"}
    cluster.kustomization_is_ready("child", at=7.5)
    cluster.kustomization_is_ready("parent", at=9)
    assert (cluster.roots(), cluster.blocked()) == ({}, {})


# Bounds


def test_a_child_beyond_those_that_we_keep_is_still_the_cause_if_the_message_names_it() -> None:
    cluster = Cluster()
    a_parent_of_a_failing_child(cluster, *(f"app-{number:03}" for number in range(3 * MAX_REFERENCES)))
    assert cluster.roots() == {"Kustomization/zebra": "BuildFailed"}
    assert cluster.blocked() == {"Kustomization/parent": {"Kustomization/zebra"}}


def test_however_many_it_depends_on_its_source_and_the_one_that_is_named_are_known() -> None:
    cluster = Cluster()
    many = [f"base-{number:03}" for number in range(2 * MAX_REFERENCES)]
    for name in many:
        cluster.kustomization_is_ready(name, spec=on())
    cluster.source_is_missed("app", at=1, spec=on(*many))
    cluster.wait(until=20)
    assert cluster.roots() == {"GitRepository/repo": "NotFound"}
    shown = [s for s in cluster.samples("gotk_resource_dependency_info") if s["name"] == "app"]
    assert len(shown) == MAX_REFERENCES

    cluster.source_is_ready(at=20)
    cluster.kustomization_fails(many[-1], at=20)
    cluster.kustomization_waits("app", at=21, on=many[-1])
    assert cluster.roots() == {f"Kustomization/{many[-1]}": "BuildFailed"}
    assert cluster.blocked() == {"Kustomization/app": {f"Kustomization/{many[-1]}"}}


# What a release shows after a restart


def first_sight(kind: str, conditions: list[dict[str, str]], at: float, **status: Any) -> Cluster:
    """An exporter that starts now, and sees this."""
    cluster = Cluster()
    document = {
        "metadata": {"name": "one", "namespace": "apps", "uid": "1", "creationTimestamp": timestamp(0)},
        "status": {"conditions": conditions, **status},
    }
    listing = cluster._collectors[kind].begin_replacement("v1")
    listing.add("apps/one", "1", "1", json.dumps(document).encode(), Seen(BEGINNING + at * MINUTE))
    listing.commit()
    return cluster


def condition(type_: str, status: str, reason: str, message: str = "", at: float = 5) -> dict[str, str]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": timestamp(at),
    }


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("PendingRelease", "Unlocked Helm release apps/one.v2 with chart podinfo@6.9.0 in pending-upgrade state"),
        ("UninstallSucceeded", "Helm uninstall succeeded for release apps/one.v1 with chart podinfo@6.9.0"),
    ],
)
def test_a_release_that_was_only_unlocked_or_taken_away_has_not_failed(reason: str, message: str) -> None:
    running = [condition("Ready", "Unknown", "Progressing"), condition("Released", "False", reason, message)]
    cluster = first_sight("HelmRelease", running, at=6)
    assert (cluster.failing(), cluster.roots()) == (set(), {})


@pytest.mark.parametrize(
    ("reason", "reconciling", "runs"),
    [
        ("UpgradeFailed", "Running 'upgrade' action with timeout of 5m0s", False),
        ("UpgradeFailed", "Running 'rollback' action with timeout of 5m0s", True),
        ("UpgradeFailed", "Fulfilling prerequisites", True),
        ("ValuesError", "Fulfilling prerequisites", False),
        ("ArtifactFailed", "Fulfilling prerequisites", False),
    ],
)
def test_a_release_that_backs_off_is_not_running_though_reconciling_was_left_behind(
    reason: str, reconciling: str, runs: bool
) -> None:
    conditions = [
        condition("Ready", "False", reason, "Could not load chart"),
        condition("Reconciling", "True", "Progressing", reconciling),
    ]
    cluster = first_sight("HelmRelease", conditions, at=60)
    assert cluster.failing() == {"HelmRelease/one"}
    assert bool(cluster.numbers("gotk_resource_progressing_since_timestamp_seconds")) is runs


def test_a_chart_that_looks_again_for_its_source_has_never_failed() -> None:
    conditions = [
        condition("Ready", "Unknown", "Progressing"),
        condition("FetchFailed", "True", "NoSourceArtifact", "no artifact available for HelmRepository source 'x'"),
    ]
    cluster = first_sight("HelmChart", conditions, at=6)
    assert cluster.failing() == set()
