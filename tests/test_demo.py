"""``gotk-exporter demo`` as somebody sees it who starts it for the first time."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.peers.processes import poll_until

SOON_SECONDS = 30.0
"""For the slowest machine; on an idle one everything here takes about a second."""


class Demo:
    """One process, and what it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    async def tells(self, pattern: str) -> re.Match[str]:
        """Wait for the next line in which the pattern is found."""
        assert self._process.stdout is not None
        async with asyncio.timeout(SOON_SECONDS):
            while line := await self._process.stdout.readline():
                self.lines.append(line.decode().rstrip())
                if found := re.search(pattern, self.lines[-1]):
                    return found
        raise AssertionError(f"ended without a line like {pattern!r}: {self.lines}")

    async def ends(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Exit code and standard error, within two seconds of the signal."""
        if number is not None and self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(2 if number is not None else SOON_SECONDS):
            _, errors = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, errors.decode()


Start = Callable[..., Awaitable[Demo]]


@pytest.fixture
async def demo() -> AsyncIterator[Start]:
    """``await demo(*flags)``: the process, ended with the test."""
    async with AsyncExitStack() as ends:

        async def start(*flags: str) -> Demo:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gotk_exporter", "demo", "--web.listen-address", "127.0.0.1:0", *flags),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            running = Demo(process)
            ends.push_async_callback(running.ends, signal.SIGKILL)
            return running

        yield start


async def test_it_tells_where_to_look_and_serves_a_living_fleet_there(demo: Start) -> None:
    running = await demo()
    url = (await running.tells(r"metrics +(http://\S+)"))[1]
    async with aiohttp.ClientSession() as session:
        async with session.get(url.replace("/metrics", "/-/ready")) as response:
            assert response.status in (200, 503)

        async def lives() -> bool:
            text = await _page(session, url)
            return 'status="True"} 1' in text and 'gotk_reconcile_condition{kind="HelmRelease"' in text

        await poll_until(lives, "the fleet on the page", SOON_SECONDS)


async def test_an_incident_begins_and_the_exporter_sees_its_cause(demo: Start) -> None:
    running = await demo("--speed", "60", "--scenario", "failing-root")
    address = await running.tells(r"why\? +(http://\S+)")
    await running.tells("failing-root: The root of a chain")
    await running.tells("commit pushed: payments/database")
    await running.tells("root cause: Kustomization payments/database, HealthCheckFailed")
    # The address that it gave for "why?" answers.
    async with aiohttp.ClientSession() as session, session.get(address[1]) as response:
        explained = await response.json()
    assert [cause["object"]["name"] for cause in explained["causes"]] == ["database"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_ends_it_cleanly_within_two_seconds(demo: Start, number: signal.Signals) -> None:
    running = await demo()
    await running.tells("What happens")
    assert await running.ends(number) == (0, "")


async def test_it_ends_by_itself_after_the_time_it_was_given(demo: Start) -> None:
    running = await demo("--for", "500ms")
    assert await running.ends() == (0, "")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--speed", "61"], 2, '"61" is no speed; give a number from 1 to 60'),
        (["--speed", "fast"], 2, '"fast" is no speed; give a number from 1 to 60'),
        (["--for", "soon"], 2, '"soon" is no duration; write e.g. "90s" or "10m"'),
        (["--scenario", "rain"], 2, '"rain" is no scenario; known: failing-root, build-error'),
    ],
)
async def test_a_wrong_argument_is_told_with_its_remedy(demo: Start, flags: list[str], code: int, message: str) -> None:
    found, errors = await (await demo(*flags)).ends()
    assert found == code
    assert message in errors
    assert errors.count("\n") == 1


async def test_an_address_in_use_is_told_in_one_line(demo: Start) -> None:
    running = await demo()
    address = (await running.tells(r"metrics +http://([^/]+)/"))[1]
    code, errors = await (await demo("--web.listen-address", address)).ends()
    assert code == 1
    assert "choose another --web.listen-address" in errors
    assert errors.count("\n") == 1


async def _page(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return await response.text()
