"""Who waits for whom, and because of what in the end: root causes, kept as the objects change.

A change costs the objects whose answer it changes. Each object that blames somebody (blame) is kept with what it said;
a write makes those say it again that looked at the object, and only where that changes are the ways to the roots walked
anew, by strongly connected component: a circle of blame is one root cause, its first member.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gotk_exporter.flux.blame import (
    CONDITION_NOT_MET,
    CYCLE,
    NOT_WATCHED,
    PROGRESSING,
    RECOVERED,
    REVISION_NOT_UP_TO_DATE,
    Blame,
    blame_of,
)
from gotk_exporter.flux.components import components
from gotk_exporter.flux.downstream import Downstream
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.rows import Via

Roots = Mapping[Key, tuple[Via, str]]
"""Root causes of an object: how it hangs from each, and why that one is a cause."""

_WEAKEST = (NOT_WATCHED, RECOVERED, REVISION_NOT_UP_TO_DATE, PROGRESSING, CONDITION_NOT_MET, CYCLE)
"""Of several reasons given for one root cause the one that stands latest here counts, and any other before these."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the graph says about one object, or about one that is missing."""

    blocked_by: tuple[tuple[Key, Via], ...] = ()
    """Its root causes, itself not among them."""
    root_reason: str = ""
    """Why it is a root cause; empty where it is none."""
    blocked: int = 0
    """How many objects it blocks, if it is a root cause."""
    held_back: int | None = None
    """How many objects downstream of it are ready and can receive nothing new; None unless it fails."""
    parents: tuple[Key, ...] = ()
    """Owners that its labels name and whose inventories confirm it."""


NOTHING = Answer()


class Graph:
    """All objects of a cluster. Not thread-safe; every method returns the objects whose answer may have changed."""

    def __init__(self) -> None:
        self._nodes: dict[Key, Node] = {}
        self._blames: dict[Key, Blame] = {}
        self._lookers: dict[Key, set[Key]] = {}
        """Who looked at this object to say whom it blames."""
        self._followers: dict[Key, set[Key]] = {}
        self._roots: dict[Key, Roots] = {}
        self._reasons: dict[Key, Counter[str]] = {}
        """Of each root cause: how often it was named with which reason."""
        self._blocked: Counter[Key] = Counter()
        self._downstream = Downstream(self._nodes)
        self._producers: dict[Key, set[Key]] = {}
        self._claimants: dict[Key, set[Key]] = {}
        self._listed: set[tuple[str, str | None]] = set()
        self._due: list[tuple[float, Key]] = []

    # What is asked

    def node(self, key: Key) -> Node | None:
        return self._nodes.get(key)

    def is_listed(self, key: Key) -> bool:
        return (key.kind, None) in self._listed or (key.kind, key.namespace) in self._listed

    def producer(self, key: Key) -> Key | None:
        return min(self._producers.get(key, ()), default=None)

    def answer(self, key: Key) -> Answer:
        node = self._nodes.get(key)
        roots = self._roots.get(key, {})
        return Answer(
            tuple(sorted((root, via) for root, (via, _) in roots.items() if root != key)),
            self._root_reason(key),
            self._blocked[key],
            self._downstream.held_back(key),
            tuple(owner for owner in node.claims if self._confirms(owner, key)) if node is not None else (),
        )

    def blamed_by(self, root: Key) -> tuple[Key, ...]:
        """The objects that this root cause blocks, sorted."""
        return tuple(sorted(key for key, roots in self._roots.items() if root in roots and key != root))

    def blame(self, key: Key) -> Blame | None:
        """The object's own step on the way to its root causes."""
        return self._blames.get(key)

    def roots(self) -> tuple[Key, ...]:
        return tuple(sorted(self._reasons))

    # What changes

    def update(self, changes: Mapping[Key, Node | None], now: float) -> set[Key]:
        """Take in objects as they are now; None for those that are gone."""
        outward: set[Key] = set()
        touched = set(changes)
        for key, node in changes.items():
            before = self._nodes.get(key)
            if before is None or node is None or before.outward != node.outward:
                outward.add(key)
            # Who says that it makes something is looked at by way of that.
            outward.update(set(before.produces if before else ()) ^ set(node.produces if node else ()))
            touched |= self._index(key, before, node)
        dirty = set(changes)
        for key in outward:
            dirty |= self._lookers.get(key, set())
        return touched | self._blame_anew(dirty, now) | self._downstream.settle()

    def mark_listed(self, kind: str, namespace: str | None, now: float) -> set[Key]:
        """A kind has been listed (in one namespace, or in all): what is not known of it does not exist."""
        self._listed.add((kind, namespace))
        return self._ask_again(kind, now)

    def mark_unlisted(self, kind: str, namespace: str | None, now: float) -> set[Key]:
        """A kind is no longer followed: nothing is known about what is missing of it."""
        self._listed.discard((kind, namespace))
        return self._ask_again(kind, now)

    def next_due(self) -> float | None:
        """When ``advance`` has something to do, in Unix seconds."""
        return self._due[0][0] if self._due else None

    def advance(self, now: float) -> set[Key]:
        """Ask those again whose answer depends on the time."""
        dirty: set[Key] = set()
        while self._due and self._due[0][0] <= now:
            key = heapq.heappop(self._due)[1]
            blame = self._blames.get(key)
            if blame is not None and blame.due is not None and blame.due <= now:
                dirty.add(key)
        return self._blame_anew(dirty, now) if dirty else set()

    def _ask_again(self, kind: str, now: float) -> set[Key]:
        dirty: set[Key] = set()
        for key, lookers in self._lookers.items():
            if key.kind == kind and key not in self._nodes:
                dirty |= lookers
        return self._blame_anew(dirty, now) if dirty else set()

    # The index

    def _index(self, key: Key, before: Node | None, node: Node | None) -> set[Key]:
        """Replace one node; returns those whose confirmed parents may have changed."""
        if node is None:
            self._nodes.pop(key, None)
        else:
            self._nodes[key] = node
        _move(self._producers, key, before.produces if before else (), node.produces if node else ())
        _move(self._claimants, key, before.claims if before else (), node.claims if node else ())
        self._downstream.change(key, before, node)
        children = node.children if node is not None else ()
        if (before.children if before is not None else ()) == children:
            return set()
        return set(self._claimants.get(key, ()))

    def _confirms(self, owner: Key, key: Key) -> bool:
        node = self._nodes.get(owner)
        return node is not None and key in node.children

    # Blame

    def _blame_anew(self, dirty: Iterable[Key], now: float) -> set[Key]:
        """Let these say anew whom they blame, and walk the ways of those for whom that changes anything."""
        moved = [key for key in dirty if self._say(key, now)]
        return self._walk(moved) if moved else set()

    def _say(self, key: Key, now: float) -> bool:
        node, before = self._nodes.get(key), self._blames.get(key)
        blame = blame_of(node, self, now) if node is not None else None
        if blame == before:
            return False
        _move(self._lookers, key, before.looked_at if before else (), blame.looked_at if blame else ())
        _move(self._followers, key, _followed(before), _followed(blame))
        if blame is None:
            del self._blames[key]
        else:
            self._blames[key] = blame
            if blame.due is not None:
                heapq.heappush(self._due, (blame.due, key))
        return True

    def _walk(self, moved: Iterable[Key]) -> set[Key]:
        region = set(moved)
        queue = list(region)
        while queue:
            for follower in self._followers.get(queue.pop(), ()):
                if follower not in region:
                    region.add(follower)
                    queue.append(follower)
        changed: set[Key] = set()
        # Components come with those first that the others follow.
        for component in components(region, self._followed_within(region)):
            alone = component[0]
            if len(component) > 1 or alone in _followed(self._blames.get(alone)):
                changed |= self._settle_circle(component)
            else:
                blame = self._blames.get(alone)
                changed |= self._settle(alone, self._gather(alone, blame, {}) if blame is not None else {})
        return changed

    def _followed_within(self, region: set[Key]) -> Mapping[Key, list[Key]]:
        return {key: [target for target in _followed(self._blames.get(key)) if target in region] for key in region}

    def _settle_circle(self, component: list[Key]) -> set[Key]:
        """All members of a circle have the same causes: it, and whatever any of them waits for outside of it."""
        members, first = set(component), min(component)
        roots: dict[Key, tuple[Via, str]] = {}
        for member in sorted(component):
            blame = self._blames[member]
            outer = replace(blame, follows=tuple(edge for edge in blame.follows if edge.target not in members))
            roots = self._gather(member, outer, roots)
        changed: set[Key] = set()
        for member in component:
            via = next(edge.via for edge in self._blames[member].follows if edge.target in members)
            changed |= self._settle(member, {**roots, first: (via, CYCLE)})
        return changed

    def _gather(self, key: Key, blame: Blame, roots: dict[Key, tuple[Via, str]]) -> dict[Key, tuple[Via, str]]:
        """Add the causes that the object names, or that follow from those whom it follows."""
        for end in blame.ends:
            roots.setdefault(end.key, (end.via, end.reason))
        for edge in blame.follows:
            beyond = self._roots.get(edge.target, {})
            for root, (_, reason) in beyond.items():
                roots.setdefault(root, (edge.via, reason))
            if not beyond and edge.via is Via.HEALTH:
                # A child that waited, for what is ready by now, and is about to see that: its parent has failed, and
                # what fails has a cause.
                roots.setdefault(edge.target, (edge.via, PROGRESSING))
        if blame.own:
            # Nobody asks how an object hangs from itself.
            roots[key] = (Via.HEALTH, blame.own)
        return roots

    def _settle(self, key: Key, after: Roots) -> set[Key]:
        before = self._roots.get(key, {})
        if before == after:
            return set()
        if after:
            self._roots[key] = after
        else:
            del self._roots[key]
        for root, (_, reason) in before.items():
            reasons = self._reasons[root]
            reasons[reason] -= 1
            if not reasons[reason]:
                del reasons[reason]
            if not reasons:
                del self._reasons[root]
            self._count(root, key, -1)
        for root, (_, reason) in after.items():
            self._reasons.setdefault(root, Counter())[reason] += 1
            self._count(root, key, 1)
        return {key, *before, *after}

    def _count(self, root: Key, key: Key, by: int) -> None:
        if root != key:
            self._blocked[root] += by
            if not self._blocked[root]:
                del self._blocked[root]

    def _root_reason(self, key: Key) -> str:
        reasons = self._reasons.get(key)
        if not reasons:
            return ""
        return max(
            reasons, key=lambda reason: (_WEAKEST.index(reason) if reason in _WEAKEST else len(_WEAKEST), reason)
        )


def _followed(blame: Blame | None) -> tuple[Key, ...]:
    return tuple(edge.target for edge in blame.follows) if blame is not None else ()


def _move(index: dict[Key, set[Key]], key: Key, before: Iterable[Key], after: Iterable[Key]) -> None:
    """Have the index list ``key`` under what it names now, and no longer under what it named before."""
    old, new = set(before), set(after)
    for target in old - new:
        index[target].discard(key)
        if not index[target]:
            del index[target]
    for target in new - old:
        index.setdefault(target, set()).add(key)
