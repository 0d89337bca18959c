"""The Leases of Flux's controllers, read from a simulated and from a real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gotk_exporter.app import Exporter
from gotk_exporter.clock import SystemClock
from gotk_exporter.config import ControllersSettings, Settings, WatchSettings
from gotk_exporter.flux.controllers import suffix_of
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Kubeconfig
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.web.server import Address
from tests.kube.conformance.servers import SERVERS, ServerUnderTest
from tests.kube.test_leases import FLUX, KUSTOMIZE, SHARD, manifest
from tests.peers.access import create_service_account, grant, revoke
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import CRDS, read_objects
from tests.peers.processes import poll_until

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
