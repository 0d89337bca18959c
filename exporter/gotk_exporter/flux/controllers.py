"""Which of Flux's controllers live, by their Leases, and which objects none of them serves.

A controller that is started with --watch-label-selector has the selector's hash in its Lease's name, and nowhere else.
So each selector that somebody is likely to have written is made from the shards that occur among objects, and hashed;
what a Lease is for stays open where none of them fits. Nothing is said where anything is open: that nobody serves an
object is a claim about every controller that there may be. Left out for that reason: controllers in namespaces that are
not read, and those without leader election, are seen by nobody here (see ``_view``).

Sources: fluxcd/pkg, runtime/leaderelection (GenerateID, Options) and runtime/controller (WatchOptions); main.go of each
controller; fluxcd.io, "Flux sharding and horizontal scaling"; flux-operator, internal/builder.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

from gotk_exporter.flux.fields import SHARDING_LABEL
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.references import Key

MARGIN_SECONDS = 180.0
"""A controller counts as living for so long after its Lease has run out. What is no end of it takes less: a rolling
update releases the Lease, which then runs out in a second, and the next pod may have to wait for a node (Karpenter: one
to two minutes) and for its image; we may miss polls for ``Bounds.lease_patience``; clocks of two nodes may differ."""

SELECTING: Mapping[str, tuple[str, ...]] = {
    "kustomize-controller": ("Kustomization",),
    "helm-controller": ("HelmRelease",),
    "source-controller": ("GitRepository", "OCIRepository", "Bucket", "HelmRepository", "HelmChart"),
    "source-watcher": ("ArtifactGenerator",),
    "image-reflector-controller": ("ImageRepository", "ImagePolicy"),
    "image-automation-controller": ("ImageUpdateAutomation",),
}
"""The controllers that know --watch-label-selector, with the kinds that it chooses from. To the others the label means
nothing, and whether they live their own heartbeat says."""
_CONTROLLER_OF = {kind: controller for controller, kinds in SELECTING.items() for kind in kinds}

_OTHERS: Mapping[str, str] = {
    "notification-controller-leader-election": "notification-controller",
    "flagger-leader-election": "flagger",
    "flux-operator": "flux-operator",
    "1953de50.contrib.fluxcd.io": "tofu-controller",
}
"""Leases that have one name only, and whose they are."""
_NAME = re.compile(rf"({'|'.join(SELECTING)})-leader-election(?:-([0-9a-f]{{8}}))?")


@dataclass(frozen=True, slots=True)
class Lease:
    """A controller's heartbeat."""

    name: str
    namespace: str
    renewed_at: float
    """Unix seconds. Also when it was released."""
    duration_seconds: float
    """1 where it was released."""

    def lives(self, now: float) -> bool:
        return now - self.renewed_at <= self.duration_seconds + MARGIN_SECONDS


class Holder(NamedTuple):
    """Whose Lease it is."""

    controller: str
    suffix: str
    """Of a selector; empty where it has none."""

    @property
    def name(self) -> str:
        """As the label has it: the Lease's name without "-leader-election"."""
        return f"{self.controller}-{self.suffix}" if self.suffix else self.controller


def holder_of(lease: str) -> Holder | None:
    """By the name of the Lease; None where it is none of Flux's controllers'."""
    match = _NAME.fullmatch(lease)
    if match is not None:
        return Holder(match[1], match[2] or "")
    return Holder(_OTHERS[lease], "") if lease in _OTHERS else None


@dataclass(frozen=True, slots=True)
class Selector:
    """What a controller looks at, of the objects with a sharding label: those in ``values``, or all others."""

    values: frozenset[str] = frozenset()
    inverted: bool = False

    def serves(self, shard: str) -> bool:
        return (shard in self.values) is not self.inverted

    @property
    def names_shards(self) -> bool:
        """Whether it is for certain shards: a shard's own controller."""
        return bool(self.values) and not self.inverted


EVERYTHING, NO_SHARD = Selector(inverted=True), Selector()

MAX_LISTED = 32
"""Shards that selectors with lists are made for; where there are more, each is still known by itself."""
MAX_PERMUTED = 4
"""Up to so many, lists are made of any of them in any order: 64 of them."""
MAX_STEMS = 4
MAX_NUMBER = 31
"""A shard that is called shard2 has siblings, also without an object: shard0 to shard31. Without them the first idle
shard's controller would be one that cannot be explained."""


class Controllers:
    """The Leases, and the objects with a sharding label."""

    def __init__(self) -> None:
        self._shards: dict[Key, str] = {}
        self._members: dict[_Group, set[Key]] = {}
        self._occurring: Counter[str] = Counter()
        """How many objects, of whatever kind, are in each shard."""
        self._for_one: dict[str, Selector] = {}
        """By suffix, as the next: selectors of each shard that occurs."""
        self._for_several: Mapping[str, Selector] = {}
        self._leases: dict[str, tuple[tuple[Holder, Lease], ...]] = {}
        """By namespace."""
        self._unread: set[str] = set()
        """Namespaces in which there may be any controller."""
        self._views: dict[str, frozenset[Selector] | None] = {}
        """By controller: what its living ones serve; None where that cannot be known."""
        self._unserved: set[_Group] = set()
        self._now = 0.0

    def update(self, changes: Mapping[Key, Node | None]) -> set[Key]:
        """Take in objects as they are now; returns those whose answer may have changed."""
        shards = {key: node.shard if node is not None else "" for key, node in changes.items()}
        moved = {key: shard for key, shard in shards.items() if self._shards.get(key, "") != shard}
        if not moved:
            return set()
        answers = {key: self.is_unserved(key) for key in moved}
        occurred = set(self._occurring)
        groups = {group for key, shard in moved.items() for group in self._move(key, shard)}
        if occurred != self._occurring.keys():
            self._name_shards(self._occurring.keys() - occurred, occurred - self._occurring.keys())
        touched = self._judge(groups)
        return touched | {key for key, answer in answers.items() if self.is_unserved(key) is not answer}

    def take(self, namespace: str, leases: Sequence[Lease] | None, now: float) -> set[Key]:
        """The Leases of a namespace as they are now; None where they cannot be read."""
        self._now = max(self._now, now)
        if leases is None:
            self._unread.add(namespace)
            self._leases.pop(namespace, None)
        else:
            self._unread.discard(namespace)
            named = ((holder_of(lease.name), lease) for lease in leases)
            self._leases[namespace] = tuple([(holder, lease) for holder, lease in named if holder is not None])
        return self._judge()

    def advance(self, now: float) -> set[Key]:
        """Time has passed, and a Lease may have run out."""
        self._now = max(self._now, now)
        return self._judge()

    def is_unserved(self, key: Key) -> bool:
        """Whether no living controller serves the object."""
        shard = self._shards.get(key)
        return shard is not None and (_CONTROLLER_OF.get(key.kind, ""), shard) in self._unserved

    def heartbeats(self) -> Iterator[tuple[str, str, float]]:
        """Of each controller that has a Lease: its name, the Lease's namespace, and when it was renewed."""
        for holder, lease in self._all():
            yield holder.name, lease.namespace, lease.renewed_at

    def _all(self) -> Iterator[tuple[Holder, Lease]]:
        return (held for leases in self._leases.values() for held in leases)

    def _move(self, key: Key, shard: str) -> Iterator[_Group]:
        """Into this shard, or out of any; yields the groups that it leaves and joins."""
        controller, before = _CONTROLLER_OF.get(key.kind), self._shards.pop(key, "")
        if before:
            self._occurring[before] -= 1
            if not self._occurring[before]:
                del self._occurring[before]
        if before and controller:
            members = self._members[controller, before]
            members.discard(key)
            if not members:
                del self._members[controller, before]
            yield controller, before
        if shard:
            self._shards[key] = shard
            self._occurring[shard] += 1
        if shard and controller:
            self._members.setdefault((controller, shard), set()).add(key)
            yield controller, shard

    def _name_shards(self, come: Iterable[str], gone: Iterable[str]) -> None:
        """Shards occur that did not, or occur no more."""
        for shard in gone:
            for suffix in _for_one(shard):
                del self._for_one[suffix]
        for shard in come:
            self._for_one.update(_for_one(shard))
        shards = self._occurring.keys()
        self._for_several = _for_several(frozenset(shards)) if len(shards) <= MAX_LISTED else {}

    def _judge(self, touched: Iterable[_Group] = ()) -> set[Key]:
        """Find out anew who is served, in these groups and wherever the controllers are others than before."""
        views = {controller: self._view(controller) for controller in SELECTING}
        changed = {controller for controller, view in views.items() if view != self._views.get(controller)}
        self._views = views
        groups = {*touched, *(group for group in self._members if group[0] in changed)} if changed else set(touched)
        keys: set[Key] = set()
        for group in groups:
            controller, shard = group
            view, members = views[controller], self._members.get(group)
            unserved = bool(members) and view is not None and not any(selector.serves(shard) for selector in view)
            if unserved is not (group in self._unserved):
                (self._unserved.add if unserved else self._unserved.discard)(group)
                keys |= members or set()
        return keys

    def _view(self, controller: str) -> frozenset[Selector] | None:
        """What the living ones of a controller serve together; None where that cannot be known."""
        leases = [(self._selector(of.suffix), lease) for of, lease in self._all() if of.controller == controller]
        living = [selector for selector, lease in leases if lease.lives(self._now)]
        selectors = frozenset(selector for selector in living if selector is not None)
        if self._unread or None in living:
            return None
        if any(selector.names_shards for selector, _ in leases if selector is not None):
            return selectors
        # Not one shard has ever had a Lease. They may be elsewhere, or run without leader election, as blogs have it;
        # unless there never was anything but one controller for everything, and it is gone.
        return selectors if any(selector == EVERYTHING for selector, _ in leases) and not living else None

    def _selector(self, suffix: str) -> Selector | None:
        """None where none that we can think of has this hash."""
        if not suffix:
            return EVERYTHING
        return _FOR_ANY.get(suffix) or self._for_one.get(suffix) or self._for_several.get(suffix)


_Group = tuple[str, str]
"""A controller and a shard: objects that are served together or not at all."""


def suffix_of(selector: str) -> str:
    """What a controller with this --watch-label-selector has in the name of its Lease."""
    return hashlib.sha256(selector.encode("utf-8", "surrogatepass")).hexdigest()[:8]


_FOR_ANY = {suffix_of(f"!{SHARDING_LABEL}"): NO_SHARD, suffix_of(SHARDING_LABEL): EVERYTHING}


@functools.lru_cache(maxsize=1024)
def _for_one(shard: str) -> Mapping[str, Selector]:
    """The selectors that one shard occurs in, by suffix."""
    for_it, for_others = Selector(frozenset({shard})), Selector(frozenset({shard}), inverted=True)
    texts = {
        **dict.fromkeys(("={}", "=={}", " = {}", " == {}", " in ({})"), for_it),
        **dict.fromkeys(("!={}", " != {}", " notin ({})"), for_others),
    }
    return {suffix_of(SHARDING_LABEL + text.format(shard)): selector for text, selector in texts.items()}


def _for_several(shards: frozenset[str]) -> dict[str, Selector]:
    """The selectors that somebody with these shards is likely to have written, beside those of one that occurs."""
    found: dict[str, Selector] = {}
    ordered = sorted(shards, key=_natural)
    for stem in sorted({stem for shard in shards if (stem := _stem(shard)) is not None})[:MAX_STEMS]:
        found.update(_for_siblings(stem))
    if len(ordered) <= MAX_PERMUTED:
        for length in range(2, len(ordered) + 1):
            for some in permutations(ordered, length):
                found.update(_for_list(some))
    else:
        for order in (ordered, sorted(shards)):
            # All of them, or all but one: the one whose label is a mistake.
            for left_out in (None, *order):
                found.update(_for_list([shard for shard in order if shard != left_out]))
    return found


@functools.lru_cache(maxsize=4 * MAX_STEMS)
def _for_siblings(stem: str) -> Mapping[str, Selector]:
    """Each by itself, and the lists that count from zero or one."""
    found: dict[str, Selector] = {}
    names = [f"{stem}{number}" for number in range(MAX_NUMBER + 1)]
    for name in names:
        found.update(_for_one(name))
    for first in (0, 1):
        for end in range(first + 2, len(names) + 1):
            found.update(_for_list(names[first:end]))
    return found


def _for_list(shards: Sequence[str]) -> Iterator[tuple[str, Selector]]:
    for inverted, operator in ((False, "in"), (True, "notin")):
        selector = Selector(frozenset(shards), inverted)
        for comma in (", ", ","):
            yield suffix_of(f"{SHARDING_LABEL} {operator} ({comma.join(shards)})"), selector


def _stem(shard: str) -> str | None:
    """Of a name with a number behind it; None where there is none that counts on from it."""
    match = re.fullmatch(r"(.*?)(0|[1-9]\d?)", shard)
    return match[1] if match is not None and int(match[2]) <= MAX_NUMBER else None


def _natural(shard: str) -> tuple[str, int, str]:
    """shard2 before shard10."""
    match = re.fullmatch(r"(.*?)(\d*)", shard)
    return (match[1], int(match[2] or 0), shard) if match is not None else (shard, 0, shard)
