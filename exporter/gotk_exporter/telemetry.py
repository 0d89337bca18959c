"""The exporter's own health, as prometheus_client metrics; every family stands in the catalogue.

Shell rooms call it; the core does not know of it. It measures what we do, never what Flux does.
"""

from __future__ import annotations

import enum
import math
import platform
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics, exposition
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from gotk_exporter import __version__
from gotk_exporter.metrics import own_families as f
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import Family

# They double the counters' series and no rule of ours, or known to us, reads them.
disable_created_metrics()

_EVENT_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")
_LOAD_RESULTS = ("changed", "unchanged", "failed")

_M = TypeVar("_M", bound=MetricWrapperBase)


class ResourceState(enum.Enum):
    """How following one kind (in one namespace, where limited) stands."""

    SYNCING = "syncing"
    SYNCED = "synced"
    UNREACHABLE = "unreachable"
    RELISTING = "relisting"
    FORBIDDEN = "forbidden"
    ABSENT = "absent"


class Telemetry:
    """The registry and everything in it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``monotonic``: the clock that staleness is measured with; a wall clock that is set would make it up."""
        self.monotonic = monotonic
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._gauge(f.BUILD_INFO).labels(__version__, platform.python_version()).set(1)
        self._resources: list[ResourceTelemetry] = []
        self.registry.register(_States(self._resources))
        self.registry.register(_Staleness(self._resources))
        self.resource_objects = self._gauge(f.RESOURCE_OBJECTS)
        self.resource_last_contact = self._gauge(f.RESOURCE_LAST_CONTACT)
        self.lists = self._counter(f.LISTS)
        self.watches = self._counter(f.WATCHES)
        self.watch_events = self._counter(f.WATCH_EVENTS)
        self.decode_failures = self._counter(f.DECODE_FAILURES)
        self.discovery_last_success = self._gauge(f.DISCOVERY_LAST_SUCCESS)
        self.discovery_failures = self._counter(f.DISCOVERY_FAILURES)
        self.checkpoint_last_success = self._gauge(f.CHECKPOINT_LAST_SUCCESS)
        self.checkpoint_objects = self._gauge(f.CHECKPOINT_OBJECTS)
        self.checkpoint_left_out = self._gauge(f.CHECKPOINT_LEFT_OUT)
        self.checkpoint_failures = self._counter(f.CHECKPOINT_FAILURES)
        self.scrape_render = self._gauge(f.SCRAPE_RENDER)
        self.scrape_body = self._gauge(f.SCRAPE_BODY)
        self._api_requests = self._counter(f.API_REQUESTS)
        self._credentials_loads = self._counter(f.CREDENTIALS_LOADS)
        # Counters that start with their first event lose it for increase(). The two whose label values nobody knows
        # beforehand (API requests by outcome, decode failures by field) have to.
        for result in _LOAD_RESULTS:
            self._credentials_loads.labels(result)

    def resource(self, kind: str, namespace: str | None, stale_after: float = math.inf) -> ResourceTelemetry:
        """What is counted about one reflector. ``stale_after``: seconds that what it serves may go unconfirmed."""
        resource = ResourceTelemetry(self, kind, namespace or "", stale_after)
        self._resources.append(resource)
        return resource

    def count_request(self, verb: str, resource: str, outcome: str) -> None:
        self._api_requests.labels(verb, resource, outcome).inc()

    def count_credentials_load(self, result: str) -> None:
        self._credentials_loads.labels(result).inc()

    def render(self, fmt: Format) -> bytes:
        """All of it as text; in OpenMetrics with the end mark, so it comes last on a page."""
        if fmt is Format.OPENMETRICS:
            return bytes(openmetrics.generate_latest(self.registry))
        return exposition.generate_latest(self.registry)

    def _gauge(self, family: Family) -> Gauge:
        return self._metric(Gauge, family)

    def _counter(self, family: Family) -> Counter:
        return self._metric(Counter, family)

    def _metric(self, metric: type[_M], family: Family) -> _M:
        return metric(family.name, family.help, family.labels, registry=self.registry)


class ResourceTelemetry:
    """One reflector's share. Remembers the state it was last told, so that logging once per change is easy."""

    def __init__(self, telemetry: Telemetry, kind: str, namespace: str, stale_after: float) -> None:
        self._telemetry = telemetry
        self._labels = (kind, namespace)
        self._stale_after = stale_after
        self._confirmed: float | None = None
        """On the monotonic clock; None while there is nothing that could be confirmed."""
        self.state = ResourceState.SYNCING
        self._last_contact: Gauge | None = None
        """Looked up once: it is set with every event."""
        telemetry.lists.labels(*self._labels)
        telemetry.watches.labels(*self._labels)
        for event_type in _EVENT_TYPES:
            telemetry.watch_events.labels(*self._labels, event_type)

    def enter(self, state: ResourceState) -> bool:
        """Be in this state; says whether that is news."""
        news, self.state = state is not self.state, state
        if state is ResourceState.ABSENT:
            # Nothing is served of it. Should it come back, it is as if it had never been listed.
            self._confirmed = None
        return news

    def contact(self, at: float) -> None:
        """The API server sent something about this kind at this Unix time."""
        if self._last_contact is None:
            self._last_contact = self._telemetry.resource_last_contact.labels(*self._labels)
        self._last_contact.set(at)

    def confirmed(self, at: float) -> None:
        """What is served of this kind was all there was at this time of the monotonic clock.

        More than a contact: a page of a listing that is not complete, or a watch that the API server takes back at
        once, is heard of and confirms nothing.
        """
        if self._confirmed is None or at > self._confirmed:
            self._confirmed = at

    def stale_for(self) -> float | None:
        """For how many seconds what is served has gone unconfirmed, where that is too long; None where it is not."""
        # Read once: a page is rendered in a thread while it may change.
        confirmed = self._confirmed
        if confirmed is None:
            return None
        unconfirmed = self._telemetry.monotonic() - confirmed
        return unconfirmed if unconfirmed > self._stale_after else None

    def listed(self) -> None:
        self._telemetry.lists.labels(*self._labels).inc()

    def watching(self) -> None:
        self._telemetry.watches.labels(*self._labels).inc()

    def event(self, event_type: str) -> None:
        self._telemetry.watch_events.labels(*self._labels, event_type).inc()

    def holds(self, objects: int) -> None:
        self._telemetry.resource_objects.labels(*self._labels).set(objects)

    def unreadable(self, field: str) -> None:
        self._telemetry.decode_failures.labels(self._labels[0], field).inc()

    def state_samples(self) -> Iterator[tuple[tuple[str, str, str], int]]:
        """Labels and value for each state; exactly one is 1."""
        # Read once: a page is rendered in a thread while the state may change.
        held = self.state
        for state in ResourceState:
            yield (*self._labels, state.value), int(state is held)

    def stale_sample(self) -> tuple[tuple[str, str], int]:
        """Labels and value."""
        return self._labels, int(self.stale_for() is not None)


class _States(Collector):
    """The states of all reflectors, each as it is at one moment."""

    def __init__(self, resources: list[ResourceTelemetry]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(f.RESOURCE_STATE.name, f.RESOURCE_STATE.help, labels=f.RESOURCE_STATE.labels)
        for resource in list(self._resources):
            for labels, value in resource.state_samples():
                family.add_metric(labels, value)
        yield family


class _Staleness(Collector):
    """Which kinds are stale, found out when it is asked: nothing happens when one becomes so."""

    def __init__(self, resources: list[ResourceTelemetry]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(f.RESOURCE_STALE.name, f.RESOURCE_STALE.help, labels=f.RESOURCE_STALE.labels)
        for resource in list(self._resources):
            family.add_metric(*resource.stale_sample())
        yield family
