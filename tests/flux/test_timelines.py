"""What the verdict makes of the writes of the real controllers, as they were recorded.

The files in tests/data/timelines are the recordings a, b and d, cut to what a verdict is made of. The live condition of
"stuck" changes 26 times in its ten minutes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gotk_exporter.flux.evidence import BEHIND
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.objects import FluxObject, decode
from gotk_exporter.flux.readiness import judge, observe
from gotk_exporter.flux.verdicts import Seen, Span, Status, Verdict
from tests.flux.examples import json_bytes
from tests.flux.histories import stamp

DIRECTORY = Path(__file__).parents[1] / "data" / "timelines"
A, B, D = "a-healthy", "b-health-check-fails", "d-depends-on"

# Seconds since the start of the recording, and what an operator would say from then on: it is unknown, it waits, it
# tries (what it waited for is there, and it has not failed), it is well, it fails.
RECORDED = {
    (A, "repo"): [(0, "unknown"), (2.0, "well")],
    (A, "plain"): [(0, "unknown"), (1.9, "waits"), (2.0, "tries"), (2.8, "well")],
    (A, "waited"): [(0, "unknown"), (1.9, "waits"), (2.1, "tries"), (7.6, "well")],
    (B, "repo"): [(0, "unknown"), (1.0, "well")],
    (B, "stuck"): [
        (0, "unknown"),
        (0.8, "waits"),
        (1.0, "tries"),
        (31.7, "fails"),
        (302.7, "well"),
        (452.5, "fails"),
    ],
    (B, "noretry"): [(0, "unknown"), (0.8, "waits"), (1.0, "tries"), (31.7, "fails")],
    (B, "failfast"): [(0, "unknown"), (0.8, "waits"), (1.0, "tries"), (6.8, "fails")],
    (D, "repo"): [(0, "unknown"), (0.8, "well")],
    (D, "root"): [
        (0, "unknown"),
        (0.9, "waits"),
        (0.9, "tries"),
        (6.6, "well"),
        (221.4, "fails"),
        (392.2, "well"),
    ],
    (D, "mid"): [
        (0, "unknown"),
        (0.9, "waits"),
        (30.9, "tries"),
        (31.1, "well"),
        (91.3, "waits"),
        (121.3, "tries"),
        (121.4, "well"),
        (191.3, "waits"),
        (401.4, "tries"),
        (401.5, "well"),
    ],
    (D, "leaf"): [
        (0, "unknown"),
        (0.9, "waits"),
        (60.9, "tries"),
        (61.1, "well"),
        (91.3, "waits"),
        (151.3, "tries"),
        (151.4, "well"),
        (191.3, "waits"),
        (431.5, "tries"),
        (431.6, "well"),
    ],
}
OBJECTS = pytest.mark.parametrize(("trace", "name"), RECORDED, ids=[f"{trace[0]}-{name}" for trace, name in RECORDED])


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True)
class Line:
    at: float
    kind: str
    obj: FluxObject


@functools.cache
def lines(trace: str, name: str) -> tuple[float, tuple[Line, ...]]:
    """The start of the recording, and what was written of the object."""
    text = (DIRECTORY / f"{trace}.jsonl").read_text(encoding="utf-8")
    first, *records = [json.loads(line) for line in text.splitlines()]
    mine = [record for record in records if record["name"] == name]
    created = stamp(moment(mine[0]["t"]))
    return moment(first["t"]), tuple(Line(moment(it["t"]), it["kind"], _object(it, created)) for it in mine)


def _object(record: dict[str, Any], created: str) -> FluxObject:
    metadata = {"name": record["name"], "uid": "uid", "generation": record["gen"], "creationTimestamp": created}
    obj, defects = decode(json_bytes({"metadata": metadata, "status": record["status"]}))
    assert not defects
    return obj


def verdict_of(line: Line, before: Verdict | None, seen: Seen) -> Verdict:
    observation = observe(BY_NAME[line.kind], line.obj, seen)
    assert observation is not None
    return judge(before, observation)


def live(trace: str, name: str) -> Iterator[tuple[Line, Verdict]]:
    verdict: Verdict | None = None
    for line in lines(trace, name)[1]:
        verdict = verdict_of(line, verdict, Seen.live(line.at))
        yield line, verdict


def word(verdict: Verdict) -> str:
    if verdict.failing:
        return "fails"
    if verdict.waiting_since is not None:
        return "waits"
    return {Status.UNKNOWN: "unknown", Status.FALSE: "tries", Status.TRUE: "well"}[verdict.status]


@OBJECTS
def test_a_recorded_object_is_what_an_operator_would_say(trace: str, name: str) -> None:
    start, _ = lines(trace, name)
    changes: list[tuple[float, str]] = []
    for line, verdict in live(trace, name):
        said = word(verdict)
        if not changes or changes[-1][1] != said:
            changes.append((line.at - start, said))
        assert verdict.status is {"well": Status.TRUE, "unknown": Status.UNKNOWN}.get(said, Status.FALSE)
        # It fails and waits since the change that said so, and all is certain.
        assert verdict.failure == (Span(start + changes[-1][0]) if said == "fails" else None)
        if said == "waits":
            assert verdict.waiting_since == pytest.approx(start + changes[-1][0])
    assert [said for _, said in changes] == [said for _, said in RECORDED[trace, name]]
    assert [at for at, _ in changes] == pytest.approx([at for at, _ in RECORDED[trace, name]], abs=0.15)


def restarts(trace: str, name: str) -> Iterator[tuple[Line, Verdict, Verdict]]:
    """Of each line: the verdict of one that saw everything, and of one that sees this line first."""
    for line, followed in live(trace, name):
        yield line, followed, verdict_of(line, None, Seen(line.at))


@OBJECTS
def test_one_that_starts_at_any_recorded_write_says_what_one_says_that_saw_everything(trace: str, name: str) -> None:
    for _, followed, fresh in restarts(trace, name):
        if word(followed) == "tries":
            # A wait leaves no entry in the history: all that it shows is the end of the last run.
            assert word(fresh) in ("unknown", "well")
            continue
        assert word(fresh) == word(followed)
        assert fresh.status is followed.status
        if followed.failure is not None:
            assert fresh.failure is not None
            assert fresh.failure.start <= followed.failure.start <= fresh.failure.end
        for known, said in (
            (followed.waiting_since, fresh.waiting_since),
            (followed.running_since, fresh.running_since),
        ):
            assert (known is None) == (said is None)


@OBJECTS
def test_one_that_goes_on_from_any_recorded_write_soon_says_the_same(trace: str, name: str) -> None:
    _, written = lines(trace, name)
    followed = [verdict for _, verdict in live(trace, name)]
    for first in range(len(written)):
        verdict = verdict_of(written[first], None, Seen(written[first].at))
        for line, known in zip(written[first + 1 :], followed[first + 1 :], strict=True):
            verdict = verdict_of(line, verdict, Seen.live(line.at))
            if known.failure is not None:
                assert verdict.failing
                assert verdict.failure is not None
                assert verdict.failure.start <= known.failure.start <= verdict.failure.end
            elif known.status is Status.TRUE and known.running_since is None:
                assert verdict == known


# Of the snapshots that fail: how many there are, and of how many the newer end of the range is the true start, two
# seconds more or less. In its second episode, "stuck" shows the first time of the first one, which proves nothing.
FAILING = {(B, "stuck"): (58, 44), (B, "noretry"): (61, 61), (B, "failfast"): (177, 177), (D, "root"): (25, 25)}


@pytest.mark.parametrize(("trace", "name"), FAILING, ids=[name for _, name in FAILING])
def test_the_first_entry_of_an_episode_tells_its_start_exactly(trace: str, name: str) -> None:
    ranges = [
        (followed.failure.start, fresh.failure)
        for _, followed, fresh in restarts(trace, name)
        if followed.failure is not None and fresh.failure is not None
    ]
    exact = [true for true, span in ranges if span.end - true <= BEHIND]
    assert (len(ranges), len(exact)) == FAILING[trace, name]
