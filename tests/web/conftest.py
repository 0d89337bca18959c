"""A real server of ours on loopback, for the time of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio

from tests.web.serving import Exporter


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Exporter]]]:
    """``await serve(store, metrics_path=..., send_timeout=...)``: stopped with the test."""
    async with AsyncExitStack() as running:

        async def start(*arguments: Any, **options: Any) -> Exporter:
            exporter = Exporter(*arguments, **options)
            await exporter.start()
            running.push_async_callback(exporter.server.stop)
            return exporter

        yield start
