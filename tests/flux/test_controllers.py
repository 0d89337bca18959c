"""Leases and objects with a sharding label in; out comes who is served by nobody, and what is said of heartbeats."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gotk_exporter.flux.controllers import MARGIN_SECONDS, SELECTING, Controllers, Lease, holder_of, suffix_of
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.relations import Relations
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.flux.clusters import BEGINNING, MINUTE, Cluster
from tests.flux.examples import text_of

KEY = "sharding.fluxcd.io/key"
KUSTOMIZE = "kustomize-controller-leader-election"
NOW = 1_000_000.0
DURATION = 35.0
FLUX = "flux-system"


def lease(selector: str = "", age: float = 3.0, base: str = KUSTOMIZE, namespace: str = FLUX) -> Lease:
    """As a controller with this --watch-label-selector has it, renewed ``age`` seconds before NOW."""
    # The oracle of what GenerateID writes: fmt.Sprintf("%x", sha256(selector))[:8].
    suffix = f"-{hashlib.sha256(selector.encode()).hexdigest()[:8]}" if selector else ""
    return Lease(base + suffix, namespace, NOW - age, DURATION)


GONE = DURATION + MARGIN_SECONDS + 1
MAIN = lease(f"!{KEY}")


def app(shard: str = "", name: str = "app", kind: str = "Kustomization") -> dict[Key, Node]:
    key = Key(kind, "apps", name)
    return {key: Node(key, shard=shard)}


def fleet(*shards: str, kind: str = "Kustomization") -> dict[Key, Node]:
    """One object in each shard, with the shard's name."""
    return {key: node for shard in shards for key, node in app(shard, shard, kind).items()}


def unserved(objects: Mapping[Key, Node], *leases: Lease, now: float = NOW) -> set[str]:
    """The names of those that nobody serves."""
    controllers = Controllers()
    controllers.update(objects)
    controllers.take(FLUX, leases, now)
    return {key.name for key in objects if controllers.is_unserved(key)}


# Whose a Lease is


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("kustomize-controller-leader-election", "kustomize-controller"),
        ("kustomize-controller-leader-election-1a2b3c4d", "kustomize-controller-1a2b3c4d"),
        ("image-reflector-controller-leader-election-00000000", "image-reflector-controller-00000000"),
        ("source-watcher-leader-election", "source-watcher"),
        ("notification-controller-leader-election", "notification-controller"),
        ("flux-operator", "flux-operator"),
        ("flagger-leader-election", "flagger"),
        ("1953de50.contrib.fluxcd.io", "tofu-controller"),
    ],
)
def test_the_label_is_the_leases_name_without_its_ending_and_with_a_shards_suffix(name: str, label: str) -> None:
    holder = holder_of(name)
    assert holder is not None
    assert holder.name == label


@pytest.mark.parametrize(
    "name",
    [
        "karpenter-leader-election",
        "kustomize-controller",
        "kustomize-controller-leader-election-",
        "kustomize-controller-leader-election-1A2B3C4D",
        "kustomize-controller-leader-election-1a2b3c4d5",
        "my-kustomize-controller-leader-election",
        "notification-controller-leader-election-1a2b3c4d",
        "kustomize-controller-leader-election\n",
        "",
    ],
)
def test_a_lease_of_another_name_is_none_of_flux(name: str) -> None:
    assert holder_of(name) is None


def test_a_suffix_is_what_the_controllers_write_of_a_known_selector() -> None:
    # echo -n '!sharding.fluxcd.io/key' | sha256sum
    assert suffix_of(f"!{KEY}") == "42da7484"
    assert MAIN.name == f"{KUSTOMIZE}-42da7484"


def test_every_kind_that_a_controller_chooses_from_is_one_of_ours() -> None:
    kinds = [kind for kinds in SELECTING.values() for kind in kinds]
    assert set(kinds) <= BY_NAME.keys()
    assert len(kinds) == len(set(kinds))


# Who is served


def test_where_each_shard_has_its_controller_nobody_is_unserved() -> None:
    objects = fleet("shard1", "shard2") | app()
    assert unserved(objects, MAIN, lease(f"{KEY}=shard1"), lease(f"{KEY}=shard2")) == set()


def test_a_shard_whose_controller_is_gone_is_unserved_and_the_others_are_not() -> None:
    objects = fleet("shard1", "shard2") | app()
    assert unserved(objects, MAIN, lease(f"{KEY}=shard1", GONE), lease(f"{KEY}=shard2")) == {"shard1"}


def test_an_object_in_a_shard_that_no_controller_is_for_is_unserved() -> None:
    assert unserved(fleet("shard1", "shrad1"), MAIN, lease(f"{KEY}=shard1")) == {"shrad1"}


def test_an_object_without_the_label_is_never_unserved() -> None:
    dead = [lease(f"!{KEY}", GONE), lease("", GONE), lease(f"{KEY}=shard1", GONE)]
    assert unserved(fleet("shard1") | app(), *dead) == {"shard1"}


def test_a_controller_without_a_selector_serves_every_shard() -> None:
    assert unserved(fleet("shard1", "x"), lease(), lease(f"{KEY}=shard1", GONE)) == set()


def test_where_the_only_controller_is_gone_and_had_no_selector_every_shard_is_unserved() -> None:
    assert unserved(fleet("shard1"), lease(age=GONE)) == {"shard1"}


def test_another_kinds_controller_serves_nobody_here() -> None:
    objects = fleet("shard1") | fleet("shard1", kind="HelmRelease")
    helm = lease(f"{KEY}=shard1", base="helm-controller-leader-election")
    controllers = Controllers()
    controllers.update(objects)
    controllers.take(FLUX, [helm, lease(f"{KEY}=shard1", GONE)], NOW)
    assert {key.kind for key in objects if controllers.is_unserved(key)} == {"Kustomization"}


@pytest.mark.parametrize("kind", ["Receiver", "Provider", "ResourceSet", "Canary", "Terraform"])
def test_a_kind_whose_controller_knows_no_selector_is_never_unserved(kind: str) -> None:
    dead = [lease(age=GONE, base="notification-controller-leader-election"), lease(f"{KEY}=shard1", GONE)]
    assert unserved(fleet("shard1", kind=kind), *dead) == set()


@pytest.mark.parametrize(
    "selector",
    [
        "{}=shard1",
        "{}==shard1",
        "{} = shard1",
        "{} in (shard1)",
        "{} in (shard1, shard2)",
        "{} in (shard2,shard1)",
        "{} notin (shard2)",
        "{}!=shard2",
        "{} != shard2",
        "{}",
    ],
)
def test_a_selector_is_known_by_its_hash_however_it_is_spelled(selector: str) -> None:
    serves_it = lease(selector.format(KEY))
    assert unserved(fleet("shard1", "shard2"), serves_it, lease(f"{KEY}=shard2")) == set()
    gone = Lease(serves_it.name, FLUX, NOW - GONE, DURATION)
    assert unserved(fleet("shard1", "shard2"), MAIN, gone, lease(f"{KEY}=shard2")) == {"shard1"}


@pytest.mark.parametrize("listed", ["shard1, shard2", "shard2,shard1"])
def test_main_controllers_that_leave_out_a_list_of_shards_serve_all_others(listed: str) -> None:
    main = lease(f"{KEY} notin ({listed})")
    objects = fleet("shard1", "shard2", "other")
    assert unserved(objects, main, lease(f"{KEY}=shard1"), lease(f"{KEY}=shard2", GONE)) == {"shard2"}


def test_a_long_list_of_shards_is_known_in_its_natural_order() -> None:
    shards = [f"shard{number}" for number in range(1, 13)]
    main = lease(f"{KEY} notin ({', '.join(shards)})")
    own = [lease(f"{KEY}={shard}", GONE if shard == "shard7" else 3.0) for shard in shards]
    assert unserved(fleet(*shards, "typo"), main, *own) == {"shard7"}


def test_the_controller_of_a_shard_without_objects_is_known_by_its_siblings_names() -> None:
    idle = lease(f"{KEY}=shard2")
    assert unserved(fleet("shard1"), MAIN, idle, lease(f"{KEY}=shard1", GONE)) == {"shard1"}
    # A name that follows from no other cannot be known.
    other = lease(f"{KEY}=payments")
    assert unserved(fleet("shard1"), MAIN, other, lease(f"{KEY}=shard1", GONE)) == set()


def test_a_selector_is_no_longer_explained_by_a_shard_that_occurs_no_more() -> None:
    controllers = Controllers()
    (key,) = fleet("shard1")
    controllers.update(fleet("shard1", "payments"))
    controllers.take(FLUX, [MAIN, lease(f"{KEY}=payments"), lease(f"{KEY}=shard1", GONE)], NOW)
    assert controllers.is_unserved(key)
    assert controllers.update(dict.fromkeys(fleet("payments"))) == {key}
    assert not controllers.is_unserved(key)


# What cannot be known


def test_nothing_is_said_while_a_living_controller_has_a_selector_that_we_cannot_think_of() -> None:
    strange = f"{KEY}=shard1,team=payments"
    objects = fleet("shard1", "shard2")
    dead = lease(f"{KEY}=shard2", GONE)
    assert unserved(objects, MAIN, lease(f"{KEY}=shard1"), lease(strange), dead) == set()
    assert unserved(objects, MAIN, lease(f"{KEY}=shard1"), lease(strange, GONE), dead) == {"shard2"}


def test_nothing_is_said_where_the_kinds_controller_has_no_lease() -> None:
    assert unserved(fleet("shard1")) == set()
    assert unserved(fleet("shard1"), lease(f"{KEY}=shard1", GONE, base="helm-controller-leader-election")) == set()


def test_nothing_is_said_where_no_shard_has_ever_had_a_lease() -> None:
    # Shards with --enable-leader-election=false beside main controllers with it: as several published guides have it.
    assert unserved(fleet("shard1"), MAIN) == set()
    # The Lease from before there were shards stays behind, and is nobody's.
    assert unserved(fleet("shard1"), MAIN, lease(age=GONE)) == set()


def test_nothing_is_said_while_a_namespace_cannot_be_read() -> None:
    controllers = Controllers()
    objects = fleet("shard1")
    (key,) = objects
    controllers.update(objects)
    controllers.take("flux-shards", None, NOW)
    assert controllers.take(FLUX, [MAIN, lease(f"{KEY}=shard1", GONE)], NOW) == set()
    assert not controllers.is_unserved(key)
    assert controllers.take("flux-shards", [], NOW) == {key}
    assert controllers.is_unserved(key)
    assert controllers.take(FLUX, None, NOW) == {key}
    assert not controllers.is_unserved(key)


def test_a_controller_in_any_namespace_that_is_read_serves() -> None:
    controllers = Controllers()
    controllers.update(fleet("shard1"))
    controllers.take(FLUX, [MAIN, lease(f"{KEY}=shard1", GONE)], NOW)
    controllers.take("other", [lease(f"{KEY}=shard1", namespace="other")], NOW)
    assert not any(controllers.is_unserved(key) for key in fleet("shard1"))


# Time


def test_a_controller_lives_until_its_lease_has_run_out_and_three_minutes_more() -> None:
    controllers = Controllers()
    objects = fleet("shard1")
    controllers.update(objects)
    controllers.take(FLUX, [MAIN, lease(f"{KEY}=shard1", age=0)], NOW)
    assert controllers.advance(NOW + DURATION + 180) == set()
    assert controllers.advance(NOW + DURATION + 180.1) == objects.keys()
    assert all(controllers.is_unserved(key) for key in objects)


def test_a_released_lease_leaves_two_minutes_and_more_for_a_rolling_update() -> None:
    released = Lease(lease(f"{KEY}=shard1").name, FLUX, NOW, 1.0)
    controllers = Controllers()
    controllers.update(fleet("shard1"))
    controllers.take(FLUX, [MAIN, released], NOW)
    assert controllers.advance(NOW + 150) == set()
    assert controllers.advance(NOW + 182) == fleet("shard1").keys()


def test_an_object_that_gets_another_label_or_goes_is_told_of() -> None:
    controllers = Controllers()
    (key,) = app()
    controllers.take(FLUX, [MAIN, lease(f"{KEY}=shard1"), lease(f"{KEY}=shard2", GONE)], NOW)
    controllers.update(fleet("shard1", "shard2"))
    assert controllers.update(app("shard1")) == set()
    assert controllers.update(app("shard2")) == {key}
    assert controllers.is_unserved(key)
    assert controllers.update(app("shard2")) == set()
    assert controllers.update(app()) == {key}
    assert not controllers.is_unserved(key)
    controllers.update(app("shard2"))
    assert controllers.update({key: None}) == {key}
    assert not controllers.is_unserved(key)


# Any order

SHARDS = ["", "shard1", "shard2", "blue", "green"]
SELECTORS = ["", f"!{KEY}", *(f"{KEY}={shard}" for shard in SHARDS[1:]), f"{KEY} notin (shard1, shard2)", "odd=one"]
leases_of_a_namespace = st.none() | st.lists(
    st.builds(
        lease,
        st.sampled_from(SELECTORS),
        st.sampled_from([3.0, GONE - 60, GONE + 60]),
        st.sampled_from([KUSTOMIZE, "helm-controller-leader-election"]),
    ),
    unique_by=lambda one: one.name,
    max_size=5,
)
keys = st.builds(
    Key, st.sampled_from(["Kustomization", "HelmRelease", "Receiver"]), st.just("a"), st.sampled_from("xyz")
)
writes = st.tuples(keys, st.none() | st.sampled_from(SHARDS))
readings = st.tuples(st.sampled_from([FLUX, "other"]), leases_of_a_namespace)
times = st.integers(0, 600).map(float)


@given(st.lists(writes | readings | times, max_size=25))
def test_answers_depend_on_what_is_so_and_not_on_the_order_in_which_it_came(
    steps: Sequence[tuple[Key, str | None] | tuple[str, list[Lease] | None] | float],
) -> None:
    controllers = Controllers()
    objects: dict[Key, Node | None] = {}
    leases: dict[str, list[Lease] | None] = {}
    shown: set[Key] = set()
    now = NOW
    for step in steps:
        if isinstance(step, float):
            now = max(now, NOW + step)
            touched = controllers.advance(NOW + step)
        elif isinstance(step[0], Key):
            key, shard = step
            assert not isinstance(shard, list)
            objects[key] = None if shard is None else Node(key, shard=shard)
            touched = controllers.update({key: objects[key]})
        else:
            namespace, found = step
            assert not isinstance(found, str)
            leases[namespace] = found
            touched = controllers.take(namespace, found, now)
        shown = {
            key for key in shown | touched if (key not in touched and key in shown) or controllers.is_unserved(key)
        }

    fresh = Controllers()
    for namespace in sorted(leases):
        fresh.take(namespace, leases[namespace], now)
    fresh.advance(now)
    fresh.update(objects)
    answers = {key for key in objects if fresh.is_unserved(key)}
    assert {key for key in objects if controllers.is_unserved(key)} == answers
    # Whoever shows only what it was told of shows the same.
    assert shown == answers


# What a scrape shows


def test_heartbeats_are_one_line_each_and_vanish_when_they_cannot_be_read() -> None:
    store = Store(select(Profile.MINIMAL))
    relations = Relations(store)
    stranger = Lease("karpenter-leader-election", FLUX, NOW, 15)
    relations.take_leases(FLUX, [MAIN, lease(age=2.5), stranger], NOW)
    relations.take_leases("other", [lease(namespace="other", age=0.25)], NOW)
    family = "gotk_controller_lease_renew_timestamp_seconds"
    assert text_of(store).splitlines() == [
        f'{family}{{controller="kustomize-controller-42da7484",namespace="flux-system"}} 999997',
        f'{family}{{controller="kustomize-controller",namespace="flux-system"}} 999997.5',
        f'{family}{{controller="kustomize-controller",namespace="other"}} 999999.75',
    ]
    relations.take_leases(FLUX, None, NOW + 90)
    assert 'namespace="flux-system"' not in text_of(store)
    assert 'namespace="other"' in text_of(store)


def test_neither_is_shown_where_the_settings_leave_it_out() -> None:
    store = Store(select(Profile.FULL, deny=("gotk_controller_*", "gotk_resource_unserved")))
    relations = Relations(store)
    relations.update(dict(fleet("shard1")), NOW)
    relations.take_leases(FLUX, [MAIN, lease(f"{KEY}=shard1", GONE)], NOW)
    assert text_of(store) == ""


def test_an_object_that_nobody_serves_is_shown_after_the_bound_and_no_longer_once_somebody_does() -> None:
    cluster = Cluster()
    for shard in "shard1", "shard2":
        cluster.kustomization_is_ready(shard, labels={KEY: shard})

    def beat(minutes: float, *selectors: str) -> list[Lease]:
        at = BEGINNING + minutes * MINUTE
        names = [lease(selector).name for selector in selectors]
        return [Lease(name, FLUX, at, DURATION) for name in names]

    everyone = (f"!{KEY}", f"{KEY}=shard1", f"{KEY}=shard2")
    cluster.relations.take_leases(FLUX, beat(0, *everyone), BEGINNING)
    for minutes in 1, 2, 3:
        left = beat(minutes, *everyone[:2]) + beat(0, everyone[2])
        cluster.relations.take_leases(FLUX, left, BEGINNING + minutes * MINUTE)
    assert cluster.numbers("gotk_resource_unserved") == {}
    cluster.wait(3.7)
    assert cluster.numbers("gotk_resource_unserved") == {"Kustomization/shard2": 1}
    cluster.relations.take_leases(FLUX, beat(4, *everyone), BEGINNING + 4 * MINUTE)
    assert cluster.numbers("gotk_resource_unserved") == {}
