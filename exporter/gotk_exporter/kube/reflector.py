"""Follows one resource for ever: does what the cursor asks, waits after failures, tells the sink what came.

What a page, an event or a failure means stands in watch.TRANSITIONS; what an object means is the sink's business.
The only exits are cancellation and defects of our own, which end the process with a traceback.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Protocol

from gotk_exporter.clock import Clock
from gotk_exporter.kube.bounds import Backoff, Bounds
from gotk_exporter.kube.client import ApiError, Resource, StatusError, Unreachable
from gotk_exporter.kube.watch import Cursor, Effect, ListRequest, Phase, Signal, WatchRequest
from gotk_exporter.kube.wire import (
    Item,
    Page,
    ShapeError,
    WatchLine,
    decode_status,
    decode_watch_line,
    identify,
    resource_version_of,
)
from gotk_exporter.telemetry import ResourceState, ResourceTelemetry

log = logging.getLogger(__name__)


class Replacement(Protocol):
    """A listing on its way into a sink."""

    def add(self, item: Item, seen_at: float) -> None: ...

    def commit(self) -> None: ...


class ObjectSink(Protocol):
    """Where objects go. ``seen_at`` is Unix time. Calls are synchronous: no event overtakes another."""

    def begin_replacement(self, api_version: str) -> Replacement:
        """Objects added to it replace all that the sink holds when it is committed; let go of it to abandon it."""

    def upsert(self, item: Item, seen_at: float) -> None: ...

    def delete(self, item: Item) -> None: ...

    def drop(self) -> None:
        """Forget everything."""

    def __len__(self) -> int: ...


class ListWatchClient(Protocol):
    """The part of ApiClient that a reflector needs."""

    async def list_page(self, resource: Resource, namespace: str | None, continue_token: str) -> Page: ...

    def watch(
        self, resource: Resource, namespace: str | None, resource_version: str, timeout_seconds: float
    ) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]: ...


_EVENTS = {signal.value: signal for signal in (Signal.ADDED, Signal.MODIFIED, Signal.DELETED)}


class Reflector:
    """One resource, in all namespaces or in one."""

    def __init__(
        self,
        resource: Resource,
        namespace: str | None,
        client: ListWatchClient,
        sink: ObjectSink,
        telemetry: ResourceTelemetry,
        bounds: Bounds,
        clock: Clock,
        chance: random.Random,
        on_missing: Callable[[], None] = lambda: None,
    ) -> None:
        self._resource = resource
        self._namespace = namespace
        self._client = client
        self._sink = sink
        self._telemetry = telemetry
        self._bounds = bounds
        self._clock = clock
        self._chance = chance
        self._on_missing = on_missing
        """Called when the server says that it does not serve the resource (any more)."""
        self._cursor = Cursor()
        self._staged: Replacement | None = None
        self._failures = 0
        self._unnamed_reported = False
        place = f" in {namespace}" if namespace is not None else ""
        self._name = f"{resource.plural}.{resource.group}/{resource.version}{place}"

    async def run(self) -> NoReturn:
        """Follow the resource until cancelled."""
        backoff = Backoff(self._bounds, self._chance)
        while True:
            try:
                await self._once()
            except ApiError as error:
                self._fail(error)
                wait = backoff.wait_seconds(self._clock.monotonic())
                if error.retry_after is not None:
                    wait = max(wait, min(error.retry_after, self._bounds.retry_after_longest))
                await self._clock.sleep(wait)

    async def _once(self) -> None:
        """One page, or one watch to its end."""
        request = self._cursor.request
        if isinstance(request, ListRequest):
            await self._list_page(request)
        else:
            await self._watch(request)

    async def _list_page(self, request: ListRequest) -> None:
        page = await self._client.list_page(self._resource, self._namespace, request.continue_token)
        now = self._contact()
        if self._staged is None:
            self._staged = self._sink.begin_replacement(self._resource.version)
        for raw in page.items or ():
            with self._skipping_unnamed():
                self._staged.add(identify(raw), now)
        meta = page.metadata
        self._advance(Signal.PAGE if meta.continue_ else Signal.LAST_PAGE, meta.resource_version, meta.continue_)

    async def _watch(self, request: WatchRequest) -> None:
        timeout = self._bounds.watch_timeout * (1 + self._chance.random())
        started = self._clock.monotonic()
        async with self._client.watch(self._resource, self._namespace, request.resource_version, timeout) as lines:
            self._contact()
            self._telemetry.watching()
            self._recovered()
            async with contextlib.aclosing(lines) as stream:
                async for line in stream:
                    self._receive(line)
        if self._clock.monotonic() - started < self._bounds.watch_short:
            raise Unreachable("short", "the API server ended a watch at once")

    def _receive(self, line: bytes) -> None:
        try:
            event = decode_watch_line(line)
        except ShapeError as error:
            raise Unreachable("malformed", str(error)) from None
        now = self._contact()
        signal = _EVENTS.get(event.type)
        if signal is None:
            self._receive_other(event)
            return
        self._telemetry.event(event.type)
        with self._skipping_unnamed():
            item = identify(event.object)
            effect = self._advance(signal, item.resource_version)
            if effect is Effect.UPSERT:
                self._sink.upsert(item, now)
            elif effect is Effect.DELETE:
                self._sink.delete(item)
            self._telemetry.holds(len(self._sink))

    def _receive_other(self, event: WatchLine) -> None:
        if event.type == "BOOKMARK":
            self._telemetry.event(event.type)
            self._advance(Signal.BOOKMARK, resource_version_of(event.object))
        elif event.type == "ERROR":
            status = decode_status(event.object)
            retry_after = status.details.retry_after_seconds if status.details else 0
            raise StreamError(
                status.code or 500, status.reason, status.message, float(retry_after) if retry_after else None
            )
        else:
            raise Unreachable("malformed", "a line of a watch is no event")

    def _advance(self, signal: Signal, resource_version: str = "", continue_token: str = "") -> Effect:
        self._cursor, effect = self._cursor.advance(signal, resource_version, continue_token)
        if effect is Effect.COMMIT and self._staged is not None:
            self._staged.commit()
            self._telemetry.listed()
            self._telemetry.holds(len(self._sink))
            self._recovered()
        if effect in (Effect.COMMIT, Effect.ABANDON):
            self._staged = None
        return effect

    def _fail(self, error: ApiError) -> None:
        """Turn a failure into a signal and a state; logged when the state changes."""
        self._advance(_signal_of(error))
        self._failures += 1
        code = error.code if isinstance(error, StatusError) else None
        if code == 410:
            log.info("%s: the API server no longer knows our place, listing anew", self._name)
            return
        if code in _STATES:
            state, remedy = _STATES[code]
        elif self._failures < 2:
            # One broken stream is everyday life; it is a state when trying again fails too.
            log.debug("%s: %s", self._name, error)
            return
        elif self._telemetry.state is ResourceState.SYNCING:
            state, remedy = ResourceState.SYNCING, "trying on"
        else:
            state, remedy = ResourceState.UNREACHABLE, "trying on; what was last known stays served"
        if state is ResourceState.ABSENT:
            self._on_missing()
        if self._telemetry.enter(state) or (state is ResourceState.SYNCING and self._failures == 2):
            # That the whole API server is away, or has just come up, is discovery's to say: once, not for every kind.
            level = logging.INFO if isinstance(error, Unreachable) or code in _BUSY else logging.WARNING
            log.log(level, "%s: %s: %s; %s", self._name, state.value, error, remedy)

    def _recovered(self) -> None:
        self._failures = 0
        if self._cursor.phase is Phase.WATCHING and self._telemetry.enter(ResourceState.SYNCED):
            log.info("%s: synced, %d objects", self._name, len(self._sink))

    def _contact(self) -> float:
        now = self._clock.wall()
        self._telemetry.contact(now)
        return now

    @contextlib.contextmanager
    def _skipping_unnamed(self) -> Iterator[None]:
        try:
            yield
        except ShapeError as error:
            self._telemetry.unreadable("metadata")
            if not self._unnamed_reported:
                self._unnamed_reported = True
                log.warning("%s: an object is left out: %s", self._name, error)


class StreamError(StatusError):
    """An ERROR event in a watch."""


_BUSY = frozenset({429, 502, 503, 504})

_STATES: dict[int | None, tuple[ResourceState, str]] = {
    403: (ResourceState.FORBIDDEN, "grant list and watch on it to the exporter's account"),
    404: (ResourceState.ABSENT, "waiting for its CRD"),
}


def _signal_of(error: ApiError) -> Signal:
    if isinstance(error, StatusError):
        if error.code == 410:
            return Signal.EXPIRED
        # client-go lists anew after any ERROR event; an invalid request does not get better by repeating it.
        if isinstance(error, StreamError) or error.code in (400, 422):
            return Signal.REFUSED
    return Signal.LOST
