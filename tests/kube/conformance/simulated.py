"""The simulated API server, as the suite asks for one: in this process, over HTTP on loopback."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.http.access import ANY, Permission
from tests.peers.admin import AdminClient
from tests.peers.processes import free_port

_FOLLOW = frozenset({"list", "watch"})


class SimulatedServer:
    """No Flux kinds are installed; whoever sends no token is the admin."""

    def __init__(self, _directory: Path) -> None:
        # Not one of those that the kernel gives to clients: while the server is down, one of them could take it.
        self._server = ApiServer(new_cluster(time.time, kinds=()), port=free_port())
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.close()

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
        self._server.kill()

    async def restart(self) -> None:
        await self._server.restart()

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()

    async def compact(self) -> None:
        self._server.compact()

    def _token(
        self, resources: Mapping[str, Sequence[str]], namespaces: Sequence[str], expires: float | None = None
    ) -> str:
        token = f"token-{next(self._numbers)}"
        permissions = [
            Permission(frozenset({group}), frozenset(plurals), _FOLLOW, frozenset(namespaces or {ANY}))
            for group, plurals in resources.items()
        ]
        self._server.access.grant(token, permissions, expires=expires)
        return token
