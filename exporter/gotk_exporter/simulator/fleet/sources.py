"""What source-controller does with a GitRepository, an OCIRepository, a Bucket or a HelmRepository, write by write.

A source that is as it should be writes nothing: Ready becomes Unknown only for a new revision, or where there is no
artifact. HelmCharts are in charts.py. Not here: verification of signatures, includes, sparse checkouts.
Reference: fluxcd/source-controller v1.9, and the recorded runs of it. OCIRepository, Bucket and HelmRepository were not
recorded: they follow the source.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from gotk_exporter.simulator.fleet.cluster import Cluster
from gotk_exporter.simulator.fleet.conditions import READY, RECONCILING, STALLED, Conditions
from gotk_exporter.simulator.fleet.controller import After, BackOff, Base, Done, Result, Run
from gotk_exporter.simulator.fleet.objects import (
    FINALIZER,
    Json,
    Key,
    artifact_revision,
    is_deleted,
    is_suspended,
    key_of,
    requested_at,
    sha256,
    spec_seconds,
)
from gotk_exporter.simulator.fleet.patches import Doing, Effect, Emit, Wait, Working
from gotk_exporter.simulator.fleet.world import Reach, Upstream

FETCH_FAILED, OUTDATED, IN_STORAGE = "FetchFailed", "ArtifactOutdated", "ArtifactInStorage"

_NEGATIVE = ("StorageOperationFailed", FETCH_FAILED, "BuildFailed", OUTDATED, STALLED, RECONCILING)
"""Conditions that are bad when True, in the order in which Ready takes after them."""
_POSITIVE = (IN_STORAGE, "SourceVerified")


def summarize(conditions: Conditions) -> None:
    """Ready, from the other conditions: the first bad one, else the first good one."""
    for type in _NEGATIVE:
        if conditions.is_true(type):
            conditions.false(READY, conditions.reason(type) or "", conditions.message(type))
            return
    for type in _POSITIVE:
        if conditions.is_true(type):
            conditions.true(READY, conditions.reason(type) or "", conditions.message(type))
            return


class Failure(Exception):
    """A run that did not get what it wanted."""

    def __init__(self, reason: str, message: str, stalls: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.stalls = stalls
        """No retry would mend it."""


@dataclass(frozen=True, slots=True)
class Texts:
    """How one kind of source says things."""

    failed: str
    refused: Callable[[str], str]
    hanging: Callable[[str], str]
    new: Callable[[Upstream], str]
    stored: Callable[[Upstream], str]
    announced: Callable[[Upstream], str]


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _git(url: str, what: str) -> str:
    asked = f'Get "{url}/info/refs?service=git-upload-pack"'
    return f"failed to checkout and determine revision: unable to list remote for '{url}': {asked}: {what}"


_TEXTS = {
    "GitRepository": Texts(
        "GitOperationFailed",
        lambda url: _git(url, "dial tcp 10.0.0.7:443: connect: connection refused"),
        lambda url: _git(url, "context deadline exceeded"),
        lambda upstream: f"new upstream revision '{upstream.head}'",
        lambda upstream: f"stored artifact for revision '{upstream.head}'",
        lambda upstream: f"stored artifact for commit '{upstream.message}'",
    ),
    "OCIRepository": Texts(
        "OCIArtifactPullFailed",
        lambda url: f'failed to determine artifact digest: Get "https://{_host(url)}/v2/": connect: connection refused',
        lambda url: f'failed to determine artifact digest: Get "https://{_host(url)}/v2/": context deadline exceeded',
        lambda upstream: f"new revision '{upstream.head}' for '{upstream.url}:{upstream.message}'",
        lambda upstream: f"stored artifact for digest '{upstream.head}'",
        lambda upstream: f"stored artifact with revision '{upstream.head}' from '{upstream.url}'",
    ),
    "HelmRepository": Texts(
        "Failed",
        lambda url: f'failed to fetch Helm repository index: Get "{url}/index.yaml": connect: connection refused',
        lambda url: f'failed to fetch Helm repository index: Get "{url}/index.yaml": context deadline exceeded',
        lambda upstream: f"new index revision '{upstream.head}'",
        lambda upstream: f"stored artifact: revision '{upstream.head}'",
        lambda upstream: f"stored fetched index of size 42kB from '{upstream.url}'",
    ),
    "Bucket": Texts(
        "BucketOperationFailed",
        lambda url: f'failed to confirm existence of bucket: Get "{url}": connect: connection refused',
        lambda url: f'failed to confirm existence of bucket: Get "{url}": context deadline exceeded',
        lambda upstream: f"new upstream revision '{upstream.head}'",
        lambda upstream: f"stored artifact: revision '{upstream.head}'",
        lambda upstream: f"stored artifact with 12 fetched files from '{upstream.url}' bucket",
    ),
}


class SourceBase(Base):
    """The frame that all kinds of source-controller share: what comes before the fetch and after it."""

    process = "source-controller"
    field_manager = "source-controller"

    def obtain(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, bool]:
        """Bring the artifact up to date; False asks for another run at once.

        Raises:
            Failure: it could not.
        """
        raise NotImplementedError

    def reconcile(self, obj: Json) -> Run:
        key = key_of(obj)
        work = Working(obj, self.cluster.stamp)
        if is_deleted(obj):
            if FINALIZER in work.finalizers:
                yield self.pause(key, "finalize")
                work.finalizers.remove(FINALIZER)
            yield from self._conclude(key, obj, work, generation=True)
            return Done()
        if FINALIZER not in work.finalizers:
            work.finalizers.append(FINALIZER)
            yield from self._conclude(key, obj, work)
            return BackOff()
        if is_suspended(obj):
            work.conditions.delete(STALLED)
            yield from self._conclude(key, obj, work, generation=True)
            return Done()
        return (yield from self._run(key, obj, work))

    def _run(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, Result]:
        conditions = work.conditions
        conditions.progressing("reconciliation in progress")
        observed = work.status.get("observedGeneration", 0)
        request = requested_at(obj)
        if observed != work.generation:
            conditions.progressing(f"processing object: new generation {observed} -> {work.generation}")
            yield from self.patch(key, work)
        elif request is not None and request != work.status.get("lastHandledReconcileAt"):
            yield from self.patch(key, work)
        yield from self._find_artifact(key, work)
        try:
            complete = yield from self.obtain(key, obj, work)
        except Failure as failure:
            if failure.stalls:
                conditions.stalled(failure.reason, failure.message)
            else:
                conditions.delete(STALLED)
            yield Emit("error", failure.reason, failure.message)
            yield from self._conclude(key, obj, work, generation=failure.stalls)
            return Done() if failure.stalls else BackOff()
        conditions.delete(STALLED)
        if not complete:
            yield from self._conclude(key, obj, work)
            return BackOff()
        conditions.delete(RECONCILING)
        yield from self._conclude(key, obj, work, generation=True)
        return After(self.cluster.jittered(key, spec_seconds(obj, "interval") or 60.0))

    def _find_artifact(self, key: Key, work: Working) -> Doing:
        artifact = work.status.get("artifact")
        gone = artifact is not None and (str(key), artifact["revision"]) not in self.cluster.world.artifacts
        if gone:
            del work.status["artifact"]
        elif artifact is not None:
            return
        yield self.pause(key, "source: store")
        message = "building artifact: disappeared from storage" if gone else "building artifact"
        work.conditions.progressing(message, drift=True)
        work.conditions.delete(IN_STORAGE)
        yield from self.patch(key, work)

    def _conclude(self, key: Key, obj: Json, work: Working, generation: bool = False) -> Doing:
        work.conditions.retrying()
        request = requested_at(obj)
        if request is not None:
            work.status["lastHandledReconcileAt"] = request
        if generation and work.conditions.as_list():
            work.status["observedGeneration"] = work.generation
        summarize(work.conditions)
        yield from self.patch(key, work)

    def keep(self, key: Key, work: Working, revision: str, path: str) -> None:
        """Store an artifact and advertise it."""
        self.cluster.world.artifacts.add((str(key), revision))
        work.status["artifact"] = {
            "digest": sha256(str(key), revision),
            "lastUpdateTime": self.cluster.stamp,
            "path": path,
            "revision": revision,
            "size": 1024 + len(revision),
            "url": f"http://source-controller.flux-system.svc.cluster.local./{path}",
        }


class Sources(SourceBase):
    """Sources of one kind that fetch from an upstream."""

    def __init__(self, cluster: Cluster, kind: str) -> None:
        super().__init__(cluster)
        self.kind = kind
        self._texts = _TEXTS[kind]

    def reconcile(self, obj: Json) -> Run:
        if obj["spec"].get("type") == "oci" and self.kind == "HelmRepository":
            # Static since Flux 2.2: nothing is written, not even a finalizer.
            return Done()
        return (yield from super().reconcile(obj))

    def obtain(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, bool]:
        upstream = yield from self._fetch(key, obj, work)
        conditions = work.conditions
        recovered = FETCH_FAILED in conditions
        conditions.delete(FETCH_FAILED)
        stored = artifact_revision({"status": work.status})
        is_new = stored != upstream.head
        if is_new:
            message = self._texts.new(upstream)
            if stored is not None:
                conditions.true(OUTDATED, "NewRevision", message)
            conditions.progressing(f"building artifact: {message}", drift=True)
            yield from self.patch(key, work)
            yield self.pause(key, "source: store")
            identity = upstream.head.rpartition(":")[2]
            path = f"{self.kind.lower()}/{key.namespace}/{key.name}/{identity}.tar.gz"
            self.keep(key, work, upstream.head, path)
        conditions.delete(OUTDATED)
        conditions.true(IN_STORAGE, "Succeeded", self._texts.stored(upstream))
        if is_new or recovered:
            reason = "NewArtifact" if is_new else "Succeeded"
            yield Emit("info", reason, self._texts.announced(upstream), upstream.head)
            yield self.pause(key, "announce")
        return True

    def _fetch(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, Upstream]:
        url = obj["spec"].get("url") or obj["spec"].get("endpoint", "")
        reach = self.cluster.world.reach(url)
        message = ""
        if reach is Reach.HANGING:
            yield Wait(spec_seconds(obj, "timeout") or 60.0)
            message = self._texts.hanging(url)
        elif reach is Reach.REFUSING:
            yield self.pause(key, "source: refused")
            message = self._texts.refused(url)
        else:
            yield self.pause(key, "source: fetch")
            upstream = self.cluster.world.upstreams.get(url)
            if upstream is not None:
                return upstream
            message = f"failed to checkout and determine revision: unable to clone '{url}': repository not found"
        work.conditions.true(FETCH_FAILED, self._texts.failed, message)
        raise Failure(self._texts.failed, message)


FETCHING_KINDS: Sequence[str] = tuple(_TEXTS)
