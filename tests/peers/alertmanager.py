"""A real Alertmanager on loopback, with a given configuration, for the time of a test; and where it delivers to.

Writes no configuration itself and judges nothing that is delivered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.peers import binaries
from tests.peers.processes import PeerFailed, Process, free_port

READY_SECONDS = 30.0
REQUEST_SECONDS = 30.0


@dataclass(frozen=True)
class Notification:
    """What one webhook call delivered; ``at`` is monotonic, in seconds."""

    at: float
    receiver: str
    firing: tuple[Mapping[str, str], ...]
    """The labels of each alert that fires."""
    resolved: tuple[Mapping[str, str], ...]


class Deliveries:
    """A server on loopback that takes notifications: ``<url>/<receiver>`` is where a receiver's webhooks send them.

    ``<url>/pagerduty/events`` stands in for PagerDuty's API; it judges nothing.
    """

    def __init__(self) -> None:
        self.notifications: list[Notification] = []
        self.pagerduty_events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/{receiver}", self._take)
        application.router.add_post("/pagerduty/events", self._take_event)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        sent = await request.json()
        of = {
            status: tuple(alert["labels"] for alert in sent["alerts"] if alert["status"] == status)
            for status in ("firing", "resolved")
        }
        receiver = request.match_info["receiver"]
        self.notifications.append(Notification(time.monotonic(), receiver, of["firing"], of["resolved"]))
        return web.Response()

    async def _take_event(self, request: web.Request) -> web.Response:
        await self.pagerduty_events.put(await request.json())
        return web.Response(status=202)


class RunningAlertmanager:
    """One Alertmanager process without a cluster; usable from any event loop, one loop after the other."""

    def __init__(self, directory: Path, configuration: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        binary = binaries.find("alertmanager")
        if binary is None:
            raise PeerFailed("alertmanager: is missing; run 'make peers'")
        configuration_file = directory / "alertmanager.yml"
        configuration_file.write_text(configuration)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command: list[str | Path] = [
            binary,
            f"--config.file={configuration_file}",
            f"--storage.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        self._process = Process("alertmanager", command, directory / "alertmanager.log")

    async def start(self) -> None:
        """Start and wait until /-/ready says so.

        Raises:
            PeerFailed: it ended (a broken configuration does that) or was not ready in time; ends with its log.
        """
        self._process.start()
        try:
            await self._process.ready(self._is_ready, READY_SECONDS)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self._process.stop()

    async def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Send alerts as Prometheus does: labels, annotations, startsAt and endsAt (RFC 3339)."""
        async with _session() as session, session.post(f"{self.url}/api/v2/alerts", json=alerts) as response:
            if response.status != 200:
                raise PeerFailed(f"alertmanager: alerts answered {response.status} {await response.text()}")

    def log(self) -> str:
        return self._process.log()

    async def _is_ready(self) -> bool:
        try:
            async with _session() as session, session.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS))
