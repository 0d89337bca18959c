"""A real Prometheus on loopback, with a given configuration, for the time of a test. Writes no configuration itself."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp

from tests.peers import binaries
from tests.peers.processes import PeerFailed, Process, free_port

READY_SECONDS = 30.0
REQUEST_SECONDS = 30.0

Version = Literal["2", "3"]
"""Debian 12's Prometheus (2.42) or the one of the Go module (3.x)."""


@dataclass(frozen=True)
class Sample:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Target:
    """One active target, as /targets shows it; ``last_error`` is empty while it is up."""

    pool: str
    url: str
    health: str
    last_error: str
    labels: Mapping[str, str]


class RunningPrometheus:
    """One Prometheus process; usable from any event loop, one loop after the other."""

    def __init__(
        self,
        directory: Path,
        configuration: str,
        version: Version = "3",
        *,
        port: int | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        binary = binaries.find(f"prometheus-{version}")
        if binary is None:
            raise PeerFailed(f"prometheus-{version}: is missing; run 'make peers'")
        self.directory = directory
        self.configuration_file = directory / "prometheus.yml"
        self.configuration_file.write_text(configuration)
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        command: list[str | Path] = [
            binary,
            f"--config.file={self.configuration_file}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            *flags,
        ]
        self._process = Process(f"prometheus-{version}", command, directory / "prometheus.log")

    async def start(self) -> None:
        """Start and wait until /-/ready says so. Prometheus scrapes nothing in its first 5 s.

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

    @property
    def running(self) -> bool:
        return self._process.running

    @property
    def pid(self) -> int:
        return self._process.pid

    async def reload(self, configuration: str | None = None) -> None:
        """Read the configuration, replaced first unless None, and the rule files again.

        New targets are scraped up to 5 s later: service discovery hands them over at that interval.
        """
        if configuration is not None:
            self.configuration_file.write_text(configuration)
        async with _session() as session, session.post(f"{self.url}/-/reload") as response:
            if response.status != 200:
                raise PeerFailed(f"prometheus: reload answered {response.status} {await response.text()}")

    async def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """The instant vector of ``expression`` now or ``at`` that Unix time; a scalar is one sample without labels."""
        data = await self.api("query", {"query": expression, "time": str(at if at is not None else time.time())})
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(element["metric"], float(element["value"][1])) for element in data["result"]]

    async def targets(self) -> list[Target]:
        """All active targets, scraped yet or not (then their health is "unknown")."""
        return [
            Target(target["scrapePool"], target["scrapeUrl"], target["health"], target["lastError"], target["labels"])
            for target in (await self.api("targets", {"state": "active"}))["activeTargets"]
        ]

    async def api(self, endpoint: str, parameters: Mapping[str, str] | None = None) -> Any:
        """``data`` of any endpoint below /api/v1/.

        Raises:
            PeerFailed: the answer is an error; the message holds it.
        """
        async with _session() as session, session.get(f"{self.url}/api/v1/{endpoint}", params=parameters) as response:
            answer = await response.json(content_type=None)
        if answer["status"] != "success":
            raise PeerFailed(f"prometheus: {endpoint} {parameters}: {answer['error']}")
        return answer["data"]

    def log(self) -> str:
        return self._process.log()

    def warnings(self) -> list[str]:
        """The lines of its log at level warn or error."""
        return [line for line in self.log().splitlines() if re.search(r"\blevel=(warn|error)\b", line, re.IGNORECASE)]

    async def _is_ready(self) -> bool:
        try:
            async with _session() as session, session.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS))
