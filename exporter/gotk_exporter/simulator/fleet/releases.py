"""What helm-controller does with a HelmRelease, write by write: what has to be there first, and which action is next.

The actions are in actions.py. Not here: tests, drift detection, post-rendering, values from elsewhere, remote clusters.
Reference: fluxcd/helm-controller v1.6, and the recorded runs of it.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from typing import Any

from gotk_exporter.simulator.fleet.actions import (
    RELEASE,
    RELEASED,
    REMEDIATE,
    REMEDIATED,
    TYPES,
    Attempt,
    latest,
    summarize,
)
from gotk_exporter.simulator.fleet.cluster import Cluster
from gotk_exporter.simulator.fleet.conditions import READY, RECONCILING, STALLED
from gotk_exporter.simulator.fleet.controller import After, BackOff, Base, Done, Result, Run, Terminal
from gotk_exporter.simulator.fleet.helm import Chart, Helm, previous, truncated
from gotk_exporter.simulator.fleet.objects import (
    FINALIZER,
    Json,
    Key,
    duration,
    is_deleted,
    is_suspended,
    key_of,
    new_artifact,
    refers_to,
    requested_at,
    seconds,
    sha256,
    spec_seconds,
)
from gotk_exporter.simulator.fleet.patches import Apply, Effect, Emit, Remove, Wait, Working
from gotk_exporter.simulator.fleet.prerequisites import Waiting, chart_key, chart_of, prerequisites

_DEFAULT_TIMEOUT_SECONDS = 300.0
_DEFAULT_RETRY_SECONDS = 300.0
_SOURCES = frozenset({"HelmChart", "OCIRepository", "ExternalArtifact"})


class _Stalled(Exception):
    """No retry is left, or none would help."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class HelmReleases(Base):
    """HelmReleases."""

    kind = "HelmRelease"
    process = "helm-controller"
    field_manager = "helm-controller"

    def __init__(self, cluster: Cluster, helm: Helm) -> None:
        super().__init__(cluster)
        self._helm = helm

    def woken_by(self, old: Json | None, new: Json) -> Iterable[Key]:
        """The chart has another artifact, or is there at last."""
        if new["kind"] not in _SOURCES or new_artifact(old, new) is None:
            return
        source = key_of(new)
        for obj in self.cluster.of_kind(self.kind):
            templated = obj.get("status", {}).get("helmChart") == source.path and source.kind == "HelmChart"
            if templated or refers_to(obj, "chartRef", source):
                yield key_of(obj)

    def reconcile(self, obj: Json) -> Run:
        key = key_of(obj)
        work = Working(obj, self.cluster.stamp)
        history = work.status.get("history")
        generation = True
        try:
            result = yield from self._result(key, obj, work)
        except Waiting as waiting:
            result, generation = waiting.result, False
        except _Stalled as stalled:
            work.conditions.stalled(stalled.reason, str(stalled))
            result = Terminal()
        request = requested_at(obj)
        if request is not None:
            work.status["lastHandledReconcileAt"] = request
        if generation and not isinstance(result, BackOff):
            work.status["observedGeneration"] = work.generation
        yield from self.patch(key, work)
        if isinstance(result, BackOff) and work.status.get("history") is not history:
            yield Wait(self.cluster.flags.history_sync)
        return result

    def _result(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, Result]:
        if is_deleted(obj):
            yield from self._delete(key, obj, work)
            return Done()
        if FINALIZER not in work.finalizers:
            work.finalizers.append(FINALIZER)
            return BackOff()
        if is_suspended(obj):
            return Done()
        source_key = chart_key(obj)
        if "chartRef" not in obj["spec"]:
            chart = chart_of(obj, source_key)
            existing = self.cluster.get(source_key)
            if existing is None or existing["spec"] != chart["spec"]:
                yield Apply(chart)
                yield self.pause(key, "second write")
            work.status["helmChart"] = source_key.path
        work.conditions.reconciling("Progressing", "Fulfilling prerequisites")
        yield from self.patch(key, work)
        yield self.pause(key, "helm: prepare")
        chart_name, version = yield from prerequisites(self, key, obj, work, source_key)
        chart_made = Chart(chart_name, version, sha256(json.dumps(obj["spec"].get("values", {}), sort_keys=True)))
        self._note_attempt(work, chart_made)
        timeout = spec_seconds(obj, "timeout") or _DEFAULT_TIMEOUT_SECONDS
        return (yield from self._converge(Attempt(self, self._helm, key, work, chart_made, timeout), obj))

    def _note_attempt(self, work: Working, chart: Chart) -> None:
        status = work.status
        if (
            status.get("lastAttemptedGeneration") != work.generation
            or status.get("lastAttemptedRevision") != chart.version
            or status.get("lastAttemptedConfigDigest") != chart.config
        ):
            for counter in ("failures", "installFailures", "upgradeFailures"):
                status.pop(counter, None)
        status["storageNamespace"] = work.metadata["namespace"]
        status["lastAttemptedGeneration"] = work.generation
        status["lastAttemptedRevision"] = chart.version
        status["lastAttemptedConfigDigest"] = chart.config

    # From here to there, action by action.

    def _converge(self, attempt: Attempt, obj: Json) -> Generator[Effect, Any, Result]:
        work, conditions = attempt.work, attempt.work.conditions
        done: set[str] = set()
        while True:
            action = self._next(attempt)
            if action is None:
                conditions.delete(RECONCILING)
                summarize(work)
                return self._idle(attempt.key, obj)
            type = TYPES[action]
            if type in done:
                # A release has had its action; the next one is for another run.
                return self._later(attempt, obj)
            message = f"Running '{action}' action with timeout of {duration(attempt.timeout)}"
            conditions.reconciling("Progressing", message)
            if type == RELEASE:
                conditions.unknown(READY, "Progressing", message)
            yield from self.patch(attempt.key, work)
            stored = yield from attempt.run(action)
            if not stored:
                retry = self._retry(work)
                return BackOff() if retry is None else self._retrying(attempt, retry)
            if type == REMEDIATE:
                if self._retry(work) is None and self._is_exhausted(work):
                    raise self._exhausted(work)
                return self._later(attempt, obj)
            done.add(type)
            yield from self.patch(attempt.key, work)
            yield self.pause(attempt.key, "second write")

    def _idle(self, key: Key, obj: Json) -> Result:
        return After(self.cluster.jittered(key, spec_seconds(obj, "interval") or 0.0))

    def _later(self, attempt: Attempt, obj: Json) -> Result:
        work = attempt.work
        retry = self._retry(work)
        if retry is not None:
            return self._retrying(attempt, retry)
        if work.status.get("lastAttemptedReleaseAction") is None or not self._is_exhausted(work):
            work.conditions.reconciling("ProgressingWithRetry", work.conditions.message(READY))
            return BackOff()
        work.conditions.delete(RECONCILING)
        return self._idle(attempt.key, obj)

    def _retrying(self, attempt: Attempt, retry: float) -> Result:
        attempt.work.conditions.reconciling("ProgressingWithRetry", f"retrying after {duration(retry)}")
        return After(self.cluster.jittered(attempt.key, retry))

    def _next(self, attempt: Attempt) -> str | None:
        """The action that the state of the release asks for.

        Raises:
            _Stalled: it asks for one that may not be taken any more, or cannot be.
        """
        work, last = attempt.work, self._helm.last(attempt.key)
        if last is None:
            return self._install(work)
        if last.status.startswith("pending-"):
            return "unlock"
        newest = latest(attempt.history)
        if last.status == "uninstalled":
            return self._install(work)
        if newest is None or newest["version"] != last.version:
            # A release that its history does not know is not its own.
            work.status.pop("history", None)
            return "upgrade"
        if last.status == "failed":
            return self._after_failure(attempt)
        if last.chart != attempt.chart:
            if self._failures(work, "upgrade") > self._retries(work, "upgrade") >= 0:
                raise self._exhausted(work)
            return "upgrade"
        history = truncated(attempt.history)
        if history != attempt.history:
            work.status["history"] = history
        if work.conditions.is_true(REMEDIATED):
            work.conditions.delete(REMEDIATED)
            name = f"release {last.full_name} with chart {last.chart.full_name}"
            work.conditions.true(RELEASED, "UpgradeSucceeded", f"Helm upgrade succeeded for {name}")
        return None

    def _install(self, work: Working) -> str:
        if self._failures(work, "install") > self._retries(work, "install") >= 0:
            raise self._exhausted(work)
        return "install"

    def _after_failure(self, attempt: Attempt) -> str:
        work = attempt.work
        action = work.status.get("lastAttemptedReleaseAction")
        if action is None or self._retry(work) is not None or self._failures(work, action) <= 0:
            return "upgrade"
        remediation = work.spec.get(action, {}).get("remediation", {})
        if self._is_exhausted(work):
            last = remediation.get("remediateLastFailure")
            if last is None:
                last = action == "upgrade" and self._retries(work, action) > 0
            if not last:
                raise self._exhausted(work)
        work.status["history"] = truncated(attempt.history)
        if action == "install" or remediation.get("strategy") == "uninstall":
            return "uninstall"
        if previous(attempt.history) is None:
            raise _Stalled(
                "MissingRollbackTarget",
                "Failed to perform remediation: missing target release for rollback: cannot remediate failed release",
            )
        return "rollback"

    def _retries(self, work: Working, action: str) -> int:
        return int(work.spec.get(action, {}).get("remediation", {}).get("retries", 0))

    def _failures(self, work: Working, action: str) -> int:
        return int(work.status.get(f"{action}Failures", 0))

    def _is_exhausted(self, work: Working) -> bool:
        action = work.status["lastAttemptedReleaseAction"]
        return self._failures(work, action) > self._retries(work, action) >= 0

    def _exhausted(self, work: Working) -> _Stalled:
        action = work.status["lastAttemptedReleaseAction"]
        return _Stalled("RetriesExceeded", f"Failed to {action} after {self._failures(work, action)} attempt(s)")

    def _retry(self, work: Working) -> float | None:
        """With the strategy RetryOnFailure: how long after."""
        strategy = work.spec.get(work.status.get("lastAttemptedReleaseAction", ""), {}).get("strategy", {})
        if strategy.get("name") != "RetryOnFailure":
            return None
        given = strategy.get("retryInterval")
        return _DEFAULT_RETRY_SECONDS if given is None else seconds(given)

    def _delete(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, None]:
        if FINALIZER not in work.finalizers:
            return
        if not is_suspended(obj):
            last = self._helm.last(key)
            if last is not None:
                yield self.pause(key, "helm: action")
                self.cluster.world.remove(self._helm.workloads_of(key))
                self._helm.forget(key)
                message = f"Helm uninstall succeeded for release {last.full_name} with chart {last.chart.full_name}"
                work.conditions.false(RELEASED, "UninstallSucceeded", message)
                yield Emit("info", "UninstallSucceeded", message, last.chart.version)
                work.conditions.delete(STALLED)
            source = chart_key(obj)
            if source.kind == "HelmChart" and "chartRef" not in obj["spec"]:
                yield Remove(*source)
        work.finalizers.remove(FINALIZER)
