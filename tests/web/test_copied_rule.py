"""The rule that Flux's own documentation had until 2023, and that thousands copied, works again as it stands."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import yaml

from tests.flux.clusters import Cluster, on
from tests.peers.processes import poll_until
from tests.peers.prometheus import RunningPrometheus, Version
from tests.rules.recordings import firing
from tests.web.serving import Exporter

COPIED = """
groups:
- name: flux
  rules:
  - alert: ReconciliationFailure
    expr: max(gotk_reconcile_condition{status="False",type="Ready"}) by (exported_namespace, name, kind) + on(exported_namespace, name, kind) (max(gotk_reconcile_condition{status="Deleted"}) by (exported_namespace, name, kind)) * 2 == 1
    for: 10m
    labels:
      severity: page
"""  # noqa: E501
"""Byte for byte."""

ALERTING_SECONDS = 30


@pytest.mark.parametrize("version", ["2", "3"])
async def test_the_copied_rule_fires_for_what_fails_and_not_for_what_terminates(
    version: Version,
    serve: Callable[..., Awaitable[Exporter]],
    start_prometheus: Callable[..., Awaitable[RunningPrometheus]],
    require_peer: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    cluster = Cluster()
    for namespace in ("shop", "search"):
        cluster.kustomization_fails("app", at=1, namespace=namespace, spec=on())
    cluster.write("Kustomization", "app", at=2, namespace="search", deletionTimestamp="2025-11-21T04:42:00Z")
    cluster.kustomization_is_ready("well", namespace="shop", spec=on())
    exporter = await serve(cluster.store)
    rules = tmp_path / "copied.yaml"
    rules.write_text(COPIED)
    target = {"targets": [exporter.url.removeprefix("http://")], "labels": {"namespace": "flux-system"}}
    prometheus = await start_prometheus(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(rules)],
                "scrape_configs": [{"job_name": "gotk-exporter", "static_configs": [target]}],
            }
        ),
        version,
    )

    async def alerts() -> list[tuple[str, ...]]:
        found = await prometheus.query("ALERTS")
        names = ("alertname", "alertstate", "kind", "exported_namespace", "name")
        return [tuple(sample.labels.get(name, "") for name in names) for sample in found]

    async def any_alert() -> bool:
        return bool(await alerts())

    await poll_until(any_alert, "no alert is pending", ALERTING_SECONDS)
    # As long as it holds it pends; promtool has the patience for the ten minutes, with the series that were scraped.
    assert await alerts() == [("ReconciliationFailure", "pending", "Kustomization", "shop", "app")]
    series = [
        {
            "series": f"{sample.labels['__name__']}{json_labels(sample.labels)}",
            "values": f"{int(sample.value)}+0x40",
        }
        for sample in await prometheus.query("gotk_reconcile_condition")
    ]
    assert len(series) == 12
    (rule,) = yaml.safe_load(COPIED)["groups"][0]["rules"]
    promtool = require_peer(f"promtool-{version}")
    assert firing(promtool, tmp_path, [rule], series, minutes=9.5) == {"ReconciliationFailure": set()}
    assert firing(promtool, tmp_path, [rule], series, minutes=10.5) == {"ReconciliationFailure": {"app"}}


def json_labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items() if name != "__name__") + "}"
