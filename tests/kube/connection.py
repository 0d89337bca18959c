"""Our client as the exporter builds it: a kubeconfig, credentials, a session. Only the clock may be scripted."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gotk_exporter.clock import Clock, SystemClock
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import ApiClient, Resource
from gotk_exporter.kube.credentials import Credentials, Kubeconfig

TOKEN = "marker-of-the-token"
KUSTOMIZATION = Resource("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization")
PATH = "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations"


@dataclass
class Connection:
    """A client and what it told."""

    client: ApiClient
    credentials: Credentials
    kubeconfig: Path
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Verb, resource and outcome of each request that was counted."""
    loads: list[str] = field(default_factory=list)


class Connector:
    """Makes connections; ``cluster`` and ``user`` are what a kubeconfig holds under these names."""

    def __init__(self, directory: Path, opened: AsyncExitStack) -> None:
        self._directory = directory
        self._opened = opened
        self._numbers = itertools.count(1)

    async def __call__(
        self,
        url: str,
        *,
        cluster: Mapping[str, Any] | None = None,
        user: Mapping[str, Any] | None = None,
        bounds: Bounds | None = None,
        clock: Clock | None = None,
    ) -> Connection:
        path = self._directory / f"kubeconfig-{next(self._numbers)}"
        return await self.by_kubeconfig(write_kubeconfig(path, url, cluster, user), bounds, clock)

    async def by_kubeconfig(self, path: Path, bounds: Bounds | None = None, clock: Clock | None = None) -> Connection:
        """A client for a kubeconfig that is there already."""
        bounds, clock = bounds or Bounds(), clock or SystemClock()
        requests: list[tuple[str, str, str]] = []
        loads: list[str] = []
        credentials = Credentials(Kubeconfig(bounds, clock, str(path)), bounds, clock, loads.append)
        client = ApiClient(credentials, bounds, clock, lambda *counted: requests.append(counted))
        await self._opened.enter_async_context(client)
        return Connection(client, credentials, path, requests, loads)


def write_kubeconfig(
    path: Path, url: str, cluster: Mapping[str, Any] | None = None, user: Mapping[str, Any] | None = None
) -> Path:
    """A kubeconfig of one context; ``user`` has the token TOKEN unless told otherwise."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url, **(cluster or {})}}],
        "users": [{"name": "test", "user": {"token": TOKEN} if user is None else dict(user)}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def inline(file: Path) -> str:
    """A file as a kubeconfig holds it in one of its ``...-data`` fields."""
    return base64.b64encode(file.read_bytes()).decode()
