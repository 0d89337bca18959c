"""Keeps what we know about the objects of one listing, and their lines in the store.

A listing is a kind, or a kind in one namespace. Raw objects come in, with the time at which they reached us; verdicts
are carried from write to write by uid; lines go to the store, and what others must know of an object to the causes.
Nothing is logged or counted here: what could not be read is returned, once per object and field, for others to tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec import Raw

from gotk_exporter.flux.causes import Causes
from gotk_exporter.flux.diagnosis import Diagnosis, diagnose
from gotk_exporter.flux.memory import Memory, is_worth_remembering
from gotk_exporter.flux.nodes import Node, node_of
from gotk_exporter.flux.objects import Defect, FluxObject, decode
from gotk_exporter.flux.readiness import judge, observe
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.samples import render
from gotk_exporter.flux.timestamps import parse_timestamp
from gotk_exporter.flux.verdicts import Seen, Verdict
from gotk_exporter.metrics.store import Lines, Packed, Store


@dataclass(frozen=True, slots=True)
class Tracked:
    """What is kept of an object between two writes; the object itself is not."""

    uid: str
    resource_version: str
    api_version: str
    verdict: Verdict | None
    node: Node
    diagnosis: Diagnosis | None = None


class Collector:
    """The objects of one listing: of a kind in ``namespace``, or in all of them."""

    def __init__(
        self,
        kind: Kind,
        namespace: str | None,
        store: Store,
        causes: Causes | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.scope = kind.name if namespace is None else f"{kind.name}/{namespace}"
        self._store = store
        self._causes = causes or Causes(store)
        self._memory = Memory() if memory is None else memory
        self._api_version = ""
        self._objects: dict[str, Tracked] = {}
        self._told: dict[str, tuple[str, frozenset[str]]] = {}
        """The uid and the unreadable fields of each object whose defects have been returned to the caller."""

    def __len__(self) -> int:
        return len(self._objects)

    def find(self, key: Key) -> Tracked | None:
        """What is kept of this object."""
        return self._objects.get(f"{key.namespace}/{key.name}")

    def keys(self) -> Iterator[Key]:
        """Of all objects, in no order."""
        return (tracked.node.key for tracked in self._objects.values())

    def begin_replacement(self, api_version: str) -> Replacement:
        """Start to receive a listing at this API version; what was known stays served until it is committed."""
        return Replacement(self, api_version)

    def upsert(self, key: str, raw: bytes | Raw, seen: Seen) -> Sequence[Defect]:
        """Take in one write; returns the defects that were not there before."""
        tracked, lines, new_defects = self._read(key, raw, self._api_version, seen)
        self._objects[key] = tracked
        self._store.put(self.scope, key, lines)
        self._causes.update({tracked.node.key: tracked.node}, seen.at)
        return new_defects

    def delete(self, key: str, uid: str) -> None:
        """Forget the object, unless another one has taken its name by now."""
        tracked = self._objects.get(key)
        if tracked is not None and tracked.uid == uid:
            del self._objects[key]
            self._told.pop(key, None)
            self._store.remove(self.scope, key)
            self._causes.update({tracked.node.key: None})

    def drop(self) -> None:
        """Forget everything: the kind is no longer served, or no longer wanted."""
        gone = {tracked.node.key: None for tracked in self._objects.values()}
        self._objects = {}
        self._told = {}
        self._store.drop(self.scope)
        self._causes.mark_unlisted(self.kind.name, self.namespace)
        self._causes.update(gone)

    def _read(
        self, key: str, raw: bytes | Raw, api_version: str, seen: Seen
    ) -> tuple[Tracked, Lines, Sequence[Defect]]:
        obj, unreadable = decode(raw)
        before = self._objects.get(key)
        if before is not None and before.uid != obj.metadata.uid:
            before = None
        verdict = self._judge(obj, before, seen)
        node = node_of(self.kind, obj, verdict, before.node if before else None, seen.at)
        diagnosis = diagnose(self.kind, obj, verdict, before.diagnosis if before else None)
        lines, invalid = render(self._store.families, self.kind, api_version, obj, verdict, node, diagnosis)
        tracked = Tracked(obj.metadata.uid, obj.metadata.resource_version, api_version, verdict, node, diagnosis)
        return tracked, lines, self._new_defects(key, tracked.uid, unreadable + invalid)

    def _judge(self, obj: FluxObject, before: Tracked | None, seen: Seen) -> Verdict | None:
        known = before.verdict if before is not None else None
        if before is None:
            created_at = parse_timestamp(obj.metadata.creation_timestamp)
            remembered = self._memory.recall(self.scope, obj.metadata.uid, created_at)
            if remembered is not None:
                known, seen = remembered.verdict, Seen(seen.at, min(remembered.until, seen.at))
                version = obj.metadata.resource_version
                if version and version == remembered.resource_version:
                    return known
        observation = observe(self.kind, obj, seen)
        return None if observation is None else judge(known, observation)

    def worth_remembering(self) -> Iterator[tuple[str, str, Verdict]]:
        """The uid, resourceVersion and verdict of each object whose verdict a restart would lose."""
        for tracked in self._objects.values():
            if tracked.verdict is not None and is_worth_remembering(tracked.verdict):
                yield tracked.uid, tracked.resource_version, tracked.verdict

    def _new_defects(self, key: str, uid: str, defects: Sequence[Defect]) -> Sequence[Defect]:
        """Those that have not been told of this object since its field was last readable."""
        told_uid, told = self._told.pop(key, (uid, frozenset()))
        if defects:
            self._told[key] = uid, frozenset(defect.field for defect in defects)
        return [defect for defect in defects if told_uid != uid or defect.field not in told]


class Replacement:
    """A listing on its way in, page by page.

    An object whose resourceVersion is unchanged keeps what we know and its lines, so that listing again costs a page of
    memory and not a second fleet. Nothing is visible before ``commit``; to abandon a replacement, let go of it.
    """

    def __init__(self, collector: Collector, api_version: str) -> None:
        self._collector = collector
        self._api_version = api_version
        self._objects: dict[str, Tracked] = {}
        self._lines: dict[str, Packed] = {}
        self._latest: float | None = None

    def add(self, key: str, uid: str, resource_version: str, raw: bytes | Raw, seen: Seen) -> Sequence[Defect]:
        """Take in one object of a page; returns the defects that were not there before."""
        collector = self._collector
        self._latest = seen.at
        before = collector._objects.get(key)
        held = collector._store.get(collector.scope, key)
        same = (uid, resource_version, self._api_version)
        # Without a resourceVersion nothing proves that an object is unchanged.
        if before and held and resource_version and (before.uid, before.resource_version, before.api_version) == same:
            self._objects[key], self._lines[key] = before, held
            return ()
        tracked, lines, new_defects = collector._read(key, raw, self._api_version, seen)
        self._objects[key], self._lines[key] = tracked, collector._store.pack(lines)
        return new_defects

    def commit(self) -> None:
        """Make the listing what is served, in one step."""
        collector = self._collector
        gone = {tracked.node.key: None for key, tracked in collector._objects.items() if key not in self._objects}
        changes: dict[Key, Node | None] = {
            **gone,
            **{
                tracked.node.key: tracked.node
                for key, tracked in self._objects.items()
                if collector._objects.get(key) is not tracked
            },
        }
        collector._objects = self._objects
        collector._api_version = self._api_version
        collector._told = {key: told for key, told in collector._told.items() if key in self._objects}
        collector._store.replace(collector.scope, self._lines)
        collector._memory.forget(collector.scope)
        collector._causes.update(changes, self._latest)
        collector._causes.mark_listed(collector.kind.name, collector.namespace)
