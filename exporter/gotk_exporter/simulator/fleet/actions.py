"""What each of Helm's actions does to the cluster, to Helm's storage and to a HelmRelease's status.

Which one comes next is releases.py's.
Reference: fluxcd/helm-controller v1.6, internal/reconcile.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from gotk_exporter.simulator.fleet.conditions import READY, STALLED
from gotk_exporter.simulator.fleet.controller import Base
from gotk_exporter.simulator.fleet.helm import Chart, Helm, Release, newest_first, previous, replaced
from gotk_exporter.simulator.fleet.inventory import entries
from gotk_exporter.simulator.fleet.objects import Json, Key, duration
from gotk_exporter.simulator.fleet.patches import Effect, Emit, Wait, Working

RELEASED, REMEDIATED = "Released", "Remediated"

RELEASE, REMEDIATE, UNLOCK = "release", "remediate", "unlock"
TYPES = {"install": RELEASE, "upgrade": RELEASE, "rollback": REMEDIATE, "uninstall": REMEDIATE, "unlock": UNLOCK}


def summarize(work: Working) -> None:
    """Ready, from Remediated or Released; whatever had to be remediated is not ready."""
    released, remediated = work.conditions.get(RELEASED), work.conditions.get(REMEDIATED)
    top = released
    if remediated is not None and (
        released is None or remediated["observedGeneration"] >= released["observedGeneration"]
    ):
        top = remediated
    if top is None:
        return
    status = "False" if top is remediated else top["status"]
    if status == "True":
        work.conditions.delete(STALLED)
    work.conditions.set(READY, status, top["reason"], top["message"])


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HelmRelease in one run."""

    reconciler: Base
    helm: Helm
    key: Key
    work: Working
    chart: Chart
    timeout: float

    @property
    def history(self) -> list[Json]:
        return list(self.work.status.get("history", ()))

    def run(self, action: str) -> Generator[Effect, Any, bool]:
        """Whether it left a trace in Helm's storage."""
        match action:
            case "install" | "upgrade":
                return (yield from self._release(action))
            case "rollback":
                yield from self._rollback()
            case "uninstall":
                yield from self._uninstall()
            case "unlock":
                yield from self._unlock()
        return True

    def _event(self, good: bool, reason: str, message: str) -> Emit:
        return Emit("info" if good else "error", reason, message, self.chart.version)

    def _release(self, action: str) -> Generator[Effect, Any, bool]:
        status, cluster = self.work.status, self.reconciler.cluster
        began = cluster.now
        status["lastAttemptedReleaseAction"] = action
        if action == "install":
            status.pop("history", None)
        self.work.conditions.delete("TestSuccess", REMEDIATED)
        rendered = self.helm.render_errors.get(self.key, "")
        if rendered:
            yield self.reconciler.pause(self.key, "helm: render")
            status["lastAttemptedReleaseActionDuration"] = duration(cluster.now - began)
            yield self._failed(action, rendered)
            return False
        last = self.helm.last(self.key)
        now = cluster.stamp
        release = Release(
            self.key,
            last.version + 1 if last else 1,
            self.chart,
            f"pending-{action}",
            last.first_deployed if last else now,
            now,
        )
        self.helm.add(release)
        workloads = self.helm.workloads_of(self.key)
        for id in workloads:
            cluster.world.apply(id, f"{self.chart.full_name} {self.chart.config}")
        status["inventory"] = entries(workloads)
        yield self.reconciler.pause(self.key, "helm: action")
        error = yield from self._wait(workloads)
        status["lastAttemptedReleaseActionDuration"] = duration(cluster.now - began)
        if error:
            release = self.helm.set_status(release, "failed")
            status["history"] = [release.snapshot(action), *self.history]
            yield self._failed(action, error)
            counter = f"{action}Failures"
            status[counter] = status.get(counter, 0) + 1
            return True
        release = self.helm.set_status(release, "deployed")
        history = self.history
        if last is not None and last.status == "deployed":
            last = self.helm.set_status(last, "superseded")
            old = next((one for one in history if one["version"] == last.version), None)
            if old is not None:
                history = replaced(history, last.snapshot(old["action"]))
        status["history"] = [release.snapshot(action), *history]
        reason = f"{action.title()}Succeeded"
        message = f"Helm {action} succeeded for release {release.full_name} with chart {self.chart.full_name}"
        self.work.conditions.true(RELEASED, reason, message)
        if self._retries_on_failure(action):
            for counter in ("failures", "installFailures", "upgradeFailures"):
                status.pop(counter, None)
        summarize(self.work)
        yield self._event(True, reason, message)
        return True

    def _retries_on_failure(self, action: str) -> bool:
        strategy = self.work.spec.get(action, {}).get("strategy", {})
        return bool(strategy.get("name") == "RetryOnFailure")

    def _wait(self, workloads: tuple[str, ...]) -> Generator[Effect, Any, str]:
        """Why they are not ready in time; empty if they are."""
        cluster = self.reconciler.cluster
        deadline = cluster.now + self.timeout
        while True:
            waiting = [id for id in workloads if cluster.world.status(id) != "Current"]
            if not waiting:
                return ""
            if cluster.now >= deadline:
                break
            yield Wait(min(cluster.flags.release_poll, deadline - cluster.now))
        # Recorded: the same timeout is told in one of two ways.
        if cluster.chance(self.key).random() < 0.5:
            return "context deadline exceeded"
        return (
            f"resource {waiting[0]} not ready. status: InProgress, message: Available: 0/1\ncontext deadline exceeded"
        )

    def _failed(self, action: str, error: str) -> Emit:
        status = self.work.status
        status["failures"] = status.get("failures", 0) + 1
        reason = f"{action.title()}Failed"
        message = f"Helm {action} failed for release {self.key.path} with chart {self.chart.full_name}: {error}"
        self.work.conditions.false(RELEASED, reason, message)
        summarize(self.work)
        return self._event(False, reason, message)

    def _rollback(self) -> Generator[Effect, Any, None]:
        target = previous(self.history)
        current = self.helm.last(self.key)
        assert target is not None
        assert current is not None
        source = self.helm.find(self.key, target["version"])
        assert source is not None
        yield self.reconciler.pause(self.key, "helm: action")
        cluster = self.reconciler.cluster
        for id in self.helm.workloads_of(self.key):
            cluster.world.apply(id, f"{source.chart.full_name} {source.chart.config}")
        release = Release(
            self.key, current.version + 1, source.chart, "deployed", current.first_deployed, cluster.stamp
        )
        self.helm.add(release)
        history = self.history
        if source.status == "deployed":
            history = replaced(history, self.helm.set_status(source, "superseded").snapshot(target["action"]))
        self.work.status["history"] = [release.snapshot("rollback"), *history]
        message = f"Helm rollback to previous release {source.full_name} with chart {source.chart.full_name} succeeded"
        self.work.conditions.true(REMEDIATED, "RollbackSucceeded", message)
        summarize(self.work)
        yield self._event(True, "RollbackSucceeded", message)

    def _uninstall(self) -> Generator[Effect, Any, None]:
        current = self.helm.last(self.key)
        assert current is not None
        yield self.reconciler.pause(self.key, "helm: action")
        self.reconciler.cluster.world.remove(self.helm.workloads_of(self.key))
        gone = self.helm.set_status(current, "uninstalled")
        self.work.status["history"] = replaced(self.history, gone.snapshot("uninstall-remediation"))
        name = f"release {current.full_name} with chart {current.chart.full_name}"
        message = f"Helm uninstall remediation for {name} succeeded"
        # Ready is left as it was: Flux summarizes after every action but this one.
        self.work.conditions.true(REMEDIATED, "UninstallSucceeded", message)
        yield self._event(True, "UninstallSucceeded", message)

    def _unlock(self) -> Generator[Effect, Any, None]:
        current = self.helm.last(self.key)
        assert current is not None
        yield self.reconciler.pause(self.key, "helm: unlock")
        name = f"{current.full_name} with chart {current.chart.full_name}"
        message = f"Unlocked Helm release {name} in {current.status} state"
        failed = self.helm.set_status(current, "failed")
        if any(one["version"] == failed.version for one in self.history):
            self.work.status["history"] = replaced(self.history, failed.snapshot("upgrade"))
        self.work.conditions.false(RELEASED, "PendingRelease", message)
        summarize(self.work)
        yield self._event(True, "PendingRelease", message)


def latest(history: list[Json]) -> Json | None:
    return newest_first(history)[0] if history else None
