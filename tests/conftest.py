"""Fixtures of all tests: the real peers, started when a test first asks for one. Owns no helper that tests import."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.presence import require_peer, shared_data
from tests.peers.prometheus import RunningPrometheus, Version

_namespace_numbers = itertools.count(1)

# How fast an example is made says something about the machine and nothing about the code. In CI the examples are always
# the same: what fails there must have failed before.
hypothesis.settings.register_profile(
    "ours",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
hypothesis.settings.load_profile("ours")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits begins first, so that other files are worked on beside it where there are several workers."""
    items.sort(key=lambda item: item.get_closest_marker("real_time") is None)


@pytest.fixture(scope="session", name="require_peer")
def require_peer_fixture() -> Callable[[str], Path]:
    """``require_peer(name)``: the binary, or a skipped test (in CI: a failed one)."""
    return require_peer


@pytest.fixture(scope="session", name="shared_data")
def shared_data_fixture() -> Callable[[str], Path]:
    """``shared_data(path)``: a file or directory below ../shared, or a skipped test."""
    return shared_data


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def api_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealApiServer]:
    """The API server that all tests share, with a watch cache. Tests that stop or freeze one use ``own_api_server``."""
    _require_api_server()
    server = RealApiServer(tmp_path_factory.mktemp("api-server"))
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def start_api_server(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[RealApiServer]]]:
    """``await start_api_server(watch_cache=..., flags=...)``: a server of this test's own, stopped with the test."""
    _require_api_server()
    numbers = itertools.count(1)
    async with AsyncExitStack() as servers:

        async def start(*, watch_cache: bool = True, flags: tuple[str, ...] = ()) -> RealApiServer:
            server = RealApiServer(tmp_path / f"api-server-{next(numbers)}", watch_cache=watch_cache, flags=flags)
            servers.push_async_callback(server.stop)
            await server.start()
            return server

        yield start


@pytest_asyncio.fixture
async def own_api_server(start_api_server: Callable[..., Awaitable[RealApiServer]]) -> RealApiServer:
    """An API server that this test may break."""
    return await start_api_server()


@pytest_asyncio.fixture
async def admin(api_server: RealApiServer) -> AsyncIterator[AdminClient]:
    """A client of the shared API server that may do everything."""
    async with AdminClient(api_server.url, api_server.admin_token, api_server.ssl_context()) as client:
        yield client


@pytest_asyncio.fixture
async def namespace(admin: AdminClient) -> str:
    """A namespace of the shared API server that no other test uses."""
    name = f"test-{next(_namespace_numbers)}"
    await admin.ensure_namespace(name)
    return name


@pytest_asyncio.fixture
async def start_prometheus(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[RunningPrometheus]]]:
    """``await start_prometheus(configuration, version="2" | "3", port=..., flags=...)``: stopped with the test."""
    numbers = itertools.count(1)
    async with AsyncExitStack() as running:

        async def start(configuration: str, version: Version = "3", **options: Any) -> RunningPrometheus:
            require_peer(f"prometheus-{version}")
            directory = tmp_path / f"prometheus-{next(numbers)}"
            prometheus = RunningPrometheus(directory, configuration, version, **options)
            running.push_async_callback(prometheus.stop)
            await prometheus.start()
            return prometheus

        yield start


def _require_api_server() -> None:
    for name in "etcd", "kube-apiserver":
        require_peer(name)
