"""Follows every kind that the API server serves: the discovery loop, and one reflector per kind and namespace.

A kind that comes, changes its version or goes is followed without touching the others. What a kind held stays served
until its successor's first listing is complete, or until its absence is confirmed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gotk_exporter.clock import Clock
from gotk_exporter.flux.rows import Kind
from gotk_exporter.kube.bounds import Backoff, Bounds
from gotk_exporter.kube.client import ApiClient, Resource
from gotk_exporter.kube.discovery import Discovery, Served
from gotk_exporter.kube.failures import ApiError, StatusError
from gotk_exporter.kube.reflector import ObjectSink, Reflector
from gotk_exporter.telemetry import ResourceState, ResourceTelemetry, Telemetry

log = logging.getLogger(__name__)

SETTLED = frozenset(ResourceState) - {ResourceState.SYNCING}
"""States in which there is nothing to wait for: the kind has been listed, or cannot be."""

_NAMES_AT_ONCE = 10
"""In one line of the log: where many namespaces are followed one by one, an outage concerns hundreds."""


@dataclass(slots=True)
class _Listing:
    """One kind in one namespace (or in all): outlives the reflectors that fill it."""

    kind: Kind
    namespace: str | None
    sink: ObjectSink
    telemetry: ResourceTelemetry
    resource: Resource | None = None
    task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """ "Kustomization" or "Kustomization in team-a"."""
        return self.kind.name + (f" in {self.namespace}" if self.namespace else "")


class Cluster:
    """All that is followed."""

    def __init__(
        self,
        client: ApiClient,
        kinds: Iterable[Kind],
        namespaces: Sequence[str],
        make_sink: Callable[[Kind, str | None, ResourceTelemetry], ObjectSink],
        telemetry: Telemetry,
        bounds: Bounds,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        """``namespaces``: where to look; empty means everywhere, in cluster-wide calls."""
        self._client = client
        self._telemetry = telemetry
        self._bounds = bounds
        self._clock = clock
        self._chance = chance
        self._ask_now = asyncio.Event()
        self._missing_since: dict[str, float] = {}
        self._announced: Served | None = None
        self._told_stale: set[str] = set()
        kinds = tuple(kinds)
        self._discovery = Discovery(client, kinds)
        self._listings: list[_Listing] = []
        for kind in kinds:
            for namespace in namespaces or (None,):
                own = telemetry.resource(kind.name, namespace, bounds.stale_after)
                self._listings.append(_Listing(kind, namespace, make_sink(kind, namespace, own), own))

    def pending(self) -> list[str]:
        """What is not known yet, as "Kustomization" or "Kustomization in team-a"; empty when there is nothing left."""
        return [listing.name for listing in self._listings if listing.telemetry.state not in SETTLED]

    def stale(self) -> dict[str, float]:
        """What is served though nothing has confirmed it for too long, named as in ``pending``, and for how many
        seconds. None of it is pending for that: it was known, and what is done once with what is known stays done."""
        ages = ((listing.name, listing.telemetry.stale_for()) for listing in self._listings)
        return {name: seconds for name, seconds in ages if seconds is not None}

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        backoff = Backoff(self._bounds, self._chance)
        answered = True
        async with asyncio.TaskGroup() as tasks:
            while True:
                wait = self._bounds.discovery_interval
                # Before the request: a reflector that misses its kind meanwhile wants an answer of its own.
                self._ask_now.clear()
                try:
                    served = await self._discovery.ask()
                except ApiError as error:
                    self._telemetry.discovery_failures.inc()
                    if answered:
                        log.warning(
                            "the API server does not say what it serves: %s; trying on%s", error, _remedy(error)
                        )
                    answered = False
                    asked_for = min(error.retry_after or 0.0, self._bounds.retry_after_longest)
                    wait = max(backoff.wait_seconds(self._clock.monotonic()), asked_for)
                else:
                    if not answered:
                        log.info("the API server answers again")
                    answered = True
                    if served.unknown:
                        self._telemetry.discovery_failures.inc()
                    self._telemetry.discovery_last_success.set(self._clock.wall())
                    await self._follow(served, tasks)
                    if self._missing_since:
                        wait = self._bounds.absence_confirmation
                self._tell_of_staleness()
                await self._pause(wait, urgent=answered)

    async def _pause(self, wait: float, urgent: bool) -> None:
        """Wait; where ``urgent`` is allowed, a reflector that misses its kind ends the wait after a moment."""
        if not urgent:
            await self._clock.sleep(wait)
            return
        sleep = asyncio.ensure_future(self._clock.sleep(wait))
        asked = asyncio.ensure_future(self._ask_now.wait())
        try:
            await asyncio.wait({sleep, asked}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done() and not sleep.done():
                await self._clock.sleep(min(wait, self._bounds.backoff_first))
        finally:
            sleep.cancel()
            asked.cancel()

    async def _follow(self, served: Served, tasks: asyncio.TaskGroup) -> None:
        """Bring the reflectors in line with what is served."""
        self._announce(served)
        now = self._clock.monotonic()
        for listing in self._listings:
            name = listing.kind.name
            resource = served.resources.get(name)
            if resource is not None:
                self._missing_since.pop(name, None)
                if resource != listing.resource:
                    await _stop(listing)
                    self._start(listing, resource, tasks)
            elif name in served.unknown:
                continue
            elif listing.resource is None:
                listing.telemetry.enter(ResourceState.ABSENT)
            elif now - self._missing_since.setdefault(name, now) >= self._bounds.absence_confirmation:
                await _stop(listing)
                listing.sink.drop()
                listing.telemetry.holds(0)
                listing.telemetry.enter(ResourceState.ABSENT)
                log.info("%s: the API server no longer serves it", listing.kind.resource)
        for name in [name for name in self._missing_since if self._is_gone(name)]:
            del self._missing_since[name]

    def _is_gone(self, name: str) -> bool:
        return all(listing.resource is None for listing in self._listings if listing.kind.name == name)

    def _start(self, listing: _Listing, resource: Resource, tasks: asyncio.TaskGroup) -> None:
        if listing.telemetry.state is ResourceState.ABSENT:
            listing.telemetry.enter(ResourceState.SYNCING)
        reflector = Reflector(
            resource,
            listing.namespace,
            self._client,
            listing.sink,
            listing.telemetry,
            self._bounds,
            self._clock,
            self._chance,
            self._ask_now.set,
        )
        listing.resource = resource
        listing.task = tasks.create_task(reflector.run(), name=f"reflector {resource.plural} {listing.namespace or ''}")

    def _tell_of_staleness(self) -> None:
        """Say once what has become stale, and once that it is so no longer. Why it is, the reflectors have said, unless
        there was no failure to tell of: an API server that wants to be left alone, or a listing that takes for ever."""
        stale = self.stale()
        if new := [name for name in stale if name not in self._told_stale]:
            log.warning(
                "not confirmed by the API server for more than %.0f s, and served as last known: %s",
                self._bounds.stale_after,
                _some(new),
            )
        # A kind that is gone is not served at all.
        if over := sorted(self._told_stale - stale.keys()):
            log.info("no longer served unconfirmed: %s", _some(over))
        self._told_stale = set(stale)

    def _announce(self, served: Served) -> None:
        """Say what is followed, when that changes."""
        if served == self._announced:
            return
        self._announced = served
        names = dict.fromkeys(listing.kind.name for listing in self._listings)
        absent = [name for name in names if name not in served.resources and name not in served.unknown]
        log.info(
            "following %s%s%s",
            ", ".join(f"{resource.kind} {resource.version}" for resource in served.resources.values()) or "nothing yet",
            f"; not served here: {', '.join(absent)}" if absent else "",
            f"; not known: {', '.join(sorted(served.unknown))}" if served.unknown else "",
        )


def _remedy(error: ApiError) -> str:
    if isinstance(error, StatusError) and error.code == 401:
        return "; see the kubeconfig's users, or the token of the pod's service account"
    return ""


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_AT_ONCE
    return ", ".join(names[:_NAMES_AT_ONCE]) + (f" and {more} more" if more > 0 else "")


async def _stop(listing: _Listing) -> None:
    task, listing.task, listing.resource = listing.task, None, None
    if task is not None:
        task.cancel()
        # Not "await task": its cancellation must not be taken for our own, nor ours for its.
        await asyncio.wait([task])
