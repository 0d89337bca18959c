"""What a restart does to alerts in a real Prometheus: its own, with its data or with an empty disk, and the exporter's.

The rules are the shipped ones, as much faster as scaled.py makes them; the exporter is a page of text here. Beside ours
runs the copied rule with `for: 15m`, of which only what is certain is asserted: how late it is depends on the moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import web

from gotk_exporter.rules.shipped import rule_files
from tests.peers.processes import free_port, poll_until
from tests.peers.prometheus import RunningPrometheus
from tests.rules.scaled import scaled, scaled_configuration, scaled_flags, spans

pytestmark = pytest.mark.real_time

RESTARTED, SCRAPED = 40.0, 60.0
"""How fast it goes where Prometheus is restarted, and where it is not. After a start it takes 5 s to find its targets,
however fast everything else is, and these must fit into the five minutes for which it believes in its last scrape."""
SOON_SECONDS = 30.0
OURS, COPIED = "FluxReconciliationFailing", "KustomizationFailing"
WINDOW, COPIED_FOR, KEEP_FIRING, AWAY = 12.0, 15.0, 10.0, 6.0
"""In minutes."""
LATE = 2.5
"""A scrape, an evaluation, and what a busy machine leaves undone for two seconds. Also in minutes."""
OBJECT = 'kind="Kustomization",name="web",namespace="apps"'

Watching = Callable[[float], Awaitable[RunningPrometheus]]


class Page:
    """The exporter of one object, and an Alertmanager, on one address."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.failing_since: float | None = None
        self.away = False
        self.sent: list[tuple[float, bool]] = []
        """Of each alert of ours that came: when, and whether it was resolved."""

    async def metrics(self, request: web.Request) -> web.Response:
        if self.away:
            return web.Response(status=503)
        ready = "True" if self.failing_since is None else "False"
        lines = [
            "gotk_exporter_build_info 1",
            f"gotk_suspend_status{{{OBJECT}}} 0",
            f'gotk_reconcile_condition{{{OBJECT},type="Ready",status="{ready}"}} 1',
        ]
        if self.failing_since is not None:
            lines += [
                f"gotk_resource_failing_since_timestamp_seconds{{{OBJECT}}} {self.failing_since}",
                f"gotk_resource_failing_since_uncertainty_seconds{{{OBJECT}}} 0",
                f'gotk_root_cause_info{{{OBJECT},reason="HealthCheckFailed"}} 1',
            ]
        return web.Response(text="\n".join(lines) + "\n")

    async def alerts(self, request: web.Request) -> web.Response:
        now = time.time()
        for alert in await request.json():
            if alert["labels"]["alertname"] == OURS:
                self.sent.append((now, datetime.fromisoformat(alert["endsAt"]).timestamp() <= now))
        return web.json_response({})


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    page = Page()
    application = web.Application()
    application.add_routes([web.get("/metrics", page.metrics), web.post("/api/v2/alerts", page.alerts)])
    runner = web.AppRunner(application)
    await runner.setup()
    host, _, port = page.address.partition(":")
    await web.TCPSite(runner, host, int(port)).start()
    yield page
    await runner.cleanup()


@pytest.fixture
def watching(page: Page, start_prometheus: Callable[..., Awaitable[RunningPrometheus]], tmp_path: Path) -> Watching:
    """``await watching(speed)``: one that reads the page, with an empty disk."""
    job = {"job_name": "page", "honor_labels": True, "static_configs": [{"targets": [page.address]}]}

    async def start(speed: float) -> RunningPrometheus:
        files = [tmp_path / f"{speed:g}-{number}.yaml" for number, _ in enumerate(rule_files())]
        for source, path in zip(rule_files(), files, strict=True):
            path.write_text(scaled(source.read_text(encoding="utf-8"), speed), encoding="utf-8")
        return await start_prometheus(
            scaled_configuration(files, [job], speed, page.address), flags=scaled_flags(speed)
        )

    return start


async def restarted(prometheus: RunningPrometheus) -> RunningPrometheus:
    await prometheus.stop()
    await prometheus.start()
    return prometheus


async def has_scraped(*watchers: RunningPrometheus) -> None:
    async def all_have() -> bool:
        return all([await prometheus.query("up == 1") for prometheus in watchers])

    await poll_until(all_have, "a first scrape", SOON_SECONDS)


async def until(unix: float) -> None:
    async def is_then() -> bool:
        return time.time() >= unix

    await poll_until(is_then, "the moment", unix - time.time() + SOON_SECONDS)


async def firing(prometheus: RunningPrometheus, alert: str, since: float, minute: float) -> list[tuple[float, float]]:
    """From when to when it fired, in minutes since ``since``, each of which takes ``minute`` seconds."""
    step = minute / 4
    times = {"start": str(since), "end": str(time.time()), "step": str(step)}
    query = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    found = (await prometheus.api("query_range", {"query": query, **times}))["result"]
    at = sorted(float(at) for series in found for at, _ in series["values"])
    return [((begin - since) / minute, (end - since) / minute) for begin, end in spans(at, step)]


async def test_windows_survive_a_restarted_prometheus_and_one_that_begins_with_an_empty_disk(
    page: Page, watching: Watching
) -> None:
    minute = 60 / RESTARTED
    steady, early, late, moved = await asyncio.gather(*(watching(RESTARTED) for _ in range(4)))
    await has_scraped(steady, early, late, moved)
    page.failing_since = began = time.time()
    await until(began + 5 * minute)
    await moved.stop()
    early, moved = await asyncio.gather(restarted(early), watching(RESTARTED))
    await until(began + 10 * minute)
    late = await restarted(late)

    async def copied_fires() -> bool:
        return bool(await steady.query(f'ALERTS{{alertname="{COPIED}",alertstate="firing"}}'))

    await poll_until(copied_fires, "the copied rule", COPIED_FOR * minute + SOON_SECONDS)
    for prometheus in (steady, early, late, moved):
        fired = await firing(prometheus, OURS, began, minute)
        assert len(fired) == 1, prometheus.directory
        assert WINDOW <= fired[0][0] <= WINDOW + LATE, prometheus.directory
    # What was counted does not count, or is gone: one waits for ten more minutes, the other for all fifteen.
    for prometheus in (late, moved):
        assert not await firing(prometheus, COPIED, began, minute)


async def test_an_exporter_that_is_away_for_six_minutes_resolves_no_alert(page: Page, watching: Watching) -> None:
    minute = 60 / SCRAPED
    page.failing_since = began = time.time() - WINDOW * minute
    prometheus = await watching(SCRAPED)

    async def is_told() -> bool:
        return bool(page.sent)

    await poll_until(is_told, "the alert arrives", SOON_SECONDS)
    page.away, went = True, time.time()
    await until(went + AWAY * minute)
    page.away, came = False, time.time()
    await until(came + minute)
    assert any(went + minute < at < came for at, _ in page.sent)
    assert not any(resolved for _, resolved in page.sent)
    # That it would be seen: the object heals, and that is told after ten minutes.
    page.failing_since, healed = None, time.time()

    async def is_resolved() -> bool:
        return page.sent[-1][1]

    await poll_until(is_resolved, "the alert is resolved", KEEP_FIRING * minute + SOON_SECONDS)
    assert page.sent[-1][0] - healed >= KEEP_FIRING * minute
    assert len(await firing(prometheus, OURS, began, minute)) == 1
