"""The health check of a Kustomization: what it looks at, how often, and how it ends; writes nothing.

It looks every five seconds and sees a change only then. It fails early once something has failed for good.
Reference: fluxcd/pkg, ssa, waiting for a set of objects; kstatus.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.simulator.fleet.cluster import Cluster
from gotk_exporter.simulator.fleet.conditions import READY, RECONCILING, STALLED
from gotk_exporter.simulator.fleet.objects import Json, Key
from gotk_exporter.simulator.fleet.patches import Wait


def health_of(obj: Json) -> str:
    """The status that kstatus gives a Flux object."""
    status = obj.get("status", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    if status.get("observedGeneration", obj["metadata"].get("generation")) != obj["metadata"].get("generation"):
        return "InProgress"
    if conditions.get(STALLED) == "True":
        return "Failed"
    if conditions.get(RECONCILING) == "True":
        return "InProgress"
    # An object without conditions has nothing to wait for.
    return "Current" if conditions.get(READY, "True") == "True" else "InProgress"


def check_health(cluster: Cluster, key: Key, ids: Sequence[str], timeout: float) -> Generator[Wait, Any, str]:
    """Wait for ``ids`` (Kind/namespace/name); returns why not all are well, empty if they are."""
    began = cluster.now
    deadline = began + timeout
    yield Wait(cluster.gap(key, "kustomization: look"))
    while True:
        states = {id: _status(cluster, id) for id in ids}
        if all(state == "Current" for state in states.values()):
            return ""
        failed = {id: state for id, state in states.items() if state == "Failed"}
        over = all(state in ("Current", "Failed") for state in states.values())
        if failed and (cluster.flags.fail_fast or over):
            return f"failed early due to stalled resources: {_listed(failed)}"
        if cluster.now >= deadline:
            waiting = {id: state for id, state in states.items() if state != "Current"}
            return f"timeout waiting for: {_listed(waiting)}"
        looked = cluster.now
        yield Wait(min(cluster.flags.health_poll, deadline - looked))
        if cluster.now >= deadline:
            yield Wait(cluster.gap(key, "kustomization: conclude"))
            states = {id: _status(cluster, id) for id in ids}
            waiting = {id: state for id, state in states.items() if state != "Current"}
            return f"timeout waiting for: {_listed(waiting)}" if waiting else ""


def _status(cluster: Cluster, id: str) -> str:
    kind, namespace, name = id.split("/")
    if kind in BY_NAME:
        obj = cluster.get(Key(kind, namespace, name))
        return "NotFound" if obj is None else health_of(obj)
    return cluster.world.status(id)


def _listed(states: dict[str, str]) -> str:
    return "[" + ", ".join(f"{id} status: '{state}'" for id, state in sorted(states.items())) + "]"
