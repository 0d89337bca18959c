"""The controllers' Leases: read at a bounded pace, shown while they can be read, and in the way of nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from gotk_exporter.flux.controllers import Lease
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import Resource
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from gotk_exporter.kube.leases import LeaseFollower
from gotk_exporter.kube.wire import ListMeta, Page
from gotk_exporter.telemetry import Telemetry
from tests.kube.scripted_clock import EPOCH, ScriptedClock
from tests.kube.test_bounds import NoChance

FLUX = "flux-system"
KUSTOMIZE = "kustomize-controller-leader-election"
SHARD = "sharding.fluxcd.io/key"
FORBIDDEN = StatusError(403, "Forbidden", "no")
REFUSED = Unreachable("refused", "no connection to the API server")


def manifest(name: str, renewed_at: float, namespace: str = FLUX, duration: int = 35, **spec: Any) -> dict[str, Any]:
    """As client-go writes it."""
    time = datetime.fromtimestamp(renewed_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    content = {"holderIdentity": "pod_1", "leaseDurationSeconds": duration, "renewTime": time, **spec}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": content}


class Finished(Exception):
    """The script is at its end."""


Pages = Sequence[Sequence[dict[str, Any]]]


class ScriptedClient:
    """Gives the next of a namespace's answers to each listing: pages, or an error."""

    def __init__(self, answers: Mapping[str, Sequence[Pages | ApiError]]) -> None:
        self._answers = {namespace: list(found) for namespace, found in answers.items()}
        self._rest: list[Sequence[dict[str, Any]]] = []
        self.requests: list[str] = []

    async def list_from_cache(
        self, resource: Resource, namespace: str | None, take: Callable[[Sequence[msgspec.Raw]], None]
    ) -> Page:
        assert namespace is not None
        self.requests.append(resource.path(namespace))
        if not self._answers[namespace]:
            raise Finished
        answer = self._answers[namespace].pop(0)
        if isinstance(answer, Exception):
            raise answer
        first, *self._rest = answer
        take([msgspec.Raw(json.dumps(item).encode()) for item in first])
        return self._page(())

    async def list_page(self, resource: Resource, namespace: str | None, continue_token: str) -> Page:
        assert continue_token == "more"
        return self._page(self._rest.pop(0))

    def _page(self, items: Sequence[dict[str, Any]]) -> Page:
        raw = [msgspec.Raw(json.dumps(item).encode()) for item in items]
        return Page(ListMeta("1", "more" if self._rest else ""), raw)


class Run:
    """All answers of the script, and what was made of them."""

    def __init__(self, answers: Mapping[str, Sequence[Pages | ApiError]] | Sequence[Pages | ApiError]) -> None:
        answers = answers if isinstance(answers, Mapping) else {FLUX: answers}
        self.client = ScriptedClient(answers)
        self.clock = ScriptedClock()
        self.telemetry = Telemetry()
        self.told: list[tuple[float, str, list[str] | None]] = []
        """Seconds since the start, namespace, names."""
        self.leases: list[Lease] = []
        self.follower = LeaseFollower(
            self.client, list(answers), self._take, self.telemetry, Bounds(), self.clock, NoChance()
        )

    def _take(self, namespace: str, leases: Sequence[Lease] | None, now: float) -> None:
        assert now == self.clock.wall()
        self.leases += leases or ()
        names = None if leases is None else [lease.name for lease in leases]
        self.told.append((round(now - EPOCH, 1), namespace, names))

    async def to_the_end(self) -> Run:
        with pytest.raises(ExceptionGroup) as ended:
            await self.follower.run()
        assert ended.group_contains(Finished)
        return self

    def state(self, namespace: str = FLUX) -> str:
        states = [
            state for state in ("syncing", "synced", "unreachable", "forbidden") if self._state(state, namespace) == 1
        ]
        assert len(states) == 1
        return states[0]

    def _state(self, state: str, namespace: str) -> float | None:
        labels = {"resource": "Lease", "watched_namespace": namespace, "state": state}
        return self.telemetry.registry.get_sample_value("gotk_exporter_resource_state", labels)

    def held(self, namespace: str = FLUX) -> float | None:
        labels = {"resource": "Lease", "watched_namespace": namespace}
        return self.telemetry.registry.get_sample_value("gotk_exporter_resource_objects", labels)


ONE: Pages = [[manifest(KUSTOMIZE, EPOCH)]]


async def test_it_is_read_every_quarter_minute_in_one_request() -> None:
    run = await Run([ONE, ONE, ONE]).to_the_end()
    assert run.client.requests == [f"/apis/coordination.k8s.io/v1/namespaces/{FLUX}/leases"] * 4
    assert run.clock.slept == [15.0] * 3
    assert run.told == [(0, FLUX, None), (0, FLUX, [KUSTOMIZE]), (15, FLUX, [KUSTOMIZE]), (30, FLUX, [KUSTOMIZE])]
    assert (run.state(), run.held()) == ("synced", 1)


async def test_only_leases_of_fluxs_controllers_are_taken_from_all_pages() -> None:
    released = manifest("helm-controller-leader-election-0a1b2c3d", EPOCH - 1.5, duration=1, holderIdentity="")
    sparse = manifest("flux-operator", EPOCH)
    del sparse["spec"]["leaseDurationSeconds"]
    never = manifest("source-watcher-leader-election", EPOCH, renewTime=None)
    run = await Run([[[manifest("karpenter-leader-election", EPOCH), released], [never, sparse]]]).to_the_end()
    assert run.leases == [
        Lease("helm-controller-leader-election-0a1b2c3d", FLUX, EPOCH - 1.5, 1.0),
        Lease("flux-operator", FLUX, EPOCH, 35.0),
    ]


async def test_a_lease_that_is_none_costs_itself_and_is_counted() -> None:
    broken = {**manifest("source-controller-leader-election", EPOCH), "spec": 5}
    run = await Run([[[broken, {"metadata": 5}, manifest(KUSTOMIZE, EPOCH)]]]).to_the_end()
    assert [lease.name for lease in run.leases] == [KUSTOMIZE]
    labels = {"resource": "Lease", "field": "spec"}
    assert run.telemetry.registry.get_sample_value("gotk_exporter_decode_failures_total", labels) == 2


async def test_what_may_not_be_read_is_told_once_with_the_remedy_and_asked_for_less_and_less(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = await Run([FORBIDDEN] * 9).to_the_end()
    assert run.state() == "forbidden"
    assert run.told == [(0, FLUX, None)]
    (told,) = caplog.records
    assert told.levelname == "WARNING"
    assert told.message == (
        "Lease in flux-system: forbidden: 403 Forbidden: no; grant list on leases.coordination.k8s.io in this "
        "namespace to the exporter's account, or set controllers.leases to false"
    )
    assert run.clock.slept == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]


async def test_heartbeats_that_cannot_be_read_any_more_stay_for_a_minute_and_a_half_and_then_vanish(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    run = await Run([ONE, *[FORBIDDEN] * 9, ONE]).to_the_end()
    assert run.told[:2] == [(0, FLUX, None), (0, FLUX, [KUSTOMIZE])]
    # Punctual, though it comes in the middle of a back-off; and taken away once.
    assert run.told[2] == (90, FLUX, None)
    assert [names for _, _, names in run.told[3:]] == [[KUSTOMIZE]]
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "Lease in flux-system: synced, 1 of Flux's controllers",
        "Lease in flux-system: forbidden: 403 Forbidden: no",
        "Lease in flux-system: not read for 90 s",
        "Lease in flux-system: synced, 1 of Flux's controllers",
    ]
    assert "heartbeats stay as last read, for 90 s" in caplog.records[1].message
    assert (run.state(), run.held()) == ("synced", 1)


async def test_what_was_taken_away_is_not_counted_as_held() -> None:
    run = await Run([ONE, *[REFUSED] * 9]).to_the_end()
    assert (run.state(), run.held()) == ("unreachable", 0)


async def test_one_failed_request_changes_nothing_and_is_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = await Run([ONE, REFUSED, ONE]).to_the_end()
    assert [names for _, _, names in run.told] == [None, [KUSTOMIZE], [KUSTOMIZE]]
    assert len(caplog.records) == 1


async def test_that_the_api_server_is_away_is_no_warning_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    run = await Run([REFUSED] * 5).to_the_end()
    assert run.state() == "syncing"
    assert caplog.records == []


async def test_a_namespace_without_any_is_told_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = await Run([[[]]]).to_the_end()
    assert run.told[-1] == (0, FLUX, [])
    assert "where they run elsewhere, name that namespace in controllers.namespaces" in caplog.text


async def test_a_server_that_asks_for_time_gets_it() -> None:
    run = await Run([StatusError(429, "TooManyRequests", "later", retry_after=40.0)]).to_the_end()
    assert run.clock.slept == [40.0]


async def test_nothing_is_known_of_any_namespace_before_all_have_been_read_once() -> None:
    run = await Run({FLUX: [ONE], "flux-shards": [[[]]]}).to_the_end()
    assert run.told[:2] == [(0, FLUX, None), (0, "flux-shards", None)]


async def test_a_request_that_hangs_is_given_up() -> None:
    class Hanging(ScriptedClient):
        async def list_from_cache(self, *_: Any) -> Page:
            if len(self.requests) == 1:
                raise Finished
            self.requests.append("")
            await asyncio.Event().wait()
            raise AssertionError

    clock = ScriptedClock()
    follower = LeaseFollower(
        Hanging({}), [FLUX], lambda *_: None, Telemetry(), Bounds(lease_timeout=0.01), clock, NoChance()
    )
    with pytest.raises(ExceptionGroup):
        await follower.run()
    assert clock.slept == [0.8]


async def test_without_namespaces_nothing_is_asked_and_nothing_is_shown() -> None:
    run = Run({})
    await run.follower.run()
    assert run.client.requests == []
    assert run.telemetry.registry.get_sample_value("gotk_exporter_resource_objects") is None
