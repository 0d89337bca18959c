"""What fails and only waits for its next attempt is excused, for a bounded time; what has tried again is not."""

from __future__ import annotations

from typing import Any

import pytest

from gotk_exporter.flux.attempts import LONGEST_BACKOFF_SECONDS
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.retries import LONGEST_SECONDS, WINDOW_SECONDS
from tests.flux.clusters import BEGINNING, MINUTE, Cluster, entry, on

AWAITING = "gotk_resource_awaiting_retry_until_timestamp_seconds"
WEBHOOK = 'failed calling webhook "validate.policy.test": Post "https://policy.policy.svc:443": connection refused'


def awaiting(cluster: Cluster) -> dict[str, tuple[str, float]]:
    """Name: what is over, and until when (in minutes) that excuses it."""
    return {
        sample["name"]: (sample["cause"], round((float(sample["value"]) - BEGINNING) / MINUTE, 3))
        for sample in cluster.samples(AWAITING)
    }


def webhook_fails(cluster: Cluster, name: str, at: float, **more: Any) -> None:
    cluster.kustomization_fails(
        name, at, "ReconciliationFailed", f"Deployment/{name} dry-run failed: {WEBHOOK}", **more
    )


def source_fails(cluster: Cluster, name: str, at: float, host: str = "git.test", words: str = "", **more: Any) -> None:
    url = f"https://{host}/{name}"
    words = words or f"dial tcp: lookup {host}: no such host"
    message = f"failed to checkout and determine revision: unable to clone '{url}': {words}"
    status = {"artifact": {"revision": "main@sha1:1"}}
    cluster.write(
        "GitRepository",
        name,
        "False",
        "GitOperationFailed",
        message,
        at=at,
        reconciling="ProgressingWithRetry",
        spec={"url": url, "interval": "5m"},
        status=status,
        **more,
    )


# What may be over


def test_one_that_failed_for_a_shared_cause_waits_once_another_one_has_succeeded() -> None:
    cluster = Cluster()
    for name in ("a", "b", "c"):
        webhook_fails(cluster, name, at=1, spec=on())
    assert awaiting(cluster) == {}
    cluster.kustomization_is_ready("a", at=4)
    # The success, the retry interval of two minutes, and the timeout of five: how long its run takes is not known.
    assert awaiting(cluster) == {"b": ("shared_cause", 11), "c": ("shared_cause", 11)}


def test_a_cause_that_others_do_not_share_excuses_nobody() -> None:
    cluster = Cluster()
    cluster.kustomization_fails("a", at=1, spec=on())
    cluster.kustomization_fails("b", at=1, spec=on())
    webhook_fails(cluster, "c", at=1, spec=on())
    cluster.kustomization_is_ready("a", at=4)
    assert awaiting(cluster) == {}


def test_a_member_that_is_gone_waits_or_is_suspended_proves_nothing() -> None:
    for change in (
        lambda cluster: cluster.delete("Kustomization", "a"),
        lambda cluster: cluster.source_is_missed("a", at=3),
        lambda cluster: webhook_fails(cluster, "a", at=3, spec={"suspend": True}),
    ):
        cluster = Cluster()
        for name in ("a", "b"):
            webhook_fails(cluster, name, at=1, spec=on())
        change(cluster)
        assert awaiting(cluster) == {}


def test_a_member_that_fails_anew_takes_the_excuse_of_all() -> None:
    cluster = Cluster()
    for name in ("a", "b", "c"):
        webhook_fails(cluster, name, at=1, spec=on())
    cluster.kustomization_is_ready("a", at=4)
    cluster.kustomization_runs("b", at=5)
    assert awaiting(cluster).keys() == {"b", "c"}
    webhook_fails(cluster, "b", at=5.1)
    assert awaiting(cluster) == {}


def test_an_attempt_that_began_before_the_end_proves_nothing_though_it_fails_after_it() -> None:
    cluster = Cluster()
    for name in ("a", "b"):
        webhook_fails(cluster, name, at=1, spec=on())
    cluster.kustomization_runs("b", at=3)
    cluster.kustomization_is_ready("a", at=4)
    webhook_fails(cluster, "b", at=4.5)
    assert awaiting(cluster) == {"b": ("shared_cause", 11)}


def test_one_whose_first_attempt_fails_only_then_but_began_before_is_excused_too() -> None:
    cluster = Cluster()
    webhook_fails(cluster, "a", at=1, spec=on())
    cluster.kustomization_is_ready("b", at=1, spec=on())
    cluster.kustomization_runs("b", at=3)
    cluster.kustomization_is_ready("a", at=4)
    webhook_fails(cluster, "b", at=4.5)
    assert awaiting(cluster) == {"b": ("shared_cause", 11)}


def test_a_source_backs_off_for_no_longer_than_it_has_failed() -> None:
    cluster = Cluster()
    for name in ("a", "b"):
        source_fails(cluster, name, at=0)
    source_fails(cluster, "elsewhere", at=0, host="other.test")
    cluster.source_is_ready("a", at=8)
    # Eight minutes and a second after the eighth, and a minute for the fetch.
    assert awaiting(cluster) == {"b": ("shared_cause", round(17 + 1 / 60, 3))}


def test_whatever_words_an_outage_had_for_each_one_of_them_proves_its_end_or_that_it_goes_on() -> None:
    cluster = Cluster()
    for name in ("a", "b", "c"):
        source_fails(cluster, name, at=0)
    source_fails(cluster, "b", at=1, words="dial tcp 192.0.2.1:443: connect: connection refused")
    source_fails(cluster, "c", at=2, words="dial tcp 192.0.2.1:443: i/o timeout")
    cluster.source_is_ready("a", at=5)
    assert awaiting(cluster).keys() == {"b", "c"}
    source_fails(cluster, "c", at=7, words="dial tcp 192.0.2.1:443: connect: connection refused")
    assert awaiting(cluster) == {}


def test_the_longest_back_off_is_that_of_the_controllers() -> None:
    cluster = Cluster()
    for name in ("a", "b"):
        # Whose failure may have begun an hour ago, and is certain since now.
        source_fails(cluster, name, at=0, creationTimestamp="2025-11-21T03:40:00Z")
    cluster.source_is_ready("a", at=11)
    assert awaiting(cluster)["b"][1] <= 11 + LONGEST_BACKOFF_SECONDS / MINUTE + 1


def a_parent(cluster: Cluster, retry: str = "2m") -> None:
    """Kustomization "parent" waits for the health of the HelmRelease "child", which fails; so it fails too."""
    cluster.source_is_ready()
    cluster.write("HelmRelease", "child", "True", "InstallSucceeded")
    spec = {**on(), "wait": True, "retryInterval": retry}
    cluster.kustomization_is_ready("parent", spec=spec, inventory=[entry("HelmRelease", "child")])
    cluster.write("HelmRelease", "child", "False", "UpgradeFailed", "context deadline exceeded", at=1)
    cluster.kustomization_runs("parent", at=2)
    cluster.health_check_fails("parent", 7, "HelmRelease/apps/child")


def test_a_child_that_has_recovered_excuses_its_parent() -> None:
    cluster = Cluster()
    a_parent(cluster)
    assert awaiting(cluster) == {}
    cluster.write("HelmRelease", "child", "True", "UpgradeSucceeded", at=9)
    assert awaiting(cluster) == {"parent": ("child", 16)}
    cluster.write("HelmRelease", "child", "False", "UpgradeFailed", "context deadline exceeded", at=10)
    assert awaiting(cluster) == {}


def a_dependent(cluster: Cluster, message: str) -> None:
    """Kustomization "app" fails of its own while "base", on which it depends, fails as well."""
    cluster.source_is_ready()
    cluster.kustomization_is_ready("base", spec=on())
    cluster.kustomization_runs("app", at=1, spec=on("base"))
    cluster.kustomization_fails("base", at=2)
    cluster.kustomization_fails("app", 3, "ReconciliationFailed", message)


def test_a_dependency_that_was_not_well_and_has_recovered_excuses_what_it_may_have_caused() -> None:
    cluster = Cluster()
    a_dependent(cluster, 'Widget/apps/w dry-run failed: no matches for kind "Widget" in version "test/v1"')
    assert awaiting(cluster) == {}
    cluster.kustomization_is_ready("base", at=5)
    assert awaiting(cluster) == {"app": ("dependency", 12)}


def test_what_is_wrong_in_the_objects_own_manifests_is_excused_by_no_dependency() -> None:
    cluster = Cluster()
    a_dependent(cluster, "Deployment/apps/w dry-run failed (Invalid): spec.selector: Invalid value: field is immutable")
    cluster.kustomization_is_ready("base", at=5)
    assert awaiting(cluster) == {}


def test_a_dependency_that_was_well_all_the_time_excuses_nothing() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_is_ready("base", spec=on())
    cluster.kustomization_runs("app", at=1, spec=on("base"))
    cluster.kustomization_fails("app", 3, "ReconciliationFailed", "Widget/apps/w dry-run failed: no matches for kind")
    cluster.kustomization_is_ready("base", at=5)
    assert awaiting(cluster) == {}


def test_a_source_that_fails_only_after_the_attempt_excuses_nothing() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_is_ready("app", spec=on(), inventory=["apps_web_apps_Deployment"])
    cluster.kustomization_runs("app", at=1)
    cluster.health_check_fails("app", 6, "Deployment/apps/web")
    source_fails(cluster, "repo", at=8)
    cluster.source_is_ready(at=9)
    assert awaiting(cluster) == {}


def test_a_source_that_was_not_well_explains_no_unhealthy_workload() -> None:
    for message, excused in (
        ("health check failed after 5m0.1s: timeout waiting for: [Deployment/apps/web status: 'InProgress']", set()),
        ("failed to download archive: dial tcp 10.0.0.7:80: connect: connection refused", {"app"}),
    ):
        cluster = Cluster()
        cluster.source_is_ready()
        cluster.kustomization_is_ready("app", spec=on())
        cluster.kustomization_runs("app", at=1)
        source_fails(cluster, "repo", at=2)
        cluster.kustomization_fails("app", 6, "ReconciliationFailed", message)
        cluster.source_is_ready(at=9)
        assert awaiting(cluster).keys() == excused


def test_a_child_that_only_took_longer_than_the_check_excuses_its_parent() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.write("HelmRelease", "child", "Unknown", "Progressing", reconciling="Progressing")
    spec = {**on(), "wait": True}
    cluster.health_check_fails(
        "parent", 5, "HelmRelease/apps/child", spec=spec, inventory=[entry("HelmRelease", "child")]
    )
    assert awaiting(cluster) == {}
    cluster.write("HelmRelease", "child", "True", "InstallSucceeded", at=7)
    assert awaiting(cluster) == {"parent": ("child", 14)}


def test_a_child_beside_something_else_that_is_unhealthy_excuses_nothing() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.write("HelmRelease", "child", "Unknown", "Progressing", reconciling="Progressing")
    awaited = "HelmRelease/apps/child", "Deployment/apps/web"
    cluster.health_check_fails("parent", 5, *awaited, spec=on(), inventory=[entry("HelmRelease", "child")])
    cluster.write("HelmRelease", "child", "True", "InstallSucceeded", at=7)
    assert awaiting(cluster) == {}


def test_one_that_nobody_judges_any_more_has_not_succeeded() -> None:
    cluster = Cluster()
    for name in ("a", "b"):
        message = "failed to fetch https://charts.test/index.yaml: dial tcp: lookup charts.test: no such host"
        cluster.write("HelmRepository", name, "False", "IndexationFailed", message, at=1, spec={"interval": "5m"})
    cluster.write("HelmRepository", "a", at=3, spec={"type": "oci"}, status={"conditions": []})
    assert awaiting(cluster) == {}


def test_the_end_of_a_node_disruption_excuses_those_that_were_caught_in_it() -> None:
    cluster = Cluster()
    for name in ("a", "b"):
        cluster.health_check_fails(name, 2, "Deployment/apps/web", spec=on())
    cluster.relations.disruption_over([Key("Kustomization", "apps", "a")], BEGINNING + 4 * MINUTE)
    assert awaiting(cluster) == {"a": ("node_disruption", 11)}
    cluster.kustomization_runs("a", at=6)
    cluster.health_check_fails("a", 8, "Deployment/apps/web")
    assert awaiting(cluster) == {}


# How long


def test_an_excuse_lasts_while_the_next_attempt_runs_and_ends_with_it() -> None:
    for ends, left in (
        (lambda cluster: webhook_fails(cluster, "b", at=6), set()),
        (lambda cluster: cluster.kustomization_is_ready("b", at=6), set()),
        # The same write again, with a label more: no attempt.
        (lambda cluster: webhook_fails(cluster, "c", at=1, labels={"team": "x"}), {"b", "c"}),
    ):
        cluster = Cluster()
        for name in ("a", "b", "c"):
            webhook_fails(cluster, name, at=1, spec=on())
        cluster.kustomization_is_ready("a", at=4)
        cluster.kustomization_runs("b", at=5)
        assert awaiting(cluster)["b"] == ("shared_cause", 11)
        ends(cluster)
        assert {name for name in awaiting(cluster) if name in {"b", *left}} == left


def test_a_failure_whose_paging_window_has_passed_is_excused_by_nothing() -> None:
    for minutes, excused in ((WINDOW_SECONDS / MINUTE - 0.1, True), (WINDOW_SECONDS / MINUTE, False)):
        cluster = Cluster()
        for name in ("a", "b"):
            webhook_fails(cluster, name, at=0, spec=on())
        cluster.kustomization_is_ready("a", at=minutes)
        assert ("b" in awaiting(cluster)) is excused


def test_nothing_that_becomes_known_after_the_window_excuses() -> None:
    """An alert may have been sent: it would be taken back."""
    cluster = Cluster()
    cluster.health_check_fails("app", 1, "Deployment/apps/web", spec={**on(), "retryInterval": "30m"})
    cluster.wait(until=30)
    cluster.kustomization_is_ready("other", at=30, spec=on())
    cluster.relations.disruption_over([Key("Kustomization", "apps", "app")], BEGINNING + 10 * MINUTE)
    assert awaiting(cluster) == {}


def test_an_hour_between_two_attempts_is_not_waited_for() -> None:
    """Then it pages, and its series says that nothing has tried since."""
    cluster = Cluster()
    a_parent(cluster, retry="1h")
    cluster.write("HelmRelease", "child", "True", "UpgradeSucceeded", at=9)
    bound = 7 + (WINDOW_SECONDS + LONGEST_SECONDS) / MINUTE
    assert awaiting(cluster) == {"parent": ("child", bound)}
    cluster.wait(until=bound + 10)
    assert awaiting(cluster) == {"parent": ("child", bound)}


def test_what_makes_no_further_attempt_is_not_awaited() -> None:
    stalled = {"type": "Stalled", "status": "True", "reason": "RetriesExceeded"}
    cluster = Cluster()
    for name in ("a", "b", "c"):
        webhook_fails(cluster, name, at=1, spec={**on(), "suspend": name == "b"})
    conditions = cluster._documents["Kustomization", "apps", "c"]["status"]["conditions"]
    cluster.write("Kustomization", "c", at=1, status={"conditions": [*conditions, stalled]})
    cluster.kustomization_is_ready("a", at=4)
    assert awaiting(cluster) == {}


def test_a_run_whose_length_is_known_shortens_the_bound() -> None:
    cluster = Cluster()
    history = [{"lastReconciledStatus": "ReconciliationSucceeded", "lastReconciledDuration": "30s"}]
    for name in ("a", "b"):
        webhook_fails(cluster, name, at=1, spec=on(), status={"history": history})
    cluster.kustomization_is_ready("a", at=4)
    assert awaiting(cluster) == {"b": ("shared_cause", 6.5)}


@pytest.mark.parametrize(
    "name", ["_suspects", "_attempts", "_awaiting", "_members", "_targets", "_dependents", "_states", "_disrupted"]
)
def test_nothing_is_kept_of_what_does_not_fail(name: str) -> None:
    cluster = Cluster()
    a_parent(cluster)
    a_dependent(cluster, "no matches for kind")
    for kind, obj in (
        ("HelmRelease", "child"),
        ("Kustomization", "parent"),
        ("Kustomization", "base"),
        ("Kustomization", "app"),
    ):
        cluster.relations.disruption_over([Key(kind, "apps", obj)], BEGINNING + 8 * MINUTE)
        cluster.write(kind, obj, "True", "Any", at=9)
    assert not getattr(cluster.relations.retries, name)
