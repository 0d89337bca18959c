"""Fixtures of the simulated API server: one per test, on loopback, with the kinds of Flux."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.storage import Storage
from tests.simulator.talk import Talk


@pytest.fixture
def storage() -> Storage:
    return new_cluster(time.time)


@pytest.fixture
async def server(storage: Storage) -> AsyncIterator[ApiServer]:
    async with ApiServer(storage) as server:
        yield server


@pytest.fixture
async def talk(server: ApiServer) -> AsyncIterator[Talk]:
    async with Talk(server.url) as talk:
        yield talk
