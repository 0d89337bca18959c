"""What the exporter serves equals what the API server holds, whatever happens to objects, kinds and permissions."""

from __future__ import annotations

import dataclasses
import time

import pytest

from tests.kube.conformance.conftest import FAST, Fleet, Follow, manifest
from tests.kube.conformance.follower import most_attempts
from tests.kube.conformance.servers import ServerUnderTest
from tests.kube.tap import Tap
from tests.peers.admin import AdminClient
from tests.peers.manifests import CRDS, read_objects

pytestmark = pytest.mark.real_time


async def test_three_thousand_objects_arrive_in_one_answer_at_first(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow
) -> None:
    await fleet.create(*range(3000))

    follower = await follow()

    await follower.equals(admin)
    assert len(follower.state()) == 3000
    await follower.eventually(lambda: follower.requests("watch", "Kustomization") > 0)
    assert follower.requests("list", "Kustomization") == 1
    assert follower.requests("watch", "Kustomization") == 1
    assert follower.samples("gotk_exporter_lists_total")[_resource("Kustomization")] == 1


async def test_create_update_and_delete_are_followed_without_another_request(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow
) -> None:
    await fleet.create(*range(10))
    follower = await follow()
    await follower.eventually(lambda: follower.requests("watch") == 2)
    before = follower.requests("list"), follower.requests("watch")

    await fleet.create(10, 11, 12)
    await fleet.create(1, kind="GitRepository")
    await fleet.set_ready(3, "False")
    await fleet.set_ready(4, "True")
    await fleet.set_interval(5, 77)
    await fleet.delete(0, 9)

    await follower.equals(admin)
    assert (follower.requests("list"), follower.requests("watch")) == before


async def test_a_run_in_progress_keeps_the_last_terminal_status(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow
) -> None:
    await fleet.create(1)
    await fleet.set_ready(1, "False")
    follower = await follow()
    await follower.equals(admin)

    await fleet.set_ready(1, "Unknown")
    await fleet.set_interval(1, 55)

    await follower.eventually(lambda: follower.state() == {("Kustomization", "team-a", "k1"): ("False", 55.0, "v1")})
    live = {dict(labels)["status"] for labels in follower.samples("gotk_resource_condition")}
    assert live == {"Unknown"}


async def test_an_object_deleted_and_made_anew_while_we_were_away_is_another_object(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, tap: Tap
) -> None:
    await fleet.create(1, 2)
    await fleet.set_ready(1, "False")
    follower = await follow()
    await follower.equals(admin)

    tap.leave()
    await fleet.delete(1, 2)
    await fleet.create(1)
    tap.come_back()

    # The old one's verdict would be False; a new one has none yet.
    await follower.eventually(
        lambda: follower.state() == {("Kustomization", "team-a", "k1"): ("Unknown", 1001.0, "v1")}
    )


async def test_a_kind_is_followed_as_its_crd_comes_changes_its_version_and_goes(
    admin: AdminClient, fleet: Fleet, follow: Follow
) -> None:
    own, two_versions = read_objects(CRDS / "kustomizations.yaml", CRDS / "kustomizations-two-versions.yaml")
    old_only = {**two_versions, "spec": {**two_versions["spec"], "versions": _stored(two_versions, "v1beta2")}}
    await admin.install_crds(read_objects(CRDS / "gitrepositories.yaml"))
    await fleet.create(1, kind="GitRepository")
    follower = await follow()
    await follower.synced()
    assert follower.resource_state("Kustomization") == "absent"
    await follower.eventually(lambda: follower.requests("watch", "GitRepository") == 1)
    undisturbed = follower.requests("list", "GitRepository"), follower.requests("watch", "GitRepository")

    await admin.install_crds([old_only])
    await admin.create({**manifest(1), "apiVersion": "kustomize.toolkit.fluxcd.io/v1beta2"})
    await follower.eventually(lambda: follower.state().get(_key(1)) == ("Unknown", 1001.0, "v1beta2"))

    await admin.install_crds([two_versions])
    await follower.eventually(lambda: follower.state().get(_key(1)) == ("Unknown", 1001.0, "v1"))
    await fleet.create(2)
    await follower.equals(admin)

    await admin.delete_crd(own["metadata"]["name"])
    await follower.eventually(
        lambda: follower.resource_state("Kustomization") == "absent" and len(follower.state()) == 1
    )
    assert follower.samples("gotk_exporter_resource_objects")[_resource("Kustomization")] == 0
    assert (follower.requests("list", "GitRepository"), follower.requests("watch", "GitRepository")) == undisturbed


async def test_a_forbidden_kind_degrades_alone(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, server: ServerUnderTest
) -> None:
    await fleet.create(1, 2)
    await fleet.create(1, kind="GitRepository")
    token = await server.limited_token({"kustomize.toolkit.fluxcd.io": ["kustomizations"]})

    started = time.monotonic()
    follower = await follow(token=token)

    await follower.synced()
    await follower.equals(admin, Kustomization=None)
    assert follower.resource_state("GitRepository") == "forbidden"
    assert follower.resource_state("Kustomization") == "synced"
    await fleet.create(3)
    await follower.equals(admin, Kustomization=None)
    assert follower.requests("list", "GitRepository") <= most_attempts(time.monotonic() - started, follower.bounds)


async def test_two_namespaces_are_followed_with_a_role_in_each_and_no_cluster_wide_call(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, server: ServerUnderTest
) -> None:
    namespaces = ("team-a", "team-b")
    await admin.ensure_namespace("team-c")
    for namespace in (*namespaces, "team-c"):
        await fleet.create(1, 2, namespace=namespace)
    resources = {"kustomize.toolkit.fluxcd.io": ["kustomizations"], "source.toolkit.fluxcd.io": ["gitrepositories"]}
    token = await server.limited_token(resources, namespaces)

    follower = await follow(namespaces=namespaces, token=token)

    await follower.synced()
    await fleet.set_interval(2, 99, namespace="team-b")
    await follower.equals(admin, Kustomization=namespaces, GitRepository=namespaces)
    assert {follower.resource_state("Kustomization", namespace) for namespace in namespaces} == {"synced"}
    # The account may do nothing cluster-wide: such a call would have been refused.
    assert follower.requests("list", outcome="403") == follower.requests("watch", outcome="403") == 0


async def test_a_listing_anew_comes_by_the_page_and_is_whole_with_a_short_last_one(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, tap: Tap, server: ServerUnderTest
) -> None:
    await fleet.create(*range(7))
    follower = await follow(bounds=dataclasses.replace(FAST, page_objects=2))
    await follower.equals(admin)

    tap.leave()
    await fleet.set_interval(6, 77)
    await server.compact()
    tap.come_back()

    await follower.equals(admin)
    assert follower.requests("list", "Kustomization", "200") == 1 + 4


def _resource(kind: str) -> tuple[tuple[str, str], ...]:
    return (("resource", kind), ("watched_namespace", ""))


def _key(number: int) -> tuple[str, str, str]:
    return ("Kustomization", "team-a", f"k{number}")


def _stored(crd: dict[str, object], version: str) -> list[dict[str, object]]:
    """The CRD's versions with only this one served, and stored."""
    spec = crd["spec"]
    assert isinstance(spec, dict)
    return [{**entry, "storage": True} for entry in spec["versions"] if entry["name"] == version]
