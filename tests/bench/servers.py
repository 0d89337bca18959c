"""The API servers that figures are taken through: each starts with a fleet in it, and can forget everybody's place."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import aiohttp

from tests.bench.objects import Fleet, Object, namespaces
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import CRDS, read_objects
from tests.peers.presence import REPOSITORY
from tests.peers.processes import Process, free_port

LOAD_WORKERS = 16
FILL_SECONDS = 600.0
KUBE_APISERVER, SIMULATOR = "kube-apiserver", "simulator"


class Server(Protocol):
    """One API server, for the time of one report."""

    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str | None: ...
    @property
    def authority(self) -> ssl.SSLContext | None: ...
    @property
    def kubeconfig(self) -> Path:
        """In a directory that is the report's own."""

    async def start(self, fleet: Fleet) -> None:
        """Returns when it serves the whole fleet."""

    async def restart(self) -> None:
        """Objects stay; who watched is cut off, and must list anew."""

    async def stop(self) -> None: ...


class Real:
    """kube-apiserver and etcd, with Flux's own CRDs where ../shared has them."""

    authority: ssl.SSLContext

    def __init__(self, directory: Path) -> None:
        self._server = RealApiServer(directory / "server")
        self.kubeconfig = self._server.kubeconfig(directory / "kubeconfig")
        self.authority = self._server.ssl_context()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def token(self) -> str:
        return self._server.admin_token

    async def start(self, fleet: Fleet) -> None:
        await self._server.start()
        async with AdminClient(self.url, self.token, self.authority) as admin:
            real = REPOSITORY.parent / "shared" / "crds" / "flux"
            await admin.install_crds(read_objects(*sorted((real if real.is_dir() else CRDS).glob("*s.yaml"))))
            for namespace in namespaces():
                await admin.ensure_namespace(namespace)
            todo = iter(fleet)

            async def create_some(todo: Iterator[Object]) -> None:
                for obj in todo:
                    await admin.create(obj)

            await asyncio.gather(*(create_some(todo) for _ in range(LOAD_WORKERS)))

    async def restart(self) -> None:
        # Its watch cache starts empty, so that it knows no place of anybody's.
        self._server.kill()
        await self._server.restart()

    async def stop(self) -> None:
        await self._server.stop()


class Simulated:
    """simulated.py as a process."""

    token = None
    authority = None

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._process: Process | None = None
        self.kubeconfig = directory / "kubeconfig"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, fleet: Fleet) -> None:
        command = [
            *(sys.executable, "-m", "tests.bench.simulated"),
            *("--port", str(self._port), "--objects", str(fleet.count), *(["--mixed"] if fleet.mixed else [])),
        ]
        paths = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
        self._process = Process("simulator", command, self._directory / "simulator.log", paths)
        self._process.start()
        await self._process.ready(self._listens, FILL_SECONDS)
        self.kubeconfig.write_text(json.dumps(_kubeconfig(self.url)))

    async def restart(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGUSR1)

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.stop()

    async def _listens(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


SERVERS: dict[str, type[Real] | type[Simulated]] = {KUBE_APISERVER: Real, SIMULATOR: Simulated}


def _kubeconfig(url: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    }
