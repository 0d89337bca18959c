"""All objects of one kind, in key order, at each version that its history still knows.

It does what it is told and decides nothing: whether a write is allowed is storage.py's.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge

from gotk_exporter.simulator.state.history import History
from gotk_exporter.simulator.state.objects import Event, Stored
from gotk_exporter.simulator.state.selectors import Selector
from gotk_exporter.simulator.state.served import ServedKind

_UNCHANGED = object()


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a listing."""

    objects: list[Stored]
    more: bool
    """Whether objects come after it, selected ones or not."""
    remaining: int
    """How many do."""


class Collection:
    """One kind's objects."""

    def __init__(self, kind: ServedKind, history: History) -> None:
        self.kind = kind
        self.history = history
        self.terminating = False
        """Its definition is being deleted: nothing new may come."""
        self._objects: dict[str, Stored] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Stored]:
        """In key order, over what there is now: writes meanwhile do no harm."""
        return iter([self._objects[key] for key in self._keys])

    def get(self, key: str) -> Stored | None:
        return self._objects.get(key)

    def apply(self, event: Event) -> None:
        """Bring objects and history up to the event."""
        key = event.object.key
        if event.type == "DELETED":
            del self._objects[key]
            del self._keys[bisect_left(self._keys, key)]
        else:
            if event.previous is None:
                insort(self._keys, key)
            self._objects[key] = event.object
        self.history.append(event)

    def slice(self, namespace: str | None, start: str, limit: int, version: int, selector: Selector) -> Slice:
        """As it was at ``version``: up to ``limit`` (0: all) selected objects with keys from ``start`` on.

        Raises:
            Forgotten: ``version`` is too long ago.
        """
        undo = self.history.undo(version)
        first, end = self._range(namespace)
        keys = self._keys[bisect_left(self._keys, max(first, start)) : bisect_left(self._keys, end) if end else None]
        if undo:
            keys = self._keys_then(keys, undo, max(first, start), end)
        objects: list[Stored] = []
        for passed, key in enumerate(keys, 1):
            stored = undo[key] if key in undo else self._objects[key]
            assert stored is not None
            if selector.matches(stored):
                objects.append(stored)
                if len(objects) == limit:
                    return Slice(objects, passed < len(keys), len(keys) - passed)
        return Slice(objects, False, 0)

    def _range(self, namespace: str | None) -> tuple[str, str | None]:
        """Keys of the namespace: from the first on, and before the second. "0" follows "/"."""
        return ("", None) if namespace is None else (f"{namespace}/", f"{namespace}0")

    def _keys_then(self, keys: list[str], undo: dict[str, Stored | None], start: str, end: str | None) -> list[str]:
        gone = sorted(
            key
            for key, stored in undo.items()
            if stored is not None and key not in self._objects and key >= start and (end is None or key < end)
        )
        return [key for key in merge(keys, gone) if undo.get(key, _UNCHANGED) is not None]
