"""What a request looks like on the wire, and what becomes of the answers that an API server gives."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import json
import time
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gotk_exporter import __version__
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import MAX_STATUS_BYTES, parse_retry_after
from gotk_exporter.kube.failures import StatusError
from gotk_exporter.kube.wire import Page, identify
from tests.kube.connection import KUSTOMIZATION, PATH, TOKEN, Connection, Connector
from tests.kube.scripted_clock import EPOCH, ScriptedClock
from tests.kube.scripted_server import Reply, ScriptedServer, Silence, Stream, page, status, status_object

OBJECT = {"metadata": {"name": "apps", "namespace": "flux-system", "resourceVersion": "7"}}


async def test_a_listing_is_asked_for_page_by_page(server: ScriptedServer, connect: Connector) -> None:
    token = "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ==+/ &?#%25é"
    server.answer(PATH, page([OBJECT], "7", token), page([], "7"))
    connection = await connect(server.url, bounds=Bounds(page_objects=42))
    first = await connection.client.list_page(KUSTOMIZATION, None, "")
    assert [json.loads(bytes(item)) for item in first.items or ()] == [OBJECT]
    assert (first.metadata.resource_version, first.metadata.continue_) == ("7", token)
    last = await connection.client.list_page(KUSTOMIZATION, None, first.metadata.continue_)
    assert (last.items, last.metadata.continue_) == ([], "")
    assert [request.query for request in server.requests] == [{"limit": "42"}, {"limit": "42", "continue": token}]
    assert connection.requests == [("list", "Kustomization", "200")] * 2


async def listed(connection: Connection) -> tuple[list[str], Page]:
    """The names of a first listing's objects, and its last part."""
    names: list[str] = []

    def take(items: Sequence[msgspec.Raw]) -> None:
        names.extend(identify(item).key for item in items)

    last = await connection.client.list_from_cache(KUSTOMIZATION, None, take)
    take(last.items or ())
    return names, last


async def test_the_first_listing_asks_for_whatever_the_server_has_in_memory(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, page([OBJECT, OBJECT], "7"))
    connection = await connect(server.url)
    names, last = await listed(connection)
    assert names == ["flux-system/apps"] * 2
    assert (last.metadata.resource_version, last.metadata.continue_) == ("7", "")
    assert [request.query for request in server.requests] == [{"resourceVersion": "0", "limit": "500"}]
    assert connection.requests == [("list", "Kustomization", "200")]


async def test_a_server_without_a_memory_answers_the_first_listing_by_the_page(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, page([OBJECT], "7", "token"))
    _, last = await listed(await connect(server.url))
    assert (last.metadata.resource_version, last.metadata.continue_) == ("7", "token")


async def test_objects_of_the_first_listing_are_taken_while_it_goes_on(
    server: ScriptedServer, connect: Connector
) -> None:
    body, rest = json.dumps({"items": [OBJECT]})[:-2].encode(), Silence()
    server.answer(PATH, Stream(body + b",{", rest, b'"metadata":{"name":"b"}}],"metadata":{"resourceVersion":"7"}}'))
    connection = await connect(server.url)
    taken: asyncio.Queue[str] = asyncio.Queue()

    def take(items: Sequence[msgspec.Raw]) -> None:
        for item in items:
            taken.put_nowait(identify(item).key)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        listing = tasks.create_task(connection.client.list_from_cache(KUSTOMIZATION, None, take))
        assert await taken.get() == "flux-system/apps"
        assert not listing.done()
        rest.set()
    assert [await taken.get()] == ["/b"]


async def test_a_watch_asks_for_events_and_bookmarks_from_where_a_listing_ended(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, Stream(), watch=True)
    connection = await connect(server.url)
    async with connection.client.watch(KUSTOMIZATION, None, "7", 300.4) as lines:
        assert [line async for line in lines] == []
    assert server.requests[0].query == {
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "300",
    }
    assert connection.requests == [("watch", "Kustomization", "200")]


async def test_one_namespace_is_a_part_of_the_path(server: ScriptedServer, connect: Connector) -> None:
    path = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/team-a/kustomizations"
    server.answer(path, page([], "7"))
    server.answer(path, Stream(), watch=True)
    connection = await connect(server.url)
    await connection.client.list_page(KUSTOMIZATION, "team-a", "")
    async with connection.client.watch(KUSTOMIZATION, "team-a", "7", 1):
        pass
    assert [request.path for request in server.requests] == [path, path]


async def test_an_api_server_may_stand_below_a_path(server: ScriptedServer, connect: Connector) -> None:
    server.answer(f"/k8s/clusters/c-1{PATH}", page([], "7"))
    connection = await connect(f"{server.url}/k8s/clusters/c-1/")
    await connection.client.list_page(KUSTOMIZATION, None, "")


async def test_every_request_says_who_asks_and_wants_no_compression(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, page([], "7"))
    server.answer(PATH, Stream(), watch=True)
    server.answer("/apis", Reply(body=b"{}"))
    connection = await connect(server.url)
    await connection.client.list_page(KUSTOMIZATION, None, "")
    async with connection.client.watch(KUSTOMIZATION, None, "7", 1):
        pass
    await connection.client.get("/apis", "application/json;as=Something")
    for request in server.requests:
        assert request.method == "GET"
        assert request.headers["User-Agent"] == f"gotk-exporter/{__version__}"
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    accepts = [request.headers["Accept"] for request in server.requests]
    assert accepts == ["application/json", "application/json", "application/json;as=Something"]


async def test_an_etag_is_given_back_and_304_says_that_nothing_changed(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer("/apis", Reply(body=b'{"a":1}', headers={"ETag": '"x"'}), Reply(304))
    connection = await connect(server.url)
    first = await connection.client.get("/apis", "application/json")
    assert (first.body, first.etag, first.unchanged) == (b'{"a":1}', '"x"', False)
    second = await connection.client.get("/apis", "application/json", first.etag)
    assert second.unchanged
    assert [request.headers.get("If-None-Match") for request in server.requests] == [None, '"x"']
    assert connection.requests == [("get", "", "200"), ("get", "", "304")]


async def test_304_to_a_question_that_did_not_ask_for_it_is_no_answer(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, Reply(304))
    connection = await connect(server.url)
    with pytest.raises(StatusError, match="304"):
        await connection.client.list_page(KUSTOMIZATION, None, "")


REFUSALS = [
    (400, "BadRequest", "unable to parse continue token"),
    (403, "Forbidden", 'kustomizations is forbidden: User "system:serviceaccount:a:b" cannot list'),
    (404, "NotFound", "the server could not find the requested resource"),
    (410, "Expired", "The provided continue parameter is too old"),
    (429, "TooManyRequests", "too many requests"),
    (500, "InternalError", "etcdserver: request timed out"),
    (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    (504, "Timeout", "Timeout: Too large resource version: 9, current: 8"),
]


@pytest.mark.parametrize(("code", "reason", "message"), REFUSALS)
async def test_a_refusal_carries_the_servers_own_words(
    server: ScriptedServer, connect: Connector, code: int, reason: str, message: str
) -> None:
    for watch in False, True:
        server.answer(PATH, status(code, reason, message), watch=watch)
    connection = await connect(server.url)
    with pytest.raises(StatusError) as listed:
        await connection.client.list_page(KUSTOMIZATION, None, "")
    with pytest.raises(StatusError) as watched:
        async with connection.client.watch(KUSTOMIZATION, None, "7", 1):
            pytest.fail("a watch was opened")
    for error in listed.value, watched.value:
        assert (error.code, error.outcome, str(error)) == (code, str(code), f"{code} {reason}: {message}")
    counted = [("list", "Kustomization", str(code)), ("watch", "Kustomization", str(code))]
    assert connection.requests == counted


async def test_a_refusal_that_comes_in_pieces_is_read_to_its_end(server: ScriptedServer, connect: Connector) -> None:
    body = json.dumps(status_object(403, "Forbidden", "not for you")).encode()
    server.answer(PATH, Stream(body[:20], body[20:60], body[60:], status=403))
    connection = await connect(server.url)
    with pytest.raises(StatusError, match=r"^403 Forbidden: not for you$"):
        await connection.client.list_page(KUSTOMIZATION, None, "")


async def test_a_refusal_without_end_is_read_only_so_far(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, Stream(b"x" * MAX_STATUS_BYTES, Silence(), status=500))
    connection = await connect(server.url)
    async with asyncio.timeout(10):  # the client itself would wait for a minute
        with pytest.raises(StatusError, match=r"^500 Internal Server Error$"):
            await connection.client.list_page(KUSTOMIZATION, None, "")
        await server.idle()


async def test_a_refusal_whose_explanation_never_comes_is_still_one(server: ScriptedServer, connect: Connector) -> None:
    for watch in False, True:
        server.answer(PATH, Stream(b'{"kind":', Silence(), status=410), watch=watch)
    connection = await connect(server.url, bounds=Bounds(request_timeout=0.1))
    with pytest.raises(StatusError, match=r"^410 Gone$"):
        await connection.client.list_page(KUSTOMIZATION, None, "")
    with pytest.raises(StatusError, match=r"^410 Gone$"):
        async with connection.client.watch(KUSTOMIZATION, None, "7", 1):
            pytest.fail("a watch was opened")


async def test_a_refusal_is_one_short_line_whatever_the_server_writes(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, status(500, "A" * 500, "first\nsecond\tthird " + "B" * 5000))
    connection = await connect(server.url)
    with pytest.raises(StatusError) as refused:
        await connection.client.list_page(KUSTOMIZATION, None, "")
    text = str(refused.value)
    assert text.startswith(f"500 {'A' * 60}: first second third BBB")
    assert len(text) < 400


async def test_after_401_the_credentials_are_read_again_before_the_next_request(
    server: ScriptedServer, connect: Connector
) -> None:
    server.answer(PATH, status(401, "Unauthorized", "Unauthorized"), page([], "7"))
    connection = await connect(server.url)
    with pytest.raises(StatusError, match="401 Unauthorized"):
        await connection.client.list_page(KUSTOMIZATION, None, "")
    connection.kubeconfig.write_text(connection.kubeconfig.read_text().replace(TOKEN, "the-next-one"))
    await connection.client.list_page(KUSTOMIZATION, None, "")
    assert [request.headers["Authorization"] for request in server.requests] == [
        f"Bearer {TOKEN}",
        "Bearer the-next-one",
    ]
    assert connection.loads == ["changed", "changed"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: ScriptedServer, connect: Connector, code: int) -> None:
    async with ScriptedServer() as elsewhere:
        elsewhere.answer("/stolen", page([], "7"))
        headers = {"Location": f"{elsewhere.url}/stolen?password=marker-of-the-location"}
        for watch in False, True:
            server.answer(PATH, Reply(code, b"<html>", headers, "text/html"), watch=watch)
        connection = await connect(server.url)
        with pytest.raises(StatusError, match=f"{code} .*: it wants us to go elsewhere") as refused:
            await connection.client.list_page(KUSTOMIZATION, None, "")
        assert "marker-of-the-location" not in str(refused.value)
        with pytest.raises(StatusError, match=f"{code} "):
            async with connection.client.watch(KUSTOMIZATION, None, "7", 1):
                pytest.fail("a watch was opened")
        assert not elsewhere.requests


async def test_cookies_are_not_kept(server: ScriptedServer, connect: Connector) -> None:
    listing = page([], "7")
    server.answer(PATH, dataclasses.replace(listing, headers={"Set-Cookie": "session=x; Path=/"}), listing)
    connection = await connect(server.url.replace("127.0.0.1", "localhost"))
    for _ in range(2):
        await connection.client.list_page(KUSTOMIZATION, None, "")
    assert "Cookie" not in server.requests[1].headers


@pytest.mark.parametrize(
    ("header", "in_details", "seconds"),
    [
        ("7", None, 7.0),
        (" 7 ", None, 7.0),
        ("0", None, 0.0),
        (email.utils.formatdate(EPOCH + 90, usegmt=True), None, 90.0),
        (email.utils.formatdate(EPOCH - 90, usegmt=True), None, 0.0),
        (None, 30, 30.0),
        ("7", 30, 7.0),
        ("soon", 30, 30.0),
        ("soon", None, None),
        (None, None, None),
    ],
)
async def test_the_server_says_how_long_to_wait(
    server: ScriptedServer, connect: Connector, header: str | None, in_details: int | None, seconds: float | None
) -> None:
    headers = {} if header is None else {"Retry-After": header}
    server.answer(PATH, status(429, "TooManyRequests", headers=headers, retry_after_seconds=in_details))
    connection = await connect(server.url, clock=ScriptedClock())
    with pytest.raises(StatusError) as refused:
        await connection.client.list_page(KUSTOMIZATION, None, "")
    assert refused.value.retry_after == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000", ""])
def test_a_date_means_the_same_whatever_zone_we_live_in(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert parse_retry_after(f"Tue, 14 Nov 2023 22:14:50 {zone}".rstrip(), EPOCH) == 90
    finally:
        monkeypatch.undo()
        time.tzset()


@example("²")
@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,9} \d\d:\d\d:\d\d( [-+]\d{1,9}| GMT)?"))
def test_no_retry_after_breaks_anything(value: str) -> None:
    seconds = parse_retry_after(value, EPOCH)
    assert seconds is None or seconds >= 0
