"""Lets a fleet live in a Storage: writes go there, and what anybody writes there is observed."""

from __future__ import annotations

from collections.abc import Callable

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.simulator.fleet.objects import Json, Key, api_version
from gotk_exporter.simulator.state.objects import Event, GroupResource
from gotk_exporter.simulator.storage import Storage

_LEASES = GroupResource("coordination.k8s.io", "leases")


class StoredObjects:
    """An ObjectWriter upon a Storage whose time is the fleet's."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def follow(self, observe: Callable[[Key, Json | None], None]) -> None:
        """Tell ``observe`` of all objects there are, and of every change from now on."""

        def tell(event: Event) -> None:
            kind = kinds.get(event.resource)
            if kind is not None:
                key = Key(kind, event.object.namespace, event.object.name)
                observe(key, None if event.type == "DELETED" else self._document(key, event.object.document()))

        kinds = {GroupResource(kind.group, kind.plural): kind.name for kind in BY_NAME.values()}
        served = {kind.resource for kind in self._storage.kinds}
        for resource, kind in kinds.items():
            if resource in served:
                for stored in self._storage.list(resource).objects:
                    key = Key(kind, stored.namespace, stored.name)
                    observe(key, self._document(key, stored.document()))
        self._storage.subscribe(tell)

    def create(self, obj: Json, manager: str) -> None:
        self._storage.ensure_namespace(obj["metadata"]["namespace"])
        self._storage.create(_resource(obj["kind"]), obj, manager=manager)

    def patch(self, key: Key, body: Json, manager: str, status: bool = False) -> None:
        subresource = "status" if status else ""
        self._storage.patch(
            _resource(key.kind), key.namespace, key.name, body, subresource=subresource, manager=manager
        )

    def delete(self, key: Key) -> None:
        self._storage.delete(_resource(key.kind), key.namespace, key.name)

    def get(self, key: Key) -> Json | None:
        found = self._storage.collection(_resource(key.kind)).get(f"{key.namespace}/{key.name}")
        return None if found is None else self._document(key, found.document())

    def _document(self, key: Key, document: Json) -> Json:
        return document if key.kind not in BY_NAME else {"apiVersion": api_version(key.kind), **document}


def _resource(kind: str) -> GroupResource:
    if kind == "Lease":
        return _LEASES
    row = BY_NAME[kind]
    return GroupResource(row.group, row.plural)
