"""One API server per test, with the CRDs of the suite, and a relay in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gotk_exporter.config import MetricsSettings, Settings, WatchSettings
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.metrics.families import Profile
from tests.kube.conformance.follower import Follower
from tests.kube.conformance.servers import SERVERS, ServerUnderTest
from tests.kube.tap import Tap
from tests.peers.admin import AdminClient
from tests.peers.manifests import CRDS, read_objects
from tests.peers.presence import REPOSITORY

FAST = Bounds().divided(4)
"""Everything four times as fast as in production, in proportion: back-off from 0.2 s to 7.5 s."""


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A running API server without Flux's CRDs."""
    server = SERVERS[request.param](tmp_path / "server")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def admin(server: ServerUnderTest) -> AsyncIterator[AdminClient]:
    async with server.client() as admin:
        for namespace in "team-a", "team-b":
            await admin.ensure_namespace(namespace)
        yield admin


@pytest.fixture
async def crds(admin: AdminClient) -> None:
    """Kustomization and GitRepository: the real CRDs where they are at hand, our own otherwise."""
    real = REPOSITORY.parent / "shared" / "crds" / "flux"
    files = [CRDS / "kustomizations.yaml", CRDS / "gitrepositories.yaml"]
    if real.is_dir():
        files = sorted(real.glob("*kustomizations.yaml")) + sorted(real.glob("*gitrepositories.yaml"))
    await admin.install_crds(read_objects(*files))


@pytest.fixture
async def tap(server: ServerUnderTest) -> AsyncIterator[Tap]:
    """A relay to the server; a follower goes through it."""
    address = urlsplit(server.url)
    assert address.hostname is not None
    assert address.port is not None
    async with Tap(address.hostname, address.port) as tap:
        yield tap


Follow = Callable[..., Awaitable[Follower]]


@pytest.fixture
async def follow(server: ServerUnderTest, tap: Tap, tmp_path: Path) -> AsyncIterator[Follow]:
    """``await follow(kinds=..., namespaces=..., bounds=..., token=..., token_file=...)``: a follower, as admin by
    default, which ends with the test."""
    async with AsyncExitStack() as followers:

        async def start(
            kinds: tuple[str, ...] = ("Kustomization", "GitRepository"),
            namespaces: tuple[str, ...] = (),
            bounds: Bounds = FAST,
            **credentials: Any,
        ) -> Follower:
            url = urlsplit(server.url)._replace(netloc=f"127.0.0.1:{tap.port}").geturl()
            kubeconfig = server.kubeconfig(tmp_path / "kubeconfig", url, **credentials)
            settings = Settings(WatchSettings(kinds, namespaces), MetricsSettings(Profile.FULL))
            return await followers.enter_async_context(Follower(kubeconfig, settings, bounds))

        yield start


class Fleet:
    """Objects in the server, made and changed by number."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin

    async def create(self, *numbers: int, kind: str = "Kustomization", namespace: str = "team-a") -> None:
        """Objects ``k0``, ``k1`` …: interval 1000 s and their number, without a status."""
        todo = iter(numbers)

        async def create_some() -> None:
            for number in todo:
                await self._admin.create(manifest(number, kind, namespace))

        await asyncio.gather(*(create_some() for _ in range(16)))

    async def set_ready(self, number: int, status: str, namespace: str = "team-a") -> None:
        condition = {
            "type": "Ready",
            "status": status,
            "reason": "Tested",
            "message": "as the test wants it",
            "lastTransitionTime": "2026-11-21T12:00:00Z",
        }
        await self._admin.patch_status(KUSTOMIZE, "Kustomization", f"k{number}", {"conditions": [condition]}, namespace)

    async def set_interval(self, number: int, seconds: int, namespace: str = "team-a") -> None:
        change = {"spec": {"interval": f"{seconds}s"}}
        await self._admin.patch(KUSTOMIZE, "Kustomization", f"k{number}", change, namespace)

    async def delete(self, *numbers: int, namespace: str = "team-a") -> None:
        for number in numbers:
            await self._admin.delete(KUSTOMIZE, "Kustomization", f"k{number}", namespace)


KUSTOMIZE = "kustomize.toolkit.fluxcd.io/v1"


def manifest(number: int, kind: str = "Kustomization", namespace: str = "team-a") -> dict[str, Any]:
    specs: dict[str, dict[str, Any]] = {
        "Kustomization": {"prune": True, "sourceRef": {"kind": "GitRepository", "name": "k0"}},
        "GitRepository": {"url": "https://git.example.com/fleet.git"},
    }
    return {
        "apiVersion": KUSTOMIZE if kind == "Kustomization" else "source.toolkit.fluxcd.io/v1",
        "kind": kind,
        "metadata": {"name": f"k{number}", "namespace": namespace},
        "spec": {"interval": f"{1000 + number}s", **specs[kind]},
    }


@pytest.fixture
def fleet(admin: AdminClient) -> Fleet:
    return Fleet(admin)
