"""Child processes of the test-suite: started, stopped, frozen, and never left behind. Knows no particular program.

A child is gone when its test is: stop() ends it, an exit hook kills what a crashed fixture forgot, and the kernel kills
it (PR_SET_PDEATHSIG) when the test run itself is killed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.05
LOG_TAIL_LINES = 25

# Run in the child before the program replaces it. A preexec_fn would do the same, but runs Python between fork and exec
# of a process that may have threads. The second test closes the gap in which the parent dies before prctl().
_LAUNCHER = """
import ctypes, os, signal, sys
with_prctl = getattr(ctypes.CDLL(None), "prctl", None)
if with_prctl is not None:
    with_prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class PeerFailed(Exception):
    """A peer did not start, answer or stop; the message says which, and ends with the tail of its log."""


async def poll_until(condition: Callable[[], Awaitable[bool]], what: str, timeout_seconds: float) -> None:
    """Wait until ``condition()`` is true, asking every POLL_SECONDS.

    Raises:
        PeerFailed: it was not true within ``timeout_seconds``; the message names ``what`` was awaited.
    """
    deadline = time.monotonic() + timeout_seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise PeerFailed(f"{what}: not within {timeout_seconds:g} s")
        await asyncio.sleep(POLL_SECONDS)


def free_port() -> int:
    """A loopback TCP port on which nothing listens.

    Below the range that the kernel gives to outgoing connections: while a killed server is down, a client's connection
    could otherwise take its port, or even connect to itself.
    """
    for _ in range(1000):
        port = random.randrange(15000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise PeerFailed("free_port: 1000 ports between 15000 and 32000 are taken; stop what listens there")


class Process:
    """One running program with its log file, in a session of its own.

    Of its own, so that Ctrl-C reaches the test run only, which then ends its peers in the right order.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], log_file: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log_file = log_file
        self.environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program; its output is appended to the log file."""
        if self.running:
            raise PeerFailed(f"{self.name}: is running already; stop it first")
        # The kernel sends the parent-death signal when the starting *thread* ends.
        if threading.current_thread() is not threading.main_thread():
            raise PeerFailed(f"{self.name}: started from a thread that may end before it; start it in the main thread")
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *self.command]
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                launcher,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        _started.add(self)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise PeerFailed(f"{self.name}: was never started")
        return self._child.pid

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """End the program: SIGTERM, then SIGKILL after ``grace_seconds``. Does nothing when it is not running."""
        if self._child is None or not self.running:
            _started.discard(self)
            return
        self._child.terminate()
        self._child.send_signal(signal.SIGCONT)  # a frozen process receives SIGTERM only when it goes on

        async def ended() -> bool:
            return not self.running

        with contextlib.suppress(PeerFailed):
            await poll_until(ended, self.name, grace_seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, frozen or not, and reap."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(timeout=10)
        _started.discard(self)

    def freeze(self) -> None:
        """SIGSTOP: its sockets stay open and the kernel still accepts connections, but nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 5
        while os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                raise PeerFailed(f"{self.name}: did not stop within 5 s of SIGSTOP")
            time.sleep(0.001)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it stood, with everything that arrived meanwhile in its sockets."""
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        """Everything that it has written so far, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    async def ready(self, condition: Callable[[], Awaitable[bool]], timeout_seconds: float) -> None:
        """Wait until ``condition()`` is true.

        Raises:
            PeerFailed: it ended, or was not ready within ``timeout_seconds``.
        """

        async def ended_or_ready() -> bool:
            return not self.running or await condition()

        try:
            await poll_until(ended_or_ready, f"{self.name}: is not ready", timeout_seconds)
        except PeerFailed as failure:
            raise PeerFailed(f"{failure}\n{self.log_tail()}") from None
        if not self.running:
            raise PeerFailed(f"{self.name}: ended while it started\n{self.log_tail()}")

    def log_tail(self) -> str:
        return "\n".join(self.log().splitlines()[-LOG_TAIL_LINES:])


_started: set[Process] = set()


@atexit.register
def kill_survivors() -> None:
    """Kill every process that nobody stopped."""
    for process in tuple(_started):
        process.kill()
