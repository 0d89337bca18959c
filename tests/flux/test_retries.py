"""What fails and only waits for its next attempt is excused, for a bounded time; what has tried again is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def source_fails(cluster: Cluster, name: str, at: float, host: str = "git.test", **more: Any) -> None:
    url = f"https://{host}/{name}"
    message = (
        f"failed to checkout and determine revision: unable to clone '{url}': dial tcp: lookup {host}: no such host"
    )
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


# Against the definition


@dataclasses.dataclass
class Object:
    """What somebody knows who has seen all. Minutes."""

    cause: str = ""
    failing_since: float | None = None
    tried_at: float = -1.0
    running_since: float | None = None
    excused_since: float | None = None
    """When another one succeeded, the first time after it had tried."""


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["run", "well", "webhook", "host"]),
            st.sampled_from([0.25, 1.0, 3.0]),
        ),
        max_size=40,
    )
)
def test_who_is_excused_is_as_the_definition_says(steps: list[tuple[int, str, float]]) -> None:
    cluster, objects, now = Cluster(), [Object() for _ in range(4)], 0.0
    ended: dict[str, float] = {}
    for number in range(4):
        cluster.kustomization_is_ready(f"k{number}", spec=on())
    for number, what, minutes in steps:
        now += minutes
        name, obj = f"k{number}", objects[number]
        if what == "run":
            if obj.running_since is None:
                obj.running_since = now
                cluster.kustomization_runs(name, at=now)
        else:
            _TELLS[what](cluster, name, now)
            began = obj.running_since if obj.running_since is not None else now
            obj.running_since = None
            if what == "well":
                if obj.failing_since is not None:
                    ended[obj.cause] = now
                obj.cause, obj.failing_since = "", None
            else:
                obj.cause, obj.tried_at = what, began
                obj.failing_since = now if obj.failing_since is None else obj.failing_since
                if began > ended.get(what, now):
                    del ended[what]
        found = awaiting(cluster)
        for number, obj in enumerate(objects):
            end = ended.get(obj.cause)
            if end is None or obj.failing_since is None:
                obj.excused_since = None
            elif obj.excused_since is None or obj.excused_since <= obj.tried_at:
                is_timely = obj.tried_at < end < obj.failing_since + WINDOW_SECONDS / MINUTE
                obj.excused_since = end if is_timely else None
            excused = obj.excused_since is not None
            assert (f"k{number}" in found) is excused
            if excused:
                assert found[f"k{number}"][1] <= (obj.failing_since or 0) + (WINDOW_SECONDS + LONGEST_SECONDS) / MINUTE
    assert len(cluster.relations.retries._ended) <= 2


def _host_fails(cluster: Cluster, name: str, at: float) -> None:
    message = (
        'failed to download archive: Get "http://source.flux.svc/x": dial tcp: lookup source.flux.svc: no such host'
    )
    cluster.kustomization_fails(name, at, "ReconciliationFailed", message)


_TELLS: dict[str, Callable[[Cluster, str, float], None]] = {
    "well": lambda cluster, name, at: cluster.kustomization_is_ready(name, at=at),
    "webhook": webhook_fails,
    "host": _host_fails,
}


@pytest.mark.parametrize(
    "name", ["_attempts", "_awaiting", "_members", "_targets", "_dependents", "_states", "_disrupted"]
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
