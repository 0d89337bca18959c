"""A watch as a stream of lines: whole ones only, however they come, and quietly over when nothing comes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import MAX_LINE_BYTES, Lines
from gotk_exporter.kube.failures import ApiError, Unreachable
from tests.kube.connection import KUSTOMIZATION, PATH, Connection, Connector
from tests.kube.scripted_server import End, Raw, ScriptedServer, Silence, Step, Stream, event, html, status

ONE = event("ADDED", {"metadata": {"name": "one", "resourceVersion": "8"}})
TWO = event("MODIFIED", {"metadata": {"name": "two", "resourceVersion": "9"}})


async def watched(connection: Connection) -> tuple[list[Any], ApiError | None]:
    """The events of one watch, and how it broke if it did."""
    events: list[Any] = []
    try:
        # Longer than any bound that a test sets, shorter than those that it does not.
        async with asyncio.timeout(20), connection.client.watch(KUSTOMIZATION, None, "7", 300) as lines:
            async for line in lines:
                events.append(json.loads(line))  # noqa: PERF401 (what came before a failure counts)
    except ApiError as error:
        return events, error
    return events, None


async def test_lines_come_whole_wherever_the_pieces_part(server: ScriptedServer, connect: Connector) -> None:
    body = ONE + TWO
    pieces = [Stream(body[:at], body[at:]) for at in range(1, len(body))]
    server.answer(PATH, *pieces, watch=True)
    connection = await connect(server.url)
    for _ in pieces:
        assert await watched(connection) == ([json.loads(ONE), json.loads(TWO)], None)


@given(st.lists(st.binary().map(lambda line: line.replace(b"\n", b""))), st.data())
def test_lines_are_those_of_the_whole_stream_for_any_lines_in_any_pieces(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    cut = Lines()
    assert [line for piece in pieces for line in cut.feed(piece)] == [line for line in lines if line.strip()]
    cut.end()


async def test_an_event_is_delivered_while_the_stream_goes_on(server: ScriptedServer, connect: Connector) -> None:
    later = Silence()
    server.answer(PATH, Stream(ONE, later, TWO), watch=True)
    connection = await connect(server.url)
    async with connection.client.watch(KUSTOMIZATION, None, "7", 300) as lines:
        assert await anext(lines) == ONE.rstrip()
        later.set()
        assert await anext(lines) == TWO.rstrip()


async def test_many_events_in_one_piece_are_as_many_lines(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Stream(ONE * 10_000), watch=True)
    events, error = await watched(await connect(server.url))
    assert (len(events), error) == (10_000, None)


async def test_empty_lines_and_carriage_returns_are_no_events(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Stream(b"\r\n\n", ONE.replace(b"\n", b"\r\n"), b"\n \n", TWO, b"\r\n"), watch=True)
    assert await watched(await connect(server.url)) == ([json.loads(ONE), json.loads(TWO)], None)


async def test_an_event_of_a_few_megabytes_is_one(server: ScriptedServer, connect: Connector) -> None:
    large = event("ADDED", {"metadata": {"name": "large"}, "padding": "x" * 3_000_000})
    server.answer(PATH, Stream(large), watch=True)
    assert await watched(await connect(server.url)) == ([json.loads(large)], None)


async def test_a_line_beyond_all_bounds_breaks_the_watch(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Stream(ONE, *[b"x" * 2**20] * (MAX_LINE_BYTES // 2**20 + 1), Silence()), watch=True)
    events, error = await watched(await connect(server.url))
    assert events == [json.loads(ONE)]
    assert isinstance(error, Unreachable)
    assert (error.outcome, str(error)) == ("malformed", "a watch event is larger than 16777216 bytes")


@pytest.mark.parametrize(
    "end",
    [
        pytest.param([], id="complete"),
        pytest.param([End.CLOSE], id="without the end that HTTP wants"),
        pytest.param([End.RESET], id="reset"),
        pytest.param([Silence()], id="silent"),
    ],
)
async def test_a_line_that_is_cut_is_never_delivered(
    server: ScriptedServer, connect: Connector, end: list[Step]
) -> None:
    # What is left of the line is a complete document: only its end shows that it is one.
    server.answer(PATH, Stream(ONE, TWO.rstrip(), *end), watch=True)
    connection = await connect(server.url, bounds=Bounds(watch_silence=0.1))
    events, error = await watched(connection)
    assert events == [json.loads(ONE)]
    assert isinstance(error, Unreachable)
    assert error.outcome == "cut"
    assert connection.requests == [("watch", "Kustomization", "200")]


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_a_stream_that_breaks_between_two_events_says_so(
    server: ScriptedServer, connect: Connector, end: End
) -> None:
    server.answer(PATH, Stream(ONE, end), watch=True)
    events, error = await watched(await connect(server.url))
    assert events == [json.loads(ONE)]
    assert isinstance(error, Unreachable)
    assert error.outcome == "cut"


async def test_a_silent_watch_ends_as_if_the_server_had_ended_it(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Stream(ONE, Silence()), watch=True)
    connection = await connect(server.url, bounds=Bounds(watch_silence=0.1))
    async with asyncio.timeout(10):
        assert await watched(connection) == ([json.loads(ONE)], None)
        # Nothing stays open behind it.
        await server.idle()
    assert connection.requests == [("watch", "Kustomization", "200")]


async def test_silence_is_counted_from_the_last_byte(server: ScriptedServer, connect: Connector) -> None:
    pauses = [Silence() for _ in range(6)]
    server.answer(PATH, Stream(*[step for pause in pauses for step in (pause, ONE)]), watch=True)
    loop = asyncio.get_running_loop()
    for number, pause in enumerate(pauses, 1):
        loop.call_later(0.2 * number, pause.set)
    connection = await connect(server.url, bounds=Bounds(watch_silence=0.6))
    events, error = await watched(connection)
    assert (len(events), error) == (6, None)


@pytest.mark.parametrize("bounds", [Bounds(watch_silence=0.1), Bounds(request_timeout=0.1)])
async def test_a_watch_that_is_never_answered_is_a_failure_and_no_silence(
    server: ScriptedServer, connect: Connector, bounds: Bounds
) -> None:
    server.answer(PATH, Raw(Silence()), watch=True)
    connection = await connect(server.url, bounds=bounds)
    events, error = await watched(connection)
    assert events == []
    assert isinstance(error, Unreachable)
    assert error.outcome == "timeout"
    assert connection.requests == [("watch", "Kustomization", "timeout")]


async def test_a_reader_that_leaves_closes_the_stream(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Stream(ONE, Silence()), watch=True)
    connection = await connect(server.url)
    async with asyncio.timeout(10):
        async with connection.client.watch(KUSTOMIZATION, None, "7", 300) as lines:
            await anext(lines)
        await server.idle()


async def test_what_its_reader_raises_is_not_taken_for_the_servers_fault(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, Stream(ONE, Silence()), watch=True)
    connection = await connect(server.url)

    async def read() -> None:
        async with connection.client.watch(KUSTOMIZATION, None, "7", 300) as lines:
            async for _ in lines:
                raise FileNotFoundError("the sink's own")

    with pytest.raises(FileNotFoundError, match="the sink's own"):
        await read()


async def test_a_login_page_is_no_watch(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, html(200, "<html>\n<body>\n"), watch=True)
    events, error = await watched(await connect(server.url))
    assert events == []
    assert isinstance(error, Unreachable)
    assert error.outcome == "malformed"
    assert "it answered with text/html" in str(error)


async def test_410_as_a_status_opens_no_watch(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, status(410, "Expired", "too old resource version: 7 (9)"), watch=True)
    events, error = await watched(await connect(server.url))
    assert (events, str(error)) == ([], "410 Expired: too old resource version: 7 (9)")
