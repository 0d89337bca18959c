"""What objects say of each other, and its lines in the store: whoever changes an object tells it here.

Each tracker knows all objects in one respect: whom they blame (graph), what excuses them (retries), what they have of
what their source offers (revisions), who calls them (coverage), where they push to (pushes), who serves them
(controllers). It keeps the latest time that it was told, so that what comes without one (a deletion) is judged by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gotk_exporter.flux.attempts import Awaiting
from gotk_exporter.flux.controllers import Controllers, Lease
from gotk_exporter.flux.coverage import Coverage
from gotk_exporter.flux.graph import Graph
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.pushes import Pushes
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.relation_samples import NO_FACTS, Facts, render, render_behind, render_heartbeat
from gotk_exporter.flux.retries import Retries
from gotk_exporter.flux.revisions import Revisions
from gotk_exporter.metrics.store import Lines, Store

SCOPE = "relations"
"""Of the lines in the store. Kinds begin with a capital, so that no listing has this name."""
BEHIND = "behind"
"""The scope of the one line of each object that is behind its source."""
CONTROLLERS = "controllers"
"""The scope of the controllers' heartbeats, which are no object's lines."""


class Relations:
    """Everything that is followed, each object beside the others, rendered as it changes."""

    def __init__(self, store: Store) -> None:
        self.graph = Graph()
        self.retries = Retries(self.graph)
        self.revisions = Revisions()
        self.coverage = Coverage()
        self.pushes = Pushes()
        self.controllers = Controllers()
        self._store = store
        self._behind_lines = render_behind(store.families)
        self._now = 0.0

    def update(self, changes: Mapping[Key, Node | None], now: float | None = None) -> None:
        """Take in objects as they are now; None for those that are gone."""
        time = self._time(now)
        touched = self.graph.update(changes, time)
        touched |= self.retries.update(changes, touched, time)
        moved = self.revisions.update(changes, time)
        touched |= self.coverage.update(changes)
        touched |= self.pushes.update(changes)
        touched |= self.controllers.update(changes)
        self._render(touched)
        self._render_behind(moved)

    def mark_listed(self, kind: str, namespace: str | None, now: float | None = None) -> None:
        """All objects of the kind are known (in one namespace, or in all): another one is missing."""
        time = self._time(now)
        touched = self.graph.mark_listed(kind, namespace, time)
        touched |= self.retries.update({}, touched, time)
        touched |= self.coverage.mark_listed(kind, namespace)
        self._render(touched)

    def mark_unlisted(self, kind: str, namespace: str | None) -> None:
        """Nothing is known any more of what exists of the kind."""
        touched = self.graph.mark_unlisted(kind, namespace, self._now)
        touched |= self.retries.update({}, touched, self._now)
        touched |= self.coverage.mark_unlisted(kind, namespace)
        self._render(touched)

    def advance(self, now: float) -> None:
        """Do what is due because time has passed."""
        touched = self.graph.advance(self._time(now))
        touched |= self.retries.update({}, touched, self._now)
        touched |= self.controllers.advance(self._now)
        self._render(touched)

    def disruption_over(self, keys: Iterable[Key], ended_at: float) -> None:
        """A node disruption that these objects were caught in ended at this Unix time."""
        self._render(self.retries.disruption_over(keys, ended_at, self._time(ended_at)))

    def take_leases(self, namespace: str, leases: Sequence[Lease] | None, now: float) -> None:
        """The Leases of Flux's controllers in a namespace as they are now; None where they cannot be read."""
        self._render(self.controllers.take(namespace, leases, self._time(now)))
        heartbeats = {
            f"{lease_namespace}/{controller}": render_heartbeat(
                self._store.families, controller, lease_namespace, renewed_at
            )
            for controller, lease_namespace, renewed_at in self.controllers.heartbeats()
        }
        self._store.replace(CONTROLLERS, heartbeats)

    def facts(self, key: Key) -> Facts:
        """All that is known of an object through others."""
        return Facts(
            self.graph.answer(key),
            self.retries.awaiting(key),
            self.revisions.behind_since(key),
            self.coverage.receivers(key),
            self.revisions.changes(key),
            self.pushes.followed(key),
            self.controllers.is_unserved(key),
        )

    def facts_to_keep(self, key: Key) -> tuple[Awaiting | None, float | None]:
        """What a restart would lose: what excuses the object, and since when it is behind its source (Unix seconds)."""
        return self.retries.awaiting(key), self.revisions.behind_since(key)

    def _time(self, now: float | None) -> float:
        self._now = max(self._now, now or 0.0)
        return self._now

    def _render(self, keys: Iterable[Key]) -> None:
        for key in keys:
            facts = self.facts(key)
            # Of most objects, most of the time, there is nothing to say.
            self._keep(SCOPE, key, render(self._store.families, key, facts) if facts != NO_FACTS else ())

    def _render_behind(self, keys: Iterable[Key]) -> None:
        for key in keys:
            since = self.revisions.behind_since(key)
            self._keep(BEHIND, key, self._behind_lines(key, since) if since is not None else ())

    def _keep(self, scope: str, key: Key, lines: Lines) -> None:
        # What does not exist may have any name, and a slash in it.
        entry = "\0".join(key)
        if any(lines):
            self._store.put(scope, entry, lines)
        else:
            self._store.remove(scope, entry)
