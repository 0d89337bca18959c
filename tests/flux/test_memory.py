"""What is remembered across a restart comes back as it was; what is not ours is no memory; and neither is an error."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gotk_exporter.flux.attempts import Awaiting, Cause
from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.memory import LONG_RUN_SECONDS, Kept, Memory, Remembered, read, write
from gotk_exporter.flux.verdicts import Seen, Span, Status, Verdict
from gotk_exporter.metrics.families import FAILING_SINCE, FAILING_SINCE_UNCERTAINTY, RECONCILE_CONDITION
from gotk_exporter.metrics.store import Store
from tests.flux.examples import text_of

TIMES = st.floats(0, 2**33, allow_nan=False)
VERDICTS = st.builds(
    Verdict,
    st.sampled_from([Status.TRUE, Status.FALSE, Status.UNKNOWN]),
    st.none() | st.builds(Span, TIMES, TIMES),
    st.none() | TIMES,
    st.none() | TIMES,
    st.text(max_size=10),
    st.none() | TIMES,
)
WELL = Verdict(Status.TRUE)
KEPT = st.builds(
    Kept,
    VERDICTS,
    st.none() | TIMES,
    st.none() | st.builds(Awaiting, st.sampled_from(Cause), TIMES, TIMES),
    st.none() | TIMES,
)


@given(TIMES, st.dictionaries(st.text(), st.dictionaries(st.text(), st.tuples(st.text(), KEPT))))
def test_what_was_written_is_what_is_recalled(
    written_at: float, listings: dict[str, dict[str, tuple[str, Kept]]]
) -> None:
    items = {name: [(uid, *rest) for uid, rest in objects.items()] for name, objects in listings.items()}
    written = write(written_at, items)
    memory = read(written.content)
    assert isinstance(memory, Memory)
    assert (written.objects, written.left_out, len(memory)) == (sum(map(len, items.values())), 0, written.objects)
    for name, objects in listings.items():
        for uid, (version, kept) in objects.items():
            assert memory.recall(name, uid, None) == Remembered(kept, version, written_at)


def test_an_object_that_a_complete_listing_does_not_have_was_well() -> None:
    memory = read(write(100.0, {"Kustomization": []}).content)
    assert isinstance(memory, Memory)
    assert memory.recall("Kustomization", "uid", created_at=50.0) == Remembered(Kept(WELL), None, 100.0)
    assert memory.recall("Kustomization", "uid", created_at=100.0) is None
    assert memory.recall("Kustomization", "uid", created_at=None) is None
    assert memory.recall("HelmRelease", "uid", created_at=50.0) is None


def test_with_too_little_room_failures_are_kept_and_the_listing_is_not_called_complete() -> None:
    failing = [(f"f{number}", str(number), Kept(Verdict(Status.FALSE, Span(number / 7)))) for number in range(100)]
    running = [(f"r{number}", str(number), Kept(Verdict(Status.TRUE, running_since=number))) for number in range(900)]
    written = write(2000.0, {"Kustomization": running + failing, "HelmRelease": []}, room=4_000)
    assert len(written.content) <= 4_000
    assert written.objects + written.left_out == 1000
    memory = read(written.content)
    assert isinstance(memory, Memory)
    assert all(memory.recall("Kustomization", uid, 1.0) for uid, _, _ in failing)
    assert memory.recall("Kustomization", "r899", 1.0) is None
    assert memory.recall("HelmRelease", "any", 1.0) == Remembered(Kept(WELL), None, 2000.0)


GOOD = write(1.0, {"Kustomization": [("uid", "1", Kept(Verdict(Status.FALSE, Span(1.0))))]}).content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not compressed",
        GOOD[:-3],
        zlib.compress(b"not JSON"),
        zlib.compress(b"[]"),
        zlib.compress(b'{"version": 1}'),
        zlib.compress(b'{"version": 2, "written_at": 1, "listings": {}}'),
        zlib.compress(b'{"version": 1, "written_at": 1, "listings": {"a": [["uid"]]}}'),
        zlib.compress(b"\xff"),
        # More than anybody should unpack.
        zlib.compress(b" " * (65 * 2**20)),
    ],
    ids=str,
)
def test_content_that_is_not_ours_is_no_memory_and_the_reason_is_told(content: bytes) -> None:
    assert isinstance(read(content), str)


@given(st.binary())
def test_no_bytes_are_an_error(content: bytes) -> None:
    assert isinstance(read(content), Memory | str)


def test_an_entry_with_a_status_that_there_is_not_costs_itself() -> None:
    entry = ["uid", "1", "Deleted", None, None, None, None, None, ""]
    text = json.dumps({"version": 1, "written_at": 1, "listings": {"a": [entry]}}).encode()
    memory = read(zlib.compress(text))
    assert isinstance(memory, Memory)
    assert memory.recall("a", "uid", None) is None


# Through a collector, as after a restart

BEFORE, AFTER = 1_000_000.0, 1_000_600.0


def a_receiver(ready: str, version: str) -> bytes:
    """Of a kind that keeps nothing of its past but its conditions."""
    condition = {"type": "Ready", "status": ready, "reason": "Any", "lastTransitionTime": "1970-01-12T13:50:00Z"}
    metadata = {
        "name": "hook",
        "namespace": "apps",
        "uid": "uid",
        "resourceVersion": version,
        "creationTimestamp": "1970-01-01T00:00:10Z",
    }
    return json.dumps({"metadata": metadata, "status": {"conditions": [condition]}}).encode()


def shown(store: Store) -> dict[str, float]:
    """Value by family, of the status that holds."""
    lines = [line for line in text_of(store).splitlines() if 'status="' not in line or line.endswith(" 1")]
    found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}
    found.update({line.split('status="')[1].partition('"')[0]: 1.0 for line in lines if 'status="' in line})
    return found


def restarted(known: list[bytes], found: bytes, version: str) -> dict[str, float]:
    """What an exporter shows that saw these writes, wrote its memory, and after a restart found this."""
    families = [RECONCILE_CONDITION, FAILING_SINCE, FAILING_SINCE_UNCERTAINTY]
    first = Collector(BY_NAME["Receiver"], None, Store(families))
    first.begin_replacement("v1").commit()
    for number, raw in enumerate(known):
        first.upsert("apps/hook", raw, Seen.live(BEFORE + number))
    memory = read(write(BEFORE + 100, {first.scope: first.worth_remembering()}).content)
    assert isinstance(memory, Memory)
    store = Store(families)
    second = Collector(BY_NAME["Receiver"], None, store, memory=memory)
    listing = second.begin_replacement("v1")
    listing.add("apps/hook", "uid", version, found, Seen(AFTER))
    listing.commit()
    return shown(store)


def test_a_failure_that_only_the_memory_knows_keeps_its_start() -> None:
    known = [a_receiver("True", "1"), a_receiver("False", "2"), a_receiver("Unknown", "3")]
    page = restarted(known, a_receiver("Unknown", "3"), "3")
    assert page["False"] == 1
    assert page["gotk_resource_failing_since_timestamp_seconds"] == BEFORE + 1
    assert page["gotk_resource_failing_since_uncertainty_seconds"] == 0


def test_a_failure_that_began_while_nobody_looked_began_after_the_memory_was_written() -> None:
    page = restarted([a_receiver("True", "1")], a_receiver("False", "2"), "2")
    assert page["gotk_resource_failing_since_timestamp_seconds"] == BEFORE + 100
    # Its own condition says 1970-01-12T13:50:00Z, which may be two seconds behind: 1,000,200 and 2.
    assert page["gotk_resource_failing_since_uncertainty_seconds"] == 102


def test_a_memory_is_used_for_the_first_listing_and_never_again() -> None:
    store = Store([RECONCILE_CONDITION])
    memory = read(write(BEFORE, {"Receiver": [("uid", "1", Kept(Verdict(Status.FALSE, Span(BEFORE))))]}).content)
    assert isinstance(memory, Memory)
    collector = Collector(BY_NAME["Receiver"], None, store, memory=memory)
    collector.begin_replacement("v1").commit()
    collector.upsert("apps/hook", a_receiver("Unknown", "1"), Seen.live(AFTER))
    assert shown(store)["Unknown"] == 1


def test_the_length_of_a_run_goes_first_and_its_listing_is_complete_without_it() -> None:
    long_runs = [(f"w{number}", str(number), Kept(WELL, LONG_RUN_SECONDS + number)) for number in range(900)]
    failing = [(f"f{number}", str(number), Kept(Verdict(Status.FALSE, Span(number / 7)))) for number in range(100)]
    written = write(2000.0, {"Kustomization": long_runs + failing}, room=4_000)
    memory = read(written.content)
    assert isinstance(memory, Memory)
    assert all(memory.recall("Kustomization", uid, 1.0) for uid, _, _ in failing)
    assert memory.recall("Kustomization", "w899", 1.0) == Remembered(Kept(WELL), None, 2000.0)


def test_a_well_object_is_remembered_only_for_a_long_run_or_for_what_it_lacks() -> None:
    assert not Kept(WELL, LONG_RUN_SECONDS - 1).is_worth_it
    assert Kept(WELL, LONG_RUN_SECONDS).is_worth_it
    assert Kept(WELL, behind_since=1.0).is_worth_it
    assert not Kept(Verdict(Status.DELETED), LONG_RUN_SECONDS, behind_since=1.0).is_worth_it
