"""What goes wrong on the way to the API server has a name, is counted once, and is never taken for an answer."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import Iterator

import pytest

from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from gotk_exporter.kube.listing import MAX_OBJECT_BYTES
from tests.kube.connection import KUSTOMIZATION, PATH, Connection, Connector
from tests.kube.scripted_server import Answer, End, Raw, Reply, ScriptedServer, Silence, Stream, html, page
from tests.kube.sockets import sockets_to
from tests.peers.processes import free_port

LISTING = page([{"metadata": {"name": "apps"}}], "7")
HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"


async def failed_listing(connection: Connection) -> ApiError:
    """How asking for a page failed; it must not wait longer than a test may."""
    async with asyncio.timeout(10):
        with pytest.raises(ApiError) as failed:
            await connection.client.list_page(KUSTOMIZATION, None, "")
    return failed.value


FAULTS: dict[str, tuple[Answer, str, str, str]] = {
    # what the server does: its answer, the failure's outcome, a part of its text, how the request is counted
    "a login page": (html(), "malformed", "it answered with text/html; charset=utf-8: is a proxy in front", "200"),
    "a JSON that is no listing": (Reply(body=b'{"kind":"Pod"}'), "malformed", "is no list", "200"),
    "half a JSON": (Reply(body=LISTING.body[:20]), "malformed", "is no JSON", "200"),
    "a text": (Reply(body=b"ok", content_type="text/plain"), "malformed", "it answered with text/plain", "200"),
    "a cut in the middle of a body": (Stream(LISTING.body[:20], End.CLOSE), "cut", "in the middle of an answer", "200"),
    "a reset in the middle of a body": (Stream(LISTING.body[:20], End.RESET), "cut", "connection was cut", "200"),
    "a body that is shorter than it says": (Raw(HTTP_OK + LISTING.body), "cut", "in the middle of an answer", "200"),
    "a body that stops": (Stream(LISTING.body[:20], Silence()), "timeout", "did not answer in time", "200"),
    "a reset in place of an answer": (Raw(End.RESET), "cut", "connection was cut", "cut"),
    "an end in place of an answer": (Raw(), "cut", "cut before an answer came", "cut"),
    "half a head": (Raw(HTTP_OK[:30]), "cut", "cut before an answer came", "cut"),
    "bytes that are no HTTP": (Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "malformed", "the answer is no HTTP", "malformed"),
    "nothing": (Raw(Silence()), "timeout", "did not answer in time", "timeout"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_first_listing_has_the_same_name(
    server: ScriptedServer, connect: Connector, fault: str
) -> None:
    answer, outcome, text, counted = FAULTS[fault]
    server.answer(PATH, answer)
    connection = await connect(server.url, bounds=Bounds(request_timeout=0.2, cache_silence=0.2))
    async with asyncio.timeout(10):
        with pytest.raises(Unreachable) as failed:
            await connection.client.list_from_cache(KUSTOMIZATION, None, lambda items: None)
    assert failed.value.outcome == outcome
    assert text in str(failed.value) or outcome in ("malformed", "timeout")
    assert connection.requests == [("list", "Kustomization", counted)]


async def drops(count: int, seconds: float) -> list[Silence]:
    """Steps that end one after the other."""
    steps = [Silence() for _ in range(count)]
    for number, step in enumerate(steps):
        asyncio.get_running_loop().call_later(seconds * number, step.set)
    return steps


async def test_a_first_listing_may_take_longer_than_a_request_as_long_as_it_goes_on(
    server: ScriptedServer, connect: Connector
) -> None:
    steps = [step for drop in await drops(10, 0.05) for step in (drop, b" ")]
    server.answer(PATH, Stream(*steps, LISTING.body))
    connection = await connect(server.url, bounds=Bounds(request_timeout=0.2, cache_silence=5))
    page_of_it = await connection.client.list_from_cache(KUSTOMIZATION, None, lambda items: None)
    assert page_of_it.metadata.resource_version == "7"


async def test_a_first_listing_that_drips_for_ever_is_given_up(server: ScriptedServer, connect: Connector) -> None:
    steps = [step for drop in await drops(100, 0.05) for step in (drop, b" ")]
    server.answer(PATH, Stream(*steps))
    connection = await connect(server.url, bounds=Bounds(cache_timeout=0.3))
    async with asyncio.timeout(3):
        with pytest.raises(Unreachable) as failed:
            await connection.client.list_from_cache(KUSTOMIZATION, None, lambda items: None)
    assert failed.value.outcome == "timeout"


async def test_an_object_without_end_breaks_the_first_listing(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Stream(b'{"items":[{"a":"', *[b"x" * 2**20] * (MAX_OBJECT_BYTES // 2**20 + 1), Silence()))
    connection = await connect(server.url)
    async with asyncio.timeout(20):
        with pytest.raises(Unreachable, match="an object of the listing is larger than 16777216 bytes"):
            await connection.client.list_from_cache(KUSTOMIZATION, None, lambda items: None)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_has_a_name_and_is_counted_once(server: ScriptedServer, connect: Connector, fault: str) -> None:
    answer, outcome, text, counted = FAULTS[fault]
    server.answer(PATH, answer)
    connection = await connect(server.url, bounds=Bounds(request_timeout=0.2))
    error = await failed_listing(connection)
    assert isinstance(error, Unreachable)
    assert error.outcome == outcome
    assert text in str(error)
    assert connection.requests == [("list", "Kustomization", counted)]


@pytest.mark.parametrize(("code", "reason"), [(500, "Internal Server Error"), (502, "Bad Gateway")])
async def test_a_proxys_error_page_is_an_error_and_named_as_a_proxys(
    server: ScriptedServer, connect: Connector, code: int, reason: str
) -> None:
    server.answer(PATH, html(code))
    connection = await connect(server.url)
    error = await failed_listing(connection)
    assert isinstance(error, StatusError)
    assert str(error) == (
        f"{code} {reason}: it answered with text/html; charset=utf-8: is a proxy in front of the API server?"
    )
    assert connection.requests == [("list", "Kustomization", str(code))]


async def test_a_port_where_nobody_listens_is_named(connect: Connector) -> None:
    connection = await connect(f"http://127.0.0.1:{free_port()}")
    error = await failed_listing(connection)
    assert str(error) == "no connection to the API server: Connection refused"
    assert connection.requests == [("list", "Kustomization", "refused")]


async def test_a_name_that_does_not_resolve_is_named(connect: Connector) -> None:
    connection = await connect("https://api.gotk-exporter.invalid:6443")
    error = await failed_listing(connection)
    assert str(error) == "the API server's name cannot be resolved"
    assert connection.requests == [("list", "Kustomization", "dns")]


@pytest.mark.parametrize("url", ["http://a..b:6443", f"http://{'a' * 64}.example:6443"])
async def test_a_name_that_no_host_may_have_is_a_failure_like_others(connect: Connector, url: str) -> None:
    connection = await connect(url)
    assert isinstance(await failed_listing(connection), Unreachable)
    assert len(connection.requests) == 1


@pytest.fixture
def full_listener() -> Iterator[int]:
    """A port whose queue of new connections is full: the kernel drops what asks for one more."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for queued in first, second:
            queued.setblocking(False)
            queued.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_host_that_takes_no_connection_is_given_up_in_time(full_listener: int, connect: Connector) -> None:
    connection = await connect(f"http://127.0.0.1:{full_listener}", bounds=Bounds(connect_timeout=0.2))
    error = await failed_listing(connection)
    assert str(error) == "no connection to the API server in time"
    assert connection.requests == [("list", "Kustomization", "timeout")]


async def test_a_tls_handshake_that_is_never_answered_is_given_up_in_time(connect: Connector) -> None:
    with socket.socket() as listener:  # the kernel accepts, nobody reads
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        connection = await connect(url, bounds=Bounds(connect_timeout=0.2))
        error = await failed_listing(connection)
    assert str(error) == "no connection to the API server in time"
    assert connection.requests == [("list", "Kustomization", "timeout")]


async def test_credentials_that_cannot_be_read_are_a_failure_of_the_request(connect: Connector) -> None:
    connection = await connect("http://127.0.0.1:1")
    connection.kubeconfig.unlink()
    error = await failed_listing(connection)
    assert "there is no such file" in str(error)
    assert connection.requests == [("list", "Kustomization", "credentials")]


async def test_a_body_that_is_compressed_nevertheless_is_read(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Reply(body=gzip.compress(LISTING.body), headers={"Content-Encoding": "gzip"}))
    connection = await connect(server.url)
    assert len((await connection.client.list_page(KUSTOMIZATION, None, "")).items or ()) == 1


async def test_a_connection_that_was_closed_while_it_rested_costs_no_request(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, LISTING, Raw(), LISTING)
    connection = await connect(server.url)
    for _ in range(2):
        await connection.client.list_page(KUSTOMIZATION, None, "")
    assert len(server.requests) == 3
    assert connection.requests == [("list", "Kustomization", "200")] * 2


async def test_one_connection_serves_requests_that_follow_each_other(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, LISTING)
    connection = await connect(server.url)
    for _ in range(3):
        await connection.client.list_page(KUSTOMIZATION, None, "")
    assert len({request.connection for request in server.requests}) == 1


async def test_watches_do_not_wait_for_each_other(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Stream(b"\n", Silence()), watch=True)
    connection = await connect(server.url)

    async def watch() -> None:
        async with connection.client.watch(KUSTOMIZATION, None, "7", 300) as lines:
            async for _ in lines:
                pass

    watches = [asyncio.create_task(watch()) for _ in range(150)]
    async with asyncio.timeout(20):
        await server.received(len(watches))
    for task in watches:
        task.cancel()
    await asyncio.wait(watches)


async def test_a_dead_peer_is_noticed_within_half_a_minute_also_by_a_watch_that_only_listens(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, Stream(Silence()), watch=True)
    connection = await connect(server.url)
    async with connection.client.watch(KUSTOMIZATION, None, "7", 300):
        (sock,) = sockets_to(server.port)
        with sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options = {
                name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            }
    assert options["TCP_KEEPIDLE"] + options["TCP_KEEPINTVL"] * options["TCP_KEEPCNT"] <= 30
    assert options["TCP_USER_TIMEOUT"] == 30_000


async def test_a_request_takes_no_longer_than_it_may_however_slowly_it_is_answered(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, Stream(*[step for drop in await drops(100, 0.05) for step in (drop, b" ")]))
    connection = await connect(server.url, bounds=Bounds(request_timeout=0.3))
    started = time.monotonic()
    error = await failed_listing(connection)
    assert isinstance(error, Unreachable)
    assert error.outcome == "timeout"
    assert time.monotonic() - started < 3
