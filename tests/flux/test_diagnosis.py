"""What is said of a failure: its class, which stays while the words change, and the children that it waits for."""

from __future__ import annotations

import pytest

from tests.flux.clusters import Cluster, entry, on, timestamp

DEPLOYMENT = "apps_web_apps_Deployment"


def failures(cluster: Cluster) -> list[tuple[str, str, str, str]]:
    """Name, reason, class and shared cause."""
    return [
        (s["name"], s["reason"], s["failure_class"], s["shared_cause"])
        for s in cluster.samples("gotk_resource_failure_info")
    ]


def children(cluster: Cluster) -> list[str]:
    return [
        "/".join(filter(None, (s["child_kind"], s["child_namespace"], s["child_name"])))
        for s in cluster.samples("gotk_resource_failing_child_info")
    ]


def test_a_failed_health_check_names_the_children_that_the_inventory_has() -> None:
    cluster = Cluster()
    inventory = [
        DEPLOYMENT,
        entry("HelmRelease", "redis"),
        "_fleet-admin__reader_rbac.authorization.k8s.io_ClusterRole",
    ]
    cluster.health_check_fails(
        "app",
        5,
        "Deployment/apps/web",
        "HelmRelease/apps/redis",
        "ClusterRole/apps/fleet-admin:reader",
        "Deployment/apps/stranger",
        spec=on(),
        inventory=inventory,
    )
    # The last but one has no namespace, whatever its manifest said.
    assert children(cluster) == [
        "ClusterRole/apps/fleet-admin:reader",
        "Deployment/apps/web",
        "HelmRelease/apps/redis",
    ]
    assert failures(cluster) == [("app", "HealthCheckFailed", "workload_unhealthy", "")]


def test_no_more_than_five_children_are_named() -> None:
    cluster = Cluster()
    names = [f"web-{number}" for number in range(9)]
    inventory = [f"apps_{name}_apps_Deployment" for name in names]
    cluster.health_check_fails("app", 5, *(f"Deployment/apps/{name}" for name in names), spec=on(), inventory=inventory)
    assert len(children(cluster)) == 5


def test_what_was_found_stays_while_the_next_run_goes_on_and_goes_with_the_failure() -> None:
    cluster = Cluster()
    cluster.health_check_fails("app", 5, "Deployment/apps/web", spec=on(), inventory=[DEPLOYMENT])
    found = failures(cluster), children(cluster)
    cluster.kustomization_runs("app", at=7)
    assert (failures(cluster), children(cluster)) == found
    cluster.kustomization_is_ready("app", at=8)
    assert (failures(cluster), children(cluster)) == ([], [])


def test_an_object_that_only_waits_has_no_failure_and_has_it_again_when_it_fails_on() -> None:
    cluster = Cluster()
    cluster.kustomization_fails("app", at=5, spec=on("base"))
    cluster.kustomization_waits("app", at=6, on="base")
    assert failures(cluster) == []
    cluster.kustomization_runs("app", at=7)
    assert failures(cluster) == [("app", "BuildFailed", "build", "")]


def test_a_class_stays_while_the_words_for_one_timeout_alternate() -> None:
    cluster = Cluster()
    texts = (
        'failed to checkout: Get "https://git.example.com/fleet": net/http: TLS handshake timeout',
        'failed to checkout: Get "https://git.example.com/fleet": context deadline exceeded',
        "failed to checkout: context deadline exceeded",
    )
    for attempt in range(6):
        message = texts[attempt % 3]
        cluster.write("GitRepository", "fleet", "False", "GitOperationFailed", message, at=attempt)
        assert failures(cluster) == [("fleet", "GitOperationFailed", "timeout", "unreachable/git.example.com")]


@pytest.mark.parametrize("spec", [{}, {"url": "https://git.example.com/fleet"}])
def test_a_shared_cause_stays_while_one_outage_changes_its_words(spec: dict[str, str]) -> None:
    cluster = Cluster()
    call = 'failed to checkout: Get "https://git.example.com/fleet": '
    texts = {
        f"{call}dial tcp 192.0.2.1:443: i/o timeout": "timeout",
        f"{call}dial tcp 192.0.2.1:443: connect: connection refused": "connect",
        f"{call}dial tcp: lookup git.example.com on 10.96.0.10:53: no such host": "dns",
    }
    for attempt, (message, failure_class) in enumerate([*texts.items(), *reversed(texts.items())]):
        cluster.write("GitRepository", "fleet", "False", "GitOperationFailed", message, at=attempt, spec=spec)
        assert failures(cluster) == [("fleet", "GitOperationFailed", failure_class, "unreachable/git.example.com")]


def test_words_of_the_same_outage_that_name_no_host_take_the_shared_cause_from_nobody() -> None:
    cluster = Cluster()
    lookup = "failed to push to remote: dial tcp: lookup git.example.com: no such host"
    for attempt, message in enumerate((lookup, "failed to push to remote: unexpected EOF", lookup)):
        cluster.write("ImageUpdateAutomation", "fleet", "False", "GitOperationFailed", message, at=attempt)
        assert failures(cluster) == [("fleet", "GitOperationFailed", "dns", "unreachable/git.example.com")]


def test_a_source_whose_message_names_an_address_has_the_host_of_its_url() -> None:
    cluster = Cluster()
    message = "failed to checkout: dial tcp 10.0.0.7:2222: connect: connection refused"
    spec = {"url": "ssh://git@git.example.com:2222/platform/fleet.git"}
    cluster.write("GitRepository", "fleet", "False", "GitOperationFailed", message, at=1, spec=spec)
    assert failures(cluster) == [("fleet", "GitOperationFailed", "connect", "unreachable/git.example.com")]


def test_after_a_restart_in_mid_run_the_condition_that_remembers_is_read() -> None:
    cluster = Cluster()
    failed = {
        "type": "FetchFailed",
        "status": "True",
        "reason": "GitOperationFailed",
        "message": "dial tcp: lookup git.example.com on 10.96.0.10:53: no such host",
    }
    runs = {"type": "Ready", "status": "Unknown", "reason": "Progressing"}
    cluster.write("GitRepository", "fleet", at=1, status={"conditions": [runs, failed]})
    assert failures(cluster) == [("fleet", "GitOperationFailed", "dns", "unreachable/git.example.com")]


def test_a_release_that_was_rolled_back_has_the_failure_of_its_upgrade() -> None:
    cluster = Cluster()
    conditions = [
        {"type": "Ready", "status": "False", "reason": "RollbackSucceeded", "message": "Helm rollback succeeded"},
        {
            "type": "Released",
            "status": "False",
            "reason": "UpgradeFailed",
            "message": "Helm upgrade failed for release apps/redis with chart redis@1.0.0: context deadline exceeded",
            "lastTransitionTime": timestamp(1),
        },
    ]
    cluster.write("HelmRelease", "redis", at=1, status={"conditions": conditions})
    assert failures(cluster) == [("redis", "UpgradeFailed", "workload_unhealthy", "")]
