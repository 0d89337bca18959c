"""A model of what the controllers write, with the truth beside each write. It shares no code with what it tests.

A history is a list of writes, made of steps: what became of a run, a wait, a commit. The truth is kept by the steps
themselves, from the definitions in the design. Times in objects are whole seconds, taken a few milliseconds before the
write is seen; a condition's time moves when its status, reason or message does, as in the recorded timelines.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from gotk_exporter.flux.objects import FluxObject, decode
from tests.flux.examples import json_bytes

EPOCH = 1_763_700_000.0

Steps = Mapping[str, Callable[[Any, float], None]]
"""By name: what a controller does in so many seconds."""


def stamp(time: float) -> str:
    """As Kubernetes writes it: without fractions."""
    return datetime.fromtimestamp(math.floor(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Truth:
    """What somebody knows who has seen every write."""

    status: str = "Unknown"
    """The last terminal one."""
    settled: bool = False
    """Ready is True or False now, by the end of a run or by waiting."""
    failed_at: float | None = None
    waiting_since: float | None = None
    running_since: float | None = None
    touched: bool = True
    told: str = "Unknown"
    """The status that the object itself tells, by the facts, while Ready is neither True nor False."""

    @property
    def failing(self) -> bool:
        return self.failed_at is not None and self.waiting_since is None

    def runs(self, now: float) -> Truth:
        since = now if self.running_since is None or not self.touched else self.running_since
        return replace(self, settled=False, touched=True, waiting_since=None, running_since=since)

    def ends(self, well: bool, now: float) -> Truth:
        failed_at = None if well else now if self.failed_at is None else self.failed_at
        return replace(
            self,
            status=str(well),
            settled=True,
            failed_at=failed_at,
            waiting_since=None,
            running_since=None,
            touched=True,
        )

    def waits(self, now: float) -> Truth:
        since = now if self.waiting_since is None else self.waiting_since
        return replace(self, status="False", settled=True, waiting_since=since, running_since=None, touched=True)

    def rests(self) -> Truth:
        return replace(self, settled=False, waiting_since=None, running_since=None, touched=True)


@dataclass(frozen=True)
class Write:
    at: float
    obj: FluxObject
    truth: Truth


class Controller:
    """Writes one object. A step leaves the time where the next one begins."""

    kind = "Receiver"

    def __init__(self, now: float, latency: float = 0.004) -> None:
        self.now = now
        self.latency = latency
        self.story: list[tuple[str, float, float]] = []
        # Nothing runs yet, but nothing else tells how long it has been left alone.
        self.truth = Truth(running_since=float(math.floor(now)), touched=False)
        self.metadata: dict[str, Any] = {"name": "a", "namespace": "b", "uid": "u", "creationTimestamp": stamp(now)}
        self.spec: dict[str, Any] = {}
        self.status: dict[str, Any] = {"observedGeneration": -1}
        self.conditions: dict[str, dict[str, Any]] = {}
        self.text = 0
        self.writes: list[Write] = []
        self.write()

    def __repr__(self) -> str:
        begin = self.writes[0].at - self.latency - EPOCH
        return f"{type(self).__name__} from {begin}, writes {self.latency} s late: {self.story}"

    @property
    def seen(self) -> float:
        """When a write that is sent now is seen."""
        return self.now + self.latency

    def document(self) -> dict[str, Any]:
        status = {**self.status, "conditions": list(self.conditions.values())}
        return copy.deepcopy({"metadata": self.metadata, "spec": self.spec, "status": status})

    def write(self, truth: Truth | None = None) -> None:
        self.truth = truth or self.truth
        obj, _ = decode(json_bytes(self.document()))
        self.writes.append(Write(self.seen, obj, self.truth))

    def mark(self, type_: str, status: str | None, reason: str = "", message: str = "") -> None:
        """Status None removes the condition."""
        before = self.conditions.get(type_)
        if status is None:
            self.conditions.pop(type_, None)
        elif before is None or (before["status"], before["reason"], before["message"]) != (status, reason, message):
            texts = {"type": type_, "status": status, "reason": reason, "message": message}
            self.conditions[type_] = {**texts, "lastTransitionTime": stamp(self.now)}

    def run(self) -> None:
        self.mark("Reconciling", "True", "Progressing", "reconciliation in progress")
        self.mark("Ready", "Unknown", "Progressing", "Reconciliation in progress")
        self.write(self.truth.runs(self.seen))

    def end(self, well: bool, reason: str = "Failed", message: str = "") -> None:
        self.mark("Reconciling", None)
        self.mark("Ready", str(well), "Succeeded" if well else reason, message)
        self.write(self.truth.ends(well, self.seen))

    # Steps

    def elapse(self, seconds: float) -> None:
        self.now += seconds

    def well(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.end(True)

    def fail(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.end(False)

    def fail_at_once(self, seconds: float) -> None:
        self.end(False, message=f"text {self.text}")

    def killed(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)

    def touch(self, seconds: float) -> None:
        """Somebody edits a label."""
        self.write()

    def other_text(self, seconds: float) -> None:
        self.text += 1

    STEPS: ClassVar[Steps] = {it.__name__: it for it in (well, fail, fail_at_once, killed, touch, other_text)}

    def step(self, name: str, seconds: float, pause: float) -> None:
        self.story.append((name, seconds, pause))
        self.STEPS[name](self, seconds)
        self.elapse(pause)


class Kustomizations(Controller):
    """History entries are keyed by digest and status; five are kept. What fails before the apply leaves none."""

    kind = "Kustomization"

    def __init__(self, now: float, latency: float = 0.004) -> None:
        self.digest = 0
        super().__init__(now, latency)

    def run(self) -> None:
        self.mark("Reconciling", "True", "Progressing", f"Fetching manifests for revision {self.digest}")
        self.mark("Ready", "Unknown", "Progressing", "Reconciliation in progress")
        self.write(self.truth.runs(self.seen))
        self.elapse(0.01)
        self.mark("Reconciling", "True", "Progressing", f"Building manifests for revision {self.digest}")
        self.write()

    def finish(self, well: bool, reason: str, message: str, recorded: bool) -> None:
        if well:
            self.mark("Reconciling", None)
        else:
            self.mark("Reconciling", "True", "ProgressingWithRetry", f"Building manifests for revision {self.digest}")
        self.mark("Ready", str(well), reason, message)
        truth = self.truth.ends(well, self.seen)
        self.write(replace(truth, told=truth.status) if recorded else truth)
        # The rest of the status comes in a second write.
        if recorded:
            self._record(reason)
        if well:
            self.status |= {"observedGeneration": 1, "lastAppliedRevision": f"main@sha1:{self.digest}"}
        self.elapse(0.005)
        self.write()

    def _record(self, reason: str) -> None:
        entries = self.status.get("history", [])
        key, now = (f"sha256:{self.digest}", reason), stamp(self.now)
        old = next((it for it in entries if (it["digest"], it["lastReconciledStatus"]) == key), None)
        entry = {"digest": key[0], "lastReconciledStatus": reason, "firstReconciled": now, "lastReconciled": now}
        if old is not None:
            entry["firstReconciled"] = old["firstReconciled"]
        self.status["history"] = [entry, *(it for it in entries if it is not old)][:5]

    # Steps

    def well(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.finish(True, "ReconciliationSucceeded", f"Applied revision: {self.digest}", recorded=True)

    def health(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.finish(False, "HealthCheckFailed", f"health check failed after {self.now % 1e4}s", recorded=True)

    def apply(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.finish(False, "ReconciliationFailed", "Deployment/b/a dry-run failed: Invalid", recorded=True)

    def build(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.finish(False, "BuildFailed", "kustomize build failed: no such file", recorded=False)

    def path(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.finish(False, "ArtifactFailed", "kustomization path not found: stat /tmp/x", recorded=False)

    def canceled(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.mark("Ready", "False", "HealthCheckCanceled", "New reconciliation triggered by GitRepository/b/a")
        self.write(self.truth.rests())

    def dependency(self, seconds: float) -> None:
        self.mark("Reconciling", None)
        self.mark("Ready", "False", "DependencyNotReady", f"dependency 'b/root' is not ready {self.text}")
        self.write(self.truth.waits(self.seen))

    def no_source(self, seconds: float) -> None:
        self.mark("Reconciling", None)
        self.mark("Ready", "False", "ArtifactFailed", "Source artifact not found, retrying in 30s")
        self.write(self.truth.waits(self.seen))

    def commit(self, seconds: float) -> None:
        self.digest += 1

    def revert(self, seconds: float) -> None:
        self.digest = 0

    STEPS: ClassVar[Steps] = {
        it.__name__: it for it in (well, health, apply, build, path, canceled, dependency, no_source, commit, revert)
    } | {it.__name__: it for it in (Controller.killed, Controller.touch, Controller.other_text)}


class HelmReleases(Controller):
    kind = "HelmRelease"

    def release(self, status: str, action: str, begun: float) -> None:
        """The second write: the release is in the history now. A deployed one supersedes the one before."""
        entries = self.status.get("history", [])
        if status == "deployed":
            entries = [{**it, "status": "superseded"} if it["status"] == "deployed" else it for it in entries]
        if status == "deployed" and action == "rollback":
            entries = [{**it, "action": "rollback"} for it in entries]
        entry = {"version": len(self.writes), "status": status, "action": action, "lastDeployed": stamp(begun)}
        self.status["history"] = [entry, *entries][:5]
        self.elapse(0.005)
        self.write()

    def attempt(self, well: bool, seconds: float, text: str, stored: bool = True) -> None:
        begun = self.now
        self.mark("Remediated", None)
        self.run()
        self.elapse(seconds)
        reason = "UpgradeSucceeded" if well else "UpgradeFailed"
        self.mark("Released", str(well), reason, text)
        self.truth = replace(self.truth, told=str(well))
        self.end(well, reason, text)
        if stored:
            self.release("deployed" if well else "failed", "upgrade", begun)

    # Steps

    def well(self, seconds: float) -> None:
        self.attempt(True, seconds, f"Helm upgrade succeeded {len(self.writes)}")

    def fail(self, seconds: float) -> None:
        self.attempt(False, seconds, f"Helm upgrade failed: timeout {self.text}")

    def template(self, seconds: float) -> None:
        self.attempt(False, seconds, "Helm upgrade failed: parse error", stored=False)

    def fail_and_roll_back(self, seconds: float) -> None:
        self.fail(seconds)
        self.elapse(0.3)
        begun = self.now
        self.mark("Remediated", "True", "RollbackSucceeded", "Helm rollback succeeded")
        self.end(False, "RollbackSucceeded", "Helm rollback succeeded")
        self.release("deployed", "rollback", begun)

    def forget(self, seconds: float) -> None:
        """As after a lock was removed: the history is emptied."""
        self.status["history"] = []
        self.write()

    def in_sync(self, seconds: float) -> None:
        if self.truth.status != "True" or not self.truth.settled:
            return
        self.mark("Reconciling", "True", "Progressing", "Fulfilling prerequisites")
        self.write(replace(self.truth, running_since=self.seen))
        self.elapse(0.02)
        self.mark("Reconciling", None)
        self.write(replace(self.truth, running_since=None))

    def waits(self, seconds: float) -> None:
        self.mark("Reconciling", None)
        self.mark("Ready", "False", "SourceNotReady", f"HelmChart 'b/a' is not ready {self.text}")
        self.write(self.truth.waits(self.seen))

    def chart(self, seconds: float) -> None:
        self.end(False, "ArtifactFailed", "Could not load chart: EOF")

    STEPS: ClassVar[Steps] = {
        it.__name__: it for it in (well, fail, template, fail_and_roll_back, forget, in_sync, waits, chart)
    } | {it.__name__: it for it in (Controller.killed, Controller.touch, Controller.other_text)}


class GitRepositories(Controller):
    kind = "GitRepository"

    def build(self) -> None:
        """Ready is Unknown for as long as an artifact is made."""
        self.mark("Reconciling", "True", "Progressing", "building artifact")
        self.mark("Ready", "Unknown", "Progressing", f"building artifact {len(self.writes)}")
        self.write(self.truth.runs(self.seen))

    # Steps

    def new_revision(self, seconds: float) -> None:
        if "artifact" in self.status:
            self.mark("FetchFailed", None)
            self.truth = replace(self.truth, told="True")
        self.build()
        self.elapse(0.02)
        self.mark("FetchFailed", None)
        self.truth = replace(self.truth, told="True")
        stored = stamp(self.now)
        self.end(True, message=f"stored artifact {len(self.writes)}")
        self.elapse(0.005)
        self.status["artifact"] = {"revision": f"main@sha1:{len(self.writes)}", "lastUpdateTime": stored}
        self.write()

    def same_revision(self, seconds: float) -> None:
        if "artifact" not in self.status:
            return self.new_revision(seconds)
        self.mark("Reconciling", "True", "Progressing", "reconciliation in progress")
        if self.truth.status == "True" and self.truth.settled:
            # Somebody asked for it: it stays True meanwhile.
            self.write(replace(self.truth, running_since=self.seen))
            self.elapse(seconds)
        self.mark("FetchFailed", None)
        self.truth = replace(self.truth, told="True")
        self.end(True, message="stored artifact")

    def fail(self, seconds: float) -> None:
        if "artifact" not in self.status:
            self.build()
            self.elapse(seconds)
        text = f"failed to checkout: connection refused {self.text}"
        self.mark("FetchFailed", "True", "GitOperationFailed", text)
        self.truth = replace(self.truth, told="False")
        self.end(False, "GitOperationFailed", text)

    def lose_storage(self, seconds: float) -> None:
        if self.status.pop("artifact", None) is not None:
            if "FetchFailed" not in self.conditions:
                self.truth = replace(self.truth, told="Unknown")
            self.build()

    STEPS: ClassVar[Steps] = {it.__name__: it for it in (new_revision, same_revision, fail, lose_storage)} | {
        it.__name__: it for it in (Controller.killed, Controller.touch, Controller.other_text)
    }


class ImageRepositories(Controller):
    """The object says when it last succeeded, and not how its last run ended."""

    kind = "ImageRepository"

    def well(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.status["lastScanResult"] = {"scanTime": stamp(self.now)}
        self.end(True)

    STEPS: ClassVar[Steps] = {**Controller.STEPS, "well": well}


FAMILIES: tuple[type[Controller], ...] = (Kustomizations, HelmReleases, GitRepositories, ImageRepositories, Controller)
