"""The server over real HTTP: what each path answers, and what slow, vanished and stubborn clients do to it."""

from __future__ import annotations

import asyncio
import gzip
import html
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import pytest
import pytest_asyncio

from gotk_exporter import __version__
from gotk_exporter.metrics import own_families as f
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import Family
from gotk_exporter.web.server import Address, ListenError, Server, parse_address
from tests.metrics.pages import families_of, series_of
from tests.web.serving import READ_SECONDS, Exporter
from tests.web.stores import GatedStore, stubborn_store

Serve = Callable[..., Awaitable[Exporter]]

FORMATS = pytest.mark.parametrize("fmt", Format, ids=lambda fmt: fmt.name.lower())
ENCODINGS = pytest.mark.parametrize("encoding", ["identity", "gzip"])

ACCEPT = {Format.TEXT: "text/plain;version=0.0.4", Format.OPENMETRICS: "application/openmetrics-text;version=1.0.0"}

STOP_SECONDS = 1.0


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that asks for nothing by itself and shows bodies as they came."""
    timeout = aiohttp.ClientTimeout(total=READ_SECONDS)
    skip = ["Accept", "Accept-Encoding"]
    async with aiohttp.ClientSession(timeout=timeout, skip_auto_headers=skip, auto_decompress=False) as session:
        yield session


@FORMATS
async def test_metrics_are_served_in_the_format_asked_for(
    fmt: Format, serve: Serve, http: aiohttp.ClientSession
) -> None:
    exporter = await serve()
    async with http.get(f"{exporter.url}/metrics", headers={"Accept": ACCEPT[fmt]}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == fmt.content_type
        assert response.headers["Vary"] == "Accept, Accept-Encoding"
        assert "Content-Encoding" not in response.headers
        names = [name for name, _, _ in series_of(await response.text(), fmt)]
    assert names.count("gotk_suspend_status") == 3
    assert "gotk_exporter_build_info" in names


@FORMATS
async def test_gzip_is_served_to_whom_it_is_good_for(fmt: Format, serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve()
    headers = {"Accept": ACCEPT[fmt], "Accept-Encoding": "gzip"}
    async with http.get(f"{exporter.url}/metrics", headers=headers) as response:
        data = await response.read()
        assert response.headers["Content-Type"] == fmt.content_type
        assert response.headers["Vary"] == "Accept, Accept-Encoding"
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Content-Length"] == str(len(data))
    assert "gotk_suspend_status" in [name for name, _, _ in series_of(gzip.decompress(data).decode(), fmt)]


async def test_client_that_decompresses_by_itself_reads_the_same_page(serve: Serve) -> None:
    exporter = await serve()
    async with aiohttp.ClientSession() as session, session.get(f"{exporter.url}/metrics") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert 'gotk_suspend_status{kind="Kustomization",name="object-2"' in await response.text()


async def test_browser_without_an_opinion_gets_plain_text(serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve()
    async with http.get(f"{exporter.url}/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "# EOF" not in await response.text()


async def test_list_in_several_header_lines_is_one_list(serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve()
    headers = [("Accept", "text/html"), ("Accept", ACCEPT[Format.OPENMETRICS]), ("Accept-Encoding", "br")]
    headers += [("Accept-Encoding", "gzip")]
    async with http.get(f"{exporter.url}/metrics", headers=headers) as response:
        assert response.headers["Content-Type"] == Format.OPENMETRICS.content_type
        assert response.headers["Content-Encoding"] == "gzip"


@ENCODINGS
async def test_head_says_what_get_would_and_leaves_the_connection_usable(encoding: str, serve: Serve) -> None:
    exporter = await serve()
    async with exporter.connect() as connection:
        wanted = (f"Accept-Encoding: {encoding}", f"Accept: {ACCEPT[Format.OPENMETRICS]}")
        head = await connection.request("HEAD", "/metrics", *wanted)
        assert exporter.body.gzipped_as == []
        assert (head.status, head.headers["content-type"]) == (200, Format.OPENMETRICS.content_type)
        assert head.headers.get("content-encoding", "identity") == encoding
        # The next thing on the connection is the next answer: no byte of a body came before it.
        following = await connection.request("GET", "/-/healthy", "Connection: close")
        assert (following.status, await connection.read_to_the_end()) == (200, b"gotk-exporter is healthy.\n")


async def test_client_of_http_1_0_gets_the_page_and_the_end_of_the_connection(serve: Serve) -> None:
    exporter = await serve()
    async with exporter.connect() as connection:
        connection.writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        head, _, body = (await connection.read_to_the_end()).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert families_of(body.decode(), Format.TEXT)[0].name == "gotk_reconcile_condition"


async def test_healthy_answers_whatever_is_pending(serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve()
    exporter.pending = ["Kustomization"]
    async with http.get(f"{exporter.url}/-/healthy") as response:
        assert (response.status, await response.text()) == (200, "gotk-exporter is healthy.\n")


async def test_ready_names_what_it_waits_for_and_then_is_ready(serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve()
    answers = []
    for pending in (["HelmRelease", "Kustomization"], ["Kustomization"], []):
        exporter.pending = pending
        async with http.get(f"{exporter.url}/-/ready") as response:
            answers.append((response.status, await response.text()))
    assert answers == [
        (503, "Not ready: waiting for HelmRelease, Kustomization.\n"),
        (503, "Not ready: waiting for Kustomization.\n"),
        (200, "gotk-exporter is ready.\n"),
    ]


async def test_ready_tells_what_is_stale_from_what_it_waits_for_and_recovers(
    serve: Serve, http: aiohttp.ClientSession
) -> None:
    behind = await serve()
    pending: list[str] = []
    stale: dict[str, float] = {}
    server = Server(behind.body, behind.telemetry, lambda: pending, "/metrics", behind.clock, stale=lambda: dict(stale))
    url = f"http://{await server.start(Address('127.0.0.1', 0))}"

    async def answer() -> tuple[int, str]:
        async with http.get(f"{url}/-/ready") as response:
            return response.status, await response.text()

    try:
        stale["Kustomization"] = 214.4
        last_known = "not confirmed by the API server, and served as last known"
        assert await answer() == (503, f"Not ready: {last_known}: Kustomization for 214 s.\n")
        stale["Bucket in team-a"] = 181.2
        pending.append("HelmRelease")
        assert await answer() == (
            503,
            f"Not ready: waiting for HelmRelease; {last_known}: Kustomization for 214 s, Bucket in team-a for 181 s.\n",
        )
        stale.clear()
        assert await answer() == (503, "Not ready: waiting for HelmRelease.\n")
        pending.clear()
        assert await answer() == (200, "gotk-exporter is ready.\n")
    finally:
        await server.stop()


@pytest.mark.parametrize("metrics_path", ["/metrics", "/flux/metrics", '/a&b"c'])
async def test_links_of_the_landing_page_lead_somewhere(
    metrics_path: str, serve: Serve, http: aiohttp.ClientSession
) -> None:
    exporter = await serve(metrics_path=metrics_path)
    async with http.get(f"{exporter.url}/") as response:
        page = await response.text()
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert f"Version {__version__}." in page
    links = re.findall(r'href="([^"]*)"', page)
    assert len(links) == 3
    for link in links:
        async with http.get(exporter.url + html.unescape(link)) as response:
            assert response.status == 200


async def test_metrics_move_to_the_path_given_and_nowhere_else(serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve(metrics_path="/flux")
    statuses = {}
    for path in ("/flux", "/metrics", "/flux/"):
        async with http.get(exporter.url + path) as response:
            statuses[path] = response.status
    assert statuses == {"/flux": 200, "/metrics": 404, "/flux/": 404}


async def test_metrics_at_the_root_take_the_landing_pages_place(serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve(metrics_path="/")
    async with http.get(f"{exporter.url}/") as response:
        assert response.headers["Content-Type"] == Format.TEXT.content_type


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/metrics", 405), ("GET", "/-/reload", 404)])
async def test_anything_else_is_refused(
    method: str, path: str, status: int, serve: Serve, http: aiohttp.ClientSession
) -> None:
    exporter = await serve()
    async with http.request(method, exporter.url + path) as response:
        assert response.status == status


async def test_other_paths_answer_while_a_page_is_compressed(serve: Serve, http: aiohttp.ClientSession) -> None:
    store = GatedStore()
    exporter = await serve(store)
    scrape = asyncio.create_task(fetch_gzipped(exporter, http))
    await store.begun()
    async with http.get(f"{exporter.url}/-/healthy") as response:
        assert response.status == 200
    assert not scrape.done()
    store.gate.set()
    assert b"gotk_suspend_status" in await scrape


async def test_other_tasks_get_a_turn_between_the_pieces_of_a_plain_page(
    serve: Serve, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = await serve()
    turns, turn_of_piece = 0, []

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def pieces_no_buffer_is_too_small_for(fmt: Format) -> Iterator[bytes]:
        for _ in range(10):
            turn_of_piece.append(turns)
            yield b"# small\n"

    monkeypatch.setattr(exporter.body, "plain", pieces_no_buffer_is_too_small_for)
    other = asyncio.create_task(take_turns())
    async with http.get(f"{exporter.url}/metrics") as response:
        assert await response.read() == b"# small\n" * 10
    other.cancel()
    assert len(set(turn_of_piece)) == 10


async def fetch_gzipped(exporter: Exporter, http: aiohttp.ClientSession) -> bytes:
    async with http.get(f"{exporter.url}/metrics", headers={"Accept-Encoding": "gzip"}) as response:
        return gzip.decompress(await response.read())


@ENCODINGS
async def test_client_that_goes_away_in_the_middle_does_no_harm(
    encoding: str, serve: Serve, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = await serve(stubborn_store())
    async with exporter.connect() as connection:
        assert (await connection.request("GET", "/metrics", f"Accept-Encoding: {encoding}")).status == 200
    assert b"gotk_suspend_status" in await fetch_gzipped(exporter, http)
    await exporter.server.stop()
    assert complaints(caplog) == []


@ENCODINGS
@pytest.mark.parametrize("patient", [True, False], ids=["in-time", "too-late"])
async def test_client_that_does_not_read_in_time_is_cut_off(
    patient: bool, encoding: str, serve: Serve, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    # A timeout of 0 has run out as soon as the server has to wait for the client at all.
    exporter = await serve(stubborn_store(), send_timeout=READ_SECONDS if patient else 0.0)
    await exporter.body.gzipped(Format.TEXT)
    async with exporter.connect() as connection:
        head = await connection.request("GET", "/metrics", f"Accept-Encoding: {encoding}", "Connection: close")
        body = await connection.read_to_the_end()
    if encoding == "gzip":
        complete = len(body) == int(head.headers["content-length"])
    else:
        complete = body.endswith(b"\r\n0\r\n\r\n")
    assert (len(body) > 0, complete) == (True, patient)
    async with http.get(f"{exporter.url}/-/healthy") as response:
        assert response.status == 200
    assert complaints(caplog) == []


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@ENCODINGS
async def test_stop_does_not_wait_for_a_scrape_that_is_under_way(encoding: str, serve: Serve) -> None:
    exporter = await serve(stubborn_store())
    async with exporter.connect() as connection:
        await connection.request("GET", "/metrics", f"Accept-Encoding: {encoding}")
        async with asyncio.timeout(STOP_SECONDS):
            await exporter.server.stop()
    with pytest.raises(ConnectionError):
        async with exporter.connect():
            pass


async def test_stop_does_not_wait_for_a_compression_that_is_under_way(serve: Serve) -> None:
    store = GatedStore()
    exporter = await serve(store)
    async with exporter.connect() as connection:
        scrape = asyncio.create_task(connection.request("GET", "/metrics", "Accept-Encoding: gzip"))
        await store.begun()
        async with asyncio.timeout(STOP_SECONDS):
            await exporter.server.stop()
        store.gate.set()
        with pytest.raises(asyncio.IncompleteReadError):
            await scrape


async def test_stop_does_not_wait_for_a_connection_that_is_kept_open(serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve()
    async with http.get(f"{exporter.url}/-/healthy") as response:
        await response.read()
    async with asyncio.timeout(STOP_SECONDS):
        await exporter.server.stop()


@ENCODINGS
async def test_size_is_what_the_previous_scrape_sent(encoding: str, serve: Serve, http: aiohttp.ClientSession) -> None:
    exporter = await serve()
    async with http.get(f"{exporter.url}/metrics", headers={"Accept-Encoding": encoding}) as response:
        size = len(await response.read())
    assert own_sample(exporter, f.SCRAPE_BODY) == size
    async with http.head(f"{exporter.url}/metrics", headers={"Accept-Encoding": encoding}):
        pass
    assert own_sample(exporter, f.SCRAPE_BODY) == size


@ENCODINGS
async def test_duration_is_what_preparing_the_previous_scrape_took(
    encoding: str, serve: Serve, http: aiohttp.ClientSession
) -> None:
    exporter = await serve()
    exporter.render_seconds = 2.5
    async with http.get(f"{exporter.url}/metrics", headers={"Accept-Encoding": encoding}) as response:
        await response.read()
    exporter.render_seconds = 0.0
    assert own_sample(exporter, f.SCRAPE_RENDER) == 2.5


@ENCODINGS
async def test_duration_leaves_out_the_time_that_the_client_takes(encoding: str, serve: Serve) -> None:
    exporter = await serve(stubborn_store())
    async with exporter.connect() as connection:
        await connection.request("GET", "/metrics", f"Accept-Encoding: {encoding}", "Connection: close")
        exporter.clock.advance(100)
        await connection.read_to_the_end()
    assert own_sample(exporter, f.SCRAPE_BODY) > 1_000_000
    assert own_sample(exporter, f.SCRAPE_RENDER) == 0


def own_sample(exporter: Exporter, family: Family) -> float:
    page = exporter.telemetry.render(Format.TEXT).decode()
    (value,) = (value for name, _, value in series_of(page, Format.TEXT) if name == family.name)
    return value


async def test_address_in_use_is_an_error_with_its_remedy(serve: Serve) -> None:
    first = await serve()
    address = parse_address(first.url.removeprefix("http://"))
    with pytest.raises(ListenError) as caught:
        await Exporter().server.start(address)
    assert str(caught.value) == f"cannot listen on {address}: it is in use; choose another --web.listen-address"


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "Cannot assign requested address"), ("no..name", "it is no host name")],
)
async def test_address_that_is_not_ours_is_an_error_with_its_remedy(host: str, reason: str) -> None:
    with pytest.raises(ListenError) as caught:
        await Exporter().server.start(Address(host, 8080))
    assert str(caught.value) == f"cannot listen on {host}:8080: {reason}; choose another --web.listen-address"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:65535", Address("localhost", 65535)),
        (":8080", Address("", 8080)),
        (":0", Address("", 0)),
        ("[::1]:8080", Address("::1", 8080)),
        ("[fe80::1%eth0]:8080", Address("fe80::1%eth0", 8080)),
    ],
)
def test_address_is_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "8080",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:-1",
        "localhost:65536",
        "localhost:1234567",
        "localhost:²",
        "localhost:٣",
        "local host:80",
        " :80",
        ":80\n",
        "http://localhost:80",
        "::1",
        "::1:8080",
        "[::1]",
        "[::1:8080",
        "::1]:8080",
        "[]:8080",
        "[localhost]:8080",
    ],
)
def test_anything_else_is_no_address_and_the_error_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no address; write host:port, \[IPv6\]:port, or :port for all addresses$"):
        parse_address(text)
