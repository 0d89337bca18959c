"""The graph of causes and its lines in the store: whoever changes an object tells it here.

It keeps the latest time that it was told, so that what comes without one (a deletion) is judged by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gotk_exporter.flux.graph import Graph
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.samples import render_causes
from gotk_exporter.metrics.store import Store

SCOPE = "causes"
"""Of the lines in the store. Kinds begin with a capital, so that no listing has this name."""


class Causes:
    """Root causes of everything that is followed, rendered as they change."""

    def __init__(self, store: Store) -> None:
        self.graph = Graph()
        self._store = store
        self._now = 0.0

    def update(self, changes: Mapping[Key, Node | None], now: float | None = None) -> None:
        """Take in objects as they are now; None for those that are gone."""
        self._render(self.graph.update(changes, self._time(now)))

    def mark_listed(self, kind: str, namespace: str | None, now: float | None = None) -> None:
        """All objects of the kind are known (in one namespace, or in all): another one is missing."""
        self._render(self.graph.mark_listed(kind, namespace, self._time(now)))

    def mark_unlisted(self, kind: str, namespace: str | None) -> None:
        """Nothing is known any more of what exists of the kind."""
        self._render(self.graph.mark_unlisted(kind, namespace, self._now))

    def advance(self, now: float) -> None:
        """Do what is due because time has passed."""
        self._render(self.graph.advance(self._time(now)))

    def _time(self, now: float | None) -> float:
        self._now = max(self._now, now or 0.0)
        return self._now

    def _render(self, keys: Iterable[Key]) -> None:
        for key in keys:
            lines = render_causes(self._store.families, key, self.graph.answer(key))
            # What does not exist may have any name, and a slash in it.
            entry = "\0".join(key)
            if any(lines):
                self._store.put(SCOPE, entry, lines)
            else:
                self._store.remove(SCOPE, entry)
