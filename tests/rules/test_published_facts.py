"""Three facts about the rules that everybody copies, and what the same rules do with the exporter's verdicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gotk_exporter.metrics.families import Profile, select
from tests.flux.clusters import on
from tests.rules.recordings import Scraped, firing

FAMILIES = (
    "gotk_reconcile_condition",
    "gotk_resource_condition",
    "gotk_root_cause_info",
    "gotk_resource_failing_since_timestamp_seconds",
)
LIVE = {
    "alert": "LiveConditionFalse",
    "expr": 'gotk_resource_condition{type="Ready",status="False"} == 1',
    "for": "15m",
}
"""The rule of the field's rule collections (samber/awesome-prometheus-alerts and others), on the live condition."""
NOT_TRUE = {
    "alert": "LiveConditionNotTrue",
    "expr": 'max by (kind, name, namespace) (gotk_resource_condition{type="Ready",status!="True"}) == 1',
    "for": "15m",
}
"""The same, mended in the way that bo0tzz and others found: it fires, and it pages for every long rollout too."""
VERDICT = {"alert": "VerdictFalse", "expr": 'gotk_reconcile_condition{type="Ready",status="False"} == 1', "for": "15m"}
ROOT = {
    "alert": "RootCauseFailing",
    "expr": "gotk_root_cause_info and on (kind, name, namespace) gotk_resource_failing_since_timestamp_seconds",
    "for": "12m",
}
RULES: tuple[dict[str, Any], ...] = (LIVE, NOT_TRUE, VERDICT, ROOT)


@pytest.fixture(params=["promtool-2", "promtool-3"])
def promtool(request: pytest.FixtureRequest, require_peer: Callable[[str], Path]) -> Path:
    return require_peer(request.param)


class Story(Scraped):
    """With the families that the rules read."""

    def __init__(self) -> None:
        super().__init__(FAMILIES)

    def firing(self, promtool: Path, directory: Path) -> dict[str, set[str]]:
        return firing(promtool, directory, RULES, self.recording.input_series(), self.recording.minutes)


def test_a_lasting_failure_that_tries_again_never_fires_on_the_live_condition_and_does_on_the_verdict(
    promtool: Path, tmp_path: Path
) -> None:
    story = Story()
    story.cluster.source_is_ready()
    story.cluster.kustomization_is_ready("app", spec={**on(), "timeout": "5m", "retryInterval": "10m"})
    for start in range(2, 180, 15):
        story.until(start)
        story.cluster.kustomization_runs("app", at=start)
        story.until(start + 5)
        story.cluster.health_check_fails("app", start + 5, "Deployment/apps/web")
    story.until(180)
    assert story.firing(promtool, tmp_path) == {
        "LiveConditionFalse": set(),
        "LiveConditionNotTrue": {"app"},
        "VerdictFalse": {"app"},
        "RootCauseFailing": {"app"},
    }


def test_dependents_do_not_fire_and_their_root_does(promtool: Path, tmp_path: Path) -> None:
    story = Story()
    story.cluster.source_is_ready()
    story.cluster.kustomization_is_ready("root", spec=on())
    story.cluster.kustomization_is_ready("leaf", spec=on("root"))
    story.until(2)
    for start in range(2, 90, 8):
        story.cluster.kustomization_runs("root", at=start)
        if start == 2:
            story.cluster.kustomization_waits("leaf", at=start, on="root")
        story.until(start + 5)
        story.cluster.health_check_fails("root", start + 5, "Deployment/apps/web")
        story.until(start + 8)
    fired = story.firing(promtool, tmp_path)
    # The other way round from what one needs: what copied rules do on the live condition.
    assert fired["LiveConditionFalse"] == {"leaf"}
    assert fired["RootCauseFailing"] == {"root"}


def test_a_rollout_of_an_hour_inside_its_timeout_pages_nobody(promtool: Path, tmp_path: Path) -> None:
    story = Story()
    story.cluster.source_is_ready()
    story.cluster.kustomization_is_ready("root", spec={**on(), "timeout": "70m", "wait": True})
    story.cluster.kustomization_is_ready("leaf", spec=on("root"))
    story.until(2)
    story.cluster.source_is_ready(at=2, revision="main@sha1:2")
    story.cluster.kustomization_runs("root", at=2)
    story.cluster.kustomization_waits("leaf", at=2, on="root")
    story.until(62)
    story.cluster.kustomization_is_ready("root", at=62, revision="main@sha1:2")
    story.until(62.5)
    story.cluster.kustomization_is_ready("leaf", at=62.5, revision="main@sha1:2")
    story.until(90)
    fired = story.firing(promtool, tmp_path)
    assert fired["RootCauseFailing"] == set()
    assert "root" in fired["LiveConditionNotTrue"]


def test_the_families_of_these_facts_are_served_by_default_but_for_the_live_condition() -> None:
    served = {family.name for family in select(Profile.MINIMAL)}
    assert set(FAMILIES) - served == {"gotk_resource_condition"}
