"""A story of several objects in which every family has a series that no object has by itself."""

from __future__ import annotations

from gotk_exporter.flux.controllers import Lease
from gotk_exporter.metrics import families as f
from tests.flux.clusters import BEGINNING, MINUTE, Cluster, on
from tests.flux.test_retries import webhook_fails

OF_SEVERAL = (
    f.AWAITING_RETRY,
    f.REVISION_BEHIND,
    f.UNSERVED,
    f.CONTROLLER_LEASE_RENEW,
    f.IMAGE_AUTOMATION_PUSH_FOLLOWED,
)


def several() -> Cluster:
    """One object waits for its next attempt, one is behind its source, one is in a shard that nobody serves, and one
    pushes to a branch that is not followed."""
    cluster = Cluster()
    cluster.source_is_ready(spec={"url": "https://git.test/repo", "ref": {"branch": "main"}})
    for name in ("a", "b"):
        webhook_fails(cluster, name, at=1, spec=on())
    cluster.kustomization_is_ready("a", at=4)
    cluster.kustomization_is_ready("sharded", labels={"sharding.fluxcd.io/key": "one"}, spec=on())
    cluster.source_is_ready(revision="main@sha1:2", at=5)
    git = {"checkout": {"ref": {"branch": "main"}}, "push": {"branch": "updates"}}
    source = {"kind": "GitRepository", "name": "repo"}
    cluster.write("ImageUpdateAutomation", "update", "True", "Succeeded", spec={"sourceRef": source, "git": git})
    lease = Lease("kustomize-controller-leader-election", "flux-system", BEGINNING, 35.0)
    cluster.relations.take_leases("flux-system", [lease], BEGINNING + 6 * MINUTE)
    return cluster
