"""A storage as a fresh cluster has it: the core's kinds, its first namespaces, and definitions of Flux's kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.rows import Kind
from gotk_exporter.simulator import core
from gotk_exporter.simulator.crds import DEFINITIONS, CustomResources
from gotk_exporter.simulator.flux import definitions
from gotk_exporter.simulator.storage import HISTORY_EVENTS, Storage


def new_cluster(
    now: Callable[[], float], kinds: Iterable[Kind] = KINDS, history_events: int = HISTORY_EVENTS
) -> Storage:
    """``kinds``: those of Flux and its neighbours that are installed from the start.

    ``now``: Unix time, real or virtual. ``history_events``: as Storage.
    """
    storage = Storage(now, history_events=history_events)
    CustomResources(storage)
    for kind in core.KINDS:
        storage.serve(kind)
    for namespace in core.FIRST_NAMESPACES:
        storage.ensure_namespace(namespace)
    for definition in definitions(kinds):
        storage.create(DEFINITIONS, definition, manager="kube-apiserver")
    return storage
