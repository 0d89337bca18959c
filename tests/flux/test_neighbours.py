"""A day in the life of Flux's neighbours: a Terraform that waits for approval, a Canary's phases, and static kinds."""

from __future__ import annotations

from typing import ClassVar

import pytest

from gotk_exporter.flux.kinds import BY_NAME, KINDS
from gotk_exporter.flux.objects import decode
from gotk_exporter.flux.readiness import observe
from gotk_exporter.flux.rows import Reconciled
from gotk_exporter.flux.verdicts import Seen
from tests.flux.histories import EPOCH, Controller
from tests.flux.series import assert_series

HOUR = 3600
DAY = 24 * HOUR


class Terraforms(Controller):
    """As tofu-controller writes them: a plan with changes leaves Ready Unknown until somebody approves it."""

    kind = "Terraform"

    def plan_with_changes(self, seconds: float) -> None:
        self.run()
        self.elapse(seconds)
        self.mark("Reconciling", None)
        self.mark("Ready", "Unknown", "TerraformPlannedWithChanges", 'Plan generated: set approvePlan: "plan-main-1"')
        self.write()


class Canaries(Controller):
    """As Flagger writes them: the condition's reason is the phase."""

    kind = "Canary"
    STATUSES: ClassVar = {"Initialized": "True", "Succeeded": "True", "Failed": "False"}

    def phase(self, phase: str) -> None:
        self.status["phase"] = phase
        self.mark("Promoted", self.STATUSES.get(phase, "Unknown"), phase, f"{phase}.")
        self.write()


def at(controller: Controller, seconds: float) -> None:
    assert controller.now <= EPOCH + seconds
    controller.now = EPOCH + seconds


def test_a_plan_that_waits_for_approval_keeps_the_verdict_and_runs_no_more() -> None:
    waiting = Terraforms(EPOCH, latency=0.0)
    waiting.well(90)
    at(waiting, HOUR)
    waiting.plan_with_changes(120)
    assert_series(
        waiting,
        status=[(0, 90, "Unknown"), (90, DAY + 1, "True")],
        failing_since=[(0, DAY + 1, None)],
        running_since=[(0, 90, 0), (90, HOUR, None), (HOUR, HOUR + 120, HOUR), (HOUR + 120, DAY + 1, None)],
    )


def test_a_first_plan_that_nobody_approves_is_unknown_and_neither_fails_nor_runs() -> None:
    waiting = Terraforms(EPOCH, latency=0.0)
    waiting.plan_with_changes(120)
    assert_series(
        waiting,
        status=[(0, DAY + 1, "Unknown")],
        failing_since=[(0, DAY + 1, None)],
        running_since=[(0, 120, 0), (120, DAY + 1, None)],
    )


def test_an_apply_that_fails_and_is_planned_anew_fails_until_one_succeeds() -> None:
    broken = Terraforms(EPOCH, latency=0.0)
    broken.well(60)
    at(broken, HOUR)
    broken.fail(120)
    at(broken, 2 * HOUR)
    broken.plan_with_changes(120)
    at(broken, 20 * HOUR)
    broken.well(600)
    assert_series(
        broken,
        status=[
            (0, 60, "Unknown"),
            (60, HOUR + 120, "True"),
            (HOUR + 120, 20 * HOUR + 600, "False"),
            (20 * HOUR + 600, DAY + 1, "True"),
        ],
        failing_since=[
            (0, HOUR + 120, None),
            (HOUR + 120, 20 * HOUR + 600, HOUR + 120),
            (20 * HOUR + 600, DAY + 1, None),
        ],
    )


def test_a_canary_is_what_its_last_analysis_came_to() -> None:
    canary = Canaries(EPOCH, latency=0.0)
    for seconds, phase in (
        (0, "Initializing"),
        (60, "Initialized"),
        (HOUR, "Progressing"),
        (HOUR + 600, "Failed"),
        (5 * HOUR, "Progressing"),
        (5 * HOUR + 600, "Waiting"),
        (9 * HOUR, "Promoting"),
        (9 * HOUR + 60, "Finalising"),
        (9 * HOUR + 120, "Succeeded"),
    ):
        at(canary, seconds)
        canary.phase(phase)
    assert_series(
        canary,
        status=[
            (0, 60, "Unknown"),
            (60, HOUR + 600, "True"),
            (HOUR + 600, 9 * HOUR + 120, "False"),
            (9 * HOUR + 120, DAY + 1, "True"),
        ],
        failing_since=[
            (0, HOUR + 600, None),
            (HOUR + 600, 9 * HOUR + 120, HOUR + 600),
            (9 * HOUR + 120, DAY + 1, None),
        ],
        # It waits for a person from 5:10 to 9:00, and that is no run.
        running_since=[
            (0, 60, 0),
            (60, HOUR, None),
            (HOUR, HOUR + 600, HOUR),
            (HOUR + 600, 5 * HOUR, None),
            (5 * HOUR, 5 * HOUR + 600, 5 * HOUR),
            (5 * HOUR + 600, 9 * HOUR, None),
            (9 * HOUR, 9 * HOUR + 120, 9 * HOUR),
            (9 * HOUR + 120, DAY + 1, None),
        ],
    )


def test_a_canary_that_nobody_approves_stays_what_it_was() -> None:
    canary = Canaries(EPOCH, latency=0.0)
    canary.phase("Initialized")
    at(canary, HOUR)
    canary.phase("WaitingPromotion")
    assert_series(canary, status=[(0, DAY + 1, "True")], running_since=[(0, DAY + 1, None)])


STATIC = [kind.name for kind in KINDS if kind.reconciled is not Reconciled.ALWAYS]


@pytest.mark.parametrize("kind", STATIC)
def test_an_object_that_nothing_reconciles_has_no_verdict_however_long_it_is_looked_at(kind: str) -> None:
    obj, _ = decode(b'{"metadata": {"name": "a"}, "spec": {"type": "oci"}, "status": {}}')
    assert STATIC
    for tick in range(0, DAY, 30):
        assert observe(BY_NAME[kind], obj, Seen.live(EPOCH + tick)) is None
