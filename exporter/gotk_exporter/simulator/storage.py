"""The state of a cluster, and what may be written into it: what kube-apiserver and etcd are together, as one object.

Synchronous and pure: no I/O, no clock (time is asked of a callable), no tasks. Each call is atomic, also for who is
subscribed: events come in the order of their versions, once each, after the write and before it returns. HTTP is
apiserver.py's; kinds come from crds.py and core.py; server-side apply, conversion and garbage collection nobody has.

    storage = new_cluster(clock.wall)                                          # cluster.py
    apps = GroupResource("kustomize.toolkit.fluxcd.io", "kustomizations")
    end = storage.subscribe(lambda event: ..., apps)
    storage.create(apps, {"metadata": {"name": "a", "namespace": "default"}, "spec": {...}}, manager="flux")
    storage.patch(apps, "default", "a", {"status": {...}}, subresource="status", manager="kustomize-controller")
    storage.get(apps, "default", "a").document()["status"]

All that refuse raise errors.Refusal, with the code and the reason that an HTTP client would get.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gotk_exporter.simulator.state.announcer import Announcer, Listener
from gotk_exporter.simulator.state.collection import Collection
from gotk_exporter.simulator.state.drafts import first, successor
from gotk_exporter.simulator.state.errors import (
    Cause,
    NoSuchPath,
    already_exists,
    bad_request,
    conflict,
    expired,
    forbidden,
    internal,
    not_found,
    too_large_version,
    version_required,
)
from gotk_exporter.simulator.state.history import Forgotten, History
from gotk_exporter.simulator.state.objects import (
    Document,
    Event,
    GroupResource,
    Stored,
    key_of,
    merge,
    store,
    timestamp,
)
from gotk_exporter.simulator.state.ownership import record
from gotk_exporter.simulator.state.paging import Place, after, parse_place
from gotk_exporter.simulator.state.selectors import EVERYTHING, Selector
from gotk_exporter.simulator.state.served import ServedKind, ServedVersion
from gotk_exporter.simulator.state.validation import check, metadata_of

HISTORY_EVENTS = 10_000
"""Events kept of each kind, beyond which a watch from further back gets a 410."""
NAMESPACES = GroupResource("", "namespaces")
MANAGER = "simulator"
"""Who writes, where the writer does not say."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list, or a page of one."""

    objects: list[Stored]
    version: int
    """The one that it shows; a watch from here misses nothing."""
    continue_token: str
    """Empty at the end."""
    remaining: int | None
    """How many objects come after it; None where a selector makes that unknown."""


class Storage:
    """All objects of all kinds."""

    def __init__(
        self,
        now: Callable[[], float],
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
        history_events: int = HISTORY_EVENTS,
    ) -> None:
        """``now``: Unix time, for timestamps. It may be virtual; nothing here waits for it."""
        self.now = now
        self.version = 0
        """The resourceVersion of the last write, of whatever kind."""
        self._new_uid = new_uid
        self._history_events = history_events
        self._collections: dict[GroupResource, Collection] = {}
        self._announcer = Announcer()
        self._kind_listeners: list[Callable[[GroupResource], None]] = []

    # What is served.

    @property
    def kinds(self) -> list[ServedKind]:
        return [collection.kind for collection in self._collections.values()]

    def collection(self, resource: GroupResource) -> Collection:
        """Raises NoSuchPath where the kind is not served."""
        try:
            return self._collections[resource]
        except KeyError:
            raise NoSuchPath from None

    def serve(self, kind: ServedKind) -> None:
        """Serve ``kind`` from now on, with the objects that it had before where it only changes."""
        held = self._collections.get(kind.resource)
        if held is None:
            self._collections[kind.resource] = Collection(kind, History(self._history_events, self.version))
        elif held.kind == kind:
            return
        else:
            held.kind = kind
        self._kinds_changed(kind.resource)

    def withdraw(self, resource: GroupResource) -> None:
        """Serve the kind no longer."""
        del self._collections[resource]
        self._kinds_changed(resource)

    # Reading.

    def find(self, resource: GroupResource, namespace: str, name: str) -> Stored | None:
        """One object, if it is there; ``namespace`` is empty for kinds outside of namespaces."""
        return self.collection(resource).get(key_of(namespace, name))

    def get(self, resource: GroupResource, namespace: str, name: str) -> Stored:
        """The same; raises Refusal where it is not there."""
        found = self.find(resource, namespace, name)
        if found is None:
            raise not_found(self.collection(resource).kind, name)
        return found

    def list(
        self,
        resource: GroupResource,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        limit: int = 0,
        continue_token: str = "",
        version: int | None = None,
    ) -> Listing:
        """Objects in key order, of one namespace or of all; page by page, each as of the first page's version.

        ``version``: exactly as it was then; None for now.

        Raises:
            Refusal: 410 where the version, given or in the token, is forgotten.
        """
        collection = self.collection(resource)
        place = parse_place(continue_token) if continue_token else Place(-1 if version is None else version, "")
        at = self.version if place.version < 0 else place.version
        if at > self.version:
            raise too_large_version(at, self.version)
        start = f"{namespace}/{place.start}" if namespace is not None else place.start
        try:
            found = collection.slice(namespace, start, limit, at, selector)
        except Forgotten:
            if continue_token:
                raise place.too_old() from None
            raise expired("The resourceVersion for the provided list is too old.") from None
        if not found.more:
            return Listing(found.objects, at, "", None)
        last = found.objects[-1]
        next_place = Place(at, after(last.name if namespace is not None else last.key))
        return Listing(found.objects, at, next_place.token(), found.remaining if selector.everything else None)

    def subscribe(self, listener: Listener, resource: GroupResource | None = None) -> Callable[[], None]:
        """Tell ``listener`` of every later write to the resource (None: to any); returns what ends that.

        It may write itself: what it does is told after the event that it was told. It must not raise.
        """
        return self._announcer.subscribe(listener, resource)

    def subscribe_to_kinds(self, listener: Callable[[GroupResource], None]) -> Callable[[], None]:
        """Tell ``listener`` of each kind that comes, changes or goes; returns what ends that."""
        self._kind_listeners.append(listener)

        def end() -> None:
            if listener in self._kind_listeners:
                self._kind_listeners.remove(listener)

        return end

    # Writing.

    def create(
        self, resource: GroupResource, document: Mapping[str, Any], *, manager: str = MANAGER, version: str = ""
    ) -> Stored:
        """Add an object. Its status is dropped where that is a subresource: patch it in.

        ``manager``: who writes, for managedFields. ``version``: the API version that it is written at; the preferred
        one where empty.
        """
        collection = self.collection(resource)
        kind = collection.kind
        served = kind.version(version) or kind.preferred
        uid = self._new_uid()
        new = first(kind, served, document, uid)
        metadata = new["metadata"]
        self._require_place(kind, metadata)
        kind.rules.prepare(new, None)
        check(kind, metadata, None)
        name = metadata["name"]
        held = collection.get(key_of(metadata.get("namespace", ""), name))
        if held is not None:
            raise already_exists(kind, name, being_deleted=held.deleting)
        if collection.terminating:
            raise forbidden(kind, name, "create not allowed while custom resource definition is terminating")
        metadata |= {"uid": uid, "creationTimestamp": timestamp(self.now())}
        if kind.has_generation:
            metadata["generation"] = 1
        # Who creates does not own the status that a default gave.
        not_written = {"status": new["status"]} if served.status and "status" in new else {}
        self._own(not_written, new, kind, served, manager, "")
        return self._commit(collection, "ADDED", new, None)

    def update(
        self,
        resource: GroupResource,
        document: Mapping[str, Any],
        *,
        subresource: str = "",
        manager: str = MANAGER,
        version: str = "",
    ) -> Stored:
        """Replace the object of that name: all but its status, or of a subresource its one field.

        Raises:
            Refusal: 409 where ``document`` carries a resourceVersion or uid that is not the object's.
        """
        collection = self.collection(resource)
        kind = collection.kind
        metadata = metadata_of(kind, document, version or kind.preferred.name)
        name = metadata.get("name", "")
        old = self.get(resource, metadata.get("namespace", ""), name)
        if not metadata.get("resourceVersion") and kind.custom:
            raise version_required(kind, name)
        if metadata.get("uid", old.uid) != old.uid:
            because = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {old.uid}"
            raise conflict(kind, name, because)
        _require_version(kind, old, metadata)
        return self._replace(collection, old, {**document, "metadata": metadata}, subresource, manager, version)

    def patch(
        self,
        resource: GroupResource,
        namespace: str,
        name: str,
        change: Mapping[str, Any],
        *,
        subresource: str = "",
        manager: str = MANAGER,
        version: str = "",
    ) -> Stored:
        """Apply a JSON merge patch to the object, or of a subresource to its one field.

        Raises:
            Refusal: 409 where ``change`` carries a resourceVersion that is not the object's.
        """
        collection = self.collection(resource)
        kind = collection.kind
        old = self.get(resource, namespace, name)
        merged = merge(old.document(), change)
        metadata = metadata_of(kind, merged, version or kind.preferred.name, patched=True)
        if metadata.get("name") != name or metadata.get("namespace", "") != namespace:
            message = f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
            raise bad_request(message)
        _require_version(kind, old, metadata)
        return self._replace(collection, old, {**merged, "metadata": metadata}, subresource, manager, version)

    def delete(
        self, resource: GroupResource, namespace: str, name: str, *, uid: str = "", resource_version: str = ""
    ) -> Stored | None:
        """Delete the object; returns it where something (a finalizer) holds it still, and None once it is gone.

        Raises:
            Refusal: 409 where ``uid`` or ``resource_version`` is given and another.
        """
        collection = self.collection(resource)
        kind = collection.kind
        old = self.get(resource, namespace, name)
        for what, asked, is_ in ("UID", uid, old.uid), ("ResourceVersion", resource_version, str(old.version)):
            if asked and asked != is_:
                raise conflict(
                    kind, name, f"the {what} in the precondition ({asked}) does not match the {what} in record ({is_})"
                )
        if old.deleting:
            return old
        document = old.document()
        kind.rules.begin_deletion(document)
        if not kind.rules.is_held(document):
            self._remove(collection, old)
            return None
        metadata = document["metadata"]
        metadata["deletionTimestamp"] = timestamp(self.now())
        if kind.custom:
            metadata["deletionGracePeriodSeconds"] = 0
            metadata["generation"] += 1
        return self._commit(collection, "MODIFIED", document, old)

    def ensure_namespace(self, name: str) -> None:
        """Create the namespace unless it is there."""
        if self.collection(NAMESPACES).get(name) is None:
            self.create(NAMESPACES, {"metadata": {"name": name}})

    def compact(self) -> None:
        """Forget all history: watches, continue tokens and exact lists from before get a 410."""
        for collection in self._collections.values():
            collection.history.forget(self.version)

    # Inside.

    def _replace(
        self,
        collection: Collection,
        old: Stored,
        document: Mapping[str, Any],
        subresource: str,
        manager: str,
        version: str,
    ) -> Stored:
        kind = collection.kind
        served = kind.version(version) or kind.preferred
        current = old.document()
        new = successor(kind, served, current, document, subresource)
        if new == current:
            return old
        if "managedFields" in current["metadata"]:
            # Fields of what nobody owned from its creation on are not followed.
            self._own(current, new, kind, served, manager, subresource)
        if old.deleting and not kind.rules.is_held(new):
            self._remove(collection, old)
            return store(new, old.version, kind.selectable)
        return self._commit(collection, "MODIFIED", new, old)

    def _require_place(self, kind: ServedKind, metadata: Document) -> None:
        """A new object needs a namespace that is there and stays, or none."""
        if not kind.namespaced:
            metadata.pop("namespace", None)
            return
        namespace = metadata.get("namespace", "")
        if not namespace:
            raise bad_request("an empty namespace may not be set during creation")
        namespaces = self._collections.get(NAMESPACES)
        if namespaces is None:
            return
        found = namespaces.get(namespace)
        if found is None:
            raise not_found(namespaces.kind, namespace)
        if found.deleting:
            because = f"unable to create new content in namespace {namespace} because it is being terminated"
            message = f"namespace {namespace} is being terminated"
            cause = Cause("NamespaceTerminating", message, "metadata.namespace")
            raise forbidden(kind, metadata.get("name", ""), because, [cause])

    def _own(
        self,
        old: Document,
        new: Document,
        kind: ServedKind,
        served: ServedVersion,
        manager: str,
        subresource: str,
    ) -> None:
        api_version = kind.api_version(served.name)
        entries = record(old, new, manager, subresource, api_version, timestamp(self.now()))
        new["metadata"].pop("managedFields", None)
        if entries:
            new["metadata"]["managedFields"] = entries

    def _remove(self, collection: Collection, old: Stored) -> None:
        self._commit(collection, "DELETED", old.document(), old)

    def _commit(self, collection: Collection, event_type: str, document: Document, old: Stored | None) -> Stored:
        self.version += 1
        stored = store(document, self.version, collection.kind.selectable)
        event = Event(collection.kind.resource, event_type, stored, old)
        collection.apply(event)
        self._announcer.announce(event)
        return stored

    def _kinds_changed(self, resource: GroupResource) -> None:
        for listener in tuple(self._kind_listeners):
            listener(resource)


def _require_version(kind: ServedKind, old: Stored, metadata: Mapping[str, Any]) -> None:
    asked = metadata.get("resourceVersion")
    if asked is None:
        return
    if not asked.isdigit():
        raise internal(f'strconv.ParseUint: parsing "{asked}": invalid syntax')
    if int(asked) != old.version:
        raise conflict(kind, old.name)
