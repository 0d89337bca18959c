"""Stores for tests of what is served: filled, watched, and held up in the middle of a compression."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gotk_exporter.metrics.exposition import Format, label_text, line
from gotk_exporter.metrics.families import RECONCILE_CONDITION, SUSPEND_STATUS, Family
from gotk_exporter.metrics.store import Snapshot, Store

FAMILIES: tuple[Family, ...] = (RECONCILE_CONDITION, SUSPEND_STATUS)

GATE_SECONDS = 20.0
"""A gate that nobody opens lets through after this long: a failing test must end."""


def put_object(store: Store, name: str, value: float = 1) -> None:
    """One object with a sample in each of the store's families."""
    labels = label_text([("kind", "Kustomization"), ("name", name), ("namespace", "apps")])
    store.put("Kustomization", name, tuple(line(family.name, labels, value).encode() for family in store.families))


def filled_store(objects: int, families: Sequence[Family] = FAMILIES) -> Store:
    store = Store(families)
    for number in range(objects):
        put_object(store, f"object-{number}", number)
    return store


def stubborn_store() -> Store:
    """Its page fits no socket buffer, plain or compressed: whoever sends it has to wait for whoever reads it."""
    store = Store((SUSPEND_STATUS,))
    chance = random.Random(0)
    for number in range(20_000):
        value = chance.randbytes(400).hex()
        store.put("Kustomization", str(number), (line(SUSPEND_STATUS.name, label_text([("name", value)]), 1).encode(),))
    return store


class CountingStore(Store):
    """Counts how often somebody asked for all of it: each compression does, and a body that is re-used does not."""

    def __init__(self, families: Sequence[Family] = FAMILIES) -> None:
        super().__init__(families)
        self.snapshots = 0

    def snapshot(self) -> Snapshot:
        self.snapshots += 1
        return super().snapshot()


class GatedStore(CountingStore):
    """Its first snapshot is rendered no further than to its first line before the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = asyncio.Event()
        self.gate = threading.Event()

    def snapshot(self) -> Snapshot:
        snapshot = super().snapshot()
        if self.snapshots > 1:
            return snapshot
        loop = asyncio.get_running_loop()
        return _GatedSnapshot(
            snapshot.families,
            snapshot.entries,
            snapshot.generation,
            self.gate,
            lambda: loop.call_soon_threadsafe(self._begun.set),
        )

    async def begun(self) -> None:
        """Wait until somebody stands before the gate."""
        async with asyncio.timeout(GATE_SECONDS):
            await self._begun.wait()


@dataclass(frozen=True, slots=True)
class _GatedSnapshot(Snapshot):
    gate: threading.Event = field(compare=False)
    on_begin: Callable[[], object] = field(compare=False)

    def chunks(self, fmt: Format) -> Iterator[bytes]:
        self.on_begin()
        self.gate.wait(GATE_SECONDS)
        yield from Snapshot.chunks(self, fmt)
