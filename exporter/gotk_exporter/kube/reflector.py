"""Follows one resource for ever: does what the cursor asks, waits after failures, tells the sink what came.

What a page, an event or a failure means stands in watch.TRANSITIONS; what an object means is the sink's business.
The only exits are cancellation and defects of our own, which end the process with a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Protocol

import msgspec

from gotk_exporter.clock import Clock
from gotk_exporter.kube.bounds import Backoff, Bounds
from gotk_exporter.kube.client import Resource
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from gotk_exporter.kube.standing import Standing
from gotk_exporter.kube.watch import CacheRequest, Cursor, Effect, ListRequest, Phase, Signal, WatchRequest
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
from gotk_exporter.telemetry import ResourceTelemetry

log = logging.getLogger(__name__)


class Replacement(Protocol):
    """A listing on its way into a sink."""

    def add(self, item: Item, seen_at: float, followed_until: float | None) -> None:
        """``followed_until``: up to when what the sink holds of the kind was all there was; None before any."""

    def commit(self) -> None: ...


class ObjectSink(Protocol):
    """Where objects go. ``seen_at`` is Unix time. Calls are synchronous: no event overtakes another."""

    def begin_replacement(self, api_version: str) -> Replacement:
        """Objects added to it replace all that the sink holds when it is committed; let go of it to abandon it."""

    def upsert(self, item: Item, seen_at: float, written_after: float | None) -> None:
        """``written_after``: of an event that a watch brings late, after a connection was lost; None otherwise."""

    def delete(self, item: Item) -> None: ...

    def drop(self) -> None:
        """Forget everything."""

    def __len__(self) -> int: ...


class ListWatchClient(Protocol):
    """The part of ApiClient that a reflector needs."""

    async def list_from_cache(
        self, resource: Resource, namespace: str | None, take: Callable[[Sequence[msgspec.Raw]], None]
    ) -> Page: ...

    async def list_page(self, resource: Resource, namespace: str | None, continue_token: str) -> Page: ...

    def watch(
        self, resource: Resource, namespace: str | None, resource_version: str, timeout_seconds: float
    ) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]: ...


LATE_SECONDS = 2.0
"""What a watch brings within this time after the last one ended came as it happened."""

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
        # Where another version of the kind is served already, a cache that lags behind must not take its place.
        self._cursor = Cursor(Phase.LISTING if len(sink) else Phase.STARTING)
        self._staged: Replacement | None = None
        self._reported: set[str] = set()
        self._followed_until: float | None = None
        """Unix seconds: up to when nothing can have happened that has not come."""
        self._catching_up_until = 0.0
        """On the monotonic clock: until then what a new watch brings may have waited for it."""
        place = f" in {namespace}" if namespace is not None else ""
        self._name = f"{resource.plural}.{resource.group}/{resource.version}{place}"
        self._standing = Standing(self._name, namespace is not None, telemetry, on_missing)

    async def run(self) -> NoReturn:
        """Follow the resource until cancelled."""
        backoff = Backoff(self._bounds, self._chance)
        # Of its own: a server that comes back forgets our place, and must not be listed only after the wait that its
        # absence has built up.
        expiry = Backoff(self._bounds, self._chance)
        while True:
            try:
                await self._once()
            except ApiError as error:
                signal = _signal_of(error)
                self._advance(signal)
                self._standing.failed(error)
                wait = (expiry if signal is Signal.EXPIRED else backoff).wait_seconds(self._clock.monotonic())
                if error.retry_after is not None:
                    wait = max(wait, min(error.retry_after, self._bounds.retry_after_longest))
                await self._clock.sleep(wait)

    async def _once(self) -> None:
        """One listing from the server's cache, one page, or one watch to its end."""
        request = self._cursor.request
        if isinstance(request, WatchRequest):
            await self._watch(request)
        else:
            await self._list(request)

    async def _list(self, request: CacheRequest | ListRequest) -> None:
        if isinstance(request, CacheRequest):
            page = await self._client.list_from_cache(self._resource, self._namespace, self._stage)
        else:
            page = await self._client.list_page(self._resource, self._namespace, request.continue_token)
        self._stage(page.items or ())
        meta = page.metadata
        self._advance(Signal.PAGE if meta.continue_ else Signal.LAST_PAGE, meta.resource_version, meta.continue_)

    def _stage(self, objects: Iterable[msgspec.Raw]) -> None:
        now = self._contact()
        if self._staged is None:
            self._staged = self._sink.begin_replacement(self._resource.version)
        for raw in objects:
            with self._at_its_own_cost():
                self._staged.add(identify(raw), now, self._followed_until)

    async def _watch(self, request: WatchRequest) -> None:
        timeout = self._bounds.watch_timeout * (1 + self._chance.random())
        started = self._clock.monotonic()
        async with self._client.watch(self._resource, self._namespace, request.resource_version, timeout) as lines:
            self._contact()
            self._telemetry.watching()
            self._catching_up_until = started + self._bounds.watch_short
            opened = self._clock.monotonic()
            proof = asyncio.get_running_loop().call_later(self._bounds.watch_short, self._prove, opened)
            try:
                async with contextlib.aclosing(lines) as stream:
                    async for line in stream:
                        self._receive(line)
            finally:
                proof.cancel()
        if self._clock.monotonic() - started < self._bounds.watch_short:
            raise Unreachable("short", "the API server ended a watch at once")
        # Not as of now: it may have ended because nothing came any more.
        self._prove(opened)
        self._followed_until = self._clock.wall()

    def _receive(self, line: bytes) -> None:
        try:
            event = decode_watch_line(line)
        except ShapeError as error:
            raise Malformed(str(error)) from None
        now = self._contact()
        written_after = self._written_after(now)
        signal = _EVENTS.get(event.type)
        if signal is None:
            self._receive_other(event)
            return
        self._telemetry.event(event.type)
        self._prove(self._clock.monotonic())
        with self._at_its_own_cost():
            item = identify(event.object)
            effect = self._advance(signal, item.resource_version)
            if effect is Effect.UPSERT:
                self._sink.upsert(item, now, written_after)
            elif effect is Effect.DELETE:
                self._sink.delete(item)
            self._telemetry.holds(len(self._sink))

    def _written_after(self, now: float) -> float | None:
        """Since when an event that comes now may have been waiting; None where it comes as it happens.

        A watch goes on from where the last one ended: nothing is missed, but what happened in between comes at once,
        and nothing says where that ends.
        """
        before = self._followed_until
        if before is not None and now - before > LATE_SECONDS and self._clock.monotonic() < self._catching_up_until:
            return before
        self._followed_until = now
        return None

    def _receive_other(self, event: WatchLine) -> None:
        if event.type == "BOOKMARK":
            self._telemetry.event(event.type)
            self._prove(self._clock.monotonic())
            self._advance(Signal.BOOKMARK, resource_version_of(event.object))
        elif event.type == "ERROR":
            status = decode_status(event.object)
            retry_after = status.details.retry_after_seconds if status.details else 0
            raise StreamError(
                status.code or 500, status.reason, status.message, float(retry_after) if retry_after else None
            )
        else:
            raise Malformed("a line of a watch is no event")

    def _advance(self, signal: Signal, resource_version: str = "", continue_token: str = "") -> Effect:
        self._cursor, effect = self._cursor.advance(signal, resource_version, continue_token)
        if effect is Effect.COMMIT and self._staged is not None:
            self._staged.commit()
            self._followed_until = self._clock.wall()
            self._telemetry.confirmed(self._clock.monotonic())
            self._telemetry.listed()
            self._telemetry.holds(len(self._sink))
            self._standing.listed(len(self._sink))
        if effect in (Effect.COMMIT, Effect.ABANDON):
            self._staged = None
        return effect

    def _prove(self, at: float) -> None:
        """The watch was in order at this time of the monotonic clock, so everything until then has come.

        That it was opened proves it only once it has lasted: an API server that has just started takes it back.
        """
        self._telemetry.confirmed(at)
        if not self._standing.proven:
            self._standing.watched(len(self._sink))

    def _contact(self) -> float:
        now = self._clock.wall()
        self._telemetry.contact(now)
        return now

    @contextlib.contextmanager
    def _at_its_own_cost(self) -> Iterator[None]:
        """Whatever is wrong with one object costs that object: in a cluster anybody may write one."""
        try:
            yield
        except ShapeError as error:
            self._leave_out("metadata", f"{error}", None)
        except Exception as error:
            self._leave_out("object", "this is a defect of gotk-exporter, please report it", error)

    def _leave_out(self, field: str, problem: str, defect: Exception | None) -> None:
        self._telemetry.unreadable(field)
        if field not in self._reported:
            self._reported.add(field)
            log.warning("%s: an object is left out: %s", self._name, problem, exc_info=defect)


class StreamError(StatusError):
    """An ERROR event in a watch."""


class Malformed(Unreachable):
    """A stream has brought something that is no event. It would bring it again from the same place."""

    def __init__(self, message: str) -> None:
        super().__init__("malformed", message)


def _signal_of(error: ApiError) -> Signal:
    if isinstance(error, StatusError) and error.code == 410:
        return Signal.EXPIRED
    # client-go lists anew after any ERROR event, and after a watch that is refused.
    if isinstance(error, StreamError | Malformed) or (isinstance(error, StatusError) and error.code in _REFUSALS):
        return Signal.REFUSED
    return Signal.LOST


_REFUSALS = frozenset({400, 403, 404, 422})
"""What does not get better by asking for the same again. A 401 does, with another credential."""
