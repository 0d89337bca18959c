"""How a Kustomization ends: what it applied is deleted, then its finalizer goes. Its status says nothing of that.

Reference: fluxcd/kustomize-controller v1.9, deletion policies.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from gotk_exporter.simulator.fleet.controller import Base
from gotk_exporter.simulator.fleet.inventory import ids, is_flux
from gotk_exporter.simulator.fleet.objects import FINALIZER, Json, Key, is_suspended
from gotk_exporter.simulator.fleet.patches import Doing, Effect, Emit, Remove, Wait, Working
from gotk_exporter.simulator.fleet.world import World


def finalize(reconciler: Base, key: Key, obj: Json, work: Working, timeout: float) -> Doing:
    if FINALIZER not in work.finalizers:
        # Another's finalizer holds it; Flux is done with it.
        return
    world = reconciler.cluster.world
    revision = work.status.get("lastAppliedRevision")
    applied = ids(work.status.get("inventory")) if _deletes(obj) else []
    yield reconciler.pause(key, "finalize")
    held = yield from removed(world, applied)
    if applied:
        yield Emit("info", "ReconciliationSucceeded", "\n".join(f"{id} deleted" for id in applied), revision)
        if obj["spec"].get("deletionPolicy") == "WaitForTermination":
            deadline = reconciler.cluster.now + timeout
            while held:
                if reconciler.cluster.now >= deadline:
                    yield Emit("error", "ReconciliationFailed", "failed to wait for resources termination", revision)
                    break
                poll = reconciler.cluster.flags.termination_poll
                yield Wait(min(poll, deadline - reconciler.cluster.now))
                held = world.remove(held)
    work.finalizers.remove(FINALIZER)


def removed(world: World, ids: Sequence[str]) -> Generator[Effect, Any, list[str]]:
    """Delete what was applied, Flux objects among it; returns what something holds back."""
    for id in ids:
        if is_flux(id):
            yield Remove(*id.split("/"))
    return world.remove(ids)


def _deletes(obj: Json) -> bool:
    if is_suspended(obj):
        return False
    policy = obj["spec"].get("deletionPolicy", "MirrorPrune")
    return policy in ("Delete", "WaitForTermination") or (policy == "MirrorPrune" and bool(obj["spec"].get("prune")))
