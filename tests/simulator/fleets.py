"""Fleets for tests: upon a storage of their own, on virtual time, with everything that was written kept."""

from __future__ import annotations

from typing import Any

from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.fleet.cluster import Flags, Jitter
from gotk_exporter.simulator.fleet.controller import INVALID_SPEC
from gotk_exporter.simulator.fleet.fleet import Fleet, FleetEvent
from gotk_exporter.simulator.fleet.objects import Json, Key, api_version
from gotk_exporter.simulator.fleet.schedule import Schedule
from gotk_exporter.simulator.fleet.stored import StoredObjects
from gotk_exporter.simulator.fleet.world import Manifests
from gotk_exporter.simulator.state.objects import Event
from tests.simulator.fleet_traces import Trace, Write

EPOCH = 1_795_273_200.0
"""2026-11-21T15:00:00Z."""
URL = "http://git.test/repo"


class Stage:
    """A fleet, and what happened to it."""

    def __init__(
        self,
        *,
        namespace: str = "apps",
        seed: int = 0,
        flags: Flags | None = None,
        jitter: Jitter | None = None,
        epoch: float = EPOCH,
    ) -> None:
        self.namespace = namespace
        self.schedule = Schedule(epoch)
        self.storage = new_cluster(lambda: self.schedule.wall)
        writer = StoredObjects(self.storage)
        self.fleet = Fleet(writer, self.schedule, seed=seed, flags=flags, jitter=jitter)
        self.world = self.fleet.world
        self.trace = Trace(start=epoch)
        self.may_be_invalid = False
        """Whether objects are expected that the fleet does not understand."""
        self.fleet.on_event = self._event
        self.storage.subscribe(self._write)
        writer.follow(self.fleet.observe)

    def _write(self, event: Event) -> None:
        document = event.object.document()
        if document["kind"] in ("Namespace", "Lease"):
            return
        name = f"{document['kind']}/{document['metadata']['name']}"
        generation = document["metadata"].get("generation", 0)
        write = Write(self.schedule.now, document.get("status", {}), generation, event.type == "DELETED")
        self.trace.add(name, write)

    def _event(self, event: FleetEvent) -> None:
        assert event.reason != INVALID_SPEC or self.may_be_invalid, event
        name = f"{event.object.kind}/{event.object.name}"
        entry = (event.time - self.schedule.epoch, event.severity, event.reason, event.message)
        self.trace.events.setdefault(name, []).append(entry)

    # Objects.

    def key(self, name: str, kind: str = "Kustomization") -> Key:
        return Key(kind, self.namespace, name)

    def object(self, kind: str, name: str, spec: Json, **metadata: Any) -> Json:
        meta = {"name": name, "namespace": self.namespace, **metadata}
        return {"apiVersion": api_version(kind), "kind": kind, "metadata": meta, "spec": spec}

    def create(self, kind: str, name: str, spec: Json, **metadata: Any) -> Key:
        return self.fleet.create(self.object(kind, name, spec, **metadata))

    def repository(self, tree: dict[str, Manifests] | None = None, name: str = "repo", **spec: Any) -> Key:
        url = spec.get("url", URL)
        self.world.repository(url, tree)
        return self.create("GitRepository", name, {"interval": "30s", "timeout": "20s", "url": url, **spec})

    def kustomization(self, name: str, **spec: Any) -> Key:
        whole = {
            "interval": "60s",
            "retryInterval": "20s",
            "timeout": "20s",
            "path": f"./{name}",
            "prune": True,
            "sourceRef": {"kind": "GitRepository", "name": "repo"},
            **spec,
        }
        return self.create("Kustomization", name, {name: value for name, value in whole.items() if value is not None})

    # What is seen.

    def status(self, key: Key) -> Json:
        obj = self.fleet.get(key)
        assert obj is not None, f"{key} is gone"
        found: Json = obj.get("status", {})
        return found

    def condition(self, key: Key, type: str = "Ready") -> tuple[str, str] | None:
        for condition in self.status(key).get("conditions", ()):
            if condition["type"] == type:
                return condition["status"], condition["reason"]
        return None

    def writes(self, key: Key, since: float = 0.0) -> list[Write]:
        return [write for write in self.trace.writes.get(f"{key.kind}/{key.name}", []) if write.time >= since]

    def phases(self, key: Key, since: float = 0.0, type: str = "Ready") -> list[tuple[str, str, float]]:
        """Status and reason of a condition, and for how many seconds, one after the other."""
        phases: list[tuple[str, str, float]] = []
        begins: list[float] = []
        for write in self.writes(key):
            found = [one for one in write.status.get("conditions", ()) if one["type"] == type]
            state = (found[0]["status"], found[0]["reason"]) if found else ("", "")
            if not phases or phases[-1][:2] != state:
                phases.append((*state, 0.0))
                begins.append(write.time)
        ends = [*begins[1:], self.schedule.now]
        return [
            (status, reason, end - max(begin, since))
            for (status, reason, _), begin, end in zip(phases, begins, ends, strict=True)
            if end > since
        ]

    def states(self, key: Key, since: float = 0.0, type: str = "Ready") -> list[tuple[str, str]]:
        return [(status, reason) for status, reason, _ in self.phases(key, since, type)]

    def events(self, key: Key, since: float = 0.0) -> list[tuple[str, str]]:
        """Reasons and messages."""
        found = self.trace.events.get(f"{key.kind}/{key.name}", [])
        return [(reason, message) for time, _, reason, message in found if time >= since]


def deployment(name: str, version: str = "1", namespace: str = "apps") -> Manifests:
    return Manifests({f"Deployment/{namespace}/{name}": version})


def config(name: str, version: str = "1", namespace: str = "apps") -> Manifests:
    return Manifests({f"ConfigMap/{namespace}/{name}": version})
