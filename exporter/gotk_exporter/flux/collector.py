"""Keeps what we know about the objects of one listing, and their lines in the store.

A listing is a kind, or a kind in one namespace. Raw objects come in, with the time at which they reached us; verdicts
are carried from write to write by uid; lines go to the store, and what others must know of an object to the relations.
Nothing is logged or counted here: what could not be read is returned, once per object and field, for others to tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec import Raw

from gotk_exporter.flux.attempts import attempt_of
from gotk_exporter.flux.diagnosis import Diagnosis, diagnose
from gotk_exporter.flux.memory import Kept, Memory, Remembered
from gotk_exporter.flux.nodes import Node, node_of
from gotk_exporter.flux.objects import Defect, FluxObject, decode
from gotk_exporter.flux.owner_labels import OwnerLabel
from gotk_exporter.flux.readiness import judge, observe
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.risks import NO_RISKS, Risks, risks_of
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.runs import UNKNOWN, Runs, runs_of
from gotk_exporter.flux.samples import render, renderers_of
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
    runs: Runs = UNKNOWN
    risks: Risks = NO_RISKS
    touched: bool = True
    """Whether a controller has ever said anything about it; also where none has to."""


class Collector:
    """The objects of one listing: of a kind in ``namespace``, or in all of them."""

    def __init__(
        self,
        kind: Kind,
        namespace: str | None,
        store: Store,
        relations: Relations | None = None,
        memory: Memory | None = None,
        owner_labels: Sequence[OwnerLabel] = (),
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.scope = kind.name if namespace is None else f"{kind.name}/{namespace}"
        self._store = store
        self._renderers = renderers_of(store.families, owner_labels)
        self._relations = relations or Relations(store)
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
        self._relations.update({tracked.node.key: tracked.node}, seen.at)
        return new_defects

    def delete(self, key: str, uid: str) -> None:
        """Forget the object, unless another one has taken its name by now."""
        tracked = self._objects.get(key)
        if tracked is not None and tracked.uid == uid:
            del self._objects[key]
            self._told.pop(key, None)
            self._store.remove(self.scope, key)
            self._relations.update({tracked.node.key: None})

    def drop(self) -> None:
        """Forget everything: the kind is no longer served, or no longer wanted."""
        gone = {tracked.node.key: None for tracked in self._objects.values()}
        self._objects = {}
        self._told = {}
        self._store.drop(self.scope)
        self._relations.mark_unlisted(self.kind.name, self.namespace)
        self._relations.update(gone)

    def _read(
        self, key: str, raw: bytes | Raw, api_version: str, seen: Seen
    ) -> tuple[Tracked, Lines, Sequence[Defect]]:
        obj, unreadable = decode(raw)
        before = self._objects.get(key)
        if before is not None and before.uid != obj.metadata.uid:
            before = None
        remembered = self._recall(obj) if before is None else None
        known, node_before = (before.verdict, before.node) if before is not None else (None, None)
        verdict = self._judge(obj, known, remembered, seen)
        diagnosis = diagnose(self.kind, obj, verdict, before.diagnosis if before else None)
        runs = runs_of(self.kind, obj, verdict, _runs_before(before, remembered), known, seen)
        tried = node_before.attempt if node_before is not None else None
        attempt = attempt_of(self.kind, obj, verdict, diagnosis, runs, tried, known, seen)
        if attempt is not None and remembered is not None:
            is_same = remembered.resource_version == obj.metadata.resource_version
            goes_on = verdict is not None and verdict.running_since is not None
            attempt = attempt.excused(remembered.kept.excuse, is_same or goes_on)
        node = node_of(self.kind, obj, verdict, node_before, seen, attempt)
        if remembered is not None and remembered.kept.behind_since is not None:
            self._relations.revisions.remember(node.key, remembered.kept.behind_since)
        lines, invalid = render(self._renderers, self.kind, api_version, obj, verdict, node, diagnosis, runs)
        tracked = Tracked(
            obj.metadata.uid,
            obj.metadata.resource_version,
            api_version,
            verdict,
            node,
            diagnosis,
            runs,
            risks_of(self.kind, obj),
            verdict is None or bool(obj.status.conditions),
        )
        return tracked, lines, self._new_defects(key, tracked.uid, unreadable + invalid)

    def _judge(
        self, obj: FluxObject, known: Verdict | None, remembered: Remembered | None, seen: Seen
    ) -> Verdict | None:
        if remembered is not None:
            known, seen = remembered.kept.verdict, Seen(seen.at, min(remembered.until, seen.at))
            version = obj.metadata.resource_version
            if version and version == remembered.resource_version:
                return known
        observation = observe(self.kind, obj, seen)
        return None if observation is None else judge(known, observation)

    def _recall(self, obj: FluxObject) -> Remembered | None:
        created_at = parse_timestamp(obj.metadata.creation_timestamp)
        return self._memory.recall(self.scope, obj.metadata.uid, created_at)

    def worth_remembering(self) -> Iterator[tuple[str, str, Kept]]:
        """The uid and resourceVersion of each object of which a restart would lose something, and what."""
        for tracked in self._objects.values():
            if tracked.verdict is None:
                continue
            facts, longest = self._relations.facts_to_keep(tracked.node.key), tracked.runs.longest_seconds
            kept = Kept(tracked.verdict, longest, *facts)
            if kept.is_worth_it:
                yield tracked.uid, tracked.resource_version, kept

    def _new_defects(self, key: str, uid: str, defects: Sequence[Defect]) -> Sequence[Defect]:
        """Those that have not been told of this object since its field was last readable."""
        told_uid, told = self._told.pop(key, (uid, frozenset()))
        if defects:
            self._told[key] = uid, frozenset(defect.field for defect in defects)
        return [defect for defect in defects if told_uid != uid or defect.field not in told]


def _runs_before(before: Tracked | None, remembered: Remembered | None) -> Runs:
    if before is not None:
        return before.runs
    return Runs(longest_seconds=remembered.kept.longest_run_seconds) if remembered is not None else UNKNOWN


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
        collector._relations.update(changes, self._latest)
        collector._relations.mark_listed(collector.kind.name, collector.namespace)
