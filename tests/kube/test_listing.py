"""A listing in pieces is the listing as a whole, wherever the pieces part and whatever its JSON looks like."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gotk_exporter.flux.lenient import parse_tolerantly
from gotk_exporter.kube import listing as listing_module
from gotk_exporter.kube.listing import ListingStream
from gotk_exporter.kube.wire import Page, ShapeError, identify
from tests.kube.whole_pages import decode_page

OBJECT = {
    "metadata": {"name": "a", "namespace": "b", "uid": "u", "resourceVersion": "7"},
    "spec": {"x": [{}, {"y": 1}]},
}
ONE = json.dumps(OBJECT)


def read(pieces: Iterable[bytes], longest: int = 2**20) -> Page:
    """All of a listing."""
    stream = ListingStream(longest)
    items = list(itertools.chain.from_iterable([stream.feed(piece) for piece in pieces]))
    rest = stream.end()
    return Page(rest.metadata, None if rest.items is None else [*items, *rest.items])


def contents(page: Page) -> tuple[str, str, list[Any] | None]:
    items = None if page.items is None else [parse_tolerantly(bytes(item)) for item in page.items]
    return page.metadata.resource_version, page.metadata.continue_, items


def outcome(pieces: Sequence[bytes]) -> object:
    try:
        return contents(read(pieces))
    except ShapeError:
        return ShapeError


def expected(body: bytes) -> object:
    try:
        return contents(decode_page(body))
    except ShapeError:
        return ShapeError


def split(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({cut % (len(body) + 1) for cut in cuts})
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


# Text that looks like structure, and keys that look like a listing's.
_text = st.text() | st.text('{}[],:"\\ ue0', max_size=8) | st.sampled_from(["items", "metadata", "},{", '"},{"', "\\"])
_scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text
_json = st.recursive(
    _scalar,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_text, children, max_size=4),
    max_leaves=12,
)
_items = st.lists(_json | st.fixed_dictionaries({"metadata": st.just({"name": "a"}), "spec": _json}), max_size=6)
_metadata = st.fixed_dictionaries({"resourceVersion": st.sampled_from(["", "7"])}, optional={"continue": _text})
_members = st.dictionaries(_text.filter(lambda key: key not in ("items", "metadata")), _json, max_size=3)


@st.composite
def listings(draw: st.DrawFn) -> bytes:
    """Members in any order, in any layout."""
    document = draw(_members)
    document |= draw(
        st.fixed_dictionaries({}, optional={"items": _items | st.none() | _json, "metadata": _metadata | _json})
    )
    members = draw(st.permutations(list(document.items())))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
    indent = draw(st.sampled_from([None, 1, "\t"]))
    text = json.dumps(dict(members), separators=separators, indent=indent, ensure_ascii=draw(st.booleans()))
    return draw(st.sampled_from([b"", b" \n"])) + text.encode() + draw(st.sampled_from([b"", b"\n", b" \r\n\t"]))


_cuts = st.lists(st.integers(0, 2**20), max_size=20)


SCALARS = b'{"it\\u0065ms":[12e3 , -0.5,"a" ,true,null],"n":123, "metadata":{"resourceVersion":"7"} }'
EVERYWHERE = list(range(len(SCALARS)))


@example(SCALARS, EVERYWHERE)
@given(listings(), _cuts)
def test_a_listing_in_pieces_is_the_listing_as_a_whole(body: bytes, cuts: list[int]) -> None:
    assert outcome(split(body, cuts)) == expected(body)


@example(SCALARS, EVERYWHERE)
@given(listings(), _cuts)
def test_objects_come_byte_by_byte_as_they_stand(body: bytes, cuts: list[int]) -> None:
    if expected(body) is not ShapeError:
        found, whole = read(split(body, cuts)).items, decode_page(body).items
        assert [bytes(item) for item in found or ()] == [bytes(item) for item in whole or ()]


@example(SCALARS, EVERYWHERE)
@given(listings(), _cuts)
def test_the_ends_that_the_decoder_does_not_tell_are_found_by_brackets(body: bytes, cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(listing_module, "_strict_end", lambda *_: None)
        patched.setattr(listing_module, "_LONG_BYTES", 0)
        assert outcome(split(body, cuts)) == expected(body)


@given(listings(), st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=3), _cuts)
def test_a_damaged_listing_is_refused_or_read_as_the_whole_would_be(
    body: bytes, damage: list[tuple[int, int]], cuts: list[int]
) -> None:
    damaged = bytearray(body)
    for place, byte in damage:
        damaged[place % len(body)] = byte
    found = outcome(split(bytes(damaged), cuts))
    assert found in (ShapeError, expected(bytes(damaged))) or _reads_more_than_the_whole(found, bytes(damaged))


def _reads_more_than_the_whole(found: object, body: bytes) -> bool:
    """In one object's trouble the whole insists on a list, and leaves out what is of the wrong type."""
    return isinstance(found, tuple) and expected(body) is ShapeError


@given(listings(), st.integers(0, 2**20))
def test_a_listing_that_is_cut_off_is_never_taken_for_a_whole_one(body: bytes, at: int) -> None:
    at %= len(body.rstrip())
    with pytest.raises(ShapeError):
        read([body[:at]])


ODD = {
    "a lone surrogate": rb'"\ud800"',
    "two the wrong way round": rb'"\udfff\ud800"',
    "no UTF-8": b'"\xff\xfe"',
    "nine thousand levels": b"[" * 9_000 + b"]" * 9_000,
    "brackets in a string behind a surrogate": rb'"\ud800}]},{\"[{"',
    "a number of five thousand digits": b"1" * 5_000,
    "a large object": b'"' + rb"\ud800x\"" * 70_000 + b'"',
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("size", [1_000, 2**16, 2**30])
def test_an_object_that_only_go_accepts_does_not_cost_its_neighbours(odd: str, size: int) -> None:
    item = b'{"metadata":{"name":"odd"},"spec":{"text":' + ODD[odd] + b"}}"
    body = b'{"items":[%b,%b,%b],"metadata":{"resourceVersion":"9"}}' % (ONE.encode(), item, ONE.encode())
    page = read([body[at : at + size] for at in range(0, len(body), size)])
    assert [identify(raw).key for raw in page.items or ()] == ["b/a", "/odd", "b/a"]
    assert page.metadata.resource_version == "9"


def test_objects_are_given_as_they_come() -> None:
    stream = ListingStream()
    assert stream.feed(f'{{"items":[{ONE[:-1]}'.encode()) == []
    assert [identify(raw).key for raw in stream.feed(f"}},{ONE},{ONE}, {{".encode())] == ["b/a"] * 3
    assert [bytes(raw) for raw in stream.feed(b"}")] == [b"{}"]


def test_a_listing_of_any_size_takes_the_memory_of_a_few_objects() -> None:
    items = f",{ONE}".encode() * 1_000
    stream = ListingStream()
    stream.feed(b'{"items":[' + ONE.encode())
    tracemalloc.start()
    try:
        count = sum(len(stream.feed(items[at : at + 2**14])) for _ in range(100) for at in range(0, len(items), 2**14))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count >= 100_000 - 1
    assert peak < 2**18


@pytest.mark.parametrize("items", ["null", "[]", "[ ]"])
def test_an_empty_listing_is_a_listing(items: str) -> None:
    page = read([f'{{"items":{items},"metadata":{{"resourceVersion":"9"}}}}'.encode()])
    assert (page.metadata.resource_version, page.items or []) == ("9", [])


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"null", b"<html></html>", b'{"items":{}}', b"{" * 100, b'{"items":[1,]}', b'{"items":[1'),
        *(
            b'{"metadata":{"resourceVersion":"9"},"items":5}',
            b'{"items":[]}x',
            b'{"items":[],"items":[]}',
            b'{5:"items"}',
        ),
        *(b'{"items":[] "metadata":{}}', b'{"items":[]}"x"', b'{"items":[1 "x"]}', b'{"items","items":[]}'),
        *(b'{"items":[],"metadata":null}', b'{"items":[{]}]}', b'{"items":[{"a":nonsense}]}', b'{"items" []}'),
    ],
)
def test_what_is_no_listing_is_refused(body: bytes) -> None:
    for pieces in [body], [body[at : at + 1] for at in range(len(body))]:
        with pytest.raises(ShapeError):
            read(pieces)


@pytest.mark.parametrize("padding", [b"x" * 100, rb"\ud800" * 20], ids=["plain", "odd"])
def test_an_object_beyond_all_bounds_is_refused_before_it_is_complete(padding: bytes) -> None:
    stream = ListingStream(longest=1_000)
    stream.feed(f'{{"items":[{ONE},{{"a":"'.encode())
    for _ in range(990 // len(padding)):
        stream.feed(padding)
    with pytest.raises(ShapeError, match="an object of the listing is larger than 1000 bytes"):
        stream.feed(padding)


@pytest.mark.parametrize("piece", [1_000, 2**18])
@pytest.mark.parametrize("text", [b'{"a":1},{"b":"},{"}', rb'{"a":"\"},{\\"}'], ids=["brackets", "escapes"])
@pytest.mark.parametrize("odd", [b"", rb'"\ud800",'], ids=["plain", "odd"])
def test_an_object_made_to_be_slow_takes_time_in_proportion_to_its_size(piece: int, text: bytes, odd: bytes) -> None:
    """Quadratic, it would take minutes."""
    item = b'{"metadata":{"name":"a"},"list":[' + odd + b",".join([text] * (4_000_000 // len(text))) + b"]}"
    body = b'{"items":[' + item + b'],"metadata":{"resourceVersion":"9"}}'
    started = time.process_time()
    page = read([body[at : at + piece] for at in range(0, len(body), piece)], longest=2**24)
    assert len(page.items or ()) == 1
    assert time.process_time() - started < 10


def test_the_decoder_says_where_an_object_ends() -> None:
    """Slower ways find it too, so that only this test would notice other words of another version of msgspec."""
    body = b'[{"a":"},{"} , 2]'
    assert listing_module._strict_end(body, memoryview(body), 1) == body.index(b", 2")
    assert msgspec.json.decode(body[1 : body.index(b", 2")]) == {"a": "},{"}
