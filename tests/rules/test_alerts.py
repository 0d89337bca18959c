"""The shipped alerts: promtool's own tests of them, and stories that the exporter's own code tells.

A file tests/rules/<topic>_test.yaml has the boundaries and the series by hand. The stories here go through collectors,
so that what an alert sees is what a scrape shows.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flux.clusters import MINUTE, on
from tests.flux.test_scenarios_retries import outage
from tests.flux.test_scenarios_shared import BACK, COUNT, GONE, WEBHOOK, webhook_is_gone
from tests.rules.stories import Story, first, followed, root_with_forty_dependents, spans
from tests.simulator.fleets import EPOCH

RULES = Path(__file__).parents[2] / "rules"
FILES = [*sorted(RULES.glob("alerts/*.yaml")), *sorted(RULES.glob("recording/*.yaml"))]
TESTS = sorted(Path(__file__).parent.glob("*_test.yaml"))
PROMTOOL_SECONDS = 240


@pytest.fixture(params=["promtool-2", "promtool-3"])
def promtool(request: pytest.FixtureRequest, require_peer: Callable[[str], Path]) -> Path:
    return require_peer(request.param)


def run(promtool: Path, *arguments: str | Path, directory: Path | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [promtool, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.stem))
def test_the_tests_beside_this_file_pass_in_both_versions_of_promtool(promtool: Path, path: Path) -> None:
    code, output = run(promtool, "test", "rules", path)
    assert code == 0, output


def test_no_version_of_promtool_finds_fault_with_any_rule(promtool: Path) -> None:
    code, output = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *FILES)
    assert code == 0, output


def alerts() -> list[dict[str, Any]]:
    groups = [group for path in FILES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_each_alert_is_asked_for_in_a_test_with_the_severity_that_it_has() -> None:
    told = {
        (str(alert), str(severity))
        for path in TESTS
        for alert, severity in re.findall(
            r'alertname="(\w+)",alertstate="firing",severity="(\w+)"', path.read_text(encoding="utf-8")
        )
    }
    assert {(rule["alert"], rule["labels"]["severity"]) for rule in alerts()} == told


def test_no_alert_has_a_name_as_notification_controller_makes_them() -> None:
    kinds = "Kustomization|HelmRelease|GitRepository|OCIRepository|Bucket|HelmRepository|HelmChart|Image\\w+|Receiver"
    assert not [rule["alert"] for rule in alerts() if re.match(f"Flux({kinds})", rule["alert"])]


# Stories


def test_a_root_with_forty_dependents_is_one_alert_from_twelve_minutes_after_it_failed_to_ten_after_it_is_well(
    promtool: Path, tmp_path: Path
) -> None:
    told = root_with_forty_dependents().spans(promtool, tmp_path)
    assert [span.of for span in told] == [("FluxReconciliationFailing", "root")]
    assert (told[0].start, told[0].end) == (pytest.approx(7 + 12, abs=1), pytest.approx(58 + 10, abs=1))


def test_in_a_quiet_hour_with_a_commit_that_passes_a_chain_nothing_fires(promtool: Path, tmp_path: Path) -> None:
    story = Story()
    names = [f"stage{number}" for number in range(6)]
    spec = {name: on(*names[max(0, number - 1) : number]) for number, name in enumerate(names)}
    story.cluster.source_is_ready(revision="main@sha1:0")
    for name in names:
        story.cluster.kustomization_is_ready(name, revision="main@sha1:0", spec=spec[name], inventory=["x"])
    for commit, start in enumerate(range(5, 60, 10), start=1):
        revision = f"main@sha1:{commit}"
        story.until(start)
        story.cluster.source_is_ready(at=start, revision=revision)
        story.cluster.kustomization_runs(names[0], at=start)
        for before, name in itertools.pairwise(names):
            story.cluster.kustomization_waits(name, at=start, on=before)
        for number, name in enumerate(names):
            now = start + 0.5 * (number + 1)
            story.until(now)
            story.cluster.kustomization_is_ready(name, at=now, revision=revision)
    story.until(70)
    assert story.fired(promtool, tmp_path) == {}


def test_what_runs_for_an_hour_within_its_timeout_and_was_well_before_pages_nobody(
    promtool: Path, tmp_path: Path
) -> None:
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
    story.cluster.kustomization_is_ready("leaf", at=62.5, revision="main@sha1:2")
    story.until(90)
    assert story.fired(promtool, tmp_path) == {}


def test_what_waits_for_something_missing_or_for_a_condition_that_never_holds_is_told_by_its_root(
    promtool: Path, tmp_path: Path
) -> None:
    story = Story()
    story.cluster.source_is_ready()
    story.cluster.kustomization_is_ready("there", spec=on())
    for name, after in (("one", "missing"), ("two", "missing"), ("never", "there")):
        story.cluster.kustomization_is_ready(name, spec=on(after))
    story.until(2)
    for name, after in (("one", "missing"), ("two", "missing"), ("never", "there")):
        story.cluster.kustomization_waits(name, at=2, on=after)
    story.until(30)
    upstream = "FluxUpstreamSuspendedOrMissing"
    assert story.fired(promtool, tmp_path) == {
        (upstream, "missing"): pytest.approx(14, abs=1),
        (upstream, "never"): pytest.approx(14, abs=1),
    }


def test_a_release_that_is_tried_again_fires_once_and_its_parent_not_at_all(promtool: Path, tmp_path: Path) -> None:
    story = Story()
    story.cluster.source_is_ready()
    story.cluster.write("HelmRelease", "web", "True", "InstallSucceeded", spec={"interval": "10m", "timeout": "5m"})
    inventory = ["apps_web_helm.toolkit.fluxcd.io_HelmRelease"]
    story.cluster.kustomization_is_ready("parent", spec={**on(), "wait": True}, inventory=inventory)
    story.until(2)
    for attempt, start in enumerate(range(2, 50, 6)):
        story.cluster.write("HelmRelease", "web", "Unknown", "Progressing", at=start, reconciling="Progressing")
        story.until(start + 5)
        reason = ("UpgradeFailed", "RollbackSucceeded", "UninstallFailed")[attempt % 3]
        story.cluster.write("HelmRelease", "web", "False", reason, "context deadline exceeded", at=start + 5)
        story.cluster.health_check_fails("parent", start + 5, "HelmRelease/apps/web")
        story.until(start + 6)
    assert story.fired(promtool, tmp_path) == {("FluxReconciliationFailing", "web"): pytest.approx(7 + 12, abs=1)}


# Fleets


def test_120_kustomizations_that_fail_for_one_webhook_over_an_hour_are_told_by_one_alert_before_the_first_of_them(
    promtool: Path, tmp_path: Path
) -> None:
    begin, end = GONE - 5 * MINUTE, BACK
    recording = followed(webhook_is_gone(), begin, end)
    times = first(spans(promtool, tmp_path, recording, EPOCH + begin))
    cause = f"webhook_unavailable/{WEBHOOK}"
    members = {name: at for (alert, name), at in times.items() if re.fullmatch(r"k\d+", name)}
    others = {key for key in times if key[1] not in {cause, *members}}
    shared = times["FluxSharedFailure", cause]
    assert len(members) > 0.7 * COUNT
    assert 1 <= min(members.values()) - shared <= 2.5
    # One after the other, as they failed.
    assert max(members.values()) - min(members.values()) > 40
    assert {alert for alert, _ in times} == {"FluxSharedFailure", "FluxReconciliationFailing"}
    assert {name for _, name in others} == {"built", "quota", "meshed"}


@pytest.mark.parametrize("way", ["refuse", "hang"])
def test_an_outage_of_eight_minutes_over_200_sources_that_back_off_for_longer_pages_nobody(
    promtool: Path, tmp_path: Path, way: str
) -> None:
    story = outage(8, (way,), (300,))
    begin = 600.0
    recording = followed(story.writes, begin, story.end)
    lengths = [until - since for since, until in story.failed.values()]
    # Long enough to page for, where a refusal is answered at once.
    assert way == "hang" or sum(length > 12 * MINUTE for length in lengths) >= 40
    assert spans(promtool, tmp_path, recording, EPOCH + begin) == []
