"""Fixtures of the tests of kube: a scripted API server, and our client connected to an API server by a kubeconfig."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio

from tests.kube.connection import Connector
from tests.kube.scripted_server import ScriptedServer


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    """A scripted API server without TLS."""
    async with ScriptedServer() as running:
        yield running


@pytest_asyncio.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connector]:
    """``await connect(url, ...)``: see Connector. Everything that it opened is closed with the test."""
    async with AsyncExitStack() as opened:
        yield Connector(tmp_path, opened)
