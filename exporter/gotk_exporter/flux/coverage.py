"""Which Receivers would refresh which source, when they are called.

A Receiver names sources, or chooses them by labels in one namespace; it counts where it is ready, as
notification-controller refuses every other one. Whether a filter or a flag (no-cross-namespace-refs) keeps it from a
source is not looked at, nor whether anybody calls it.

A source that no Receiver would refresh has 0 where the Receivers of its own namespace are known: who has namespaces
followed one by one is told of what is in them. Where they are not known there is no answer, unless one was found all
the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.offers import Available, Selector
from gotk_exporter.flux.references import Key

RECEIVER = "Receiver"

Labels = tuple[tuple[str, str], ...]


class Coverage:
    """All Receivers, and all sources that one can refresh."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, str], dict[Key, Labels]] = {}
        """By kind and namespace, which is as far as labels choose."""
        self._selects: dict[Key, tuple[Selector, ...]] = {}
        """What each ready Receiver asks for."""
        self._asking: dict[Key, set[Key]] = {}
        """The ready Receivers that ask for this object; under an empty name those that choose there by labels."""
        self._listed: set[str | None] = set()
        """Namespaces whose Receivers are known; None for all."""

    def update(self, changes: Mapping[Key, Node | None]) -> set[Key]:
        """Take in objects as they are now; returns those whose answer may have changed."""
        touched: set[Key] = set()
        for key, node in changes.items():
            if key.kind == RECEIVER:
                touched |= self._ask(key, _selects(node))
            elif self._show(key, _labels(node)):
                touched.add(key)
        return touched

    def mark_listed(self, kind: str, namespace: str | None) -> set[Key]:
        """All objects of the kind are known, in one namespace or in all."""
        if kind != RECEIVER or namespace in self._listed:
            return set()
        self._listed.add(namespace)
        return self._sources_in(namespace)

    def mark_unlisted(self, kind: str, namespace: str | None) -> set[Key]:
        """Nothing is known any more of what exists of the kind."""
        if kind != RECEIVER or namespace not in self._listed:
            return set()
        self._listed.remove(namespace)
        return self._sources_in(namespace)

    def receivers(self, key: Key) -> int | None:
        """How many ready Receivers would refresh the source; None where it is none, or where nobody can know."""
        labels = self._sources.get((key.kind, key.namespace), {}).get(key)
        if labels is None:
            return None
        naming = self._asking.get(key, set())
        choosing = self._asking.get(key._replace(name=""), set()) - naming
        count = len(naming) + sum(1 for receiver in choosing if self._chooses(receiver, key, labels))
        known = None in self._listed or key.namespace in self._listed
        return count if count or known else None

    def _chooses(self, receiver: Key, key: Key, labels: Labels) -> bool:
        place = key._replace(name="")
        return any(
            selector.target == place and set(selector.labels) <= set(labels) for selector in self._selects[receiver]
        )

    def _ask(self, receiver: Key, selects: tuple[Selector, ...]) -> set[Key]:
        """A Receiver that is ready asks for this now, and for nothing else."""
        before = self._selects.get(receiver, ())
        if before == selects:
            return set()
        for selector in before:
            asking = self._asking.get(selector.target, set())
            asking.discard(receiver)
            if not asking:
                self._asking.pop(selector.target, None)
        for selector in selects:
            self._asking.setdefault(selector.target, set()).add(receiver)
        self._selects[receiver] = selects
        if not selects:
            del self._selects[receiver]
        return {key for selector in (*before, *selects) for key in self._selected(selector)}

    def _selected(self, selector: Selector) -> Iterator[Key]:
        target = selector.target
        sources = self._sources.get((target.kind, target.namespace), {})
        if target.name:
            return iter((target,) if target in sources else ())
        return (key for key, labels in sources.items() if set(selector.labels) <= set(labels))

    def _show(self, key: Key, labels: Labels | None) -> bool:
        """The source has these labels now, or None where it is gone; returns whether that is new."""
        place = (key.kind, key.namespace)
        if self._sources.get(place, {}).get(key) == labels:
            return False
        if labels is not None:
            self._sources.setdefault(place, {})[key] = labels
            return True
        del self._sources[place][key]
        if not self._sources[place]:
            del self._sources[place]
        return True

    def _sources_in(self, namespace: str | None) -> set[Key]:
        return {key for (_, place), sources in self._sources.items() for key in sources if namespace in (None, place)}


def _labels(node: Node | None) -> Labels | None:
    offer = node.offer if node is not None else None
    return offer.polled.labels if isinstance(offer, Available) and offer.polled is not None else None


def _selects(node: Node | None) -> tuple[Selector, ...]:
    """Nothing where the Receiver would refuse a call."""
    return node.selects if node is not None and node.receives and not node.suspended else ()
