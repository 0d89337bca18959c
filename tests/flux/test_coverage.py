"""How many Receivers would refresh a source: as notification-controller chooses what it annotates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.coverage import Coverage
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.nodes import Node, Phase
from gotk_exporter.flux.objects import decode
from gotk_exporter.flux.offers import MAX_SELECTED, Available, Polled, Selector, selects_of
from gotk_exporter.flux.references import Key
from tests.flux.clusters import Cluster, timestamp
from tests.flux.examples import json_bytes

RECEIVERS = "gotk_source_receivers"


def receivers(cluster: Cluster) -> dict[str, int]:
    """By kind/name."""
    return {name: int(value) for name, value in cluster.numbers(RECEIVERS).items()}


def receiver(cluster: Cluster, name: str, *resources: dict[str, Any], at: float = 0, **more: Any) -> None:
    cluster.write("Receiver", name, "True", "Succeeded", at=at, spec={"resources": list(resources)}, **more)


def named(name: str = "repo", kind: str = "GitRepository", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, **more}


def test_a_source_that_no_receiver_names_has_none() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    assert receivers(cluster) == {"GitRepository/repo": 0}


def test_each_ready_receiver_that_names_the_source_counts_whichever_came_first() -> None:
    cluster = Cluster()
    receiver(cluster, "github", named())
    cluster.source_is_ready()
    receiver(cluster, "gitlab", named("other"), named())
    assert receivers(cluster) == {"GitRepository/repo": 2}


def test_a_receiver_counts_once_however_often_it_chooses_the_source() -> None:
    cluster = Cluster()
    cluster.source_is_ready(labels={"app": "shop"})
    receiver(cluster, "github", named(), named(), named("*", matchLabels={"app": "shop"}))
    assert receivers(cluster) == {"GitRepository/repo": 1}


def test_a_namespace_may_be_named_and_is_the_receivers_own_where_it_is_not() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    receiver(cluster, "there", named(), namespace="flux-system")
    assert receivers(cluster) == {"GitRepository/repo": 0}
    receiver(cluster, "there", named(namespace="apps"), namespace="flux-system")
    assert receivers(cluster) == {"GitRepository/repo": 1}


def test_another_kind_of_the_same_name_is_not_meant() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    receiver(cluster, "github", named(kind="OCIRepository"))
    assert receivers(cluster) == {"GitRepository/repo": 0}


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        ({"app": "shop"}, 1),
        ({"app": "shop", "team": "a"}, 1),
        ({}, 1),
        ({"app": "bank"}, 0),
        ({"x": "y"}, 0),
        (None, 0),
    ],
)
def test_all_labels_must_fit_and_a_star_without_labels_is_refused(labels: dict[str, str] | None, count: int) -> None:
    cluster = Cluster()
    cluster.source_is_ready(labels={"app": "shop", "team": "a"})
    chosen = named("*", matchLabels=labels) if labels is not None else named("*")
    receiver(cluster, "github", chosen)
    assert receivers(cluster) == {"GitRepository/repo": count}


def test_labels_beside_a_name_do_not_count_and_without_a_name_nothing_does() -> None:
    cluster = Cluster()
    cluster.source_is_ready(labels={"app": "shop"})
    receiver(cluster, "github", named(matchLabels={"app": "bank"}))
    assert receivers(cluster) == {"GitRepository/repo": 1}
    receiver(cluster, "github", named("", matchLabels={"app": "shop"}))
    assert receivers(cluster) == {"GitRepository/repo": 0}


def test_labels_choose_in_one_namespace_only() -> None:
    cluster = Cluster()
    cluster.source_is_ready(labels={"app": "shop"})
    receiver(cluster, "github", named("*", matchLabels={"app": "shop"}), namespace="flux-system")
    assert receivers(cluster) == {"GitRepository/repo": 0}


def test_a_source_whose_labels_change_is_chosen_anew() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    receiver(cluster, "github", named("*", matchLabels={"app": "shop"}))
    cluster.source_is_ready(at=1, labels={"app": "shop"})
    assert receivers(cluster) == {"GitRepository/repo": 1}
    cluster.source_is_ready(at=2, labels={})
    assert receivers(cluster) == {"GitRepository/repo": 0}


def test_a_receiver_that_is_suspended_terminating_or_not_ready_refuses_every_call() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    receiver(cluster, "github", named())
    cluster.write("Receiver", "github", "False", "TokenNotFound", at=1)
    assert receivers(cluster) == {"GitRepository/repo": 0}
    cluster.write("Receiver", "github", "True", "Succeeded", at=2)
    assert receivers(cluster) == {"GitRepository/repo": 1}
    cluster.write("Receiver", "github", at=3, spec={"suspend": True})
    assert receivers(cluster) == {"GitRepository/repo": 0}
    cluster.write("Receiver", "github", at=4, spec={"suspend": False}, deletionTimestamp=timestamp(4))
    assert receivers(cluster) == {"GitRepository/repo": 0}


def test_a_receiver_without_a_verdict_yet_does_not_count() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.write("Receiver", "github", spec={"resources": [named()]})
    assert receivers(cluster) == {"GitRepository/repo": 0}


def test_a_receiver_that_is_gone_counts_no_more_and_a_source_that_is_gone_has_no_series() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    receiver(cluster, "github", named())
    cluster.delete("Receiver", "github")
    assert receivers(cluster) == {"GitRepository/repo": 0}
    cluster.delete("GitRepository", "repo")
    assert receivers(cluster) == {}


def test_only_what_looks_at_the_outside_can_be_refreshed() -> None:
    cluster = Cluster()
    polling = ("GitRepository", "OCIRepository", "Bucket", "HelmRepository", "ImageRepository")
    for kind in (*polling, "HelmChart", "ExternalArtifact", "Kustomization", "ResourceSetInputProvider"):
        cluster.write(kind, "repo", "True", "Succeeded")
        receiver(cluster, kind.lower(), named(kind=kind))
    cluster.write("HelmRepository", "oci", spec={"type": "oci"})
    receiver(cluster, "oci", named("oci", kind="HelmRepository"))
    assert receivers(cluster) == {f"{kind}/repo": 1 for kind in polling}


def test_where_receivers_are_not_followed_nothing_is_said() -> None:
    cluster = Cluster(without=["Receiver"])
    cluster.source_is_ready()
    assert receivers(cluster) == {}


def test_when_receivers_are_no_longer_followed_nothing_is_said_any_more() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    receiver(cluster, "github", named())
    cluster._collectors["Receiver"].drop()
    assert receivers(cluster) == {}


def test_namespaces_may_be_known_one_by_one_and_what_was_found_is_said_everywhere() -> None:
    coverage = Coverage()
    here, there = (Key("GitRepository", namespace, "repo") for namespace in ("apps", "edge"))
    coverage.update({here: source(here), there: source(there)})
    assert coverage.mark_listed("GitRepository", None) == set()
    assert coverage.mark_listed("Receiver", "apps") == {here}
    assert (coverage.receivers(here), coverage.receivers(there)) == (0, None)
    caller = Key("Receiver", "apps", "github")
    assert coverage.update({caller: Node(caller, selects=(Selector(there),))}) == {there}
    assert (coverage.receivers(here), coverage.receivers(there)) == (0, 1)
    assert coverage.mark_unlisted("Receiver", "apps") == {here}
    assert (coverage.receivers(here), coverage.receivers(there)) == (None, 1)
    assert coverage.mark_listed("Receiver", None) == {here, there}
    assert coverage.mark_listed("Receiver", None) == set()


def test_a_receiver_that_is_written_as_before_touches_nothing() -> None:
    coverage = Coverage()
    repo, caller = Key("GitRepository", "apps", "repo"), Key("Receiver", "apps", "github")
    coverage.update({repo: source(repo)})
    assert coverage.update({caller: Node(caller, selects=(Selector(repo),))}) == {repo}
    assert coverage.update({caller: Node(caller, selects=(Selector(repo),), ready_since=5.0)}) == set()
    assert coverage.update({repo: source(repo)}) == set()


def test_one_receiver_cannot_make_us_remember_without_bound() -> None:
    resources = [named(f"repo-{number}") for number in range(MAX_SELECTED + 5)]
    raw = json_bytes({"metadata": {"name": "all", "namespace": "apps"}, "spec": {"resources": resources}})
    assert len(selects_of(BY_NAME["Receiver"], decode(raw)[0])) == MAX_SELECTED


# In any order

NAMESPACES = ("apps", "edge")
SOURCES = [Key(kind, ns, name) for kind in ("GitRepository", "Bucket") for ns in NAMESPACES for name in ("a", "b")]
CALLERS = [Key("Receiver", ns, name) for ns in NAMESPACES for name in ("x", "y")]
LABELS = st.lists(
    st.sampled_from([("app", "1"), ("app", "2"), ("team", "1")]), max_size=2, unique_by=lambda pair: pair[0]
)


def source(key: Key, *labels: tuple[str, str]) -> Node:
    return Node(key, offer=Available(None, Polled("uid", "", "", 1, 1, labels)))


@st.composite
def changes(draw: st.DrawFn) -> tuple[Key, Node | None]:
    key = draw(st.sampled_from([*SOURCES, *CALLERS]))
    if draw(st.integers(0, 5)) == 0:
        return key, None
    if key in SOURCES:
        return key, source(key, *draw(LABELS))
    selectors = []
    for target in draw(st.lists(st.sampled_from(SOURCES), max_size=3)):
        by_labels = draw(st.booleans())
        selectors.append(Selector(target._replace(name=""), tuple(draw(LABELS))) if by_labels else Selector(target))
    phase = draw(st.sampled_from([Phase.READY, Phase.READY, Phase.FAILING]))
    return key, Node(key, (), phase, suspended=draw(st.integers(0, 4)) == 0, selects=tuple(selectors))


def counted(key: Key, nodes: Mapping[Key, Node]) -> int | None:
    """By looking at every Receiver."""
    offer = nodes[key].offer if key in nodes else None
    if not isinstance(offer, Available) or offer.polled is None:
        return None
    labels = set(offer.polled.labels)
    return sum(
        1
        for node in nodes.values()
        if node.key.kind == "Receiver" and node.phase is Phase.READY and not node.suspended
        if any(
            selector.target == key or (selector.target == key._replace(name="") and set(selector.labels) <= labels)
            for selector in node.selects
        )
    )


@settings(max_examples=300)
@given(st.lists(changes(), max_size=25))
def test_kept_step_by_step_it_is_what_one_gets_from_looking_at_all_receivers(
    steps: list[tuple[Key, Node | None]],
) -> None:
    coverage = Coverage()
    coverage.mark_listed("Receiver", None)
    nodes: dict[Key, Node] = {}
    known: dict[Key, int | None] = dict.fromkeys(SOURCES)
    for key, node in steps:
        touched = coverage.update({key: node})
        nodes.pop(key, None)
        if node is not None:
            nodes[key] = node
        answers = {name: coverage.receivers(name) for name in SOURCES}
        assert answers == {name: counted(name, nodes) for name in SOURCES}
        assert {name for name in SOURCES if answers[name] != known[name]} <= touched
        known = answers
    coverage.update(dict.fromkeys(nodes))
    coverage.mark_unlisted("Receiver", None)
    assert not any(vars(coverage).values())
