"""What a scrape every half minute sees of an object whose writes are scripted. Nothing sleeps; times are virtual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.readiness import judge, observe
from gotk_exporter.flux.verdicts import Seen, Verdict
from tests.flux.histories import EPOCH, Controller

STEP = 30
HOUR = 3600.0
DAY = 24 * HOUR

Spans = list[tuple[float, float, str | float | None]]
"""From, to (not included), and what holds there: seconds since the script began."""


@dataclass(frozen=True)
class Sample:
    status: str
    failing_since: float | None
    uncertainty: float | None
    waiting_since: float | None
    running_since: float | None


def since_begin(time: float | None) -> float | None:
    return None if time is None else round(time - EPOCH, 2)


def sample_of(verdict: Verdict) -> Sample:
    failure = verdict.failure if verdict.failing else None
    return Sample(
        verdict.status.value,
        since_begin(failure.start) if failure else None,
        round(failure.width, 2) if failure else None,
        since_begin(verdict.waiting_since),
        since_begin(verdict.running_since),
    )


def verdicts(controller: Controller) -> list[tuple[float, Verdict]]:
    """After each write, at the time of the write."""
    found: list[tuple[float, Verdict]] = []
    for write in controller.writes:
        observation = observe(BY_NAME[controller.kind], write.obj, Seen.live(write.at))
        assert observation is not None
        found.append((write.at - EPOCH, judge(found[-1][1] if found else None, observation)))
    return found


def samples(controller: Controller, until: float) -> Iterator[tuple[float, Sample]]:
    left = verdicts(controller)
    held = left.pop(0)[1]
    for tick in range(STEP, int(until) + 1, STEP):
        while left and left[0][0] <= tick:
            held = left.pop(0)[1]
        yield tick, sample_of(held)


def assert_series(controller: Controller, until: float = DAY, **expected: Spans) -> None:
    """Each keyword is a field of Sample; its spans say what every scrape must see. As all was seen, all is certain."""
    assert expected
    for tick, sample in samples(controller, until):
        assert sample.uncertainty in (None, 0.0)
        for field, spans in expected.items():
            (value,) = [value for start, end, value in spans if start <= tick < end]
            assert getattr(sample, field) == value, f"{field} at {tick} s: {sample}"
