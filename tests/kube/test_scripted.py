"""The doubles of these tests keep what they promise: time that is exact, faults that are really on the wire."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest

from tests.kube.scripted_clock import EPOCH, ScriptedClock
from tests.kube.scripted_server import End, Raw, Reply, Request, ScriptedServer, Silence, Stream, status


async def test_a_sleep_takes_virtual_time_only() -> None:
    clock = ScriptedClock()
    for seconds in 3600.0, 0.0, -1.0:
        await clock.sleep(seconds)
    assert (clock.monotonic(), clock.wall()) == (3600, EPOCH + 3600)
    assert clock.slept == [3600.0, 0.0, -1.0]


async def test_sleeps_that_overlap_end_in_their_order_and_each_at_its_time() -> None:
    clock = ScriptedClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.monotonic()))

    await asyncio.gather(sleeper("a", 10), sleeper("b", 1, 1, 7), sleeper("c", 5), sleeper("d", 5))
    assert woken == [("b", 1), ("b", 2), ("c", 5), ("d", 5), ("b", 9), ("a", 10)]


async def test_held_time_moves_by_hand_only() -> None:
    clock = ScriptedClock(held=True)
    asleep = [asyncio.create_task(clock.sleep(seconds)) for seconds in (5, 6)]
    await clock.sleeping(2)
    clock.advance(4.9)
    await asyncio.wait(asleep, timeout=0)
    assert [task.done() for task in asleep] == [False, False]
    clock.advance(0.1)
    await asleep[0]
    assert not asleep[1].done()
    asleep[1].cancel()
    await asyncio.wait(asleep)
    clock.advance(10)
    assert clock.monotonic() == 15


async def test_a_sleep_that_is_cancelled_holds_up_nobody() -> None:
    clock = ScriptedClock(held=True)
    for advance_first in True, False:
        task = asyncio.create_task(clock.sleep(1))
        await clock.sleeping()
        task.cancel()
        if advance_first:
            clock.advance(1)
        await asyncio.wait([task])
        assert task.cancelled()
    assert not clock._sleepers


async def test_answers_come_in_turn_and_the_last_for_ever(server: ScriptedServer) -> None:
    async def who_asks(request: Request) -> Reply:
        return Reply(body=request.headers["X-Me"].encode(), content_type="text/plain")

    server.answer("/a", Reply(503), who_asks)
    async with aiohttp.ClientSession(headers={"X-Me": "me"}) as client:
        said = []
        for _ in range(3):
            async with client.get(f"{server.url}/a") as answer:
                said.append((answer.status, await answer.text()))
        async with client.get(f"{server.url}/a?watch=1") as answer:
            said.append((answer.status, (await answer.json())["message"]))
    assert said == [(503, ""), (200, "me"), (200, "me"), (501, "the test scripts no answer to a watch of /a")]


async def test_each_chunk_is_a_piece_of_its_own(server: ScriptedServer) -> None:
    server.answer("/a", Stream(*(bytes([letter]) for letter in b"abcdefgh")))
    async with aiohttp.ClientSession() as client, client.get(f"{server.url}/a") as answer:
        assert [piece async for piece in answer.content.iter_any()] == [bytes([letter]) for letter in b"abcdefgh"]


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        (Raw(b"any ", b"bytes"), b"any bytes"),
        (Raw(End.RESET), None),
        (Raw(End.CLOSE), b""),
        (Raw(b"half", End.RESET), None),
    ],
)
async def test_raw_bytes_and_ends_reach_the_wire_as_they_are(
    server: ScriptedServer, answer: Raw, received: bytes | None
) -> None:
    server.answer("/a", answer)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        assert await reader.read() == received
    except ConnectionResetError:
        assert received is None
    finally:
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


async def test_silence_ends_when_it_is_told_to_and_with_the_server() -> None:
    silence = Silence()
    async with ScriptedServer() as server:
        server.answer("/a", Stream(silence, b"x"), Raw(Silence()))
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{server.url}/a") as answer:
                silence.set()
                assert await answer.read() == b"x"
            unanswered = asyncio.create_task(client.get(f"{server.url}/a"))
            await server.received(2)
            async with asyncio.timeout(5):
                await server.__aexit__()
                with pytest.raises(aiohttp.ClientError):
                    await unanswered
                await server.__aenter__()


async def test_a_client_that_goes_away_is_noticed(server: ScriptedServer) -> None:
    server.answer("/a", Stream(b"x", Silence()))
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{server.url}/a") as answer:
            await answer.content.readany()
        async with asyncio.timeout(5):
            await server.idle()


async def test_a_mistake_in_a_script_fails_the_test() -> None:
    async def mistaken(request: Request) -> Reply:
        return status(200, request.headers["Not-There"])

    async def ask() -> None:
        async with ScriptedServer() as server, aiohttp.ClientSession() as client:
            server.answer("/a", mistaken)
            async with client.get(f"{server.url}/a"):
                pass

    with pytest.raises(ExceptionGroup, match="the script is at fault"):
        await ask()
