"""Whom one object blames for its state, as far as it and those that it names tell.

One step of the way to a root cause; the graph takes the steps together. An object blames only where its own state says
that it waits, or its health check has failed. What it finds, the first that fits, for each object that it waits for:
absent, terminating, suspended, failing or waiting itself (then its causes are this one's too), running, ready at
another revision. Pure: nodes and the time go in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from gotk_exporter.flux.nodes import Node, Phase, Wait
from gotk_exporter.flux.references import Edge, Key
from gotk_exporter.flux.rows import Via

NOT_FOUND = "NotFound"
NOT_WATCHED = "NotWatched"
"""Its kind is not followed, or not listed yet, so that nothing can be said about it."""
TERMINATING = "Terminating"
SUSPENDED = "Suspended"
PROGRESSING = "Progressing"
REVISION_NOT_UP_TO_DATE = "RevisionNotUpToDate"
RECOVERED = "Recovered"
"""It is well again, and what failed because of it has not run since."""
CONDITION_NOT_MET = "DependencyConditionNotMet"
CYCLE = "DependencyCycle"
FAILED = "Failed"
"""Of an object whose controller gives no reason; none is no root cause."""

PASSING = frozenset({NOT_WATCHED, PROGRESSING, REVISION_NOT_UP_TO_DATE, RECOVERED})
"""Reasons for which nobody need do anything now: what is going on, and what we cannot know."""

SLACK_SECONDS = 5.0
"""Between an event and our knowledge of it: watches of two kinds are not in step."""


class Landscape(Protocol):
    """The objects around."""

    def node(self, key: Key) -> Node | None: ...

    def is_listed(self, key: Key) -> bool:
        """Whether the object would be known if it existed."""

    def producer(self, key: Key) -> Key | None:
        """Who says that it makes this ExternalArtifact."""


@dataclass(frozen=True, slots=True)
class Blamed:
    """An object that stands at the end of the way, and why."""

    key: Key
    reason: str
    via: Via


@dataclass(frozen=True, slots=True)
class Blame:
    """What one object says of its causes."""

    own: str = ""
    """The reason, where it is a root cause itself."""
    ends: tuple[Blamed, ...] = ()
    """What it waits for that waits for nothing else."""
    follows: tuple[Edge, ...] = ()
    """What it waits for that fails or waits itself."""
    looked_at: frozenset[Key] = frozenset()
    """Whose changes may change this."""
    due: float | None = None
    """When to ask again although nothing may have changed, in Unix seconds."""


def blame_of(node: Node, around: Landscape, now: float) -> Blame | None:
    """None where the object has nothing to blame anybody for."""
    if node.terminating:
        return None
    if node.phase is Phase.FAILING:
        return _of_failing(node, around)
    if node.phase is Phase.WAITING and node.wait is not None:
        return _of_waiting(node, node.wait, around, now)
    return None


def _of_failing(node: Node, around: Landscape) -> Blame:
    reason = SUSPENDED if node.suspended else node.reason or FAILED
    health = node.health
    if health is None:
        return Blame(reason)
    children = node.children if health.awaited is None else health.awaited.children
    others = health.awaited is not None and health.awaited.others
    ends: list[Blamed] = []
    follows: list[Edge] = []
    for child in children:
        found = around.node(child)
        if found is not None and (found.terminating or found.suspended):
            ends.append(Blamed(child, TERMINATING if found.terminating else SUSPENDED, Via.HEALTH))
        elif found is not None and found.unwell:
            follows.append(Edge(Via.HEALTH, child))
        elif found is not None and (found.unwell_until or 0.0) >= health.ended_at - SLACK_SECONDS:
            ends.append(Blamed(child, RECOVERED, Via.HEALTH))
        else:
            # It merely runs, or is gone, or was never the trouble.
            others = others or health.awaited is not None
    own = reason if others or not (ends or follows) else ""
    return Blame(own, tuple(ends), tuple(follows), frozenset(children))


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found at the end of one edge."""

    edge: Edge
    reason: str
    """Why that is a cause; empty where it is none."""
    follow: bool = False
    certain: bool = True
    """Not so: it may be a cause, if there is no other."""
    ready_since: float = 0.0


def _of_waiting(node: Node, wait: Wait, around: Landscape, now: float) -> Blame:
    looked_at: set[Key] = set()
    targets = [edge.target for edge in node.edges if edge.via is wait.via]
    if wait.named is not None and wait.named not in (node.key, *targets):
        targets.append(wait.named)
    # Dependencies are looked at in their order, so that those before the one that is named have passed.
    passed = targets[: targets.index(wait.named)] if wait.named in targets else []
    found = [_find(node, wait, target, around, looked_at, target in passed) for target in targets]
    causes = [item for item in found if item.reason or item.follow]
    certain = [item for item in causes if item.certain] or causes
    if certain:
        ends = tuple(Blamed(item.edge.target, item.reason, wait.via) for item in certain if not item.follow)
        return Blame("", ends, tuple(item.edge for item in certain if item.follow), frozenset(looked_at))
    since = max([wait.since, *(item.ready_since for item in found)])
    due = since + wait.patience_seconds
    if now < due:
        return Blame(looked_at=frozenset(looked_at), due=due)
    return Blame(SUSPENDED if node.suspended else CONDITION_NOT_MET, looked_at=frozenset(looked_at))


def _find(node: Node, wait: Wait, target: Key, around: Landscape, looked_at: set[Key], passed: bool) -> _Found:
    named = wait.named is None or wait.named == target
    target = _stands_for(target, around, looked_at)
    looked_at.add(target)
    edge, awaited = Edge(wait.via, target), around.node(target)
    # Of several sources, one with an artifact is not what is waited for, whatever its state.
    offers = wait.via is Via.SOURCE_REF and awaited is not None and bool(awaited.revision)
    if awaited is None:
        # Nothing is known of it, and the message speaks of another one.
        return _Found(edge, NOT_FOUND) if around.is_listed(target) else _Found(edge, NOT_WATCHED, certain=named)
    if awaited.terminating:
        return _Found(edge, TERMINATING)
    if awaited.suspended:
        unwell = awaited.phase is not Phase.READY and not passed
        return _Found(edge, SUSPENDED, certain=not offers and (named or unwell))
    if awaited.unwell:
        return _Found(edge, awaited.reason, follow=True, certain=not offers and not passed)
    if _is_running(awaited, wait):
        return _Found(edge, PROGRESSING, certain=wait.named == target)
    if wait.via is Via.DEPENDS_ON and _is_behind(node, awaited, around, looked_at):
        return _Found(edge, REVISION_NOT_UP_TO_DATE, certain=wait.named == target)
    if target.kind == "ExternalArtifact" and not awaited.revision:
        return _Found(edge, NOT_WATCHED)
    return _Found(edge, "", ready_since=awaited.ready_since)


def _is_running(awaited: Node, wait: Wait) -> bool:
    if awaited.phase is Phase.RUNNING or not awaited.confirmed:
        return True
    if awaited.running_since is None:
        return False
    # One that was long ready, and ready in vain, when it ran once more is not what is waited for.
    in_vain_since = max(wait.since, awaited.ready_since) + wait.patience_seconds
    return awaited.running_since < in_vain_since


def _is_behind(node: Node, awaited: Node, around: Landscape, looked_at: set[Key]) -> bool:
    """kustomize-controller wants a dependency of the same source to have applied that source's revision."""
    source = _source_of(node)
    if source is None or source != _source_of(awaited):
        return False
    looked_at.add(source)
    offered = around.node(source)
    return offered is not None and bool(offered.revision) and offered.revision != awaited.revision


def _source_of(node: Node) -> Key | None:
    return next(_sources(node), None) if node.key.kind == "Kustomization" else None


def _sources(node: Node) -> Iterator[Key]:
    return (edge.target for edge in node.edges if edge.via is Via.SOURCE_REF)


def _stands_for(target: Key, around: Landscape, looked_at: set[Key]) -> Key:
    """The object to look at for this one: an ExternalArtifact's producer, where there is one and it is not well."""
    if target.kind != "ExternalArtifact":
        return target
    looked_at.add(target)
    artifact = around.node(target)
    producer = next(_sources(artifact), None) if artifact is not None else around.producer(target)
    if producer is None:
        return target
    looked_at.add(producer)
    maker = around.node(producer)
    if maker is None:
        return producer if artifact is None or not artifact.revision else target
    return target if maker.phase is Phase.READY and not maker.unwell else producer
