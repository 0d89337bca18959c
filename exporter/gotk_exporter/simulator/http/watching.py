"""Watches: each is a place in a kind's history, and a stream that it is written into as the history grows.

There is no queue per watch: one that is slow falls behind, and one that falls out of the history ends, as a watch of
kube-apiserver does whose client does not read. What a stream is, and how long a write may take, is streams.py's.

Reference: kubernetes.io, API concepts, "Efficient detection of changes", "Watch bookmarks", "Streaming lists".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from gotk_exporter.simulator.http.answers import encode
from gotk_exporter.simulator.http.calls import Call
from gotk_exporter.simulator.http.options import parse_options, parse_version
from gotk_exporter.simulator.http.routing import is_true
from gotk_exporter.simulator.state.collection import Collection
from gotk_exporter.simulator.state.errors import expired
from gotk_exporter.simulator.state.history import Forgotten
from gotk_exporter.simulator.state.objects import Event, GroupResource, Stored, store
from gotk_exporter.simulator.storage import Storage

BOOKMARK_SECONDS = 60.0
LONGEST_SECONDS = 3600.0
"""Where the client does not say how long."""
_EVENTS_PER_WRITE = 200


class Sink(Protocol):
    """Where the lines go."""

    async def write(self, data: bytes) -> None: ...


class Watch:
    """One client's. Made before the answer begins, so that a request may still be refused."""

    def __init__(self, storage: Storage, call: Call, bookmark_seconds: float) -> None:
        """Raises Refusal where the request makes no sense."""
        options = parse_options(call.query, watch=True)
        self._storage = storage
        self._collection: Collection = storage.collection(call.target.resource)
        self._kind = call.kind
        self._namespace = call.target.namespace
        self._selector = call.selector()
        self._writer = call.writer(storage)
        self._timeout = float(call.integer("timeoutSeconds")) or LONGEST_SECONDS
        self._bookmark_seconds = bookmark_seconds if is_true(call.query.get("allowWatchBookmarks")) else None
        version = parse_version(options.version)
        initial = version == 0 if options.send_initial_events is None else options.send_initial_events
        self._initial_end = bool(options.send_initial_events)
        # What is there now, or nothing; and the place from which to go on.
        self._initial: Sequence[Stored] = list(self._collection) if initial else ()
        self._position = version if version and not initial else storage.version
        self._followed = initial or not version
        self._wake = asyncio.Event()
        self._ended = False

    @property
    def resource(self) -> GroupResource:
        return self._kind.resource

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def end(self) -> None:
        """Nothing more will come: the kind changed, or is gone."""
        self._ended = True
        self._wake.set()

    async def run(self, sink: Sink) -> None:
        """Write until time is up, the kind ends, or history does."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        for lines in self._initial_lines():
            await sink.write(lines)
        bookmark_at = loop.time() + self._bookmark_seconds if self._bookmark_seconds else deadline
        while True:
            try:
                events = self._next_events()
            except Forgotten as forgotten:
                if not self._followed:
                    await sink.write(self._too_old(forgotten.floor))
                return
            if events:
                await sink.write(b"".join(self._lines(events)))
                continue
            if self._ended or loop.time() >= deadline:
                break
            if loop.time() >= bookmark_at and self._bookmark_seconds:
                bookmark_at = loop.time() + self._bookmark_seconds
                await sink.write(self._bookmark())
                continue
            await self._wait(min(deadline, bookmark_at))
        if self._bookmark_seconds and not self._ended:
            await sink.write(self._bookmark())

    async def _wait(self, until: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _next_events(self) -> Sequence[Event]:
        history = self._collection.history
        # Who starts from a version must find it; who followed until now only needs what comes next.
        ask = history.next if self._followed else history.after
        events = ask(self._position, _EVENTS_PER_WRITE)
        self._followed = True
        if events:
            self._position = events[-1].version
        return events

    def _initial_lines(self) -> Iterator[bytes]:
        lines: list[bytes] = []
        for stored in self._initial:
            if self._matches(stored):
                lines += self._line("ADDED", self._writer.pieces(stored))
            if len(lines) >= _EVENTS_PER_WRITE:
                yield b"".join(lines)
                lines = []
        if self._initial_end and self._bookmark_seconds:
            lines += self._line("BOOKMARK", [self._writer.bookmark(self._position, initial_end=True)])
        if lines:
            yield b"".join(lines)

    def _lines(self, events: Iterable[Event]) -> Iterator[bytes]:
        for event in events:
            seen = self._seen(event)
            if seen is not None:
                yield from self._line(seen[0], self._writer.pieces(seen[1]))

    def _seen(self, event: Event) -> tuple[str, Stored] | None:
        """What the event is to who sees only what is selected."""
        if self._namespace not in (None, event.object.namespace):
            return None
        if self._selector.everything:
            return event.type, event.object
        before = event.previous is not None and self._selector.matches(event.previous)
        now = event.type != "DELETED" and self._selector.matches(event.object)
        if now:
            return ("MODIFIED" if before else "ADDED"), event.object
        if not before:
            return None
        if event.type == "DELETED":
            return "DELETED", event.object
        # It left the selection: as it was when it was last in it, at the version of its leaving.
        assert event.previous is not None
        return "DELETED", store(event.previous.document(), event.version, self._kind.selectable)

    def _matches(self, stored: Stored) -> bool:
        return self._namespace in (None, stored.namespace) and self._selector.matches(stored)

    def _bookmark(self) -> bytes:
        # All that happened to the kind until now has been written.
        self._position = max(self._position, self._storage.version)
        return b"".join(self._line("BOOKMARK", [self._writer.bookmark(self._position)]))

    def _too_old(self, floor: int) -> bytes:
        message = f"too old resource version: {self._position} ({floor})"
        return b"".join(self._line("ERROR", [encode(expired(message).status())]))

    def _line(self, type_: str, pieces: Sequence[bytes]) -> list[bytes]:
        return [b'{"type":"' + type_.encode() + b'","object":', *pieces, b"}\n"]


class Watches:
    """All open watches of a server: wakes them when their kind's history grows, ends them when the kind does."""

    def __init__(self, storage: Storage) -> None:
        self._open: dict[GroupResource, set[Watch]] = {}
        self._unsubscribe = storage.subscribe(self._on_event), storage.subscribe_to_kinds(self._on_kind)

    def close(self) -> None:
        """Follow the storage no longer; what is open gets nothing more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    @contextlib.contextmanager
    def waking(self, watch: Watch) -> Iterator[None]:
        """Wake it as there is need, for as long as the block lasts."""
        watches = self._open.setdefault(watch.resource, set())
        watches.add(watch)
        try:
            yield
        finally:
            watches.discard(watch)

    def _on_event(self, event: Event) -> None:
        for watch in self._open.get(event.resource, ()):
            watch.wake()

    def _on_kind(self, resource: GroupResource) -> None:
        for watch in self._open.get(resource, ()):
            watch.end()
