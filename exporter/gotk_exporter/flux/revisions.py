"""Who has applied what its source offers, since when not, and what announced each new revision.

An object is *behind* while what it has applied last is another revision than its source has stored. That begins when
the source stores a new one, goes on however often the source moves again (else a busy repository would hide what is
stuck), and begins anew when the object applies another one (else a busy repository would make everything look stuck).
What has never applied anything is not behind but failing, waiting or running, as it says itself; nor is anything behind
a source that is unknown or has nothing stored.

A new revision of a source is put down to what made its controller look. A first one is not: nobody announced it. After
a gap the same rule holds, since the object still says which request was the last.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gotk_exporter.flux.nodes import Node, Phase
from gotk_exporter.flux.offers import ROUNDED_UP_SECONDS, Available, Polled, Taken
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.rows import Via

SETTLING_SECONDS = 5.0
"""A run ends with two writes, first the conditions and then the artifact. On a busy machine they were 33 ms apart."""


class Trigger(enum.Enum):
    """What made a controller look for a new revision; the value is the label's."""

    WEBHOOK = "webhook"
    MANUAL = "manual"
    POLL = "poll"


_COUNTED = frozenset({"GitRepository", "OCIRepository", "Bucket", "HelmRepository"})
"""Of the kinds that look at the outside, those whose objects have an artifact."""


class _Has(NamedTuple):
    """What an object has applied of its source."""

    source: Key
    kind: str
    revision: str
    proof: str
    """offers.Taken."""


@dataclass(slots=True)
class _Source:
    """What is known of a source between two writes."""

    node: Node
    offer: Available
    revision: str
    """The last one that it had, also while it has none."""
    offered_since: float
    """When that was stored, or when we saw it first."""
    latest: float | None
    """The last time that an artifact of it had."""
    counts: dict[str, int] | None
    unanswered: Trigger | None = None
    """Who asked for the run that failed, while none has ended well since."""


class Revisions:
    """All objects that offer or apply a revision. A change costs the objects whose answer it changes."""

    def __init__(self) -> None:
        self._sources: dict[Key, _Source] = {}
        self._has: dict[Key, _Has | None] = {}
        """Of all objects that apply a source; None for those that have nothing of it."""
        self._appliers: dict[Key, dict[_Has, dict[Key, Taken]]] = {}
        """By source and by what they have of it: most of a fleet has the same."""
        self._since: dict[Key, float] = {}
        """Of all that are behind. Kept while the source has nothing stored: that moves nobody on."""
        self._proofs: dict[Key, tuple[str, str]] = {}
        """Of each Terraform: what it had applied, and the revision that it was at, when it last said so. While it runs
        it does not."""
        self._remembered: dict[Key, float] = {}
        """From before a restart, until the object is known to be up to date, or since when it is behind."""

    def update(self, changes: Mapping[Key, Node | None], now: float) -> set[Key]:
        """Take in objects as they are now; returns those whose answers have changed, and all sources among them."""
        touched: set[Key] = set()
        for key, node in changes.items():
            offer = node.offer if node is not None else None
            if node is not None and isinstance(offer, Available):
                touched |= self._offer(node, offer, now)
            elif node is not None and isinstance(offer, Taken):
                touched |= self._take(node, offer, now)
            else:
                touched |= self._forget(key)
        return touched

    def remember(self, key: Key, since: float) -> None:
        """To be told before the object is: from before a restart, since when (Unix seconds) it has been behind."""
        self._remembered[key] = since

    def behind_since(self, key: Key) -> float | None:
        """Since when (Unix seconds) the object has not applied what its source offers; None where it has."""
        since, has = self._since.get(key), self._has.get(key)
        return since if has is not None and self._offered(has.source) else None

    def changes(self, key: Key) -> Mapping[str, int] | None:
        """New revisions of a source so far, by trigger; None for what is no source."""
        source = self._sources.get(key)
        return source.counts if source is not None else None

    def _offered(self, source: Key) -> str:
        known = self._sources.get(source)
        return known.node.revision if known is not None else ""

    def _forget(self, key: Key) -> set[Key]:
        """The object is gone."""
        if self._sources.pop(key, None) is not None:
            groups = self._appliers.get(key, {})
            return {key, *(member for members in groups.values() for member in self._clear(members))}
        self._place(key, None, None)
        self._proofs.pop(key, None)
        self._remembered.pop(key, None)
        return {key} if self._has.pop(key, None) is not None else set()

    def _clear(self, members: Iterable[Key]) -> list[Key]:
        """They are not behind; returns those that were."""
        if self._remembered:
            for member in members:
                self._remembered.pop(member, None)
        return [member for member in members if self._since.pop(member, None) is not None]

    # Sources

    def _offer(self, node: Node, offer: Available, now: float) -> set[Key]:
        key, known = node.key, self._sources.get(node.key)
        before, latest = (known.node.revision, known.latest) if known is not None else ("", None)
        since = _stored_at(latest, offer, now)
        if known is None or _uid(known.offer) != _uid(offer):
            counted = offer.polled is not None and key.kind in _COUNTED
            counts = {trigger.value: 0 for trigger in Trigger} if counted else None
            self._sources[key] = _Source(node, offer, node.revision, since, offer.updated_at, counts)
        else:
            _count(known, node, offer, now)
            if node.revision not in ("", known.revision):
                known.revision, known.offered_since = node.revision, since
            known.node, known.offer = node, offer
            known.latest = offer.updated_at or latest
        if before == node.revision:
            return {key}
        return {key} | self._compare(key, before, node.revision, now)

    def _compare(self, source: Key, before: str, offered: str, now: float) -> set[Key]:
        """The source offers another revision: returns whose answer has changed."""
        since = self._sources[source].offered_since
        touched: set[Key] = set()
        for has, members in self._appliers.get(source, {}).items():
            if not offered or not before:
                touched.update([member for member in members if member in self._since])
            if offered and is_same(has.kind, has.revision, has.proof, offered):
                touched.update(self._clear(members))
            elif offered:
                new = [member for member in members if member not in self._since]
                self._since.update([(member, self._begin(member, since, members[member], now)) for member in new])
                touched.update(new)
        return touched

    # What applies them

    def _take(self, node: Node, taken: Taken, now: float) -> set[Key]:
        key = node.key
        first, before = key not in self._has, self._has.get(key)
        has = self._has_of(node, taken)
        self._place(key, has, taken)
        if has == before and not first:
            return set()
        self._has[key] = has
        offered = self._offered(has.source) if has is not None else ""
        if has is None or not offered:
            return {key}
        if is_same(has.kind, has.revision, has.proof, offered):
            self._clear((key,))
        else:
            offered_since = self._sources[has.source].offered_since
            self._since[key] = self._begin(key, offered_since, taken, now) if first else now
        return {key}

    def _begin(self, key: Key, offered_since: float, taken: Taken, now: float) -> float:
        """Since when an object is behind that had applied what it has before we looked. A run may end after its source
        has moved on: then it is behind since that end. What is remembered holds where it has applied nothing since."""
        since = min(now, max(offered_since, taken.well_at))
        remembered = self._remembered.pop(key, since)
        return min(since, remembered) if taken.well_at and taken.well_at - ROUNDED_UP_SECONDS <= remembered else since

    def _has_of(self, node: Node, taken: Taken) -> _Has | None:
        edge = next((edge for edge in node.edges if edge.via in (Via.SOURCE_REF, Via.CHART_REF)), None)
        if edge is None or not node.revision or node.terminating:
            return None
        proof = taken.proof
        if node.key.kind == "Terraform":
            applied, known = self._proofs.get(node.key, ("", ""))
            proof = proof or (known if applied == node.revision else "")
            self._proofs[node.key] = node.revision, proof
        return _shared(edge.target, node.key.kind, node.revision, proof)

    def _place(self, key: Key, has: _Has | None, taken: Taken | None) -> None:
        """The object has this now, and nothing else."""
        before = self._has.get(key)
        if before is not None and before != has:
            self._since.pop(key, None)
            self._remembered.pop(key, None)
            groups = self._appliers[before.source]
            del groups[before][key]
            if not groups[before]:
                del groups[before]
            if not groups:
                del self._appliers[before.source]
        if has is not None and taken is not None:
            self._appliers.setdefault(has.source, {}).setdefault(has, {})[key] = taken


@functools.lru_cache(maxsize=4096)
def _shared(source: Key, kind: str, revision: str, proof: str) -> _Has:
    return _Has(source, kind, revision, proof)


def _uid(offer: Available) -> str | None:
    """None where it does not matter who it is, as nothing is counted."""
    return offer.polled.uid if offer.polled is not None else None


# Since when


def _stored_at(before: float | None, offer: Available, now: float) -> float:
    """When what is offered was stored, as far as the object proves it: a time that stood there before proves nothing
    about a new revision, and no clock is right that is ahead of ours."""
    at = offer.updated_at
    return now if at is None or (before is not None and at <= before) else min(at, now)


# What is the same revision


def is_same(kind: str, revision: str, proof: str, offered: str) -> bool:
    """Whether what an object of the kind has applied is what its source offers."""
    if revision == offered:
        return True
    if kind == "HelmRelease":
        return _is_same_chart(revision, proof, offered)
    return _modern(offered) in (_modern(revision), _modern(proof))


def _is_same_chart(version: str, digest: str, offered: str) -> bool:
    """A HelmChart offers a version, everything else a digest and mostly a tag before it. helm-controller puts the
    digest's beginning behind the version of what it deploys, and notes all of it (mutateChartWithSourceRevision() in
    its internal/controller/helmrelease_controller.go). The feature DisableChartDigestTracking keeps it from the former,
    and then only another version is deployed."""
    tag, _, offered_digest = offered.rpartition("@")
    if ":" not in offered_digest:
        return _plain(version) == _plain(offered)
    beginning = offered_digest.rpartition(":")[2][:_DIGEST_IN_VERSION]
    metadata = version.rpartition("+")[2] if "+" in version else ""
    noted = digest.rpartition("@")[2]
    is_tracked = not digest or metadata == noted.rpartition(":")[2][:_DIGEST_IN_VERSION]
    if noted and (is_tracked or not _plain(tag)[:1].isdigit()):
        return noted == offered_digest
    return metadata == beginning or _plain(version) == _plain(tag)


_DIGEST_IN_VERSION = 12
"""extractDigestSubString() in the same file."""


def _plain(version: str) -> str:
    """A tag cannot have a plus, and a version may begin with a v, which is lost in packaging."""
    return version.removeprefix("v").replace("_", "+")


_HASHES = {40: "sha1", 64: "sha256"}
_HASH = re.compile(r"[0-9a-f]+", re.ASCII)


def _modern(revision: str) -> str:
    """main/5394cb7f… as main@sha1:5394cb7f…: before Flux 2.0 there was the former. TransformLegacyRevision() in
    source-controller's api/v1beta2/artifact_types.go."""
    if not revision or ":" in revision:
        return revision
    name, _, digest = revision.rpartition("/")
    algorithm = _HASHES.get(len(digest)) if _HASH.fullmatch(digest) else None
    if algorithm is None:
        return revision
    return f"{name}@{algorithm}:{digest}" if name not in ("", "HEAD") else f"{algorithm}:{digest}"


# Who announced it


_GO_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} \S+( m=[+-]\d+\.\d+)?", re.ASCII)
"""How a Receiver writes the time of its request: String() of Go's time.Now() (annotate() in notification-controller's
internal/server/receiver_handlers.go). The flux command writes RFC 3339, and people write anything."""


def _count(source: _Source, node: Node, offer: Available, now: float) -> None:
    """Take one write of a source whose revisions are counted."""
    before, was, polled = source.node, source.offer.polled, offer.polled
    if source.counts is None or was is None or polled is None:
        return
    rested = before.phase is Phase.READY and now - before.ready_since > SETTLING_SECONDS
    if source.revision and node.revision and _modern(node.revision) != _modern(source.revision):
        trigger = trigger_of(was, polled) or (None if rested else source.unanswered) or Trigger.POLL
        source.counts[trigger.value] += 1
        source.unanswered = None
    elif polled.handled != was.handled and node.phase is Phase.FAILING:
        # The retries that follow, without another request, are due to this one.
        source.unanswered = _whose(polled.handled)
    elif rested:
        source.unanswered = None


def trigger_of(before: Polled, polled: Polled) -> Trigger | None:
    """Who asked for the run that ends with this write; None where nobody did.

    A run handles the request that stands there at its beginning, and says so at its end (recorded: flux-timelines, j),
    in the write that has the artifact. Where it does not say so yet, a request that has not been handled counts.
    One that was handled before, by a run that found nothing, has nothing to do with what is found now. Who changes the
    spec asks as well.
    """
    if polled.handled and polled.handled != before.handled:
        return _whose(polled.handled)
    if polled.requested and polled.requested != polled.handled:
        return _whose(polled.requested)
    return (
        Trigger.MANUAL
        if None not in (before.observed, polled.generation) and before.observed != polled.generation
        else None
    )


def _whose(request: str) -> Trigger | None:
    if not request:
        return None
    return Trigger.WEBHOOK if _GO_TIME.fullmatch(request) else Trigger.MANUAL
