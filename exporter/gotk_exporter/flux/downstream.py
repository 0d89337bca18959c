"""How many objects each failing one holds back: ready ones downstream of it, which can receive nothing new through it.

Kept as objects change: an object that becomes ready or ceases to be counts one more or less with the failing objects
above it, and what is above an object is little. Only where the ways themselves change in the middle is a failing
object's downstream counted anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gotk_exporter.flux.nodes import Node, Phase
from gotk_exporter.flux.references import Edge, Key


class Downstream:
    """Counts by failing object. ``nodes`` is the graph's own, and has the change already when it is told here."""

    def __init__(self, nodes: Mapping[Key, Node]) -> None:
        self._nodes = nodes
        self._dependents: dict[Key, set[Key]] = {}
        self._counts: dict[Key, int] = {}
        self._stale: set[Key] = set()
        self._changed: set[Key] = set()

    def held_back(self, key: Key) -> int | None:
        """None unless the object fails."""
        return self._counts.get(key)

    def change(self, key: Key, before: Node | None, node: Node | None) -> None:
        """One object is as ``node`` now."""
        edges_before, edges = before.edges if before is not None else (), node.edges if node is not None else ()
        if edges_before != edges:
            for edge in edges_before:
                self._dependents[edge.target].discard(key)
                if not self._dependents[edge.target]:
                    del self._dependents[edge.target]
            for edge in edges:
                self._dependents.setdefault(edge.target, set()).add(key)
        self._mark_failing(key, node)
        if self._counts:
            self._count(key, before, node)

    def settle(self) -> set[Key]:
        """Bring every count up to date; returns the failing objects whose count has changed since the last time."""
        for key in self._stale:
            if key in self._counts:
                self._set(key, sum(1 for below in self._below(key) if self._receives(below)))
        self._stale.clear()
        changed, self._changed = self._changed, set()
        return changed

    def _mark_failing(self, key: Key, node: Node | None) -> None:
        fails = node is not None and node.phase is Phase.FAILING and not node.terminating
        if fails and key not in self._counts:
            self._counts[key] = 0
            self._stale.add(key)
            self._changed.add(key)
        elif not fails and key in self._counts:
            del self._counts[key]
            self._changed.add(key)

    def _count(self, key: Key, before: Node | None, node: Node | None) -> None:
        counted, counts = int(before is not None and before.receives), int(node is not None and node.receives)
        edges_before, edges = before.edges if before is not None else (), node.edges if node is not None else ()
        if edges_before == edges:
            if counted != counts:
                for above in self._failing_above(edges):
                    self._set(above, self._counts[above] + counts - counted)
            return
        above_before, above_now = self._failing_above(edges_before), self._failing_above(edges)
        if key in self._dependents:
            # Whatever hangs from it moves with it.
            self._stale |= above_before | above_now
            return
        for above in above_before | above_now:
            change = counts * (above in above_now) - counted * (above in above_before)
            self._set(above, self._counts[above] + change)

    def _set(self, key: Key, count: int) -> None:
        if self._counts[key] != count:
            self._counts[key] = count
            self._changed.add(key)

    def _failing_above(self, edges: Iterable[Edge]) -> set[Key]:
        seen = {edge.target for edge in edges}
        queue = list(seen)
        while queue:
            node = self._nodes.get(queue.pop())
            for edge in node.edges if node is not None else ():
                if edge.target not in seen:
                    seen.add(edge.target)
                    queue.append(edge.target)
        return {key for key in seen if key in self._counts}

    def _below(self, key: Key) -> set[Key]:
        seen: set[Key] = set()
        queue = [key]
        while queue:
            for dependent in self._dependents.get(queue.pop(), ()):
                if dependent not in seen:
                    seen.add(dependent)
                    queue.append(dependent)
        seen.discard(key)
        return seen

    def _receives(self, key: Key) -> bool:
        node = self._nodes.get(key)
        return node is not None and node.receives
