"""An exporter under measurement, ours or another's, as a process of its own.

It reads what /proc and /metrics say of it and judges nothing.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp

from tests.peers.processes import Process, free_port

OURS = "gotk-exporter"
READY_SECONDS = 300.0
TEXT = {"Accept": "text/plain; version=0.0.4"}
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
IDENTITY = {"Accept-Encoding": "identity"}
GZIP = {"Accept-Encoding": "gzip"}


@dataclass(frozen=True)
class Memory:
    """Of a process, in MB (10^6 bytes)."""

    resident: float
    peak: float


class Subject:
    """An ``async with`` block runs it, from its start to its end."""

    def __init__(
        self, name: str, command: Sequence[str | Path], port: int, session: aiohttp.ClientSession, log: Path
    ) -> None:
        self.name = name
        self._process = Process(name, command, log)
        self._base = f"http://127.0.0.1:{port}"
        self._session = session
        self._started = 0.0

    async def __aenter__(self) -> Self:
        self._started = time.perf_counter()
        self._process.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._process.stop()

    async def ready(self) -> float:
        """Seconds from its start until it says that it is ready, in our exporter's way."""

        async def says_ready() -> bool:
            try:
                async with self._session.get(f"{self._base}/-/ready") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await self._process.ready(says_ready, READY_SECONDS)
        return time.perf_counter() - self._started

    async def shows(self, objects: int) -> float:
        """Seconds from its start until a body has so many series of gotk_resource_info: ready, for whoever it is."""

        async def shows_all() -> bool:
            try:
                _, body = await self.scrape()
            except aiohttp.ClientError:
                return False
            return body.count(b"gotk_resource_info{") >= objects

        await self._process.ready(shows_all, READY_SECONDS)
        return time.perf_counter() - self._started

    async def scrape(self, **headers: str) -> tuple[float, bytes]:
        """Seconds to the last byte, and the body as it was sent."""
        started = time.perf_counter()
        async with self._session.get(f"{self._base}/metrics", headers=headers or {**TEXT, **IDENTITY}) as response:
            response.raise_for_status()
            body = await response.read()
        return time.perf_counter() - started, body

    async def sum(self, metric: str, **labels: str) -> float:
        """Of the series of one of its own metrics that have these labels."""
        _, body = await self.scrape()
        lines = re.findall(rf"^{metric}{{(.*)}} (\S+)$", body.decode(), re.MULTILINE)
        return sum(float(value) for found, value in lines if all(f'{k}="{v}"' in found for k, v in labels.items()))

    def memory(self) -> Memory:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        resident, peak = (
            int(found[1]) * 1024 / 1e6
            for name in ("VmRSS", "VmHWM")
            if (found := re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE))
        )
        return Memory(resident, peak)

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def our_exporter(kubeconfig: Path, session: aiohttp.ClientSession, settings: str = "") -> Subject:
    """``gotk-exporter run`` with ``settings`` (YAML)."""
    port, directory = free_port(), kubeconfig.parent
    settings_file = directory / f"settings-{port}.yaml"
    settings_file.write_text(settings)
    command: list[str | Path] = [
        *(sys.executable, "-m", "gotk_exporter", "run", "--kubeconfig", kubeconfig, "--config.file", settings_file),
        *("--web.listen-address", f"127.0.0.1:{port}", "--log.level", "warn"),
    ]
    return Subject(OURS, command, port, session, directory / f"{OURS}-{port}.log")


def peer(name: str, command: str, kubeconfig: Path, session: aiohttp.ClientSession) -> Subject:
    """Another exporter; its command says {kubeconfig} and {port} where it wants them."""
    port = free_port()
    words = [word.format(kubeconfig=kubeconfig, port=port) for word in shlex.split(command)]
    return Subject(name, words, port, session, kubeconfig.parent / f"{name}.log")
