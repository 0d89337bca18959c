"""Reads the Leases of Flux's controllers, namespace by namespace: a heartbeat that needs no scrape of them.

Polled, not watched: a watch brings every renewal, one every five seconds from each controller (96 a minute from eight),
of which a scrape sees one in six. A poll is one request for the namespace's Leases, which kube-apiserver answers from
memory (resourceVersion=0): four a minute for each namespace, of 0.6 kB for each Lease in it. Leases of others come
along and are dropped; kube-node-lease, with one for each node, cannot be configured.

What a Lease says of its controller is somebody else's business (flux.controllers). Nothing that goes wrong here stops
the exporter or keeps it from being ready.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn, Protocol

import msgspec

from gotk_exporter.clock import Clock
from gotk_exporter.flux.controllers import Lease, holder_of
from gotk_exporter.flux.timestamps import parse_timestamp
from gotk_exporter.kube.bounds import Backoff, Bounds
from gotk_exporter.kube.client import Resource
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from gotk_exporter.kube.wire import Page, ShapeError, identify
from gotk_exporter.telemetry import ResourceState, Telemetry

log = logging.getLogger(__name__)

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")

DEFAULT_DURATION_SECONDS = 35
"""Of a Lease that says none: the controllers' flag leader-election-lease-duration."""

Take = Callable[[str, Sequence[Lease] | None, float], None]
"""Told a namespace, its Leases or None where they cannot be read, and when that was (Unix seconds)."""


class ListClient(Protocol):
    """The part of ApiClient that is needed here."""

    async def list_from_cache(
        self, resource: Resource, namespace: str | None, take: Callable[[Sequence[msgspec.Raw]], None]
    ) -> Page: ...

    async def list_page(self, resource: Resource, namespace: str | None, continue_token: str) -> Page: ...


class LeaseFollower:
    """All namespaces, each for itself: one that is forbidden does not delay another."""

    def __init__(
        self,
        client: ListClient,
        namespaces: Sequence[str],
        take: Take,
        telemetry: Telemetry,
        bounds: Bounds,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._take = take
        self._clock = clock
        self._namespaces = [_Namespace(name, client, take, telemetry, bounds, clock, chance) for name in namespaces]

    async def run(self) -> None:
        """Read until cancelled; ends at once where there is nothing to read."""
        # Before the first answer, so that none is given from one namespace of several.
        for namespace in self._namespaces:
            self._take(namespace.name, None, self._clock.wall())
        async with asyncio.TaskGroup() as tasks:
            for namespace in self._namespaces:
                tasks.create_task(namespace.follow(), name=f"leases {namespace.name}")


class _Namespace:
    """The Leases of one namespace."""

    def __init__(
        self,
        name: str,
        client: ListClient,
        take: Take,
        telemetry: Telemetry,
        bounds: Bounds,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self.name = name
        self._client = client
        self._take = take
        self._bounds = bounds
        self._clock = clock
        self._backoff = Backoff(bounds, chance)
        self._telemetry = telemetry.resource(LEASES.kind, name)
        self._failures = 0
        self._read_once = False
        self._known_since: float | None = None
        """When what is shown was read, on the monotonic clock; None where nothing is shown."""

    async def follow(self) -> NoReturn:
        while True:
            try:
                leases = await self._read()
            except ApiError as error:
                self._failed(error)
                asked_for = min(error.retry_after or 0.0, self._bounds.retry_after_longest)
                await self._wait(max(self._backoff.wait_seconds(self._clock.monotonic()), asked_for))
            else:
                self._succeeded(leases)
                await self._clock.sleep(self._bounds.lease_interval)

    async def _read(self) -> list[Lease]:
        """Those of Flux's controllers. Raises ApiError."""
        leases: list[Lease] = []

        def take(items: Sequence[msgspec.Raw]) -> None:
            leases.extend(lease for item in items if (lease := self._lease(item)) is not None)

        try:
            async with asyncio.timeout(self._bounds.lease_timeout):
                page = await self._client.list_from_cache(LEASES, self.name, take)
                take(page.items or ())
                # An API server without a cache answers by the page.
                while page.metadata.continue_:
                    page = await self._client.list_page(LEASES, self.name, page.metadata.continue_)
                    take(page.items or ())
        except TimeoutError:
            raise Unreachable("timeout", "the API server did not answer in time") from None
        return leases

    def _lease(self, raw: msgspec.Raw) -> Lease | None:
        """None where it is another's, or was never renewed."""
        try:
            name = identify(raw).key.partition("/")[2]
            if holder_of(name) is None:
                return None
            spec = _decoder.decode(raw).spec
        except (ShapeError, msgspec.MsgspecError, UnicodeDecodeError):
            # kube-apiserver lets none of them in.
            self._telemetry.unreadable("spec")
            return None
        renewed_at = parse_timestamp(spec.renew_time)
        if renewed_at is None:
            return None
        return Lease(name, self.name, renewed_at, float(spec.lease_duration_seconds or DEFAULT_DURATION_SECONDS))

    def _succeeded(self, leases: Sequence[Lease]) -> None:
        self._failures = 0
        self._read_once = True
        self._known_since = self._clock.monotonic()
        now = self._clock.wall()
        self._telemetry.contact(now)
        self._telemetry.holds(len(leases))
        self._take(self.name, leases, now)
        if self._telemetry.enter(ResourceState.SYNCED):
            found = f"synced, {len(leases)} of Flux's controllers" if leases else _NONE_FOUND
            log.info("%s: %s", self._title, found)

    def _failed(self, error: ApiError) -> None:
        self._failures += 1
        forbidden = isinstance(error, StatusError) and error.code == 403
        if self._failures < 2 and not forbidden:
            # One broken request is everyday life.
            return
        later = ResourceState.UNREACHABLE if self._read_once else ResourceState.SYNCING
        state = ResourceState.FORBIDDEN if forbidden else later
        # Before the first answer there is no change of state to tell by.
        if self._telemetry.enter(state) or (state is ResourceState.SYNCING and self._failures == 2):
            # That the API server is away, discovery warns of.
            level = logging.INFO if isinstance(error, Unreachable) else logging.WARNING
            remedy = _REMEDY if forbidden else "trying on"
            log.log(level, "%s: %s: %s; %s%s", self._title, state.value, error, remedy, self._meanwhile())

    async def _wait(self, seconds: float) -> None:
        """Sleep; in the middle of it, let go of what has been known for too long."""
        if self._known_since is not None:
            left = max(0.0, self._known_since + self._bounds.lease_patience - self._clock.monotonic())
            if left <= seconds:
                await self._clock.sleep(left)
                self._let_go()
                seconds -= left
        await self._clock.sleep(seconds)

    def _let_go(self) -> None:
        """A heartbeat that nobody reads looks like one that has stopped."""
        self._known_since = None
        self._telemetry.holds(0)
        self._take(self.name, None, self._clock.wall())
        log.info("%s: not read for %.0f s; heartbeats are no longer shown", self._title, self._bounds.lease_patience)

    def _meanwhile(self) -> str:
        if self._known_since is None:
            return ""
        return f"; heartbeats stay as last read, for {self._bounds.lease_patience:.0f} s"

    @property
    def _title(self) -> str:
        return f"Lease in {self.name}"


_NONE_FOUND = (
    "synced, and none is of Flux's controllers; where they run elsewhere, name that namespace in controllers.namespaces"
)
_REMEDY = (
    "grant list on leases.coordination.k8s.io in this namespace to the exporter's account, "
    "or set controllers.leases to false"
)


class _Spec(msgspec.Struct, rename="camel"):
    renew_time: str | None = None
    lease_duration_seconds: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None


class _Lease(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decoder = msgspec.json.Decoder(_Lease)
