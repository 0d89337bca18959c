"""After a restart, and after a gap: whatever was missed, what is said of a failure's start is true.

The truth comes from a model (histories), which knows every write. Stopped at any point, and started again with the
verdict of before, with one of long ago or with none, the exporter must never put the start of a failure where it was
not, never forget a failure that the object shows, and never invent one.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.readiness import judge, observe
from gotk_exporter.flux.verdicts import Seen, Span, Status, Verdict
from tests.flux.histories import EPOCH, FAMILIES, Controller, GitRepositories, Kustomizations, Truth, Write

TINY = 1e-6
WHOLE_SECONDS = 2.0
"""How much earlier than it was seen an object may say that something began."""

# From several events in one second to a day in between.
SECONDS = st.sampled_from([0.0, 0.002, 0.03, 0.13, 0.31, 0.5, 0.97, 1.0, 1.7, 20.2, 30.0, 600.0, 86_400.5])


@st.composite
def controllers(draw: st.DrawFn, families: tuple[type[Controller], ...] = FAMILIES) -> Controller:
    """An object that has lived through some steps."""
    family = draw(st.sampled_from(families))
    begin = EPOCH + draw(st.sampled_from([0.0, 0.5, 0.9, 0.98, 0.999]))
    controller = family(begin, draw(st.sampled_from([0.001, 0.03, 0.2])))
    names = st.sampled_from(sorted(family.STEPS))
    for name, seconds, pause in draw(st.lists(st.tuples(names, SECONDS, SECONDS), min_size=1, max_size=14)):
        controller.step(name, seconds, pause)
    return controller


def verdict_of(controller: Controller, write: Write, before: Verdict | None, seen: Seen) -> Verdict:
    observation = observe(BY_NAME[controller.kind], write.obj, seen)
    assert observation is not None
    return judge(before, observation)


def live(controller: Controller) -> Iterator[tuple[Write, Verdict]]:
    """The verdicts of one that saw everything."""
    verdict: Verdict | None = None
    for write in controller.writes:
        verdict = verdict_of(controller, write, verdict, Seen.live(write.at))
        yield write, verdict


def assert_true(verdict: Verdict, truth: Truth, at: float, unknowable: bool = False) -> None:
    """What must hold at any time, whatever was missed. ``unknowable``: nothing tells whether the failure has ended."""
    if truth.settled:
        assert verdict.status.value == truth.status
        assert verdict.failing or not truth.failing
    elif truth.told == "False":
        assert verdict.failing
    if verdict.failure is not None:
        assert verdict.failure.width >= 0
        assert verdict.failure.end <= at + TINY
        assert truth.failed_at is not None or unknowable, "a failure was invented"
    if verdict.failure is not None and truth.failed_at is not None:
        assert verdict.failure.start - TINY <= truth.failed_at <= verdict.failure.end + TINY
    for said, known in (
        (verdict.waiting_since, truth.waiting_since),
        (verdict.running_since, truth.running_since),
    ):
        assert (said is None) == (known is None)
        if said is not None and known is not None:
            assert known - WHOLE_SECONDS <= said <= at


@settings(max_examples=300)
@given(controllers())
def test_one_that_misses_nothing_knows_everything_exactly(controller: Controller) -> None:
    for write, verdict in live(controller):
        truth = write.truth
        assert verdict.status.value == truth.status
        assert verdict.failing == truth.failing
        assert verdict.failure == (None if truth.failed_at is None else Span(truth.failed_at))
        assert (verdict.waiting_since, verdict.running_since) == (truth.waiting_since, truth.running_since)
        assert verdict.unseen_since is None


@settings(max_examples=300)
@given(controllers(), st.data())
def test_one_that_resumes_with_its_verdict_goes_on_as_if_it_had_never_stopped(
    controller: Controller, data: st.DataObject
) -> None:
    verdicts = [verdict for _, verdict in live(controller)]
    stop = data.draw(st.integers(0, len(verdicts) - 1))
    # As it comes out of a checkpoint: equal, and not the same.
    resumed = dataclasses.replace(verdicts[stop])
    for write, verdict in zip(controller.writes[stop + 1 :], verdicts[stop + 1 :], strict=True):
        resumed = verdict_of(controller, write, resumed, Seen.live(write.at))
        assert resumed == verdict


@settings(max_examples=300)
@given(controllers(), st.data())
def test_at_first_sight_and_ever_after_the_start_of_a_failure_is_where_it_is_said_to_be(
    controller: Controller, data: st.DataObject
) -> None:
    writes = controller.writes
    first = data.draw(st.integers(0, len(writes) - 1))
    at = min(writes[first].at + data.draw(SECONDS), next_write_at(writes, first))
    verdict = verdict_of(controller, writes[first], None, Seen(at))
    assert_true(verdict, writes[first].truth, at)
    if not writes[first].truth.settled:
        assert verdict.status.value == writes[first].truth.told
        assert verdict.failing == (writes[first].truth.told == "False")
    for write in writes[first + 1 :]:
        verdict = verdict_of(controller, write, verdict, Seen.live(write.at))
        assert_true(verdict, write.truth, write.at)


def next_write_at(writes: list[Write], index: int) -> float:
    return writes[index + 1].at if index + 1 < len(writes) else math.inf


@settings(max_examples=300)
@given(controllers(), st.data())
def test_after_any_number_of_gaps_the_start_of_a_failure_is_where_it_is_said_to_be(
    controller: Controller, data: st.DataObject
) -> None:
    writes, index = controller.writes, 0
    verdict: Verdict | None = None
    followed_until = at = 0.0
    unknowable = False
    while index < len(writes):
        how = "live" if index == 0 else data.draw(st.sampled_from(["live", "live", "gap", "gap", "forgotten"]))
        if how == "live":
            at = writes[index].at
            verdict = verdict_of(controller, writes[index], verdict, Seen.live(at))
        else:
            # Some writes are missed, and the last of those is seen some time later.
            index = data.draw(st.integers(index, len(writes) - 1))
            at = min(writes[index].at + data.draw(SECONDS), next_write_at(writes, index))
            if how == "forgotten":
                verdict, unknowable = verdict_of(controller, writes[index], None, Seen(at)), False
            else:
                failed = verdict is not None and verdict.failure is not None
                verdict = verdict_of(controller, writes[index], verdict, Seen(at, min(followed_until, at - TINY)))
                if writes[index].truth.told == "Unknown":
                    unknowable = failed
        truth = writes[index].truth
        # The next end of a run puts it right, whatever it is.
        unknowable = unknowable and bool(truth.running_since or truth.waiting_since or not truth.settled)
        assert_true(verdict, truth, at, unknowable)
        # A watch tells that nothing has happened for a while.
        followed_until = min(at + data.draw(SECONDS), next_write_at(writes, index))
        index += 1


# The same, one by one, where a reader wants to see it.


def last_seen(controller: Controller, gone: float, back: float, before: int = -1) -> Verdict:
    """Of one that left when ``before`` was the last write, and saw the last of all at its return."""
    *_, (_, verdict) = itertools.islice(live(controller), before + 1)
    return verdict_of(controller, controller.writes[-1], verdict, Seen(EPOCH + back, EPOCH + gone))


def test_a_failure_of_a_week_is_not_born_again_when_the_exporter_restarts_in_mid_run() -> None:
    kustomization = Kustomizations(EPOCH)
    kustomization.step("well", 5, 55)
    kustomization.step("health", 30, 570)
    failed_at = kustomization.truth.failed_at
    assert failed_at is not None
    for _ in range(7 * 24 * 6):
        kustomization.step("health", 30, 570)
    kustomization.run()
    write = kustomization.writes[-1]
    verdict = verdict_of(kustomization, write, None, Seen(write.at + 10))
    assert verdict.failing
    # From the success to the end of the first failed run: not exact, but almost all of the week is certain.
    assert verdict.failure is not None
    assert verdict.failure.start <= failed_at <= verdict.failure.end <= failed_at + WHOLE_SECONDS
    assert verdict.failure.width <= 60 + 30 + WHOLE_SECONDS


def test_a_build_failure_leaves_no_trace_so_its_next_run_looks_like_that_of_a_healthy_object() -> None:
    kustomization = Kustomizations(EPOCH)
    kustomization.step("well", 5, 55)
    success = kustomization.now
    kustomization.step("build", 0.3, 20)
    kustomization.run()
    write = kustomization.writes[-1]
    verdict = verdict_of(kustomization, write, None, Seen(write.at))
    assert (verdict.status, verdict.failing) == (Status.TRUE, False)
    # But when that run fails too, the failure may be as old as it is.
    kustomization.finish(False, "BuildFailed", "", recorded=False)
    verdict = verdict_of(kustomization, kustomization.writes[-1], verdict, Seen.live(kustomization.seen))
    assert verdict.failure is not None
    assert verdict.failure.start < success
    assert verdict.failure.end == kustomization.seen


def test_a_run_that_began_in_the_gap_is_not_as_old_as_the_one_before_the_gap() -> None:
    receiver = Controller(EPOCH)
    receiver.step("well", 1, 600)
    receiver.step("well", 1, 3600)
    receiver.run()
    # Gone in the middle of the first run, and back in the middle of the last.
    verdict = last_seen(receiver, gone=0.5, back=4300, before=1)
    assert verdict.running_since == EPOCH + 600 + 3600 + 2


def test_a_wait_that_began_in_the_gap_is_not_as_old_as_the_one_before_the_gap() -> None:
    kustomization = Kustomizations(EPOCH)
    kustomization.step("dependency", 0, 600)
    kustomization.step("well", 0.2, 3600)
    kustomization.step("dependency", 0, 10)
    verdict = last_seen(kustomization, gone=100, back=4300, before=1)
    assert verdict.waiting_since == math.floor(kustomization.writes[-1].at)


def test_a_receiver_cannot_tell_in_mid_run_whether_a_failure_ended_in_the_gap_so_it_may_be_a_new_one() -> None:
    receiver = Controller(EPOCH)
    receiver.step("fail", 1, 600)
    failure = Span(receiver.writes[-1].at)
    receiver.step("well", 1, 600)
    receiver.run()
    verdict = last_seen(receiver, gone=300, back=1300, before=2)
    assert verdict.failure == Span.between(failure.start, EPOCH + 1300)
    # If this run fails, the failure may be old or new.
    receiver.elapse(1)
    receiver.end(False)
    verdict = verdict_of(receiver, receiver.writes[-1], verdict, Seen.live(receiver.seen))
    assert verdict.failure == Span.between(failure.start, receiver.seen)


def test_a_failure_that_came_and_went_and_came_again_in_one_second_may_be_either() -> None:
    receiver = Controller(EPOCH, latency=0.0)
    receiver.step("fail_at_once", 0, 100.6)
    receiver.end(True)
    receiver.elapse(0.3)
    receiver.end(False)
    verdict = last_seen(receiver, gone=100.5, back=130, before=1)
    assert verdict.failure == Span.between(EPOCH, EPOCH + 102)


def test_a_success_soon_after_the_gap_began_ends_the_failure_of_before() -> None:
    kustomization = Kustomizations(EPOCH, latency=0.0)
    kustomization.step("health", 50, 51)
    kustomization.step("well", 0.5, 20)
    kustomization.step("health", 10, 10)
    assert kustomization.truth.failed_at is not None
    known = next(index for index, write in enumerate(kustomization.writes) if write.truth.failing)
    verdict = last_seen(kustomization, gone=100, back=150, before=known)
    assert verdict.failure == Span.between(EPOCH + 101, math.floor(kustomization.truth.failed_at) + WHOLE_SECONDS)


def test_a_success_in_the_second_of_the_gaps_begin_is_later_than_a_failure_of_a_minute_before() -> None:
    kustomization = Kustomizations(EPOCH, latency=0.0)
    kustomization.step("health", 29.99, 70.195)
    kustomization.step("well", 0.5, 20)
    kustomization.step("build", 10, 10)
    known = next(index for index, write in enumerate(kustomization.writes) if write.truth.failing)
    verdict = last_seen(kustomization, gone=100.1, back=150, before=known + 1)
    assert verdict.failure is not None
    assert verdict.failure.start == EPOCH + 100


def test_what_was_well_when_the_gap_began_has_failed_since_then_and_no_longer() -> None:
    kustomization = Kustomizations(EPOCH, latency=0.0)
    kustomization.step("well", 99, 20)
    kustomization.step("build", 10, 10)
    verdict = last_seen(kustomization, gone=100, back=150, before=4)
    assert verdict.failure == Span.between(EPOCH + 100, EPOCH + 129 + WHOLE_SECONDS)


def test_a_source_that_fetches_anew_has_recovered_in_the_gap_though_its_artifact_is_as_old_as_ever() -> None:
    source = GitRepositories(EPOCH, latency=0.0)
    source.step("new_revision", 0, 60)
    source.step("fail", 0, 200)
    known = len(source.writes) - 1
    source.step("same_revision", 0, 100)
    source.build()
    verdict = last_seen(source, gone=100, back=370, before=known)
    assert (verdict.status, verdict.failure) == (Status.TRUE, None)


def test_a_failure_that_nobody_saw_may_hide_behind_a_success_in_the_gap() -> None:
    kustomization = Kustomizations(EPOCH, latency=0.0)
    kustomization.step("well", 10, 200)
    kustomization.step("well", 10, 20)
    success = kustomization.now - 20
    kustomization.step("build", 1, 20)
    kustomization.run()
    verdict = last_seen(kustomization, gone=100, back=kustomization.now - EPOCH, before=4)
    assert (verdict.status, verdict.failure) == (Status.TRUE, None)
    kustomization.finish(False, "BuildFailed", "", recorded=False)
    write = kustomization.writes[-2]
    verdict = verdict_of(kustomization, write, verdict, Seen.live(write.at))
    assert verdict.failure == Span.between(math.floor(success), write.at)


@pytest.mark.parametrize("ahead", [-5.0, 5.0], ids=["behind ours", "ahead of ours"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda it: it.kind)
@pytest.mark.parametrize("gap", [None, 1.0, 3.0])
def test_a_clock_of_the_cluster_that_differs_makes_no_nonsense(
    family: type[Controller], ahead: float, gap: float | None
) -> None:
    controller = family(EPOCH)
    for name in [*family.STEPS, *family.STEPS]:
        controller.step(name, 0.4, 0.7)
    before: Verdict | None = None
    for write in controller.writes:
        # We see it when our clock shows this.
        at = write.at - ahead
        verdict = verdict_of(controller, write, before, Seen(at, None if gap is None else at - gap))
        if verdict.failure is not None:
            assert verdict.failure.width >= 0
            assert verdict.failure.end <= at
        for since in (verdict.waiting_since, verdict.running_since, verdict.unseen_since):
            assert since is None or since <= at
        if write.truth.settled:
            assert verdict.status.value == write.truth.status
        before = verdict
