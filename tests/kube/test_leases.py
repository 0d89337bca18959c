"""The controllers' Leases: read at a bounded pace, shown while they can be read, and in the way of nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gotk_exporter.app import Exporter
from gotk_exporter.clock import SystemClock
from gotk_exporter.config import ControllersSettings, Settings, WatchSettings
from gotk_exporter.flux.controllers import Lease, suffix_of
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import Resource
from gotk_exporter.kube.credentials import Kubeconfig
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from gotk_exporter.kube.leases import LeaseFollower
from gotk_exporter.kube.wire import ListMeta, Page
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.telemetry import Telemetry
from gotk_exporter.web.server import Address
from tests.kube.conformance.servers import SERVERS, ServerUnderTest
from tests.kube.scripted_clock import EPOCH, ScriptedClock
from tests.kube.test_bounds import NoChance
from tests.peers.access import create_service_account, grant, revoke
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import CRDS, read_objects
from tests.peers.processes import poll_until

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


# Beside API servers, simulated and real

QUICK = replace(Bounds().divided(4), lease_interval=0.1)
KUSTOMIZATIONS = Settings(WatchSettings(("Kustomization",)))


class AheadClock(SystemClock):
    """The real one, which the test may put forward."""

    ahead = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead


class Beside:
    """An exporter beside an API server."""

    def __init__(self, kubeconfig: Path, settings: Settings, bounds: Bounds) -> None:
        self.clock = AheadClock()
        self.exporter = Exporter(settings, Kubeconfig(bounds, self.clock, str(kubeconfig)), bounds, self.clock)

    def shows(self, family: str, **labels: str) -> list[str]:
        """Lines of a family that have these labels."""
        page = b"".join(self.exporter.body.plain(Format.TEXT)).decode()
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        lines = [line for line in page.splitlines() if line.startswith(f"{family}{{")]
        return [line for line in lines if all(label in line for label in wanted)]

    def heartbeats(self) -> set[str]:
        """The controllers that have one."""
        return {label("controller", line) for line in self.shows(HEARTBEAT)}

    def beats(self, at: float) -> int:
        """How many controllers were renewed at this time."""
        return sum(line.endswith(f" {round(at, 3)}") for line in self.shows(HEARTBEAT))

    def unserved(self) -> set[str]:
        return {label("name", line) for line in self.shows("gotk_resource_unserved")}

    def state(self, namespace: str = FLUX) -> str:
        lines = self.shows("gotk_exporter_resource_state", resource="Lease", watched_namespace=namespace)
        (held,) = [label("state", line) for line in lines if line.endswith(" 1.0")]
        return held

    async def until(self, holds: Callable[[], bool]) -> None:
        async def does_it_hold() -> bool:
            return holds()

        await poll_until(does_it_hold, "what the exporter shows", 20)


HEARTBEAT = "gotk_controller_lease_renew_timestamp_seconds"


def label(name: str, line: str) -> str:
    return line.partition(f'{name}="')[2].partition('"')[0]


@asynccontextmanager
async def beside(
    kubeconfig: Path, settings: Settings = KUSTOMIZATIONS, bounds: Bounds = QUICK
) -> AsyncIterator[Beside]:
    running, stop = Beside(kubeconfig, settings, bounds), asyncio.Event()
    task = asyncio.create_task(running.exporter.run(Address("127.0.0.1", 0), stop))
    try:
        yield running
    finally:
        stop.set()
        async with asyncio.timeout(2):
            await task


@pytest.fixture(params=SERVERS)
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    server = SERVERS[request.param](tmp_path / "server")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def api_admin(api: ServerUnderTest) -> AsyncIterator[AdminClient]:
    async with api.client() as admin:
        await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
        for namespace in FLUX, "apps":
            await admin.ensure_namespace(namespace)
        yield admin


def kustomization(shard: str) -> dict[str, Any]:
    metadata = {"name": shard, "namespace": "apps", "labels": {SHARD: shard}}
    spec = {"interval": "10m", "prune": False, "sourceRef": {"kind": "GitRepository", "name": "repo"}}
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": metadata,
        "spec": spec,
    }


NAMES = {selector: f"{KUSTOMIZE}-{suffix_of(selector)}" for selector in (f"!{SHARD}", f"{SHARD}=one", f"{SHARD}=two")}
"""Of the Leases, by selector: those of the main controller and of two shards."""
LABELS = {name.replace("-leader-election", "") for name in NAMES.values()}


async def renew(admin: AdminClient, at: float, *names: str) -> None:
    for name in names:
        spec = manifest(name, at)["spec"]
        await admin.patch("coordination.k8s.io/v1", "Lease", name, {"spec": spec}, FLUX)


async def test_a_shard_whose_controller_is_gone_is_unserved_after_the_bound_and_the_other_is_not(
    api: ServerUnderTest, api_admin: AdminClient, tmp_path: Path
) -> None:
    for shard in "one", "two":
        await api_admin.create(kustomization(shard))
    main, one, two = NAMES.values()
    async with beside(api.kubeconfig(tmp_path / "kubeconfig", api.url)) as running:
        start = running.clock.wall()
        for name in ("somebody-elses", *NAMES.values()):
            await api_admin.create(manifest(name, start))
        await running.until(lambda: running.heartbeats() == LABELS)
        assert running.state() == "synced"
        assert running.exporter.cluster.pending() == []
        # Those that live have renewed theirs before the time comes.
        for later in 200, 230:
            await renew(api_admin, start + later, main, one)
            await running.until(lambda later=later: running.beats(start + later) == 2)  # type: ignore[misc]
            assert running.unserved() == set()
            running.clock.ahead = later
        await running.until(lambda: running.unserved() == {"two"})
        # It comes back.
        await renew(api_admin, start + 230, two)
        await running.until(lambda: running.unserved() == set())
        assert running.heartbeats() == LABELS
        requests = running.shows("gotk_exporter_api_requests_total", resource="Lease")
        assert [(label("verb", line), label("outcome", line)) for line in requests] == [("list", "200")]


async def test_an_account_that_may_not_list_them_is_shown_as_such_and_does_everything_else(
    api: ServerUnderTest, api_admin: AdminClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await api_admin.create(kustomization("one"))
    await api_admin.create(manifest(NAMES[f"!{SHARD}"], 0))
    token = await api.limited_token({"kustomize.toolkit.fluxcd.io": ["kustomizations"]})
    async with beside(api.kubeconfig(tmp_path / "kubeconfig", api.url, token)) as running:
        await running.until(lambda: running.state() == "forbidden" and not running.exporter.cluster.pending())
        assert len(running.shows("gotk_reconcile_condition", name="one")) == 4
        assert running.heartbeats() == set()
    (told,) = [record.message for record in caplog.records if "Lease in flux-system" in record.message]
    assert "grant list on leases.coordination.k8s.io in this namespace" in told


async def test_list_in_the_controllers_namespace_alone_is_enough(
    api: ServerUnderTest, api_admin: AdminClient, tmp_path: Path
) -> None:
    await api_admin.create(manifest(KUSTOMIZE, 1_700_000_000.123456))
    permissions = {"kustomize.toolkit.fluxcd.io": ["kustomizations"], "coordination.k8s.io": ["leases"]}
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig", api.url, await api.limited_token(permissions, [FLUX]))
    async with beside(kubeconfig, Settings(WatchSettings(("Kustomization",), (FLUX,)))) as running:
        await running.until(lambda: bool(running.heartbeats()))
        labels = 'controller="kustomize-controller",namespace="flux-system"'
        assert running.shows(HEARTBEAT) == [f"{HEARTBEAT}{{{labels}}} 1700000000.123"]


async def test_a_permission_that_is_taken_away_is_shown_and_one_that_comes_is_used(
    api_server: RealApiServer, admin: AdminClient, namespace: str, tmp_path: Path
) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    await admin.create(manifest(KUSTOMIZE, 1_700_000_000, namespace))
    account = await create_service_account(admin, namespace, "exporter")
    flux = {"apiGroups": ["kustomize.toolkit.fluxcd.io"], "resources": ["kustomizations"], "verbs": ["list", "watch"]}
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]}
    await grant(admin, account, [flux])
    await grant(admin, account, [leases], namespace)
    token = api_server.service_account_token(namespace, account.name, account.uid, 3600)
    settings = replace(KUSTOMIZATIONS, controllers=ControllersSettings(namespaces=(namespace,)))
    kubeconfig = api_server.kubeconfig(tmp_path / "kubeconfig", token)
    async with beside(kubeconfig, settings, replace(QUICK, lease_patience=1.0)) as running:
        await running.until(lambda: (running.state(namespace), len(running.heartbeats())) == ("synced", 1))
        await revoke(admin, account, namespace)
        await running.until(lambda: (running.state(namespace), len(running.heartbeats())) == ("forbidden", 0))
        await grant(admin, account, [leases], namespace)
        await running.until(lambda: (running.state(namespace), len(running.heartbeats())) == ("synced", 1))


async def test_a_lease_is_as_small_as_the_cost_of_a_poll_is_reckoned_with(admin: AdminClient, namespace: str) -> None:
    await admin.create(manifest(KUSTOMIZE, 1_700_000_000, namespace, acquireTime="2026-11-20T08:00:00.000000Z"))
    listing = await admin.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    assert 400 < len(json.dumps(listing["items"], separators=(",", ":"))) < 800
