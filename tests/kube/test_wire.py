"""What the API server sends, and what else may come instead."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gotk_exporter.kube.listing import ListingStream
from gotk_exporter.kube.wire import (
    Page,
    ShapeError,
    decode_status,
    decode_watch_line,
    identify,
    resource_version_of,
)


def decode_page(body: bytes) -> Page:
    """As the client reads one."""
    listing = ListingStream()
    items = listing.feed(body)
    page = listing.end()
    if page.items is not None:
        page.items = items + page.items
    return page


OBJECT = {"metadata": {"name": "a", "namespace": "b", "uid": "u", "resourceVersion": "7"}, "spec": {"x": 1}}


def test_a_page_has_its_version_its_token_and_its_objects_unread() -> None:
    body = {"metadata": {"resourceVersion": "9", "continue": "more"}, "items": [OBJECT, OBJECT]}
    page = decode_page(json.dumps(body).encode())
    assert (page.metadata.resource_version, page.metadata.continue_) == ("9", "more")
    assert [json.loads(bytes(item)) for item in page.items or ()] == [OBJECT, OBJECT]


def test_an_empty_listing_is_a_listing() -> None:
    assert decode_page(b'{"metadata":{"resourceVersion":"9"},"items":null}').items is None
    assert decode_page(b'{"metadata":{"resourceVersion":"9"},"items":[]}').items == []


@pytest.mark.parametrize("surrogate", [r'"\ud800"', r'"\ud800x"', r'"\udfff\ud800"'])
def test_a_lone_surrogate_in_one_object_does_not_cost_its_neighbours(surrogate: str) -> None:
    """JSON can carry it, and a strict decoder refuses the whole page for it."""
    odd = '{"metadata":{"name":"odd","resourceVersion":"1"},"spec":{"text":' + surrogate + "}}"
    body = '{"metadata":{"resourceVersion":"9"},"items":[' + odd + "," + json.dumps(OBJECT) + "]}"
    assert [identify(raw).key for raw in decode_page(body.encode()).items or ()] == ["/odd", "b/a"]


@pytest.mark.parametrize("text", ["[" * 9_000 + "]" * 9_000, '{"a":' * 9_000 + "1" + "}" * 9_000, "1" * 5_000])
def test_depths_and_numbers_that_only_go_accepts_do_not_cost_the_neighbours(text: str) -> None:
    """kube-apiserver takes 9,000 levels in a field such as HelmRelease.spec.values."""
    odd = '{"metadata":{"name":"odd","resourceVersion":"1"},"spec":{"values":' + text + "}}"
    body = '{"metadata":{"resourceVersion":"9"},"items":[' + odd + "," + json.dumps(OBJECT) + "]}"
    assert [identify(raw).key for raw in decode_page(body.encode()).items or ()] == ["/odd", "b/a"]
    line = decode_watch_line(b'{"type":"ADDED","object":' + odd.encode() + b"}")
    assert identify(line.object).key == "/odd"
    assert identify(odd.encode()).resource_version == "1"


def test_bytes_that_are_no_utf8_do_not_cost_the_neighbours_either() -> None:
    body = b'{"metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"\xff"}},' + json.dumps(OBJECT).encode()
    assert len(decode_page(body + b"]}").items or ()) == 2


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b"<html></html>", b'{"items":{}}', b'{"metadata":{"resourceVersion":"9"},"items":5}'],
)
def test_what_is_no_listing_is_refused(body: bytes) -> None:
    with pytest.raises(ShapeError):
        decode_page(body)


def test_a_watch_line_has_a_type_and_an_object_unread() -> None:
    line = decode_watch_line(json.dumps({"type": "ADDED", "object": OBJECT}).encode())
    assert line.type == "ADDED"
    assert json.loads(bytes(line.object)) == OBJECT


@pytest.mark.parametrize("line", [b"{", b'{"type":"ADDED"}', b'{"type":5,"object":{}}', b"<html>", b"[]", b"1"])
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(ShapeError):
        decode_watch_line(line)


def test_an_object_is_identified_by_namespace_name_uid_and_version() -> None:
    item = identify(json.dumps(OBJECT).encode())
    assert (item.key, item.uid, item.resource_version) == ("b/a", "u", "7")


def test_metadata_with_a_field_of_the_wrong_type_still_identifies_the_object() -> None:
    item = identify(b'{"metadata":{"name":"a","namespace":"b","uid":5,"resourceVersion":"7"}}')
    assert (item.key, item.uid, item.resource_version) == ("b/a", "", "7")


@pytest.mark.parametrize("raw", [b"{}", b'{"metadata":{}}', b'{"metadata":{"name":5}}', b'{"metadata":7}', b"[]", b"5"])
def test_an_object_without_a_name_is_refused(raw: bytes) -> None:
    with pytest.raises(ShapeError):
        identify(raw)


def test_a_status_tells_code_reason_message_and_wait() -> None:
    status = decode_status(b'{"code":429,"reason":"TooManyRequests","message":"m","details":{"retryAfterSeconds":3}}')
    assert (status.code, status.reason, status.message) == (429, "TooManyRequests", "m")
    assert status.details is not None
    assert status.details.retry_after_seconds == 3


def test_an_error_page_of_a_proxy_is_an_empty_status() -> None:
    assert decode_status(b"<html>502</html>").code == 0


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
_shaped = st.fixed_dictionaries(
    {},
    optional={
        "metadata": _json | st.fixed_dictionaries({"name": _json, "resourceVersion": _json, "continue": _json}),
        "items": _json | st.lists(_json),
        "type": _json,
        "object": _json,
    },
)


@given(_shaped.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_nothing_that_can_come_raises_anything_else(body: bytes) -> None:
    for decode in (decode_page, decode_watch_line, identify, decode_status, resource_version_of):
        try:
            decode(body)
        except ShapeError:
            continue
