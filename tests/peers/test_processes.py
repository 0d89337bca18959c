"""No child process outlives its test, whatever way the test ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.peers.presence import REPOSITORY
from tests.peers.processes import PeerFailed, Process, free_port, poll_until

FORGETFUL = """
import pathlib, signal, sys, os
from tests.peers.processes import Process
process = Process("sleep", ["/bin/sleep", "60"], pathlib.Path(sys.argv[1]))
process.start()
print(process.pid, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def state(pid: int) -> str:
    """The name and state of a process as the kernel gives them, "Z" for a zombie; empty when there is none."""
    try:
        _, name, rest = re.split(r"[()]", Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return f"{name} {rest.split()[0]}"


def forgotten_child(log: Path, end: str) -> int:
    """The process id of a child whose parent has ended, by itself or killed, without stopping it."""
    command = [sys.executable, "-c", FORGETFUL, str(log), end]
    parent = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, timeout=30, text=True)
    assert parent.returncode == (-signal.SIGKILL if end == "killed" else 0)
    return int(parent.stdout)


async def sleeping(tmp_path: Path) -> Process:
    """A started ``sleep``, past its launcher."""
    process = Process("sleep", ["/bin/sleep", "60"], tmp_path / "sleep.log")
    process.start()

    async def is_sleep() -> bool:
        return state(process.pid) == "sleep S"

    await process.ready(is_sleep, 10)
    return process


@pytest.mark.parametrize("end", ["returns", "killed"])
async def test_child_dies_with_a_parent_that_forgets_it(end: str, tmp_path: Path) -> None:
    child = forgotten_child(tmp_path / "log", end)

    async def gone() -> bool:
        # Who adopts it may leave it a zombie.
        return state(child) in ("", "sleep Z")

    await poll_until(gone, f"process {child}: is not gone", 5)


async def test_stop_ends_a_frozen_process_politely(tmp_path: Path) -> None:
    process = await sleeping(tmp_path)
    process.freeze()
    started = time.monotonic()
    await process.stop(grace_seconds=10)
    assert time.monotonic() - started < 5
    assert not process.running
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_stop_kills_a_process_that_ignores_its_end(tmp_path: Path) -> None:
    process = Process("deaf", ["/bin/sh", "-c", "trap '' TERM; echo up; exec sleep 60"], tmp_path / "log")
    process.start()

    async def up() -> bool:
        return process.log() == "up\n"

    await process.ready(up, 10)
    await process.stop(grace_seconds=0.2)
    assert not process.running
    await process.stop()


async def test_process_that_ends_while_starting_fails_with_its_log(tmp_path: Path) -> None:
    process = Process("brief", ["/bin/sh", "-c", "echo no such flag; exit 3"], tmp_path / "log")
    process.start()

    async def never() -> bool:
        return False

    with pytest.raises(PeerFailed, match="brief: ended while it started\nno such flag"):
        await process.ready(never, 10)
    await process.stop()


async def test_process_that_is_never_ready_fails_in_time(tmp_path: Path) -> None:
    process = await sleeping(tmp_path)

    async def never() -> bool:
        return False

    with pytest.raises(PeerFailed, match="sleep: is not ready: not within"):
        await process.ready(never, 0.1)
    with pytest.raises(PeerFailed, match="is running already"):
        process.start()
    await process.stop()


async def test_start_in_another_thread_is_refused(tmp_path: Path) -> None:
    process = Process("sleep", ["/bin/sleep", "60"], tmp_path / "log")
    with pytest.raises(PeerFailed, match="start it in the main thread"):
        await asyncio.to_thread(process.start)


def test_free_ports_are_never_given_to_outgoing_connections() -> None:
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(free_port() < first_outgoing for _ in range(100))
