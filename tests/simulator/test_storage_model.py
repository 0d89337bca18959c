"""Whatever is done to the storage in whatever order: it holds, lists, tells and forgets what a simple model does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from gotk_exporter.simulator.core import NAMESPACE
from gotk_exporter.simulator.state.errors import Refusal
from gotk_exporter.simulator.state.history import Forgotten
from gotk_exporter.simulator.state.objects import Event
from gotk_exporter.simulator.state.selectors import Selector, parse_selector
from gotk_exporter.simulator.state.served import ServedKind, ServedVersion
from gotk_exporter.simulator.storage import Listing as Page
from gotk_exporter.simulator.storage import Storage

WIDGET = ServedKind("simulator.test", "widgets", "Widget", (ServedVersion("v1"),))
WIDGETS = WIDGET.resource
HISTORY = 12
"""So short that it is outlived."""

NAMESPACES = ("a", "a-b", "a0", "b")
"""Those whose keys are neighbours in etcd's order."""

namespaces = st.sampled_from(NAMESPACES)
keys = st.tuples(namespaces, st.sampled_from(["one", "one-b", "two", "x.y"]))
contents = st.dictionaries(st.sampled_from(["p", "q"]), st.integers(0, 2) | st.none(), max_size=2)
labels = st.dictionaries(st.sampled_from(["l", "m"]), st.sampled_from(["0", "1"]), max_size=2)
finalizers = st.lists(st.sampled_from(["x.io/f", "x.io/g"]), unique=True, max_size=2)
selectors = st.sampled_from(["", "l", "!l", "l=1", "l!=1", "m in (0,1)", "l=0,m=1"]).map(
    lambda text: parse_selector(text, "")
)


@dataclass
class Known:
    """An object as the model has it."""

    version: int
    spec: dict[str, Any]
    labels: dict[str, str]
    finalizers: list[str]
    status: Any = None
    generation: int = 1
    deleting: bool = False

    def seen(self) -> tuple[Any, ...]:
        return (
            self.version,
            self.spec,
            self.labels,
            self.finalizers,
            self.status,
            self.generation,
            self.deleting,
        )


def seen(document: dict[str, Any]) -> tuple[Any, ...]:
    metadata = document["metadata"]
    return (
        int(metadata["resourceVersion"]),
        document["spec"],
        metadata.get("labels", {}),
        metadata.get("finalizers", []),
        document.get("status"),
        metadata["generation"],
        "deletionTimestamp" in metadata,
    )


Key = tuple[str, str]
World = dict[Key, Known]


@dataclass
class Listing:
    """One that is under way."""

    namespace: str | None
    selector: Selector
    limit: int
    world: World
    version: int
    token: str = ""
    ended: bool = False
    found: list[Key] = field(default_factory=list)


def etcd_order(key: Key) -> str:
    return "/".join(key)


class StorageMachine(RuleBasedStateMachine):
    listings: Bundle[Listing] = Bundle("listings")

    def __init__(self) -> None:
        super().__init__()
        self.storage = Storage(lambda: 1_800_000_000.0, history_events=HISTORY)
        self.world: World = {}
        self.told: dict[Key, tuple[Any, ...]] = {}
        self.worlds: dict[int, World] = {}

    @initialize()
    def serve(self) -> None:
        for kind in NAMESPACE, WIDGET:
            self.storage.serve(kind)
        for namespace in NAMESPACES:
            self.storage.ensure_namespace(namespace)
        self.storage.subscribe(self.hear, WIDGETS)
        self.worlds[self.storage.version] = {}

    def hear(self, event: Event) -> None:
        key = event.object.namespace, event.object.name
        assert event.version == self.storage.version
        assert (event.type == "ADDED") == (key not in self.told)
        if event.type == "DELETED":
            del self.told[key]
        else:
            self.told[key] = seen(event.object.document())

    def wrote(self, key: Key, known: Known | None) -> None:
        """The storage counted one write."""
        if known is None:
            del self.world[key]
        else:
            known.version = self.storage.version
            self.world[key] = known
        self.worlds[self.storage.version] = copy.deepcopy(self.world)

    @rule(key=keys, spec=contents, labels=labels, finalizers=finalizers)
    def create(self, key: Key, spec: dict[str, Any], labels: dict[str, str], finalizers: list[str]) -> None:
        before = self.storage.version
        document = self.document(key, Known(0, spec, labels, finalizers, status={"ignored": True}))
        del document["metadata"]["resourceVersion"]
        if key in self.world:
            with pytest.raises(Refusal) as refused:
                self.storage.create(WIDGETS, document)
            assert refused.value.reason == "AlreadyExists"
            assert self.storage.version == before
        else:
            self.storage.create(WIDGETS, document)
            assert self.storage.version == before + 1
            self.wrote(key, Known(0, spec, labels, finalizers))

    @rule(key=keys, spec=contents, labels=labels, stale=st.booleans())
    def update(self, key: Key, spec: dict[str, Any], labels: dict[str, str], stale: bool) -> None:
        known = self.world.get(key)
        if known is None:
            self.refuses("NotFound", lambda: self.storage.update(WIDGETS, self.document(key, Known(1, {}, {}, []))))
            return
        wanted = copy.deepcopy(known)
        wanted.spec, wanted.labels = spec, labels
        if stale:
            wanted.version -= 1
            self.refuses("Conflict", lambda: self.storage.update(WIDGETS, self.document(key, wanted)))
            return
        self.changes(key, wanted, lambda: self.storage.update(WIDGETS, self.document(key, wanted)))

    @rule(key=keys, spec=contents)
    def patch(self, key: Key, spec: dict[str, Any]) -> None:
        known = self.world.get(key)
        change = {"spec": spec, "status": {"ignored": True}}
        if known is None:
            self.refuses("NotFound", lambda: self.storage.patch(WIDGETS, *key, change))
            return
        wanted = copy.deepcopy(known)
        merged = {**known.spec, **spec}
        # None in a patch removes; one that was there is not touched.
        wanted.spec = {name: value for name, value in merged.items() if value is not None or name not in spec}
        self.changes(key, wanted, lambda: self.storage.patch(WIDGETS, *key, change))

    @rule(key=keys, status=contents)
    def patch_status(self, key: Key, status: dict[str, Any]) -> None:
        known = self.world.get(key)
        change = {"spec": {"ignored": True}, "status": status}
        if known is None:
            return
        wanted = copy.deepcopy(known)
        merged = {**(known.status or {}), **status}
        wanted.status = {name: value for name, value in merged.items() if value is not None}
        self.changes(key, wanted, lambda: self.storage.patch(WIDGETS, *key, change, subresource="status"))

    @rule(key=keys)
    def delete(self, key: Key) -> None:
        known = self.world.get(key)
        if known is None:
            self.refuses("NotFound", lambda: self.storage.delete(WIDGETS, *key))
            return
        before = self.storage.version
        held = self.storage.delete(WIDGETS, *key)
        if known.deleting:
            assert held is not None
            assert self.storage.version == before
        elif known.finalizers:
            assert held is not None
            self.wrote(
                key, Known(0, known.spec, known.labels, known.finalizers, known.status, known.generation + 1, True)
            )
        else:
            assert held is None
            self.wrote(key, None)

    @rule(key=keys, left=finalizers)
    def let_go(self, key: Key, left: list[str]) -> None:
        known = self.world.get(key)
        if known is None:
            return
        kept = [one for one in known.finalizers if one in left]
        change = {"metadata": {"finalizers": kept}}
        if known.deleting and not kept:
            self.storage.patch(WIDGETS, *key, change)
            self.wrote(key, None)
            return
        wanted = copy.deepcopy(known)
        wanted.finalizers = kept
        self.changes(key, wanted, lambda: self.storage.patch(WIDGETS, *key, change))

    @rule()
    def compact(self) -> None:
        self.storage.compact()

    @rule(target=listings, namespace=st.none() | namespaces, selector=selectors, limit=st.integers(1, 3))
    def begin_listing(self, namespace: str | None, selector: Selector, limit: int) -> Listing:
        return Listing(namespace, selector, limit, copy.deepcopy(self.world), self.storage.version)

    @rule(listing=listings)
    def next_page(self, listing: Listing) -> None:
        if listing.ended:
            return
        if listing.version < self.storage.collection(WIDGETS).history.floor:
            self.refuses("Expired", lambda: self.page(listing))
            listing.ended = True
            return
        page = self.page(listing)
        assert page.version == listing.version
        for stored in page.objects:
            key = stored.namespace, stored.name
            listing.found.append(key)
            assert seen(stored.document()) == listing.world[key].seen()
        expected = self.selected(listing)
        assert listing.found == expected[: len(listing.found)]
        left = len(expected) - len(listing.found)
        listing.token = page.continue_token
        listing.ended = not page.continue_token
        if listing.ended:
            assert left == 0
        elif listing.selector.everything:
            assert page.remaining == left > 0

    def page(self, listing: Listing) -> Page:
        return self.storage.list(
            WIDGETS,
            listing.namespace,
            selector=listing.selector,
            limit=listing.limit,
            continue_token=listing.token,
            version=None if listing.token else listing.version,
        )

    def selected(self, listing: Listing) -> list[Key]:
        chosen = [
            key
            for key, known in listing.world.items()
            if listing.namespace in (None, key[0]) and matches(listing.selector, known.labels)
        ]
        return sorted(chosen, key=etcd_order)

    @precondition(lambda self: self.worlds)
    @rule(data=st.data())
    def watch_from_the_past(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.worlds)))
        history = self.storage.collection(WIDGETS).history
        if version < history.floor:
            with pytest.raises(Forgotten):
                history.after(version)
            return
        replica = {key: known.seen() for key, known in self.worlds[version].items()}
        last = version
        for event in history.after(version):
            assert event.version > last
            last = event.version
            key = event.object.namespace, event.object.name
            assert (event.previous is None) == (key not in replica)
            if event.type == "DELETED":
                del replica[key]
            else:
                replica[key] = seen(event.object.document())
        assert replica == self.told

    @invariant()
    def holds_and_told_what_the_model_has(self) -> None:
        held = {
            (stored.namespace, stored.name): seen(stored.document())
            for stored in (self.storage.list(WIDGETS).objects if self.storage.kinds else ())
        }
        assert held == {key: known.seen() for key, known in self.world.items()}
        assert held == self.told
        assert list(held) == sorted(held, key=etcd_order)

    @invariant()
    def history_is_bounded(self) -> None:
        if self.storage.kinds:
            history = self.storage.collection(WIDGETS).history
            assert len(history.after(history.floor)) <= HISTORY + HISTORY // 8

    def document(self, key: Key, known: Known) -> dict[str, Any]:
        namespace, name = key
        return {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": known.labels,
                "finalizers": known.finalizers,
                "resourceVersion": str(known.version),
            },
            "spec": known.spec,
            "status": known.status,
        }

    def changes(self, key: Key, wanted: Known, write: Any) -> None:
        """``write`` makes ``wanted`` of what is there, and is no write where that is the same."""
        before, known = self.storage.version, self.world[key]
        write()
        if wanted.spec != known.spec:
            wanted.generation += 1
        wanted.version = known.version
        if wanted == known:
            assert self.storage.version == before
        else:
            assert self.storage.version == before + 1
            self.wrote(key, wanted)

    def refuses(self, reason: str, write: Any) -> None:
        before = self.storage.version
        with pytest.raises(Refusal) as refused:
            write()
        assert refused.value.reason == reason
        assert self.storage.version == before


def matches(selector: Selector, labels: dict[str, str]) -> bool:
    """The selectors of this test, in the words of their documentation."""
    meanings: dict[str, Callable[[str, frozenset[str]], bool]] = {
        "=": lambda key, values: key in labels and labels[key] in values,
        "in": lambda key, values: key in labels and labels[key] in values,
        "!=": lambda key, values: key not in labels or labels[key] not in values,
        "exists": lambda key, _: key in labels,
        "!": lambda key, _: key not in labels,
    }
    return all(meanings[term.operator](term.key, term.values) for term in selector.labels)


TestStorage = StorageMachine.TestCase
