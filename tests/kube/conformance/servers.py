"""What the suite asks of an API server, and the real one behind it.

Another API server passes the same suite by offering the same operations: one more entry in SERVERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import yaml

from tests.kube.conformance.simulated import SimulatedServer
from tests.peers.access import create_service_account, grant
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.presence import require_peer

FOLLOW = ("list", "watch")


class ServerUnderTest(Protocol):
    """One API server, started by the suite for one test."""

    url: str

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def client(self, token: str | None = None) -> AdminClient:
        """A client with this token, or one that may do everything; the caller closes it."""

    def kubeconfig(self, path: Path, url: str, token: str | None = None, token_file: Path | None = None) -> Path:
        """A kubeconfig that reaches the server through ``url`` (its own, or a relay's), as the admin without token."""

    async def limited_token(self, resources: Mapping[str, Sequence[str]], namespaces: Sequence[str] = ()) -> str:
        """A token that may list and watch these resources (group to plurals) and nothing else: in these namespaces
        only, or everywhere."""

    async def expiring_token(self, lifetime_seconds: float) -> str:
        """A token that may list and watch everything of the suite and ends of itself."""

    def kill(self) -> None:
        """End it as a crash would."""

    async def restart(self) -> None:
        """Start it again with all that it held, and no memory of what was watched."""

    def freeze(self) -> None:
        """Accept connections and answer nothing."""

    def thaw(self) -> None: ...

    async def compact(self) -> None:
        """Forget all history: watches and continue tokens from before get a 410."""


class RealServer:
    """kube-apiserver and etcd."""

    def __init__(self, directory: Path) -> None:
        for name in "etcd", "kube-apiserver":
            require_peer(name)
        self._server = RealApiServer(directory)
        self._accounts = 0

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def client(self, token: str | None = None) -> AdminClient:
        return AdminClient(self._server.url, token or self._server.admin_token, self._server.ssl_context())

    def kubeconfig(self, path: Path, url: str, token: str | None = None, token_file: Path | None = None) -> Path:
        self._server.kubeconfig(path, token)
        document = yaml.safe_load(path.read_text())
        document["clusters"][0]["cluster"]["server"] = url
        if token_file is not None:
            document["users"][0]["user"] = {"tokenFile": str(token_file)}
        path.write_text(yaml.safe_dump(document))
        return path

    async def limited_token(self, resources: Mapping[str, Sequence[str]], namespaces: Sequence[str] = ()) -> str:
        return await self._token(resources, namespaces, lifetime_seconds=3600)

    async def expiring_token(self, lifetime_seconds: float) -> str:
        return await self._token({"*": ["*"]}, (), lifetime_seconds)

    def kill(self) -> None:
        self._server.kill()

    async def restart(self) -> None:
        await self._server.restart()

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()

    async def compact(self) -> None:
        await self._server.compact()
        # The watch cache, which clusters run with, remembers beyond a compaction, but not beyond a restart.
        await self._server.restart()

    async def _token(
        self, resources: Mapping[str, Sequence[str]], namespaces: Sequence[str], lifetime_seconds: float
    ) -> str:
        self._accounts += 1
        async with self.client() as admin:
            account = await create_service_account(admin, "flux-system", f"exporter-{self._accounts}")
            rules = [
                {"apiGroups": [group], "resources": list(plurals), "verbs": list(FOLLOW)}
                for group, plurals in resources.items()
            ]
            for namespace in namespaces or (None,):
                await grant(admin, account, rules, namespace)
        return self._server.service_account_token(account.namespace, account.name, account.uid, lifetime_seconds)


SERVERS: Mapping[str, Callable[[Path], ServerUnderTest]] = {"kube-apiserver": RealServer, "simulator": SimulatedServer}
