"""Who is excused, against the definition, whatever happens; and what a restart or a gap makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.retries import LONGEST_SECONDS, WINDOW_SECONDS
from tests.flux.clusters import MINUTE, Cluster, on
from tests.flux.test_retries import awaiting, webhook_fails


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
                is_timely = obj.tried_at < end <= now < obj.failing_since + WINDOW_SECONDS / MINUTE
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


# After a restart, and after a gap


def three_fail_and_one_succeeds() -> Cluster:
    cluster = Cluster()
    for name in ("a", "b", "c"):
        webhook_fails(cluster, name, at=1, spec=on())
    cluster.kustomization_is_ready("a", at=4)
    assert awaiting(cluster) == {"b": ("shared_cause", 11), "c": ("shared_cause", 11)}
    return cluster


def test_an_excuse_outlives_a_restart_with_a_memory() -> None:
    cluster = three_fail_and_one_succeeds()
    assert awaiting(cluster.restarted(at=5)) == awaiting(cluster)
    assert awaiting(cluster.restarted(at=5, remembers=False)) == {}


def test_an_excuse_outlives_a_restart_in_which_the_next_attempt_began() -> None:
    cluster = three_fail_and_one_succeeds()
    cluster.kustomization_runs("b", at=6)
    assert awaiting(cluster.restarted(at=7, remembers_until=5))["b"] == ("shared_cause", 11)


def test_one_that_fails_anew_after_a_restart_takes_the_remembered_excuse_of_all() -> None:
    cluster = three_fail_and_one_succeeds().restarted(at=5)
    cluster.kustomization_runs("b", at=6)
    webhook_fails(cluster, "b", at=6.5)
    assert awaiting(cluster) == {}


def test_a_success_that_nobody_saw_excuses_none_that_has_failed_since() -> None:
    cluster = Cluster()
    for name in ("a", "b", "c"):
        webhook_fails(cluster, name, at=1, spec=on())
    with cluster.gap(until=8):
        cluster.kustomization_is_ready("a", at=3)
        webhook_fails(cluster, "b", at=6)
    assert awaiting(cluster) == {}


def test_a_success_that_nobody_saw_is_dated_by_the_object() -> None:
    cluster = Cluster()
    for name in ("a", "b"):
        webhook_fails(cluster, name, at=1, spec=on())
    with cluster.gap(until=8):
        cluster.kustomization_is_ready("a", at=3)
    assert awaiting(cluster) == {"b": ("shared_cause", 10)}
