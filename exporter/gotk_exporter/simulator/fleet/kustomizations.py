"""What kustomize-controller does with a Kustomization, write by write.

Health checks are in health.py, deletion in finalize.py. Not here: decryption, remote clusters, impersonation, Jobs with
a TTL, and the opt-in that a new revision cancels a running health check.
Reference: fluxcd/kustomize-controller v1.9, and the recorded runs of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from gotk_exporter.simulator.fleet.conditions import HEALTHY, READY, RECONCILING
from gotk_exporter.simulator.fleet.controller import After, BackOff, Base, Done, Result, Run, Terminal
from gotk_exporter.simulator.fleet.downloads import download
from gotk_exporter.simulator.fleet.expressions import expression_error
from gotk_exporter.simulator.fleet.finalize import finalize, removed
from gotk_exporter.simulator.fleet.health import check_health
from gotk_exporter.simulator.fleet.inventory import entries, ids
from gotk_exporter.simulator.fleet.objects import (
    FINALIZER,
    Json,
    Key,
    artifact_revision,
    duration,
    is_deleted,
    is_ready,
    is_suspended,
    key_of,
    new_artifact,
    reference,
    refers_to,
    requested_at,
    spec_seconds,
)
from gotk_exporter.simulator.fleet.patches import Doing, Effect, Emit, Working
from gotk_exporter.simulator.fleet.world import Manifests

HISTORY_SIZE = 5

_SOURCES = frozenset({"GitRepository", "OCIRepository", "Bucket", "ExternalArtifact"})


def timeout_seconds(obj: Json, minimum: float) -> float:
    """spec.timeout, or 30 s less than the interval; never less than ``minimum``, which is those 30 s."""
    given = spec_seconds(obj, "timeout")
    if given is None:
        given = (spec_seconds(obj, "interval") or 0.0) - minimum
    return max(given, minimum)


def upserted(history: list[Json], digest: str, status: str, now: str, took: float, revision: str) -> list[Json]:
    """``history`` with one more run: it counts in the entry of its digest and status, which goes to the front."""
    old = next(
        (entry for entry in history if entry["digest"] == digest and entry["lastReconciledStatus"] == status), None
    )
    new = {
        "digest": digest,
        "firstReconciled": old["firstReconciled"] if old else now,
        "lastReconciled": now,
        "lastReconciledDuration": duration(took),
        "lastReconciledStatus": status,
        "metadata": {"revision": revision},
        "totalReconciliations": old["totalReconciliations"] + 1 if old else 1,
    }
    return [new, *(entry for entry in history if entry is not old)][:HISTORY_SIZE]


class _Failed(Exception):
    """The run ends with Ready=False."""

    def __init__(self, reason: str, message: str, entry: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.entry = entry
        """It is one of those that history counts."""


class _ArtifactGone(Exception):
    """The source has an artifact that its controller no longer has on its disk."""


class Kustomizations(Base):
    """Kustomizations."""

    kind = "Kustomization"
    process = "kustomize-controller"
    field_manager = "gotk-kustomize-controller"

    def woken_by(self, old: Json | None, new: Json) -> Iterable[Key]:
        """A source has another artifact, or has one at last."""
        if new["kind"] not in _SOURCES or (revision := new_artifact(old, new)) is None:
            return
        source = key_of(new)
        for obj in self.cluster.of_kind(self.kind):
            has_it = is_ready(obj) and obj["status"].get("lastAttemptedRevision") == revision
            if refers_to(obj, "sourceRef", source) and not has_it:
                yield key_of(obj)

    def reconcile(self, obj: Json) -> Run:
        key = key_of(obj)
        began = self.cluster.now
        work = Working(obj, self.cluster.stamp)
        result = yield from self._result(key, obj, work)
        request = requested_at(obj)
        if request is not None:
            work.status["lastHandledReconcileAt"] = request
        if work.conditions.is_true(READY):
            work.conditions.delete(RECONCILING)
            work.status["observedGeneration"] = work.generation
        elif work.conditions.is_false(READY):
            work.conditions.retrying()
        yield from self.patch(key, work)
        if work.conditions.is_true(READY) and not is_suspended(obj):
            took, interval = duration(self.cluster.now - began), duration(spec_seconds(obj, "interval") or 0.0)
            message = f"Reconciliation finished in {took}, next run in {interval}"
            yield Emit("info", "ReconciliationSucceeded", message, work.status.get("lastAppliedRevision"))
        return result

    def _result(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, Result]:
        if is_deleted(obj):
            yield from finalize(self, key, obj, work, timeout_seconds(obj, self.cluster.flags.minimum_timeout))
            return Done()
        if FINALIZER not in work.finalizers:
            work.finalizers.append(FINALIZER)
            return BackOff()
        if is_suspended(obj):
            return Done()
        error = expression_error(obj)
        if error:
            message = f"Reconciliation failed terminally due to configuration error: {error}"
            work.conditions.false(READY, "InvalidCELExpression", message)
            work.conditions.stalled("InvalidCELExpression", message)
            work.status["observedGeneration"] = work.generation
            yield Emit("error", "InvalidCELExpression", message)
            return Terminal()
        return (yield from self._with_source(key, obj, work))

    def _with_source(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, Result]:
        flags = self.cluster.flags
        retry = spec_seconds(obj, "retryInterval") or spec_seconds(obj, "interval") or 0.0
        ref = reference(obj, obj["spec"]["sourceRef"])
        source = self.cluster.get(ref)
        if source is None:
            work.conditions.false(
                READY, "ArtifactFailed", f'{ref.kind}.source.toolkit.fluxcd.io "{ref.name}" not found'
            )
            return After(retry)
        revision = artifact_revision(source)
        if revision is None:
            message = f"Source artifact not found, retrying in {duration(flags.requeue_dependency)}"
            work.conditions.false(READY, "ArtifactFailed", message)
            return After(flags.requeue_dependency)
        waits_for = self._dependency(obj, revision)
        if waits_for:
            work.conditions.false(READY, "DependencyNotReady", waits_for)
            message = f"Dependencies do not meet ready condition, retrying in {duration(flags.requeue_dependency)}"
            yield Emit("info", "DependencyNotReady", message, revision)
            return After(flags.requeue_dependency)
        began = self.cluster.now
        digest = ""
        try:
            manifests = yield from self._build(key, obj, work, source, revision)
            digest = manifests.digest
            yield from self._apply(key, obj, work, manifests, revision)
        except _ArtifactGone:
            wait = duration(flags.requeue_dependency)
            message = f"Source is not ready, artifact not found, retrying in {wait}"
            work.conditions.false(READY, "ArtifactFailed", message)
            return After(flags.requeue_dependency)
        except _Failed as failure:
            if failure.entry:
                self._count(work, digest, failure.reason, began, revision)
            work.conditions.false(READY, failure.reason, str(failure))
            yield Emit("error", failure.reason, str(failure), revision)
            yield self.pause(key, "announce")
            return After(retry)
        work.status["lastAppliedRevision"] = revision
        work.conditions.true(READY, "ReconciliationSucceeded", f"Applied revision: {revision}")
        self._count(work, digest, "ReconciliationSucceeded", began, revision)
        return After(self.cluster.jittered(key, spec_seconds(obj, "interval") or 0.0))

    def _dependency(self, obj: Json, revision: str) -> str:
        """What the object waits for; empty if for nothing."""
        source = reference(obj, obj["spec"]["sourceRef"])
        for ref in obj["spec"].get("dependsOn", ()):
            other = reference(obj, ref, self.kind)
            dependency = self.cluster.get(other)
            if dependency is None:
                missing = f'kustomizations.kustomize.toolkit.fluxcd.io "{other.name}" not found'
                return f"dependency '{other.path}' not found: {missing}"
            if not is_ready(dependency):
                return f"dependency '{other.path}' is not ready"
            same_source = reference(dependency, dependency["spec"]["sourceRef"]) == source
            if same_source and dependency["status"].get("lastAppliedRevision") != revision:
                return f"dependency '{other.path}' revision is not up to date"
        return ""

    def _step(self, key: Key, work: Working, doing: str, revision: str, timeout: str) -> Doing:
        work.conditions.reconciling("Progressing", f"{doing} for revision {revision} with a timeout of {timeout}")
        yield from self.patch(key, work)

    def _build(
        self, key: Key, obj: Json, work: Working, source: Json, revision: str
    ) -> Generator[Effect, Any, Manifests]:
        timeout = duration(timeout_seconds(obj, self.cluster.flags.minimum_timeout))
        yield self.pause(key, "begin")
        work.conditions.unknown(READY, "Progressing", "Reconciliation in progress")
        yield from self._step(key, work, "Fetching manifests", revision, timeout)
        yield self.pause(key, "kustomization: fetch")
        world = self.cluster.world
        path = obj["spec"].get("path", "./")
        if (str(key_of(source)), revision) not in world.artifacts:
            raise _ArtifactGone
        error = yield from download(self.cluster, source["status"]["artifact"]["url"])
        if error:
            raise _Failed("ArtifactFailed", f"failed to download archive: {error}")
        manifests = world.manifests(source["spec"]["url"], revision, path)
        if manifests is None:
            folder = f"/tmp/kustomization-{self.cluster.chance(key).randrange(10**9)}/{path.removeprefix('./')}"
            raise _Failed("ArtifactFailed", f"kustomization path not found: stat {folder}: no such file or directory")
        work.status["lastAttemptedRevision"] = revision
        yield from self._step(key, work, "Building manifests", revision, timeout)
        if manifests.build_error:
            yield self.pause(key, "kustomization: broken build")
            raise _Failed("BuildFailed", manifests.build_error)
        yield self.pause(key, "kustomization: build")
        yield from self._step(key, work, "Detecting drift", revision, timeout)
        return manifests

    def _apply(self, key: Key, obj: Json, work: Working, manifests: Manifests, revision: str) -> Doing:
        world = self.cluster.world
        yield self.pause(key, "kustomization: apply")
        refusal = world.refusal(manifests)
        if refusal:
            yield self.pause(key, "kustomization: rejected")
            raise _Failed("ReconciliationFailed", refusal, entry=True)
        changes = [
            f"{id} {action}"
            for id, content in manifests.objects.items()
            if (action := world.apply(id, content)) != "unchanged"
        ]
        if changes:
            yield Emit("info", "Progressing", "\n".join(changes), revision)
            yield self.pause(key, "announce")
        inventory = entries(manifests.objects)
        stale = set(ids(work.status.get("inventory"))) - set(manifests.objects)
        if stale and obj["spec"].get("prune"):
            yield from removed(world, sorted(stale))
            yield Emit("info", "Progressing", "\n".join(f"{id} deleted" for id in sorted(stale)), revision)
        if work.status.get("inventory") != inventory:
            work.status["inventory"] = inventory
        yield from self._check_health(key, obj, work, list(manifests.objects), revision, bool(changes))

    def _check_health(
        self, key: Key, obj: Json, work: Working, applied: list[str], revision: str, drifted: bool
    ) -> Doing:
        if not obj["spec"].get("wait"):
            applied = [
                f"{check['kind']}/{check.get('namespace', key.namespace)}/{check['name']}"
                for check in obj["spec"].get("healthChecks", ())
            ]
        checked = [id for id in applied if id != str(key)]
        if not checked:
            work.conditions.delete(HEALTHY)
            return
        timeout = timeout_seconds(obj, self.cluster.flags.minimum_timeout)
        message = f"Running health checks for revision {revision} with a timeout of {duration(timeout)}"
        was_healthy = work.conditions.is_true(HEALTHY)
        work.conditions.reconciling("Progressing", message)
        work.conditions.unknown(HEALTHY, "Progressing", message)
        yield from self.patch(key, work)
        began = self.cluster.now
        error = yield from check_health(self.cluster, key, checked, timeout)
        took = duration(self.cluster.now - began)
        if error:
            work.conditions.false(HEALTHY, "HealthCheckFailed", error)
            raise _Failed("HealthCheckFailed", f"health check failed after {took}: {error}", entry=True)
        message = f"Health check passed in {took}"
        if not was_healthy or (drifted and work.status.get("lastAppliedRevision") != revision):
            yield Emit("info", "Progressing", message, revision)
        yield self.pause(key, "announce")
        work.conditions.true(HEALTHY, "Succeeded", message)
        yield from self.patch(key, work)
        yield self.pause(key, "kustomization: conclude")

    def _count(self, work: Working, digest: str, status: str, began: float, revision: str) -> None:
        work.status["history"] = upserted(
            work.status.get("history", []), digest, status, self.cluster.stamp, self.cluster.now - began, revision
        )
