"""An exporter under measurement: ours, started here, or a peer that somebody else started.

It reads what /proc and /metrics say of it and judges nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

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


@dataclass
class Subject:
    """Something with /metrics, and a process id where its memory can be read."""

    name: str
    url: str
    pid: int | None
    session: aiohttp.ClientSession

    async def scrape(self, **headers: str) -> tuple[float, bytes]:
        """Seconds to the last byte, and the body as it was sent."""
        started = time.perf_counter()
        async with self.session.get(self.url, headers=headers or {**TEXT, **IDENTITY}) as response:
            response.raise_for_status()
            body = await response.read()
        return time.perf_counter() - started, body

    def memory(self) -> Memory | None:
        if self.pid is None:
            return None
        status = Path(f"/proc/{self.pid}/status").read_text()
        resident, peak = (
            int(found[1]) * 1024 / 1e6
            for name in ("VmRSS", "VmHWM")
            if (found := re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE))
        )
        return Memory(resident, peak)

    def cpu_seconds(self) -> float | None:
        """User and system time so far."""
        if self.pid is None:
            return None
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class OurExporter:
    """``gotk-exporter run`` as a process of its own; use as a context."""

    def __init__(self, kubeconfig: Path, port: int, session: aiohttp.ClientSession, *flags: str) -> None:
        self._command = [
            *(sys.executable, "-m", "gotk_exporter", "run", "--kubeconfig", str(kubeconfig)),
            *("--web.listen-address", f"127.0.0.1:{port}", "--log.level", "warn", *flags),
        ]
        self._base = f"http://127.0.0.1:{port}"
        self._session = session
        self._process: asyncio.subprocess.Process | None = None
        self.ready_seconds = 0.0

    async def __aenter__(self) -> OurExporter:
        started = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(*self._command)
        while time.perf_counter() - started < READY_SECONDS:
            if await self.is_ready():
                self.ready_seconds = time.perf_counter() - started
                return self
            await asyncio.sleep(0.02)
        raise TimeoutError(f"not ready within {READY_SECONDS:g} s")

    async def __aexit__(self, *_exc: object) -> None:
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(5):
            await self._process.wait()

    def subject(self) -> Subject:
        assert self._process is not None
        return Subject("gotk-exporter", f"{self._base}/metrics", self._process.pid, self._session)

    async def is_ready(self) -> bool:
        try:
            async with self._session.get(f"{self._base}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False
