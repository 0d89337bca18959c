"""Back-off as client-go's reflector has it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gotk_exporter.kube.bounds import Backoff, Bounds


class NoChance(random.Random):
    """The shortest waits that chance allows."""

    def random(self) -> float:
        return 0.0


def test_waits_double_from_under_a_second_to_half_a_minute() -> None:
    backoff = Backoff(Bounds(), NoChance())
    waits, now = [], 0.0
    for _ in range(8):
        waits.append(backoff.wait_seconds(now))
        now += waits[-1]
    assert waits == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_two_minutes_without_a_failure_are_forgiveness() -> None:
    backoff = Backoff(Bounds(), NoChance())
    assert [backoff.wait_seconds(0), backoff.wait_seconds(1)] == [0.8, 1.6]
    assert backoff.wait_seconds(1 + 1.6 + 120.1) == 0.8


def test_less_than_two_minutes_are_not() -> None:
    backoff = Backoff(Bounds(), NoChance())
    backoff.wait_seconds(0)
    assert backoff.wait_seconds(0.8 + 119) == 1.6


@given(st.lists(st.floats(0, 100), max_size=30), st.integers())
def test_a_wait_is_stretched_by_at_most_its_own_length(gaps: list[float], seed: int) -> None:
    backoff, shortest = Backoff(Bounds(), random.Random(seed)), Backoff(Bounds(), NoChance())
    now = 0.0
    for gap in gaps:
        wait, least = backoff.wait_seconds(now), shortest.wait_seconds(now)
        assert least <= wait <= 2 * least <= 60
        now += least + gap


def test_a_faster_world_divides_every_duration_and_no_number_of_things() -> None:
    bounds = Bounds().divided(10)
    assert (bounds.backoff_longest, bounds.watch_silence, bounds.page_objects) == (3.0, 9.0, 500)
