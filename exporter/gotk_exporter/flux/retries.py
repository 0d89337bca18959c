"""Which failing objects only wait for their next attempt: what made them fail is over, and they have not tried since.

A health check that failed while its child did stays False until the next run, a source backs off for up to a quarter of
an hour after its host is back. Paging for that would be paging for what heals by itself. What is known to be over:

- a child that its health check named has recovered (the graph's blame says so);
- a dependency, or its source, was not well when it tried, and is now;
- another object that failed for the same shared cause has succeeded, and none has failed for it anew since;
- a node disruption that it was caught in has ended (``disruption_over``: who was caught, others know).

Each excuse has a bound, and none begins once the object's paging window has passed. Nothing here changes because time
passes: rules compare the bound with the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import TypeVar

from gotk_exporter.flux.attempts import Attempt, Awaiting, Cause
from gotk_exporter.flux.blame import RECOVERED
from gotk_exporter.flux.graph import Graph
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.rows import Via

WINDOW_SECONDS = 12 * 60.0
"""The pending window of what pages: from then on an alert may have been sent, and nothing takes it back."""
LONGEST_SECONDS = 30 * 60.0
"""How far beyond that window an excuse may reach."""

_K = TypeVar("_K")

_DEPENDENCIES = frozenset({Via.DEPENDS_ON, Via.SOURCE_REF, Via.CHART_REF, Via.IMAGE})


class Retries:
    """All failing objects that will try again."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._attempts: dict[Key, Attempt] = {}
        self._awaiting: dict[Key, Awaiting] = {}
        self._members: dict[str, set[Key]] = {}
        """By shared cause: who fails because of it."""
        self._ended: dict[str, float] = {}
        """By shared cause: when one of its members succeeded, while none has failed anew since. Unix seconds."""
        self._targets: dict[Key, frozenset[Key]] = {}
        """What each failing object depends on."""
        self._dependents: dict[Key, set[Key]] = {}
        """The same from the other end."""
        self._states: dict[Key, tuple[bool, float | None]] = {}
        """Of what failing objects depend on: whether it is unwell, and until when it was."""
        self._disrupted: dict[Key, float] = {}
        """What a node disruption has hit and fails, or runs and may be about to; and when that ended. Unix seconds."""

    def update(self, changes: Mapping[Key, Node | None], touched: Set[Key], now: float) -> set[Key]:
        """Take in objects as they are now, and those whose blame may have changed; returns those that may have another
        answer."""
        dirty = {key for key in touched if key in self._attempts}
        for key, node in changes.items():
            dirty |= self._take(key, node, now)
        return {key for key in dirty if self._settle(key)}

    def disruption_over(self, keys: Iterable[Key], ended_at: float) -> set[Key]:
        """A node disruption that these objects were caught in has ended; returns those that may have another answer."""
        caught = [key for key in keys if key in self._attempts or _runs(self._graph.node(key))]
        self._disrupted.update(dict.fromkeys(caught, ended_at))
        return {key for key in caught if self._settle(key)}

    def awaiting(self, key: Key) -> Awaiting | None:
        """What excuses the object."""
        return self._awaiting.get(key)

    def _take(self, key: Key, node: Node | None, now: float) -> set[Key]:
        before, after = self._attempts.get(key), node.attempt if node is not None else None
        dirty = self._dependents_of_changed(key, node)
        if after is None and not _runs(node):
            self._disrupted.pop(key, None)
        if before is None and after is None:
            return dirty
        if after is None:
            del self._attempts[key]
        else:
            self._attempts[key] = after
        if before is not None and after is None and node is not None and node.receives:
            dirty |= self._succeeded(before.shared_cause, now)
        elif after is not None and (before is None or after.began_at != before.began_at):
            dirty |= self._failed_anew(after)
        self._index(key, before, after, node)
        return dirty | {key}

    def _succeeded(self, shared_cause: str, now: float) -> set[Key]:
        if not shared_cause:
            return set()
        # Also where nobody else fails: one whose attempt goes on may be about to.
        self._ended = {cause: at for cause, at in self._ended.items() if now - at < WINDOW_SECONDS + LONGEST_SECONDS}
        self._ended[shared_cause] = now
        return set(self._members.get(shared_cause, ()))

    def _failed_anew(self, attempt: Attempt) -> set[Key]:
        ended_at = self._ended.get(attempt.shared_cause)
        if ended_at is None or attempt.began_at <= ended_at:
            return set()
        # Whoever succeeded, it is not over.
        del self._ended[attempt.shared_cause]
        return set(self._members.get(attempt.shared_cause, ()))

    def _dependents_of_changed(self, key: Key, node: Node | None) -> set[Key]:
        dependents = self._dependents.get(key)
        state = _state(node)
        if not dependents or self._states.get(key) == state:
            return set()
        self._states[key] = state
        return set(dependents)

    def _index(self, key: Key, before: Attempt | None, after: Attempt | None, node: Node | None) -> None:
        _move(self._members, key, _causes(before), _causes(after))
        targets = frozenset(_dependencies(node)) if after is not None else frozenset()
        gone = _move(self._dependents, key, self._targets.pop(key, ()), targets)
        if targets:
            self._targets[key] = targets
        for target in gone:
            self._states.pop(target, None)
        for target in targets:
            self._states[target] = _state(self._graph.node(target))

    # What excuses

    def _settle(self, key: Key) -> bool:
        attempt, before = self._attempts.get(key), self._awaiting.get(key)
        after = self._excuse(key, attempt) if attempt is not None else None
        if after == before:
            return False
        if after is None:
            del self._awaiting[key]
        else:
            self._awaiting[key] = after
        return True

    def _excuse(self, key: Key, attempt: Attempt) -> Awaiting | None:
        window_ends = attempt.failure.end + WINDOW_SECONDS
        ends = [
            (ended_at, cause)
            for cause, ended_at in self._ends(key, attempt)
            if attempt.began_at < ended_at < window_ends
        ]
        if not ends:
            return attempt.excuse
        ended_at, cause = max(ends, key=lambda end: end[0])
        return Awaiting(cause, ended_at, min(attempt.until(ended_at), window_ends + LONGEST_SECONDS))

    def _ends(self, key: Key, attempt: Attempt) -> Iterator[tuple[Cause, float]]:
        """What made the object fail that is over, and since when."""
        ended_at = self._ended.get(attempt.shared_cause)
        if ended_at is not None:
            yield Cause.SHARED_CAUSE, self._since(key, attempt, ended_at)
        ended_at = self._disrupted.get(key)
        if ended_at is not None:
            yield Cause.NODE_DISRUPTION, ended_at
        ended_at = self._children_recovered(key)
        if ended_at is not None:
            yield Cause.CHILD, ended_at
        if attempt.by_dependency:
            ended_at = self._dependencies_recovered(key)
            if ended_at is not None:
                yield Cause.DEPENDENCY, ended_at

    def _since(self, key: Key, attempt: Attempt, ended_at: float) -> float:
        """The first success that proves it: those that follow neither end the excuse nor prolong it."""
        known = self._awaiting.get(key)
        if known is None or known.cause is not Cause.SHARED_CAUSE or known.ended_at <= attempt.began_at:
            return ended_at
        return min(known.ended_at, ended_at)

    def _children_recovered(self, key: Key) -> float | None:
        blame = self._graph.blame(key)
        if blame is None or blame.own or blame.follows or any(end.reason != RECOVERED for end in blame.ends):
            return None
        children = (self._graph.node(end.key) for end in blame.ends)
        return max((child.unwell_until or 0.0 for child in children if child is not None), default=None)

    def _dependencies_recovered(self, key: Key) -> float | None:
        targets = [self._graph.node(target) for target in _dependencies(self._graph.node(key))]
        if any(target is None or target.unwell for target in targets):
            return None
        return max((target.unwell_until or 0.0 for target in targets if target is not None), default=None)


def _runs(node: Node | None) -> bool:
    return node is not None and node.running_since is not None


def _dependencies(node: Node | None) -> list[Key]:
    return [edge.target for edge in node.edges if edge.via in _DEPENDENCIES] if node is not None else []


def _causes(attempt: Attempt | None) -> tuple[str, ...]:
    return (attempt.shared_cause,) if attempt is not None and attempt.shared_cause else ()


def _move(index: dict[_K, set[Key]], key: Key, before: Iterable[_K], after: Iterable[_K]) -> set[_K]:
    """Have the index list ``key`` under what is true of it now; returns what is listed no more."""
    old, new = set(before), set(after)
    gone = set()
    for name in old - new:
        index[name].discard(key)
        if not index[name]:
            del index[name]
            gone.add(name)
    for name in new - old:
        index.setdefault(name, set()).add(key)
    return gone


def _state(node: Node | None) -> tuple[bool, float | None]:
    return (True, None) if node is None else (node.unwell, node.unwell_until)
