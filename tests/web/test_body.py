"""The compressed body is the plain one, made once for each state of the store, and never older than the request."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import subprocess
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.store import Store
from gotk_exporter.telemetry import Telemetry
from gotk_exporter.web.body import Body
from tests.metrics.hostile import HOSTILE_VALUES
from tests.metrics.pages import families_of
from tests.web.stores import CountingStore, GatedStore, filled_store, put_object

FORMATS = pytest.mark.parametrize("fmt", Format, ids=lambda fmt: fmt.name.lower())

OWN = {Format.TEXT: b"own_text 1\n", Format.OPENMETRICS: b"own_openmetrics 1\n# EOF\n"}


def body_of(store: Store) -> Body:
    return Body(store, OWN.__getitem__)


def plain(body: Body, fmt: Format) -> bytes:
    return b"".join(body.plain(fmt))


def gunzip_as_a_stream(data: bytes, piece_bytes: int = 7) -> bytes:
    """As a client does that reads one member from a socket and expects nothing after it."""
    stream = zlib.decompressobj(wbits=31)
    read = b"".join(stream.decompress(data[at : at + piece_bytes]) for at in range(0, len(data), piece_bytes))
    assert (stream.eof, stream.unused_data) == (True, b"")
    return read


@FORMATS
@pytest.mark.parametrize("objects", [0, 1, 1000])
async def test_compressed_body_is_the_plain_one_to_every_reader(objects: int, fmt: Format) -> None:
    store = filled_store(objects)
    for value in HOSTILE_VALUES[: objects or None]:
        put_object(store, value)
    body = body_of(store)
    data, expected = await body.gzipped(fmt), plain(body, fmt)
    assert expected.endswith(OWN[fmt])
    assert gzip.decompress(data) == expected
    assert gunzip_as_a_stream(data) == expected
    done = await asyncio.to_thread(subprocess.run, ["gzip", "-dc"], input=data, capture_output=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (expected, b"", 0)


@FORMATS
async def test_store_without_families_leaves_the_exporters_own_metrics(fmt: Format) -> None:
    body = body_of(Store(()))
    assert plain(body, fmt) == gzip.decompress(await body.gzipped(fmt)) == OWN[fmt]


@settings(deadline=None, max_examples=25)
@given(owns=st.lists(st.binary(max_size=3000), min_size=2, max_size=4), objects=st.integers(0, 50))
def test_one_compression_joins_with_whatever_follows_it(owns: list[bytes], objects: int) -> None:
    following = iter(owns)
    store = CountingStore()
    put_object(store, "a")
    for number in range(objects):
        put_object(store, f"object-{number}")
    body = Body(store, lambda fmt: next(following))

    async def scrape_as_often() -> list[bytes]:
        return [await body.gzipped(Format.TEXT) for _ in owns]

    first = b"".join(Store.snapshot(store).chunks(Format.TEXT))
    assert [gzip.decompress(data) for data in asyncio.run(scrape_as_often())] == [first + own for own in owns]
    assert store.snapshots == 1


@FORMATS
async def test_own_metrics_come_last_and_openmetrics_ends_exactly_once(fmt: Format) -> None:
    body = Body(filled_store(10), Telemetry().render)
    for data in (plain(body, fmt), gzip.decompress(await body.gzipped(fmt))):
        text = data.decode()
        names = [family.name for family in families_of(text, fmt)]
        assert names[:2] == ["gotk_reconcile_condition", "gotk_suspend_status"]
        assert all(name.startswith(("gotk_exporter_", "process_")) for name in names[2:])
        assert len(names) == len(set(names)) > 2
        assert text.count("# EOF") == (fmt is Format.OPENMETRICS)
        assert text.endswith("\n# EOF\n") is (fmt is Format.OPENMETRICS)


@FORMATS
async def test_compression_is_used_again_until_the_store_changes(fmt: Format) -> None:
    store, numbers = CountingStore(), itertools.count()
    put_object(store, "a", 1)
    body = Body(store, lambda fmt: f"own {next(numbers)}\n".encode())
    first = [gzip.decompress(await body.gzipped(fmt)) for _ in range(3)]
    # The exporter's own metrics are new each time nevertheless.
    assert [page.splitlines()[-1] for page in first] == [b"own 0", b"own 1", b"own 2"]
    put_object(store, "a", 1)
    await body.gzipped(fmt)
    assert store.snapshots == 1
    put_object(store, "a", 2)
    assert b'name="a",namespace="apps"} 2\n' in gzip.decompress(await body.gzipped(fmt))
    assert store.snapshots == 2


async def test_each_format_is_compressed_for_itself() -> None:
    store = CountingStore()
    body = body_of(store)
    for fmt in (*Format, *Format):
        assert gzip.decompress(await body.gzipped(fmt)).endswith(OWN[fmt])
    assert store.snapshots == len(Format)


async def test_concurrent_scrapes_share_one_compression() -> None:
    store = GatedStore()
    put_object(store, "a")
    body = body_of(store)
    scrapes = [asyncio.create_task(body.gzipped(Format.TEXT)) for _ in range(5)]
    await store.begun()
    store.gate.set()
    assert len(set(await asyncio.gather(*scrapes))) == 1
    assert store.snapshots == 1


async def test_scrape_that_waits_for_another_is_not_older_than_its_own_beginning() -> None:
    store = GatedStore()
    put_object(store, "old")
    body = body_of(store)
    early = asyncio.create_task(body.gzipped(Format.TEXT))
    await store.begun()
    put_object(store, "new")
    late = asyncio.create_task(body.gzipped(Format.TEXT))
    store.gate.set()
    assert b'name="new"' not in gzip.decompress(await early)
    assert b'name="new"' in gzip.decompress(await late)
    # And what was compressed for the early one is not kept for the next.
    assert b'name="new"' in gzip.decompress(await body.gzipped(Format.TEXT))
    assert store.snapshots == 2


async def test_scrape_given_up_while_it_compresses_does_not_harm_the_next() -> None:
    store = GatedStore()
    put_object(store, "a")
    body = body_of(store)
    given_up = asyncio.create_task(body.gzipped(Format.TEXT))
    await store.begun()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert gzip.decompress(await body.gzipped(Format.TEXT)) == plain(body, Format.TEXT)
    store.gate.set()


async def test_plain_body_that_has_begun_is_of_one_moment() -> None:
    store = filled_store(20_000)
    body = body_of(store)
    pieces: Iterator[bytes] = body.plain(Format.TEXT)
    begun = next(pieces)
    store.drop("Kustomization")
    assert (begun + b"".join(pieces)).count(b"gotk_suspend_status{") == 20_000
    assert plain(body, Format.TEXT).count(b"gotk_suspend_status{") == 0


async def test_fleet_of_20_000_objects_is_served_whole_in_pieces_and_compressed() -> None:
    body = body_of(filled_store(20_000))
    pieces = list(body.plain(Format.OPENMETRICS))
    page = b"".join(pieces)
    assert page.count(b"\ngotk_reconcile_condition{") == page.count(b"\ngotk_suspend_status{") == 20_000
    assert len(pieces) > 4
    assert max(map(len, pieces)) < len(page) / 4
    data = await body.gzipped(Format.OPENMETRICS)
    assert gzip.decompress(data) == page
    assert len(data) < len(page) / 5
