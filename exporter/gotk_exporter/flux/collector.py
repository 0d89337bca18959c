"""Keeps what we know about the objects of one listing, and their lines in the store.

A listing is a kind, or a kind in one namespace. Raw objects come in, with the time at which they reached us; verdicts
are carried from write to write by uid; lines go to the store. Nothing is logged or counted here: what could not be read
is returned, once per object and field, for the caller to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Raw

from gotk_exporter.flux.kinds import Kind
from gotk_exporter.flux.objects import Defect, decode
from gotk_exporter.flux.readiness import Verdict, judge, observe
from gotk_exporter.flux.samples import render
from gotk_exporter.metrics.store import Lines, Store


@dataclass(frozen=True, slots=True)
class Tracked:
    """What is kept of an object between two writes; the object itself is not."""

    uid: str
    resource_version: str
    api_version: str
    verdict: Verdict | None


class Collector:
    """The objects of one listing."""

    def __init__(self, kind: Kind, scope: str, store: Store) -> None:
        self.kind = kind
        self.scope = scope
        self._store = store
        self._api_version = ""
        self._objects: dict[str, Tracked] = {}
        self._told: dict[str, tuple[str, frozenset[str]]] = {}
        """The uid and the unreadable fields of each object whose defects have been returned to the caller."""

    def __len__(self) -> int:
        return len(self._objects)

    def begin_replacement(self, api_version: str) -> Replacement:
        """Start to receive a listing at this API version; what was known stays served until it is committed."""
        return Replacement(self, api_version)

    def upsert(self, key: str, raw: bytes | Raw, seen_at: float) -> Sequence[Defect]:
        """Take in one write; returns the defects that were not there before."""
        tracked, lines, new_defects = self._read(key, raw, self._api_version, seen_at)
        self._objects[key] = tracked
        self._store.put(self.scope, key, lines)
        return new_defects

    def delete(self, key: str, uid: str) -> None:
        """Forget the object, unless another one has taken its name by now."""
        tracked = self._objects.get(key)
        if tracked is not None and tracked.uid == uid:
            del self._objects[key]
            self._told.pop(key, None)
            self._store.remove(self.scope, key)

    def drop(self) -> None:
        """Forget everything: the kind is no longer served, or no longer wanted."""
        self._objects = {}
        self._told = {}
        self._store.drop(self.scope)

    def _read(
        self, key: str, raw: bytes | Raw, api_version: str, seen_at: float
    ) -> tuple[Tracked, Lines, Sequence[Defect]]:
        obj, unreadable = decode(raw)
        before = self._objects.get(key)
        if before is not None and before.uid != obj.metadata.uid:
            before = None
        observation = observe(self.kind, obj, seen_at)
        verdict = None if observation is None else judge(before.verdict if before else None, observation)
        lines, invalid = render(self._store.families, self.kind, api_version, obj, verdict)
        tracked = Tracked(obj.metadata.uid, obj.metadata.resource_version, api_version, verdict)
        return tracked, lines, self._new_defects(key, tracked.uid, unreadable + invalid)

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
        self._lines: dict[str, Lines] = {}

    def add(self, key: str, uid: str, resource_version: str, raw: bytes | Raw, seen_at: float) -> Sequence[Defect]:
        """Take in one object of a page; returns the defects that were not there before."""
        collector = self._collector
        before = collector._objects.get(key)
        lines = collector._store.get(collector.scope, key)
        same = (uid, resource_version, self._api_version)
        # Without a resourceVersion nothing proves that an object is unchanged.
        if before and lines and resource_version and (before.uid, before.resource_version, before.api_version) == same:
            self._objects[key], self._lines[key] = before, lines
            return ()
        tracked, lines, new_defects = collector._read(key, raw, self._api_version, seen_at)
        self._objects[key], self._lines[key] = tracked, lines
        return new_defects

    def commit(self) -> None:
        """Make the listing what is served, in one step."""
        collector = self._collector
        collector._objects = self._objects
        collector._api_version = self._api_version
        collector._told = {key: told for key, told in collector._told.items() if key in self._objects}
        collector._store.replace(collector.scope, self._lines)
