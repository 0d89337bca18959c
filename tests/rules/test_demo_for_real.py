"""The demo's whole story in real Prometheus servers with the shipped rules, everything as much faster as the demo is.

What may fire, and when, is written down here by hand, from what the story's script does and from what real controllers
make of it; nothing of it comes from the exporter. Whatever else fires is wrong. Both versions of Prometheus look on at
once; the one honours the exporter's labels and the other moves them to exported_namespace, and tells Alertmanager.
How the rules are made faster: scaled.py. What each rule does at its boundaries: the promtool tests beside this file.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import aiohttp
import pytest
import pytest_asyncio
import yaml

from gotk_exporter.rules.shipped import rule_files
from gotk_exporter.simulator.fleet.incidents import STORY
from tests.peers.alertmanager import Deliveries, Notification, RunningAlertmanager
from tests.peers.presence import require_peer
from tests.peers.processes import Process, free_port, poll_until
from tests.peers.prometheus import RunningPrometheus, Version
from tests.rules.routing import on_loopback, shipped
from tests.rules.scaled import scaled, scaled_configuration, scaled_flags, spans

pytestmark = pytest.mark.real_time

FILES = rule_files()
SPEED = 30.0
"""Times in objects are whole seconds, each half a minute of the story then. A minute is two seconds: for so long a busy
machine may leave somebody waiting."""
END_MINUTES = 77.0
"""When the last incident has passed, and the longest window after it."""
BEGIN_SECONDS = 60.0

WITHIN_MINUTES = 15.0
"""From a failure to its alert, whatever is between them."""
KEEP_FIRING_MINUTES = 10.0
EARLY_MINUTES = 0.5
"""A second in an object is cut off."""
LATE_MINUTES = 3.0
"""To notice that it is over: a scrape, an evaluation, a second that was cut off, and three for a busy machine."""
PACE_MINUTES = 1.0
"""How late the demo may tell an incident: beyond it the machine is too slow for this test to mean anything."""

_TEAMS = ("payments", "checkout", "catalog", "search", "identity", "notifications")
_WITH_INGRESS = tuple(f"Kustomization {team}/{service}" for team in _TEAMS for service in ("web", "gateway", "admin"))
_WEBHOOK = "webhook_unavailable/validate.nginx.ingress.kubernetes.io"


@dataclass(frozen=True)
class Fired:
    """An alert that fired, in minutes of the story."""

    alert: str
    about: str
    began: float
    ended: float

    def __str__(self) -> str:
        return f"{self.alert} {self.about} {self.began:.1f}-{self.ended:.1f}"


@dataclass(frozen=True)
class Failure:
    """What an incident does to one object, in minutes after the incident's beginning: earliest and latest."""

    incident: str
    alert: str
    about: str
    fails: tuple[float, float]
    heals: tuple[float, float]
    window: float = 12.0
    must_fire: bool = True

    def begins(self, fired: Fired) -> bool:
        """Whether the alert is this failure's, and came in time."""
        earliest = MINUTES[self.incident] + self.fails[0] + self.window - EARLY_MINUTES
        latest = MINUTES[self.incident] + self.fails[1] + WITHIN_MINUTES
        return (fired.alert, fired.about) == (self.alert, self.about) and earliest <= fired.began <= latest

    def ends(self, fired: Fired) -> bool:
        earliest = MINUTES[self.incident] + self.heals[0] + KEEP_FIRING_MINUTES - EARLY_MINUTES
        latest = MINUTES[self.incident] + self.heals[1] + KEEP_FIRING_MINUTES + LATE_MINUTES
        return earliest <= fired.ended <= latest

    def __str__(self) -> str:
        return f"{self.alert} {self.about} ({self.incident})"


MINUTES = {name: minute for minute, name in STORY}
FAILURES = (
    # Its run fails when its health check gives up, after five minutes. The revert may find it in another such run, and
    # the wait of two minutes before the next.
    Failure("failing-root", "FluxReconciliationFailing", "Kustomization payments/database", (5, 6), (25, 33)),
    # The missing file is added after twelve minutes, but source-outage keeps it from arriving, until the next commit
    # (suspension) has the source look again.
    Failure("build-error", "FluxReconciliationFailing", "Kustomization catalog/web", (0, 1), (17, 28)),
    # Asked every minute. Back after 14 minutes, and found to be so up to 15 later, or at that next commit.
    Failure("source-outage", "FluxSourceFailing", "GitRepository catalog/deploy", (0, 1.5), (14, 25)),
    Failure("source-outage", "FluxSourceFailing", "GitRepository notifications/deploy", (0, 1.5), (14, 29.5)),
    # Helm waits for five minutes.
    Failure("failing-upgrade", "FluxReconciliationFailing", "HelmRelease edge/external-dns", (5, 6), (30, 31)),
    # All within ten minutes, each when it runs next. Afterwards, each at its retry, within two minutes and a rollout.
    # Its alert is two minutes sooner than those of its members, and of these only the first fail for long enough.
    Failure("admission-webhook", "FluxSharedFailure", _WEBHOOK, (0, 1), (15, 18), window=10),
    *(
        Failure("admission-webhook", "FluxReconciliationFailing", about, (0, 3), (15, 18), must_fire=False)
        for about in _WITH_INGRESS
    ),
    # Killed after a minute, back after 14: none of the runs that it leaves behind is overdue before.
    Failure("killed-controller", "FluxControllerDown", "kustomize-controller", (1, 1.5), (14, 15), window=10),
    # Its dependent has been waiting before, for what build-error did, and goes on to wait for this one. Without that it
    # would be twelve minutes from the commit to the resumption, and hardly an alert.
    Failure(
        *("suspension", "FluxUpstreamSuspendedOrMissing", "Kustomization catalog/api"),
        *((0, 3), (15, 16)),
        window=0,
        must_fire=False,
    ),
)
HARMLESS = {"long-rollout", "deletion"}
"""Four minutes of a rollout; an object that terminates, for which nobody waits."""
STANDING = {
    # The root Kustomization does not wait for what it applies.
    ("FluxConfigurationRisk", "health_not_checked"): 15.0,
    ("FluxMonitoringWatchdog", ""): 0.0,
}
"""What fires from the beginning to the end, after so many minutes: (alert, about what)."""


@dataclass(frozen=True)
class Seen:
    """What one Prometheus has seen of the story."""

    fired: tuple[Fired, ...]
    rules: tuple[Mapping[str, Any], ...]
    own_metrics: str
    warnings: tuple[str, ...]

    def ours(self) -> list[Fired]:
        return [one for one in self.fired if one.alert.startswith("Flux")]


@dataclass(frozen=True)
class Told:
    minutes: Mapping[str, float]
    """When each incident was told."""
    seen: Mapping[Version, Seen]
    delivered: tuple[tuple[float, Notification], ...]
    """What Alertmanager delivered to people, and when."""


class WatchedDemo:
    """The demo, and who looks on. Its clock is the story's: zero is when the demo says that it begins."""

    def __init__(self, directory: Path, deliveries: Deliveries) -> None:
        port = free_port()
        self.deliveries = deliveries
        self.alertmanager = RunningAlertmanager(
            directory / "alertmanager", on_loopback(shipped(), deliveries.url, SPEED)
        )
        rules = [directory / f"{path.parent.name}-{path.name}" for path in FILES]
        for source, path in zip(FILES, rules, strict=True):
            path.write_text(scaled(source.read_text(encoding="utf-8"), SPEED), encoding="utf-8")
        target = {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "flux-system"}}
        self.prometheus: dict[Version, RunningPrometheus] = {}
        for version in get_args(Version):
            job = {"job_name": "gotk-exporter", "honor_labels": version == "2", "static_configs": [target]}
            self.prometheus[version] = RunningPrometheus(
                directory / f"prometheus-{version}",
                scaled_configuration(
                    rules, [job], SPEED, self.alertmanager.url.removeprefix("http://") if version == "3" else None
                ),
                version,
                flags=scaled_flags(SPEED),
            )
        arguments = ("demo", "--speed", f"{SPEED:g}", "--web.listen-address", f"127.0.0.1:{port}")
        command = [sys.executable, "-m", "gotk_exporter", *arguments]
        self.demo = Process("demo", command, directory / "demo.log")
        self._began = 0.0
        self._told: dict[str, float] = {}

    async def play(self) -> Told:
        # Prometheus looks for its targets five seconds after its start: it is first.
        await asyncio.gather(self.alertmanager.start(), *(one.start() for one in self.prometheus.values()))
        self.demo.start()
        await poll_until(self._has_begun, "the story's beginning", BEGIN_SECONDS)
        await poll_until(self._is_over, "the story's end", BEGIN_SECONDS + END_MINUTES * 60 / SPEED)
        seen = await asyncio.gather(*(self._seen_by(prometheus) for prometheus in self.prometheus.values()))
        # Notifications carry monotonic time.
        apart = time.time() - time.monotonic()
        delivered = tuple(
            (self._minute_of(one.at + apart), one)
            for one in self.deliveries.notifications
            if one.receiver != "flux-dead-mans-switch"
        )
        return Told(self._told, dict(zip(self.prometheus, seen, strict=True)), delivered)

    @property
    def _minute(self) -> float:
        return self._minute_of(time.time())

    def _minute_of(self, unix: float) -> float:
        return (unix - self._began) * SPEED / 60

    async def _has_begun(self) -> bool:
        assert self.demo.running, self.demo.log_tail()
        self._began = time.time()
        return "What happens:" in self.demo.log()

    async def _is_over(self) -> bool:
        assert self.demo.running, self.demo.log_tail()
        for name in re.findall(r"── ([\w-]+):", self.demo.log()):
            self._told.setdefault(name, self._minute)
        return self._minute > END_MINUTES

    async def _seen_by(self, prometheus: RunningPrometheus) -> Seen:
        # Two looks at each evaluation.
        step = 30 / SPEED / 2
        times = {"start": str(self._began), "end": str(time.time()), "step": str(step)}
        found = await prometheus.api("query_range", {"query": 'ALERTS{alertstate="firing"}', **times})
        fired = [
            Fired(series["metric"]["alertname"], _about(series["metric"]), *map(self._minute_of, span))
            for series in found["result"]
            for span in spans((float(at) for at, _ in series["values"]), step)
        ]
        groups = (await prometheus.api("rules"))["groups"]
        async with aiohttp.ClientSession() as session, session.get(f"{prometheus.url}/metrics") as response:
            own_metrics = await response.text()
        rules = tuple(rule for group in groups for rule in group["rules"])
        return Seen(tuple(fired), rules, own_metrics, tuple(prometheus.warnings()))


def _about(labels: Mapping[str, str]) -> str:
    if "name" in labels:
        return f"{labels['kind']} {labels.get('exported_namespace') or labels.get('namespace', '')}/{labels['name']}"
    return next((labels[name] for name in ("shared_cause", "risk", "controller", "resource") if name in labels), "")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    for version in get_args(Version):
        require_peer(f"prometheus-{version}")
    require_peer("alertmanager")
    async with AsyncExitStack() as ends:
        deliveries = await ends.enter_async_context(Deliveries())
        watched = WatchedDemo(tmp_path_factory.mktemp("story"), deliveries)
        for peer in (*watched.prometheus.values(), watched.alertmanager):
            ends.push_async_callback(peer.stop)
        ends.push_async_callback(watched.demo.stop)
        played = await watched.play()
    return played


@pytest.fixture(params=get_args(Version))
def seen(request: pytest.FixtureRequest, told: Told) -> Seen:
    return told.seen[request.param]


def test_each_incident_of_the_story_is_in_the_table_or_known_to_be_harmless() -> None:
    assert {failure.incident for failure in FAILURES} | HARMLESS == set(MINUTES)
    assert not {failure.incident for failure in FAILURES} & HARMLESS


def test_the_demo_tells_each_incident_at_its_minute(told: Told) -> None:
    assert dict(told.minutes) == {name: pytest.approx(minute, abs=PACE_MINUTES) for name, minute in MINUTES.items()}


def test_every_shipped_rule_is_loaded_and_never_fails(seen: Seen) -> None:
    groups = [group for path in FILES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    assert sorted(rule["name"] for rule in seen.rules) == sorted(
        rule.get("alert") or rule["record"] for group in groups for rule in group["rules"]
    )
    assert [rule for rule in seen.rules if rule["health"] != "ok" or rule.get("lastError")] == []
    failures = re.findall(r"^prometheus_rule_evaluation_failures_total\S* (\S+)$", seen.own_metrics, re.MULTILINE)
    assert len(failures) >= len(FILES)
    assert set(failures) == {"0"}
    assert seen.warnings == ()


def test_each_failure_that_lasts_fires_its_alert_within_a_quarter_of_an_hour(seen: Seen) -> None:
    silent = [
        str(failure)
        for failure in FAILURES
        if failure.must_fire and not any(failure.begins(fired) for fired in seen.ours())
    ]
    assert not silent, _listed(seen.ours())


def test_nothing_fires_but_for_a_failure_of_the_story_and_until_ten_minutes_after_it(seen: Seen) -> None:
    unexpected = [
        str(fired)
        for fired in seen.ours()
        if (fired.alert, fired.about) not in STANDING
        and not any(failure.begins(fired) and failure.ends(fired) for failure in FAILURES)
    ]
    assert not unexpected, _listed(seen.ours())


def test_no_alert_is_resolved_and_fires_anew(seen: Seen) -> None:
    keys = sorted((one.alert, one.about) for one in seen.ours())
    assert [key for key, same in itertools.groupby(keys) if len(list(same)) > 1] == [], _listed(seen.ours())


def test_what_is_so_all_the_time_is_told_until_the_end(seen: Seen) -> None:
    standing = {(one.alert, one.about): one for one in seen.ours() if (one.alert, one.about) in STANDING}
    assert standing.keys() == STANDING.keys()
    for key, one in standing.items():
        # Prometheus has missed the first minutes.
        assert STANDING[key] - LATE_MINUTES <= one.began <= STANDING[key] + 5
        assert one.ended >= END_MINUTES - LATE_MINUTES


def test_each_incident_is_one_notification_in_time_and_one_resolve_and_nothing_else_is_told(told: Told) -> None:
    pages = [(minute, one) for minute, one in told.delivered if one.receiver == "flux-page"]
    firing = [(minute, _about(labels)) for minute, one in pages for labels in one.firing if _is_ours(labels)]
    resolved = [_about(labels) for _, one in pages for labels in one.resolved if _is_ours(labels)]
    # Members of the shared failure are told by it.
    incidents = {one.about: one for one in FAILURES if one.incident != "admission-webhook" or one.about == _WEBHOOK}
    must = sorted(about for about, failure in incidents.items() if failure.must_fire)
    assert sorted({about for _, about in firing} & set(must)) == must
    assert {about for _, about in firing} <= incidents.keys()
    assert len(firing) == len({about for _, about in firing})
    assert sorted(resolved) == sorted(about for _, about in firing)
    for minute, about in firing:
        failure = incidents[about]
        assert minute <= MINUTES[failure.incident] + failure.fails[1] + WITHIN_MINUTES, f"{failure}: {minute}"
    others = {one.receiver: {labels["alertname"] for labels in one.firing} for _, one in told.delivered}
    assert others.keys() <= {"flux-page", "flux-info"}
    assert others.get("flux-info", set()) <= {"FluxConfigurationRisk"}


def _is_ours(labels: Mapping[str, str]) -> bool:
    """And not of the copied rules, which are loaded here too."""
    return labels["alertname"].startswith("Flux")


def test_the_copied_rules_page_for_dependents_that_ours_leave_alone(seen: Seen) -> None:
    behind_the_root = {f"Kustomization payments/{name}" for name in ("api", "web", "worker")}
    copied = {one.about for one in seen.fired if one.alert == "KustomizationFailing"}
    ours = {one.about for one in seen.ours() if one.began < MINUTES["admission-webhook"]}
    assert behind_the_root <= copied
    assert not behind_the_root & ours


def _listed(fired: Iterable[Fired]) -> str:
    return "what fired:\n" + "\n".join(sorted(map(str, fired)))
