"""Why is an object not ready? What is known of it, in one value: its state, its root causes with the way to each, what
it blocks, and what to look at next.

A value that goes over the wire as it is: field names are a contract, times are Unix seconds. It holds no message of any
controller, unless somebody who may read the object adds them (``with_messages``). Which object is meant is question's
business, the words for a person are telling's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from gotk_exporter.flux import advice
from gotk_exporter.flux.blame import CYCLE, NOT_FOUND, NOT_WATCHED, SUSPENDED, TERMINATING, Blame
from gotk_exporter.flux.graph import Answer
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.particulars import (
    AwaitingRetry,
    Details,
    Failed,
    Freshness,
    Named,
    Part,
    Risk,
    awaiting_of,
    failed_of,
    freshness_of,
    named,
    risk_of,
)
from gotk_exporter.flux.redaction import fit_to_show
from gotk_exporter.flux.references import Edge, Key
from gotk_exporter.flux.rows import Via
from gotk_exporter.flux.verdicts import Status, Verdict

MAX_CAUSES = 20
MAX_BLOCKED_NAMED = 20
MAX_VISITED = 5000
"""Objects that are looked at on the way to the causes: nobody who may ask must be able to keep us busy."""

State: TypeAlias = Literal["well", "failing", "waiting", "running", "unknown", "terminating", "unjudged", "missing"]
"""running: no run has ended that we know of, and one goes on. unknown: nothing can be said. unjudged: no controller
judges it. missing: it does not exist."""
Why: TypeAlias = Literal["forbidden", "not_listed_yet", "unreachable", "timed_out", "out_of_date"]
"""out_of_date: what is known of the kind is from before contact with the API server was lost."""

READY_STATES: frozenset[State] = frozenset({"well", "unjudged"})


class Since(Part, frozen=True):
    """It began between ``timestamp`` and ``timestamp + uncertainty_seconds``."""

    timestamp: float
    uncertainty_seconds: float


class Step(Part, frozen=True):
    """One step of the way: what the one before it waits for, and by which of its fields."""

    object: Named
    via: str
    state: State
    reason: str


class Cause(Part, frozen=True):
    """A root cause: nothing else has to be mended first."""

    object: Named
    reason: str
    state: State
    since: Since | None
    exists: bool | None
    """None where its kind is not known."""
    path: list[Step]
    """From the object to the cause, which is the last step; empty where the object is its own cause."""
    cycle: list[Named]
    """The members of a circle, each waiting for the next, the last for the first."""
    blocks: int
    held_back: int | None
    failure: Failed | None = None
    awaiting_retry: AwaitingRetry | None = None
    message: str | msgspec.UnsetType = msgspec.UNSET


class Blocks(Part, frozen=True):
    count: int
    objects: list[Named]
    """The first of them."""


class NotKnown(Part, frozen=True):
    """A kind (in one namespace, or everywhere) of which nothing, or nothing new, is known."""

    kind: str
    namespace: str
    why: Why


class Explanation(Part, frozen=True):
    object: Named
    state: State
    suspended: bool
    reason: str
    since: Since | None
    """Of the state, where it fails or waits."""
    running_since: float | None
    last_good_revision: str
    causes: list[Cause]
    causes_left_out: int
    blocks: Blocks
    held_back: int | None
    parents: list[Named]
    not_known: list[NotKnown]
    next: list[str]
    failure: Failed | None = None
    awaiting_retry: AwaitingRetry | None = None
    freshness: Freshness | None = None
    risk: Risk | None = None
    message: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def ready(self) -> bool:
        return self.state in READY_STATES


class Around(Protocol):
    """The part of the graph of causes that is asked."""

    def node(self, key: Key) -> Node | None: ...

    def is_listed(self, key: Key) -> bool: ...

    def answer(self, key: Key) -> Answer: ...

    def blame(self, key: Key) -> Blame | None: ...

    def blamed_by(self, root: Key) -> tuple[Key, ...]: ...


VerdictOf: TypeAlias = Callable[[Key], Verdict | None]
DetailsOf: TypeAlias = Callable[[Key], Details]


def explanation_of(
    key: Key,
    around: Around,
    verdict_of: VerdictOf,
    details_of: DetailsOf,
    now: float,
    not_known: Sequence[NotKnown] = (),
) -> Explanation:
    """All that is known of the object, which exists."""
    node, verdict, answer = around.node(key), verdict_of(key), around.answer(key)
    ways = _ways(key, around)
    causes = sorted((_cause(root, ways[root], around, verdict_of) for root in ways), key=_importance)
    shown = [_detailed(cause, details_of) for cause in causes[:MAX_CAUSES]]
    details = details_of(key)
    # Who suspends something, or lets it run, makes others wait: they are named also where it is well itself.
    blocked = around.blamed_by(key) if answer.blocked else ()
    state = _state(key, around, verdict)
    return Explanation(
        object=named(key),
        state=state,
        suspended=node is not None and node.suspended,
        reason=node.reason if node is not None else "",
        since=_since(verdict),
        running_since=verdict.running_since if verdict is not None else None,
        last_good_revision=node.revision if node is not None else "",
        causes=shown,
        causes_left_out=len(causes) - len(shown),
        blocks=Blocks(count=len(blocked), objects=[named(other) for other in blocked[:MAX_BLOCKED_NAMED]]),
        held_back=answer.held_back,
        parents=[named(parent) for parent in answer.parents],
        not_known=list(not_known),
        next=_next(key, state, shown, node, len(blocked), now),
        failure=failed_of(details),
        awaiting_retry=awaiting_of(details),
        freshness=freshness_of(details),
        risk=risk_of(details),
    )


def _detailed(cause: Cause, details_of: DetailsOf) -> Cause:
    details = details_of(_key(cause.object))
    return msgspec.structs.replace(cause, failure=failed_of(details), awaiting_retry=awaiting_of(details))


def with_messages(explanation: Explanation, messages: Mapping[Key, str]) -> Explanation:
    """The same with what the controllers say, as far as it is fit to be shown."""

    def of(name: Named) -> str | msgspec.UnsetType:
        message = fit_to_show(messages.get(Key(name.kind, name.namespace, name.name), ""))
        return message or msgspec.UNSET

    causes = [msgspec.structs.replace(cause, message=of(cause.object)) for cause in explanation.causes]
    return msgspec.structs.replace(explanation, causes=causes, message=of(explanation.object))


def encode(explanation: Explanation) -> bytes:
    return msgspec.json.encode(explanation)


def decode(body: bytes) -> Explanation:
    """Raises ValueError where the body is no explanation."""
    try:
        return msgspec.json.decode(body, type=Explanation)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


# States


def _state(key: Key, around: Around, verdict: Verdict | None) -> State:
    node = around.node(key)
    if node is None:
        return "missing" if around.is_listed(key) else "unknown"
    if node.terminating:
        return "terminating"
    if verdict is None:
        return "unjudged"
    if verdict.waiting_since is not None:
        return "waiting"
    if verdict.failing:
        return "failing"
    if verdict.status is Status.TRUE:
        return "well"
    return "running" if verdict.running_since is not None else "unknown"


def _since(verdict: Verdict | None) -> Since | None:
    if verdict is None:
        return None
    if verdict.waiting_since is not None:
        return Since(timestamp=verdict.waiting_since, uncertainty_seconds=0.0)
    if verdict.failure is not None:
        return Since(timestamp=verdict.failure.start, uncertainty_seconds=verdict.failure.width)
    return None


# Causes and the ways to them

_Way = tuple[tuple[Edge, str], ...]
"""Edges, each with the reason why what it leads to is a cause; empty where it is none."""


def _ways(key: Key, around: Around) -> Mapping[Key, _Way]:
    """The shortest way to each root cause of the object, itself included where it is one."""
    answer = around.answer(key)
    roots = {root for root, _ in answer.blocked_by}
    found: dict[Key, _Way] = {}
    blame = around.blame(key)
    if blame is not None and (blame.own or (answer.root_reason == CYCLE and blame.follows)):
        found[key] = ()
    for edge, way in _walk(key, around):
        if edge.target in roots:
            found.setdefault(edge.target, way)
        if len(found) > len(roots):
            break
    # What lies beyond the bound of the walk is named all the same.
    return {**{root: ((Edge(via, root), ""),) for root, via in answer.blocked_by}, **found}


def _walk(start: Key, around: Around) -> Iterator[tuple[Edge, _Way]]:
    """Whatever lies on the way to a cause, the nearest first, and the way there."""
    seen, queue = {start}, [(start, _Way())]
    for key, way in queue:
        blame = around.blame(key)
        if blame is None:
            continue
        steps = [(Edge(end.via, end.key), end.reason) for end in blame.ends]
        steps += [(edge, "") for edge in blame.follows]
        for edge, reason in steps:
            if edge.target in seen or len(seen) > MAX_VISITED:
                continue
            seen.add(edge.target)
            longer = (*way, (edge, reason))
            yield edge, longer
            if not reason:
                queue.append((edge.target, longer))


def _cause(root: Key, way: _Way, around: Around, verdict_of: VerdictOf) -> Cause:
    answer, verdict, node = around.answer(root), verdict_of(root), around.node(root)
    path = [_step(edge, reason, around, verdict_of) for edge, reason in way]
    if path:
        path[-1] = msgspec.structs.replace(path[-1], reason=answer.root_reason)
    return Cause(
        object=named(root),
        reason=answer.root_reason,
        state=_state(root, around, verdict),
        since=_since(verdict) or _running_since(verdict),
        exists=True if node is not None else (False if around.is_listed(root) else None),
        path=path,
        cycle=[named(member) for member in _cycle(root, around)] if answer.root_reason == CYCLE else [],
        blocks=answer.blocked,
        held_back=answer.held_back,
    )


def _running_since(verdict: Verdict | None) -> Since | None:
    since = verdict.running_since if verdict is not None else None
    return None if since is None else Since(timestamp=since, uncertainty_seconds=0.0)


def _step(edge: Edge, reason: str, around: Around, verdict_of: VerdictOf) -> Step:
    node, verdict = around.node(edge.target), verdict_of(edge.target)
    return Step(
        object=named(edge.target),
        via=edge.via.value,
        state=_state(edge.target, around, verdict),
        reason=reason or (node.reason if node is not None else ""),
    )


def _cycle(root: Key, around: Around) -> Sequence[Key]:
    """The members of the shortest circle that ``root`` is on, in the order in which they wait."""
    for edge, way in _walk(root, around):
        blame = around.blame(edge.target)
        if blame is not None and any(following.target == root for following in blame.follows):
            return [root, *(step.target for step, _ in way)]
    return [root]


_RANK = {reason: rank for rank, reason in enumerate((NOT_FOUND, TERMINATING, SUSPENDED, CYCLE), 1)}
"""After an object's own failure, which has rank 0."""
_WEAK = len(_RANK) + 1


def _importance(cause: Cause) -> tuple[int, int, str, str, str]:
    own = cause.state in ("failing", "waiting") and cause.reason not in _RANK
    rank = 0 if own else _RANK.get(cause.reason, _WEAK)
    return rank, len(cause.path), cause.object.kind, cause.object.namespace, cause.object.name


# What to look at next


def _next(key: Key, state: State, causes: Sequence[Cause], node: Node | None, blocked: int, now: float) -> list[str]:
    if causes:
        return list(advice.for_causes([_matter(key, cause) for cause in causes]))
    if blocked and node is not None and node.suspended:
        return list(advice.for_causes([advice.Matter(key, SUSPENDED, state, key, "")]))
    return [] if state in READY_STATES else list(advice.without_cause(key, state, node, now))


def _matter(key: Key, cause: Cause) -> advice.Matter:
    before = cause.path[-2].object if len(cause.path) > 1 else named(key)
    via = cause.path[-1].via if cause.path else Via.HEALTH.value
    reason = cause.reason if cause.exists is not None else NOT_WATCHED
    return advice.Matter(
        _key(cause.object), reason, cause.state, _key(before), via, tuple(_key(member) for member in cause.cycle)
    )


def _key(name: Named) -> Key:
    return Key(name.kind, name.namespace, name.name)
