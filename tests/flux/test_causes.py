"""Root causes, as an operator would name them: each test is a situation in a cluster and what the page says of it."""

from __future__ import annotations

from tests.flux.clusters import BEGINNING, MINUTE, Cluster, applied_by, entry, on

DEPLOYMENT = "Deployment/apps/web"


def a_chain(cluster: Cluster, *names: str, revision: str = "main@sha1:1") -> None:
    """Kustomizations of one source, each depending on the one before it, all well."""
    cluster.source_is_ready(revision=revision)
    for before, name in zip((None, *names), names, strict=False):
        cluster.kustomization_is_ready(name, revision=revision, spec=on(*([before] if before else [])))


# A failure and what hangs from it


def test_dependents_of_a_failing_root_are_blocked_and_it_alone_is_the_cause() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "mid", "leaf")
    cluster.kustomization_fails("root", at=1)
    cluster.kustomization_waits("mid", at=1, on="root")
    cluster.kustomization_waits("leaf", at=1, on="mid")
    assert cluster.roots() == {"Kustomization/root": "BuildFailed"}
    assert cluster.blocked() == {
        "Kustomization/mid": {"Kustomization/root"},
        "Kustomization/leaf": {"Kustomization/root"},
    }
    assert cluster.numbers("gotk_resource_blocked_dependents") == {"Kustomization/root": 2}
    assert cluster.failing() == {"Kustomization/root"}


def test_a_root_stays_the_cause_while_it_tries_again() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.health_check_fails("root", 1, DEPLOYMENT)
    cluster.kustomization_waits("leaf", at=1, on="root")
    for attempt in range(5):
        cluster.kustomization_runs("root", at=3 + 7 * attempt)
        assert cluster.roots() == {"Kustomization/root": "HealthCheckFailed"}
        cluster.health_check_fails("root", 8 + 7 * attempt, DEPLOYMENT)
        assert cluster.roots() == {"Kustomization/root": "HealthCheckFailed"}
    assert cluster.blocked() == {"Kustomization/leaf": {"Kustomization/root"}}


def test_nothing_is_left_of_it_when_the_root_is_well_and_the_dependents_have_run() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.kustomization_fails("root", at=1)
    cluster.kustomization_waits("leaf", at=1, on="root")
    cluster.kustomization_is_ready("root", at=9)
    assert cluster.roots() == {}
    cluster.kustomization_is_ready("leaf", at=9.5)
    assert (cluster.roots(), cluster.blocked()) == ({}, {})
    assert cluster.numbers("gotk_resource_blocked_dependents") == cluster.numbers("gotk_resource_held_back") == {}


def test_an_object_with_a_failure_of_its_own_is_a_cause_even_while_its_source_fails() -> None:
    cluster = Cluster()
    a_chain(cluster, "app")
    cluster.write("GitRepository", "repo", "False", "GitOperationFailed", at=1)
    cluster.kustomization_fails("app", at=2)
    assert cluster.roots() == {"GitRepository/repo": "GitOperationFailed", "Kustomization/app": "BuildFailed"}
    assert cluster.blocked() == {}


def test_one_that_waits_for_two_broken_ones_names_both() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    for name in ("a", "b"):
        cluster.kustomization_fails(name, at=1, spec=on())
    cluster.kustomization_waits("c", at=1, on="a", spec=on("a", "b"))
    assert cluster.blocked() == {"Kustomization/c": {"Kustomization/a", "Kustomization/b"}}
    assert cluster.numbers("gotk_resource_blocked_dependents") == {"Kustomization/a": 1, "Kustomization/b": 1}


# What is missing, going or suspended


def test_a_missing_source_named_by_forty_objects_is_one_cause_without_series_of_its_own() -> None:
    cluster = Cluster()
    for number in range(40):
        cluster.source_is_missed(f"app-{number}", at=1, spec=on())
    assert cluster.roots() == {"GitRepository/repo": "NotFound"}
    assert cluster.numbers("gotk_resource_blocked_dependents") == {"GitRepository/repo": 40}
    assert len(cluster.blocked()) == 40
    assert not [s for s in cluster.samples("gotk_resource_info") if s["name"] == "repo"]
    cluster.source_is_ready(at=2)
    assert (cluster.roots(), cluster.blocked()) == ({}, {})


def test_what_is_missing_of_a_kind_that_nobody_follows_is_not_called_missing() -> None:
    cluster = Cluster(without=["GitRepository"])
    cluster.source_is_missed("app", at=1, spec=on())
    assert cluster.roots() == {"GitRepository/repo": "NotWatched"}


def test_a_dependency_that_is_being_deleted_is_the_cause() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.kustomization_fails("root", at=1)
    cluster.write("Kustomization", "root", at=2, deletionTimestamp="2025-11-21T04:42:00Z")
    cluster.kustomization_waits("leaf", at=2, on="root")
    assert cluster.roots() == {"Kustomization/root": "Terminating"}
    assert cluster.failing() == set()
    cluster.delete("Kustomization", "root")
    assert cluster.roots() == {"Kustomization/root": "NotFound"}


def test_one_that_terminates_and_keeps_nobody_waiting_is_no_cause() -> None:
    cluster = Cluster()
    a_chain(cluster, "root")
    cluster.kustomization_fails("root", at=1)
    cluster.write("Kustomization", "root", at=2, deletionTimestamp="2025-11-21T04:42:00Z")
    assert (cluster.roots(), cluster.failing()) == ({}, set())


def test_a_suspended_dependency_is_the_cause_whatever_its_verdict() -> None:
    for fails in (False, True):
        cluster = Cluster()
        a_chain(cluster, "root", "leaf")
        if fails:
            cluster.kustomization_fails("root", at=1)
        cluster.write("Kustomization", "root", at=2, spec={"suspend": True})
        cluster.source_is_ready(at=3, revision="main@sha1:2")
        cluster.kustomization_waits("leaf", at=3, on="root", why="revision is not up to date")
        assert cluster.roots() == {"Kustomization/root": "Suspended"}
        assert cluster.blocked() == {"Kustomization/leaf": {"Kustomization/root"}}


def test_one_suspended_in_mid_run_fails_when_the_run_ends_and_is_a_suspended_cause() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.kustomization_runs("root", at=1)
    cluster.write("Kustomization", "root", at=2, spec={"suspend": True})
    assert cluster.roots() == {}
    cluster.health_check_fails("root", 6, DEPLOYMENT)
    cluster.kustomization_waits("leaf", at=6.5, on="root")
    assert cluster.roots() == {"Kustomization/root": "Suspended"}
    assert cluster.failing() == {"Kustomization/root"}
    cluster.write("Kustomization", "root", at=20, spec={"suspend": False})
    assert cluster.roots() == {"Kustomization/root": "HealthCheckFailed"}
    assert cluster.numbers("gotk_resource_failing_since_timestamp_seconds") == {
        "Kustomization/root": BEGINNING + 6 * MINUTE
    }


# What heals by itself


def test_a_harmless_commit_through_a_chain_has_no_failing_cause_at_any_time() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "mid", "leaf")
    quiet = {
        "Kustomization/root": {"Progressing", "RevisionNotUpToDate"},
        "Kustomization/mid": {"Progressing", "RevisionNotUpToDate"},
    }

    def nothing_to_page() -> None:
        assert all(reason in quiet.get(name, ()) for name, reason in cluster.roots().items()), cluster.roots()
        assert cluster.failing() == set()

    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.kustomization_waits("mid", at=10.01, on="root", why="revision is not up to date")
    nothing_to_page()
    cluster.kustomization_waits("leaf", at=10.01, on="mid")
    nothing_to_page()
    assert cluster.blocked()["Kustomization/leaf"] == {"Kustomization/root"}
    cluster.kustomization_runs("root", at=10.02)
    nothing_to_page()
    assert cluster.roots() == {"Kustomization/root": "Progressing"}
    cluster.kustomization_is_ready("root", at=10.1, revision="main@sha1:2")
    nothing_to_page()
    cluster.wait(until=10.5)
    nothing_to_page()
    cluster.kustomization_runs("mid", at=10.52)
    nothing_to_page()
    cluster.kustomization_is_ready("mid", at=10.6, revision="main@sha1:2")
    cluster.kustomization_is_ready("leaf", at=11, revision="main@sha1:2")
    assert (cluster.roots(), cluster.blocked()) == ({}, {})


def test_a_rollout_of_an_hour_blocks_its_dependents_and_is_nobodys_fault() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.source_is_ready(at=1, revision="main@sha1:2")
    cluster.kustomization_runs("root", at=1)
    cluster.kustomization_waits("leaf", at=1, on="root")
    for minute in range(2, 60):
        cluster.wait(until=minute)
        assert cluster.roots() == {"Kustomization/root": "Progressing"}
        assert cluster.blocked() == {"Kustomization/leaf": {"Kustomization/root"}}
    assert cluster.failing() == set()


# Health checks of parents


def a_parent(cluster: Cluster, *children: str, **more: object) -> None:
    """A Kustomization "parent" that waits for all that it applies: these Kustomizations, and a Deployment."""
    cluster.source_is_ready()
    spec = {**on(), "wait": True, **more}
    inventory = [*(entry("Kustomization", child) for child in children), "apps_web_apps_Deployment"]
    cluster.kustomization_is_ready("parent", spec=spec, inventory=inventory)
    for child in children:
        labels = applied_by("Kustomization", "parent")
        cluster.kustomization_is_ready(child, spec=on(), labels=labels)


def test_a_parent_that_waits_for_a_failing_child_is_not_a_cause() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_fails("child", at=1)
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child")
    assert cluster.roots() == {"Kustomization/child": "BuildFailed"}
    assert cluster.blocked() == {"Kustomization/parent": {"Kustomization/child"}}
    assert cluster.failing() == {"Kustomization/child", "Kustomization/parent"}


def test_a_parent_that_waits_for_a_child_and_a_broken_deployment_names_both() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_fails("child", at=1)
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child", DEPLOYMENT)
    assert cluster.roots() == {"Kustomization/child": "BuildFailed", "Kustomization/parent": "HealthCheckFailed"}
    assert cluster.blocked() == {"Kustomization/parent": {"Kustomization/child"}}


def test_a_parent_whose_child_merely_runs_is_a_cause() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_runs("child", at=1)
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child")
    assert cluster.roots() == {"Kustomization/parent": "HealthCheckFailed"}


def test_a_parent_does_not_become_a_cause_when_its_child_heals_before_its_next_run() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_fails("child", at=1)
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child")
    cluster.kustomization_is_ready("child", at=7)
    for minute in (7, 8, 9):
        cluster.wait(until=minute)
        assert cluster.roots() == {"Kustomization/child": "Recovered"}
    cluster.kustomization_runs("parent", at=9)
    assert cluster.roots() == {"Kustomization/child": "Recovered"}
    cluster.kustomization_is_ready("parent", at=10)
    assert (cluster.roots(), cluster.blocked(), cluster.failing()) == ({}, {}, set())


def test_a_parent_whose_next_run_fails_for_another_cause_is_one_then() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_fails("child", at=1)
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child")
    cluster.kustomization_is_ready("child", at=7)
    cluster.kustomization_runs("parent", at=8)
    cluster.health_check_fails("parent", 13, DEPLOYMENT)
    assert cluster.roots() == {"Kustomization/parent": "HealthCheckFailed"}


def test_a_child_that_waits_for_a_failing_third_leaves_the_third_alone_as_the_cause() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_fails("third", at=1, spec=on())
    cluster.kustomization_waits("child", at=1, on="third", spec=on("third"))
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child")
    assert cluster.roots() == {"Kustomization/third": "BuildFailed"}
    assert cluster.blocked() == {
        "Kustomization/child": {"Kustomization/third"},
        "Kustomization/parent": {"Kustomization/third"},
    }


def test_the_names_in_a_remote_inventory_are_not_the_local_objects_of_these_names() -> None:
    cluster = Cluster()
    a_parent(cluster, "child", kubeConfig={"secretRef": {"name": "elsewhere"}})
    cluster.kustomization_fails("child", at=1)
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child")
    assert cluster.roots() == {"Kustomization/child": "BuildFailed", "Kustomization/parent": "HealthCheckFailed"}
    vias = {s["via"] for s in cluster.samples("gotk_resource_dependency_info")}
    assert vias == {"sourceRef"}


def test_a_name_that_the_inventory_does_not_hold_is_no_child() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_fails("stranger", at=1, spec=on())
    cluster.health_check_fails("parent", 6, "Kustomization/apps/stranger")
    assert cluster.roots() == {"Kustomization/parent": "HealthCheckFailed", "Kustomization/stranger": "BuildFailed"}


def test_parents_are_shown_where_the_inventory_confirms_the_labels_and_carry_no_blame() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_is_ready("copied", spec=on(), labels=applied_by("Kustomization", "parent"))
    shown = {
        (s["name"], s["via"], s["on_name"])
        for s in cluster.samples("gotk_resource_dependency_info")
        if s["via"] in ("parent", "health")
    }
    assert shown == {("child", "parent", "parent"), ("parent", "health", "child")}
    cluster.kustomization_fails("parent", at=1)
    assert cluster.blocked() == {}


# Circles


def test_a_deadlock_of_a_dependency_and_a_health_check_is_one_cause() -> None:
    cluster = Cluster()
    a_parent(cluster, "b")
    cluster.health_check_fails("parent", 6, "Kustomization/apps/b")
    cluster.kustomization_waits("b", at=6, on="parent", spec=on("parent"))
    assert cluster.roots() == {"Kustomization/b": "DependencyCycle"}
    assert cluster.blocked() == {"Kustomization/parent": {"Kustomization/b"}}


def test_a_circle_of_dependencies_alone_is_one_cause() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    for name, dependency in (("a", "c"), ("b", "a"), ("c", "b")):
        cluster.kustomization_waits(name, at=1, on=dependency, spec=on(dependency))
    cluster.kustomization_waits("outside", at=1, on="b", spec=on("b"))
    assert cluster.roots() == {"Kustomization/a": "DependencyCycle"}
    assert cluster.numbers("gotk_resource_blocked_dependents") == {"Kustomization/a": 3}
    assert set(cluster.blocked()) == {"Kustomization/b", "Kustomization/c", "Kustomization/outside"}
    cluster.kustomization_is_ready("c", at=2, spec=on())
    assert "DependencyCycle" not in cluster.roots().values()


# What is ready and still does not satisfy


def test_a_ready_expression_that_never_holds_makes_the_waiting_object_a_cause_after_two_retries() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.kustomization_waits("leaf", at=1, on="root", why="is not ready according to readyExpr eval")
    cluster.wait(until=1.9)
    assert cluster.roots() == {}
    cluster.wait(until=2)
    assert cluster.roots() == {"Kustomization/leaf": "DependencyConditionNotMet"}
    # A run of the dependency in between changes nothing.
    cluster.kustomization_runs("root", at=10)
    assert cluster.roots() == {"Kustomization/leaf": "DependencyConditionNotMet"}
    cluster.kustomization_is_ready("root", at=10.1)
    cluster.kustomization_is_ready("leaf", at=11)
    assert cluster.roots() == {}


# Sources


def test_a_failing_source_with_its_artifact_blocks_nobody_and_holds_back_all() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "mid", "leaf")
    cluster.write("GitRepository", "repo", "False", "GitOperationFailed", at=1)
    assert cluster.roots() == {"GitRepository/repo": "GitOperationFailed"}
    assert cluster.blocked() == {}
    assert cluster.numbers("gotk_resource_blocked_dependents") == {"GitRepository/repo": 0}
    assert cluster.numbers("gotk_resource_held_back") == {"GitRepository/repo": 3}
    cluster.kustomization_fails("mid", at=2)
    assert cluster.numbers("gotk_resource_held_back") == {"GitRepository/repo": 2, "Kustomization/mid": 1}
    cluster.source_is_ready(at=3)
    assert cluster.numbers("gotk_resource_held_back") == {"Kustomization/mid": 1}


def test_a_release_waits_for_its_chart_and_that_for_its_repository() -> None:
    cluster = Cluster()
    cluster.write("HelmRepository", "charts", "False", "IndexationFailed", at=1)
    chart = {"chart": "redis", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}
    none = "no artifact available for HelmRepository source 'charts'"
    cluster.write("HelmChart", "apps-redis", "False", "NoSourceArtifact", none, at=1, spec=chart)
    message = "HelmChart 'apps/apps-redis' is not ready: does not have an artifact"
    cluster.write("HelmRelease", "redis", "False", "SourceNotReady", message, at=1, spec={"chart": {"spec": chart}})
    assert cluster.roots() == {"HelmRepository/charts": "IndexationFailed"}
    assert cluster.blocked() == {
        "HelmChart/apps-redis": {"HelmRepository/charts"},
        "HelmRelease/redis": {"HelmRepository/charts"},
    }
    vias = {(s["name"], s["via"]) for s in cluster.samples("gotk_resource_blocked")}
    assert vias == {("apps-redis", "sourceRef"), ("redis", "chartRef")}


def test_an_image_policy_waits_for_its_repository() -> None:
    cluster = Cluster()
    cluster.write("ImageRepository", "web", "False", "ReadOperationFailed", at=1)
    spec = {"imageRepositoryRef": {"name": "web"}}
    message = "retrying in 30s error: no tags in database"
    cluster.write("ImagePolicy", "web", "False", "DependencyNotReady", message, at=1, spec=spec)
    assert cluster.roots() == {"ImageRepository/web": "ReadOperationFailed"}
    assert [s["via"] for s in cluster.samples("gotk_resource_blocked")] == ["image"]


def test_an_external_artifact_stands_for_the_generator_that_makes_it() -> None:
    generator = {
        "sources": [{"alias": "repo", "kind": "GitRepository", "name": "repo"}],
        "artifacts": [{"name": "made"}],
    }
    user = {**on(), "sourceRef": {"kind": "ExternalArtifact", "name": "made"}}
    message = 'externalartifacts.source.toolkit.fluxcd.io "made" not found'

    cluster = Cluster()
    cluster.source_is_ready()
    cluster.write("ArtifactGenerator", "maker", "False", "BuildFailed", at=1, spec=generator)
    cluster.write("Kustomization", "app", "False", "ArtifactFailed", message, at=1, spec=user)
    assert cluster.roots() == {"ArtifactGenerator/maker": "BuildFailed"}
    assert cluster.blocked() == {"Kustomization/app": {"ArtifactGenerator/maker"}}

    unknown = Cluster()
    unknown.write("ExternalArtifact", "made", at=1)
    unknown.write(
        "Kustomization", "app", "False", "ArtifactFailed", "Source artifact not found, retrying in 30s", at=1, spec=user
    )
    assert unknown.roots() == {"ExternalArtifact/made": "NotWatched"}


def test_a_failure_without_a_reason_is_a_cause_all_the_same() -> None:
    cluster = Cluster()
    cluster.write("ExternalArtifact", "made", "False", at=1)
    assert cluster.roots() == {"ExternalArtifact/made": "Failed"}


def test_missing_objects_whose_names_run_together_are_two() -> None:
    cluster = Cluster()
    spec = {"dependsOn": [{"name": "c", "namespace": "a/b"}, {"name": "b/c", "namespace": "a"}]}
    cluster.write("Kustomization", "app", "False", "DependencyNotReady", "", at=1, spec=spec)
    missing = {(s["namespace"], s["name"]) for s in cluster.samples("gotk_root_cause_info")}
    assert missing == {("a/b", "c"), ("a", "b/c")}
