"""The simulated API server, as the suite asks for one: over HTTP on loopback, in a thread of its own.

Of its own, since a real server has a process of its own: it goes on while the suite compares, which blocks its loop.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path

import yaml

from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.http.access import ANY, Permission
from tests.peers.admin import AdminClient
from tests.peers.processes import free_port

_FOLLOW = frozenset({"list", "watch"})
_SECONDS = 5.0
"""What starting, stopping and every fault may take: far above what they take."""


class SimulatedServer:
    """No Flux kinds are installed; whoever sends no token is the admin."""

    def __init__(self, _directory: Path) -> None:
        # Not one of those that the kernel gives to clients: while the server is down, one of them could take it.
        self._server = ApiServer(new_cluster(time.time, kinds=()), port=free_port())
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated API server")

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        self._thread.start()
        self._do(self._server.start())

    async def stop(self) -> None:
        self._do(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    def client(self, token: str | None = None) -> AdminClient:
        return AdminClient(self.url, token)

    def kubeconfig(self, path: Path, url: str, token: str | None = None, token_file: Path | None = None) -> Path:
        user = {"tokenFile": str(token_file)} if token_file else {"token": token} if token else {}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    async def limited_token(self, resources: Mapping[str, Sequence[str]], namespaces: Sequence[str] = ()) -> str:
        return self._token(resources, namespaces)

    async def expiring_token(self, lifetime_seconds: float) -> str:
        return self._token({ANY: [ANY]}, (), expires=time.time() + lifetime_seconds)

    def kill(self) -> None:
        self._call(self._server.kill)

    async def restart(self) -> None:
        self._do(self._server.restart())

    def freeze(self) -> None:
        self._call(self._server.freeze)

    def thaw(self) -> None:
        self._call(self._server.thaw)

    async def compact(self) -> None:
        self._call(self._server.compact)

    def _token(
        self, resources: Mapping[str, Sequence[str]], namespaces: Sequence[str], expires: float | None = None
    ) -> str:
        token = f"token-{next(self._numbers)}"
        permissions = [
            Permission(frozenset({group}), frozenset(plurals), _FOLLOW, frozenset(namespaces or {ANY}))
            for group, plurals in resources.items()
        ]
        self._call(lambda: self._server.access.grant(token, permissions, expires=expires))
        return token

    def _call(self, function: Callable[[], None]) -> None:
        """In the server's thread."""

        async def call() -> None:
            function()

        self._do(call())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)
