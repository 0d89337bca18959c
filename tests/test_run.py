"""``gotk-exporter run`` as a user runs it: a process beside a real API server, scraped by a real Prometheus."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gotk_exporter.app import Exporter
from gotk_exporter.clock import SystemClock
from gotk_exporter.config import Settings, WatchSettings
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import InCluster, Kubeconfig
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.web.server import Address
from tests.kube.connection import write_kubeconfig
from tests.peers.access import create_service_account, grant
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import CRDS, read_objects
from tests.peers.processes import poll_until
from tests.peers.prometheus import RunningPrometheus

SOON_SECONDS = 15.0
KUSTOMIZE = "kustomize.toolkit.fluxcd.io/v1"


class Running:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []
        self.address = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode().rstrip())
            if found := re.search(r"serves /metrics on ([\d.:]+)", self.lines[-1]):
                self.address = found[1]

    async def listening(self) -> None:
        await self.eventually(lambda: bool(self.address))

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"http://{self.address}{path}", headers=headers) as response,
        ):
            return response.status, await response.text()

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return (await self.get("/-/ready"))[0] == 200

        await self.listening()
        await self.eventually(is_ready)

    async def eventually(self, holds: Callable[[], bool | Awaitable[bool]]) -> None:
        async with asyncio.timeout(SOON_SECONDS):
            while True:
                result = holds()
                if result if isinstance(result, bool) else await result:
                    return
                assert self._process.returncode is None, self.lines
                await asyncio.sleep(0.02)

    async def shows(self, text: str) -> None:
        """Wait until the page contains the text."""

        async def contains() -> bool:
            return text in (await self.get("/metrics"))[1]

        await self.eventually(contains)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal; the exit code, which must come within two seconds."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(2):
            code = await self._process.wait()
        await self._reading
        return code


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Start]:
    """``await run(kubeconfig, *flags)``: the process, ended with the test."""
    async with AsyncExitStack() as ends:

        async def start(kubeconfig: Path, *flags: str) -> Running:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gotk_exporter", "run", "--web.listen-address", "127.0.0.1:0"),
                *("--kubeconfig", str(kubeconfig), *flags),
                stderr=asyncio.subprocess.PIPE,
            )
            running = Running(process)
            ends.push_async_callback(running.end)
            return running

        yield start


@pytest.fixture
async def kubeconfig(api_server: RealApiServer, admin: AdminClient, tmp_path: Path) -> Path:
    """Of the shared API server, with CRDs of ours that refuse nothing."""
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml", CRDS / "gitrepositories.yaml"))
    return api_server.kubeconfig(tmp_path / "kubeconfig")


async def test_the_legacy_metric_is_served_within_moments_of_the_start(
    run: Start, kubeconfig: Path, admin: AdminClient, namespace: str
) -> None:
    await admin.create(_kustomization("broken", namespace, ready="False"))

    exporter = await run(kubeconfig)
    await exporter.ready()

    _, text = await exporter.get("/metrics")
    for status, value in {"True": 0, "False": 1, "Unknown": 0, "Deleted": 0}.items():
        labels = f'kind="Kustomization",name="broken",namespace="{namespace}",type="Ready",status="{status}"'
        assert f"gotk_reconcile_condition{{{labels}}} {value}\n" in text


async def test_in_a_pod_the_service_account_is_enough(
    kubeconfig: Path,
    api_server: RealApiServer,
    admin: AdminClient,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The files lie elsewhere than in a pod; everything else is as the kubelet has it."""
    await admin.create(_kustomization("one", namespace, ready="True"))
    account = await create_service_account(admin, namespace, "exporter")
    groups = ["kustomize.toolkit.fluxcd.io", "source.toolkit.fluxcd.io"]
    await grant(admin, account, [{"apiGroups": groups, "resources": ["*"], "verbs": ["list", "watch"]}])
    token_file = tmp_path / "token"
    token_file.write_text(api_server.service_account_token(namespace, account.name, account.uid, 3600))
    address = urlsplit(api_server.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    bounds, clock, stop = Bounds(), SystemClock(), asyncio.Event()
    settings = Settings(WatchSettings(kinds=("Kustomization", "GitRepository")))
    exporter = Exporter(settings, InCluster(bounds, str(token_file), str(api_server.ca_file)), bounds, clock)
    running = asyncio.create_task(exporter.run(Address("127.0.0.1", 0), stop))

    async def served() -> bool:
        page = b"".join(exporter.body.plain(Format.TEXT)).decode()
        return _sample("gotk_reconcile_condition", "one", namespace, ',type="Ready",status="True"') + " 1\n" in page

    await poll_until(served, "the object on the page", SOON_SECONDS)
    stop.set()
    async with asyncio.timeout(2):
        await running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_success_within_two_seconds(
    run: Start, kubeconfig: Path, number: signal.Signals
) -> None:
    exporter = await run(kubeconfig)
    await exporter.ready()
    assert await exporter.end(number) == 0
    assert exporter.lines[-1].endswith("msg=stopping")


async def test_a_signal_ends_it_within_two_seconds_while_the_api_server_is_frozen(
    run: Start, own_api_server: RealApiServer, tmp_path: Path
) -> None:
    own_api_server.freeze()
    exporter = await run(own_api_server.kubeconfig(tmp_path / "kubeconfig"))
    await exporter.listening()
    assert (await exporter.get("/-/healthy"))[0] == 200
    status, text = await exporter.get("/-/ready")
    assert (status, text.startswith("Not ready: waiting for Kustomization, HelmRelease")) == (503, True)
    assert await exporter.end() == 0


async def test_a_malformed_object_costs_its_bad_fields_only(
    run: Start, kubeconfig: Path, admin: AdminClient, namespace: str
) -> None:
    bad = _kustomization("bad", namespace, ready="True")
    bad["spec"]["interval"] = "soon"
    bad["metadata"]["annotations"] = {"big": "x" * 250_000}
    await admin.create(bad)
    await admin.patch_status(KUSTOMIZE, "Kustomization", "bad", {"conditions": "none of your business"}, namespace)
    await admin.create(_kustomization("good", namespace, ready="True"))

    exporter = await run(kubeconfig)
    await exporter.ready()
    # Another write of the same object is no second line in the log.
    await admin.patch(KUSTOMIZE, "Kustomization", "bad", {"spec": {"suspend": True}}, namespace)
    await exporter.shows(f'gotk_suspend_status{{kind="Kustomization",name="bad",namespace="{namespace}"}} 1')

    _, text = await exporter.get("/metrics")
    assert _sample("gotk_reconcile_condition", "good", namespace, ',type="Ready",status="True"') + " 1\n" in text
    assert _sample("gotk_resource_interval_seconds", "good", namespace) + " 600\n" in text
    assert _sample("gotk_reconcile_condition", "bad", namespace, ',type="Ready",status="Unknown"') + " 1\n" in text
    assert _sample("gotk_resource_interval_seconds", "bad", namespace) not in text
    assert 'gotk_exporter_decode_failures_total{field="status.conditions",resource="Kustomization"} 1.0\n' in text
    assert 'gotk_exporter_decode_failures_total{field="spec.interval",resource="Kustomization"} 1.0\n' in text
    told = [line for line in exporter.lines if f"{namespace}/bad" in line]
    assert len(told) == 2
    assert all("is left out" in line for line in told)


async def test_only_the_settings_families_are_served(
    run: Start, kubeconfig: Path, admin: AdminClient, namespace: str, tmp_path: Path
) -> None:
    await admin.create(_kustomization("one", namespace, ready="True"))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"watch: {{kinds: [Kustomization], namespaces: [{namespace}]}}\nmetrics: {{allow: [gotk_resource_info]}}\n"
    )

    exporter = await run(kubeconfig, "--config.file", str(settings))
    await exporter.ready()

    _, text = await exporter.get("/metrics")
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE gotk_")}
    assert {name for name in families if not name.startswith("gotk_exporter_")} == {"gotk_resource_info"}
    assert f'watched_namespace="{namespace}"' in text


async def test_an_object_says_whose_it_is_with_the_labels_that_the_settings_name(
    run: Start, kubeconfig: Path, admin: AdminClient, namespace: str, tmp_path: Path
) -> None:
    owned = _kustomization("owned", namespace, ready="True")
    owned["metadata"]["labels"] = {"example.com/team": "shop", "example.com/other": "x"}
    await admin.create(owned)
    settings = tmp_path / "settings.yaml"
    settings.write_text("metrics: {ownerLabels: {team: example.com/team, tier: example.com/tier}}\n")
    name, labels = "gotk_resource_owner_info", ("example.com/team", "example.com/tier")

    exporter = await run(kubeconfig, "--config.file", str(settings))
    await exporter.ready()

    await exporter.shows(_sample(name, "owned", namespace, ',team="shop"') + " 1\n")
    for values, shown in ((("a", "b"), ',team="a",tier="b"'), ((None, "b"), ',tier="b"')):
        changed = {"metadata": {"labels": dict(zip(labels, values, strict=True))}}
        await admin.patch(KUSTOMIZE, "Kustomization", "owned", changed, namespace)
        await exporter.shows(_sample(name, "owned", namespace, shown) + " 1\n")
        assert (await exporter.get("/metrics"))[1].count(f"{name}{{") == 1
    await exporter.end()

    without = await run(kubeconfig)
    await without.ready()
    assert name not in (await without.get("/metrics"))[1]


async def test_a_failure_that_only_a_checkpoint_knows_survives_a_restart(
    run: Start, kubeconfig: Path, admin: AdminClient, namespace: str, tmp_path: Path
) -> None:
    await admin.create(_kustomization("app", namespace, ready="True"))
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"checkpoint: {{namespace: {namespace}, configMap: state}}\n")

    async def becomes(status: str) -> None:
        condition = {"type": "Ready", "status": status, "reason": "Any", "lastTransitionTime": "2026-11-20T08:00:00Z"}
        await admin.patch_status(KUSTOMIZE, "Kustomization", "app", {"conditions": [condition]}, namespace)

    async def failing_since(exporter: Running) -> list[str]:
        names = ("failing_since_timestamp_seconds", "failing_since_uncertainty_seconds")
        _, text = await exporter.get("/metrics")
        lines = [_sample(f"gotk_resource_{name}", "app", namespace) for name in names]
        return [line for line in text.splitlines() if line.startswith(tuple(lines))]

    first = await run(kubeconfig, "--config.file", str(settings))
    await first.ready()
    await becomes("False")
    await first.shows(_sample("gotk_resource_failing_since_timestamp_seconds", "app", namespace))
    await becomes("Unknown")
    await first.shows(_sample("gotk_resource_progressing_since_timestamp_seconds", "app", namespace))
    before = await failing_since(first)
    assert len(before) == 2
    assert before[1].endswith(" 0")
    assert await first.end() == 0

    second = await run(kubeconfig, "--config.file", str(settings))
    await second.ready()
    assert await failing_since(second) == before
    assert any("remembered from before the restart" in line for line in second.lines)
    assert await second.end() == 0
    # Somebody else's content is no memory, and no reason not to start.
    await admin.patch("v1", "ConfigMap", "state", {"binaryData": {"state": "bm90IG91cnM="}}, namespace)
    third = await run(kubeconfig, "--config.file", str(settings))
    await third.ready()
    assert any("the checkpoint is ignored: it is not what gotk-exporter writes" in line for line in third.lines)
    assert await failing_since(third) == []


async def test_the_controllers_heartbeats_are_served_unless_the_settings_say_no(
    run: Start, kubeconfig: Path, admin: AdminClient, namespace: str, tmp_path: Path
) -> None:
    await admin.create(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "kustomize-controller-leader-election", "namespace": namespace},
            "spec": {"renewTime": "2026-11-20T08:00:00.000000Z", "leaseDurationSeconds": 35},
        }
    )
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"controllers: {{namespaces: [{namespace}]}}\n")
    exporter = await run(kubeconfig, "--config.file", str(settings))
    labels = f'controller="kustomize-controller",namespace="{namespace}"'
    await exporter.listening()
    await exporter.shows(f"gotk_controller_lease_renew_timestamp_seconds{{{labels}}} 1795161600\n")

    settings.write_text(f"controllers: {{namespaces: [{namespace}], leases: false}}\n")
    without = await run(kubeconfig, "--config.file", str(settings))
    await without.ready()
    _, text = await without.get("/metrics")
    assert "gotk_controller_lease_renew_timestamp_seconds{" not in text
    assert 'resource="Lease"' not in text


@pytest.mark.parametrize("version", ["2", "3"])
async def test_a_real_prometheus_scrapes_it_without_a_warning(
    run: Start,
    kubeconfig: Path,
    admin: AdminClient,
    namespace: str,
    start_prometheus: Callable[..., Awaitable[RunningPrometheus]],
    version: str,
) -> None:
    await admin.create(_kustomization("broken", namespace, ready="False"))
    exporter = await run(kubeconfig)
    await exporter.ready()

    prometheus = await start_prometheus(
        f"""
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: gotk-exporter
    static_configs: [{{targets: ["{exporter.address}"], labels: {{namespace: flux-system}}}}]
""",
        version,
    )

    # The copied rule of the Flux documentation, as far as it can be written today: a default scrape turns our
    # namespace into exported_namespace, and Deleted exists.
    rule = (
        'max(gotk_reconcile_condition{status="False",type="Ready"}) by (exported_namespace, name, kind)'
        ' + on(exported_namespace, name, kind) (max(gotk_reconcile_condition{status="Deleted"})'
        " by (exported_namespace, name, kind)) * 2 == 1"
    )

    async def fires() -> bool:
        broken = {"exported_namespace": namespace, "kind": "Kustomization", "name": "broken"}
        return any(sample.labels == broken for sample in await prometheus.query(rule))

    await exporter.eventually(fires)
    assert prometheus.warnings() == []


class AheadClock(SystemClock):
    """The real one, which a test may put forward: whatever waits goes on waiting, but more time has passed."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def wall(self) -> float:
        return super().wall() + self.ahead


async def test_while_the_api_server_is_gone_what_is_served_is_marked_stale_and_it_is_not_ready(tmp_path: Path) -> None:
    clock, stop = AheadClock(), asyncio.Event()
    bounds = replace(Bounds(), backoff_first=0.05, backoff_longest=0.1, watch_short=0.2)
    kinds = ("Kustomization", "GitRepository", "Bucket")
    listening: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
    async with (
        AsyncExitStack() as ends,
        ApiServer(new_cluster(time.time)) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
    ):
        async with AdminClient(server.url) as admin:
            await admin.ensure_namespace("shop")
            await admin.create(_kustomization("app", "shop", ready="True"))
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", server.url, user={})
        credentials = Kubeconfig(bounds, clock, str(kubeconfig))
        exporter = Exporter(Settings(WatchSettings(kinds=kinds)), credentials, bounds, clock)
        ends.push_async_callback(
            asyncio.wait, [asyncio.create_task(exporter.run(Address("127.0.0.1", 0), stop, listening.set_result))]
        )
        ends.callback(stop.set)
        url = f"http://{await listening}"

        async def get(path: str) -> tuple[int, str]:
            async with http.get(url + path) as response:
                return response.status, await response.text()

        async def stale() -> dict[str, str]:
            marks = r'^gotk_exporter_resource_stale{resource="(\w+)",watched_namespace=""} (\S+)$'
            return dict(re.findall(marks, (await get("/metrics"))[1], re.MULTILINE))

        async def ready() -> bool:
            return await get("/-/ready") == (200, "gotk-exporter is ready.\n")

        fresh, out_of_date = dict.fromkeys(kinds, "0.0"), dict.fromkeys(kinds, "1.0")
        await poll_until(ready, "the exporter", SOON_SECONDS)
        assert await stale() == fresh

        server.kill()
        clock.ahead += bounds.stale_after - 2 * SOON_SECONDS
        assert (await ready(), await stale()) == (True, fresh)

        clock.ahead += 2 * SOON_SECONDS + 1
        status, text = await get("/-/ready")
        assert (status, await stale()) == (503, out_of_date)
        seconds = r"for 1[89]\d s"
        assert re.fullmatch(
            "Not ready: not confirmed by the API server, and served as last known: "
            rf"Kustomization {seconds}, GitRepository {seconds}, Bucket {seconds}\.\n",
            text,
        )
        # Marked, and served all the same: series that vanish resolve alerts.
        app = _sample("gotk_reconcile_condition", "app", "shop", ',type="Ready",status="True"')
        assert f"{app} 1\n" in (await get("/metrics"))[1]
        assert exporter.cluster.pending() == []

        await server.restart()
        await poll_until(ready, "the exporter after the outage", SOON_SECONDS)
        assert await stale() == fresh


def _sample(family: str, name: str, namespace: str, more: str = "") -> str:
    return f'{family}{{kind="Kustomization",name="{name}",namespace="{namespace}"{more}}}'


def _kustomization(name: str, namespace: str, ready: str) -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": ready,
        "reason": "Tested",
        "message": "",
        "lastTransitionTime": "2026-11-21T12:00:00Z",
    }
    return {
        "apiVersion": KUSTOMIZE,
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "fleet"}},
        "status": {"conditions": [condition]},
    }
