"""What a page says, as a real Alertmanager writes it from the shipped configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from tests.peers.alertmanager import Deliveries, RunningAlertmanager
from tests.rules.incidents import alert, fails
from tests.rules.routing import Hearer, on_loopback, shipped, tell
from tests.rules.stories import Span

SPEED = 60.0
PAGE_SECONDS = 15.0
"""Less than the time that Alertmanager believes an alert: group_wait is two seconds at most."""


@pytest.mark.parametrize(
    ("alerts", "summary", "severity"),
    [
        (
            [fails("app", 0, 30, team="shop", cluster="eu")],
            "FluxReconciliationFailing fires: Kustomization apps/app in eu",
            "error",
        ),
        (
            [alert("FluxSharedFailure", 0, 30, shared_cause="unreachable/git.example")],
            "FluxSharedFailure fires: unreachable/git.example",
            "error",
        ),
        (
            [alert("FluxControllerDown", 0, 30, "critical", controller="helm-controller", namespace="flux-system")],
            "FluxControllerDown fires: helm-controller",
            "critical",
        ),
        # Two alerts about one object, of two severities.
        (
            [
                alert("FluxReconciliationStopped", 0, 30, kind="OCIRepository", name="app", namespace="apps"),
                alert("FluxVerificationFailing", 0, 30, "critical", kind="OCIRepository", name="app", namespace="apps"),
            ],
            "FluxReconciliationStopped fires: OCIRepository apps/app",
            "critical",
        ),
    ],
    ids=["object", "shared cause", "controller", "two alerts"],
)
async def test_a_page_names_what_it_is_about_and_is_never_without_a_title(
    require_peer: Callable[[str], Path],
    tmp_path: Path,
    alerts: Sequence[Span],
    summary: str,
    severity: str,
) -> None:
    require_peer("alertmanager")
    configuration = shipped()
    pager = next(receiver for receiver in configuration["receivers"] if receiver["name"] == "flux-page")
    (page,) = pager["pagerduty_configs"]
    async with Deliveries() as deliveries:
        text = on_loopback(configuration, deliveries.url, SPEED)
        made = yaml.safe_load(text)
        kept = {key: value for key, value in page.items() if key != "routing_key_file"}
        kept |= {"routing_key": "x", "url": f"{deliveries.url}/pagerduty/events"}
        others = [receiver for receiver in made["receivers"] if receiver["name"] != "flux-page"]
        made["receivers"] = [*others, {"name": "flux-page", "pagerduty_configs": [kept]}]
        alertmanager = RunningAlertmanager(tmp_path / "alertmanager", yaml.safe_dump(made))
        await alertmanager.start()
        try:
            await tell({"one": Hearer(alertmanager, deliveries, alerts)}, 0, SPEED)
            event = await asyncio.wait_for(deliveries.pagerduty_events.get(), PAGE_SECONDS)
        finally:
            await alertmanager.stop()
    assert deliveries.pagerduty_events.empty()
    assert event["payload"]["summary"] == summary
    assert event["payload"]["severity"] == severity
