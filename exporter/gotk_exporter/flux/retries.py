"""Which failing objects only wait for their next attempt: what made them fail is over, and they have not tried since.

A health check that failed while its child did stays False until the next run, a source backs off for up to a quarter of
an hour after its host is back. Paging for that would be paging for what heals by itself. What is known to be over:

- a child that its health check named has recovered (the graph's blame says so);
- a dependency, or its source, was not well when it tried, and is now (where that can explain the failure);
- another object that failed for the same shared cause has succeeded, and none has failed for it anew since;
- a node disruption that it was caught in has ended (``disruption_over``: who was caught, others know).

Each excuse has a bound, and none begins once the object's paging window has passed. Nothing here changes because time
passes: rules compare the bound with the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import TypeVar

from gotk_exporter.flux.attempts import Attempt, Awaiting, Cause
from gotk_exporter.flux.blame import RECOVERED, SLACK_SECONDS
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
        self._states: dict[Key, _State] = {}
        """Of what failing objects depend on."""
        self._suspects: dict[Key, frozenset[Key]] = {}
        """What each failing object depends on that was not well when it tried."""
        self._disrupted: dict[Key, float] = {}
        """What a node disruption has hit and fails, or runs and may be about to; and when that ended. Unix seconds."""

    def update(self, changes: Mapping[Key, Node | None], touched: Set[Key], now: float) -> set[Key]:
        """Take in objects as they are now, and those whose blame may have changed; returns those that may have another
        answer."""
        dirty = {key for key in touched if key in self._attempts}
        for key, node in changes.items():
            dirty |= self._take(key, node, now)
        return {key for key in dirty if self._settle(key, now)}

    def disruption_over(self, keys: Iterable[Key], ended_at: float, now: float) -> set[Key]:
        """A node disruption that these objects were caught in has ended; returns those that may have another answer."""
        caught = [key for key in keys if key in self._attempts or _runs(self._graph.node(key))]
        self._disrupted.update(dict.fromkeys(caught, ended_at))
        return {key for key in caught if self._settle(key, now)}

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
        if before is None and after is not None:
            self._remember(after)
        if before is not None and after is None and node is not None and node.succeeded_at is not None:
            dirty |= self._succeeded(before.shared_cause, node.succeeded_at, now)
        elif after is not None and (before is None or after.began_at != before.began_at):
            dirty |= self._failed_anew(after)
        self._index(key, before, after, node)
        return dirty | {key}

    def _remember(self, attempt: Attempt) -> None:
        """From before a restart."""
        excuse = attempt.excuse
        if excuse is not None and excuse.cause is Cause.SHARED_CAUSE:
            self._ended.setdefault(attempt.shared_cause, excuse.ended_at)

    def _succeeded(self, shared_cause: str, at: float, now: float) -> set[Key]:
        if not shared_cause:
            return set()
        members = self._members.get(shared_cause, set())
        if at < now and any(self._attempts[member].began_at > at for member in members if member in self._attempts):
            # Nobody saw it as it came, and others have failed since.
            return set()
        # Also where nobody else fails: one whose attempt goes on may be about to.
        self._ended = {cause: end for cause, end in self._ended.items() if now - end < WINDOW_SECONDS + LONGEST_SECONDS}
        self._ended[shared_cause] = at
        # Whom an earlier success excuses, this one does not.
        return {key for key in members if not self._is_excused_by_another(key)}

    def _is_excused_by_another(self, key: Key) -> bool:
        known = self._awaiting.get(key)
        return known is not None and known.cause is Cause.SHARED_CAUSE

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
        targets = frozenset(_looked_at(node)) if after is not None else frozenset()
        gone = _move(self._dependents, key, self._targets.pop(key, ()), targets)
        if targets:
            self._targets[key] = targets
        for target in gone:
            self._states.pop(target, None)
        for target in targets:
            self._states[target] = _state(self._graph.node(target))
        if after is None:
            self._suspects.pop(key, None)
        elif before is None or before.began_at != after.began_at:
            needed = _needed(node, after.suspects)
            self._suspects[key] = frozenset(target for target in needed if self._was_unwell(target, after.began_at))

    def _was_unwell(self, target: Key, since: float) -> bool:
        node = self._graph.node(target)
        return node is None or node.unwell or (node.unwell_until or 0.0) > since

    # What excuses

    def _settle(self, key: Key, now: float) -> bool:
        attempt, before = self._attempts.get(key), self._awaiting.get(key)
        after = self._excuse(key, attempt) if attempt is not None else None
        if before is None and attempt is not None and after is not attempt.excuse:
            # An alert may have been sent: nothing takes it back, whatever becomes known of the past.
            after = after if now < attempt.failure.end + WINDOW_SECONDS else None
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
            return attempt.excuse if attempt.excuse is not None and self._holds(key, attempt, attempt.excuse) else None
        ended_at, cause = max(ends, key=lambda end: end[0])
        return Awaiting(cause, ended_at, min(attempt.until(ended_at), window_ends + LONGEST_SECONDS))

    def _holds(self, key: Key, attempt: Attempt, remembered: Awaiting) -> bool:
        """Whether nothing that has come since speaks against what is remembered."""
        if remembered.cause is Cause.SHARED_CAUSE:
            return attempt.shared_cause in self._ended
        targets = (self._graph.node(target) for target in self._targets.get(key, ()))
        return not any(target is not None and target.unwell for target in targets)

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
        ended_at = self._suspects_recovered(key)
        if ended_at is not None:
            yield Cause.DEPENDENCY, ended_at

    def _since(self, key: Key, attempt: Attempt, ended_at: float) -> float:
        """The first success that proves it: those that follow neither end the excuse nor prolong it."""
        known = self._awaiting.get(key)
        if known is None or known.cause is not Cause.SHARED_CAUSE or known.ended_at <= attempt.began_at:
            return ended_at
        return min(known.ended_at, ended_at)

    def _children_recovered(self, key: Key) -> float | None:
        node = self._graph.node(key)
        health = node.health if node is not None else None
        if health is not None and health.awaited is not None and not health.awaited.others:
            # Also one that merely ran on when the check gave up.
            children = [self._graph.node(child) for child in health.awaited.children]
            ready = [child.ready_since for child in children if child is not None and child.succeeded_at is not None]
            if ready and len(ready) == len(children) and min(ready) >= health.ended_at - SLACK_SECONDS:
                return max(ready)
        blame = self._graph.blame(key)
        if blame is None or blame.own or blame.follows or any(end.reason != RECOVERED for end in blame.ends):
            return None
        recovered = (self._graph.node(end.key) for end in blame.ends)
        return max((child.unwell_until or 0.0 for child in recovered if child is not None), default=None)

    def _suspects_recovered(self, key: Key) -> float | None:
        """Since when all that was not well when it tried is so again."""
        suspects = [self._graph.node(target) for target in self._suspects.get(key, ())]
        if any(suspect is None or suspect.unwell for suspect in suspects):
            return None
        return max((suspect.unwell_until or 0.0 for suspect in suspects if suspect is not None), default=None)


def _runs(node: Node | None) -> bool:
    return node is not None and node.running_since is not None


def _needed(node: Node | None, vias: Set[Via]) -> list[Key]:
    return [edge.target for edge in node.edges if edge.via in vias] if node is not None else []


def _looked_at(node: Node | None) -> list[Key]:
    """What it needs, and what its health check waited for."""
    health = node.health if node is not None else None
    children = health.awaited.children if health is not None and health.awaited is not None else ()
    return [*_needed(node, _DEPENDENCIES), *children]


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


_State = tuple[bool, float | None, float | None]


def _state(node: Node | None) -> _State:
    """All that matters of what a failing object needs."""
    return (True, None, None) if node is None else (node.unwell, node.unwell_until, node.succeeded_at)
