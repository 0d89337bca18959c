"""The audit of a real Prometheus, with rules that were published and are dead, and with ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gotk_exporter.metrics.families import RECONCILE_CONDITION
from gotk_exporter.rules.audit import Audit, AuditOptions, audit
from gotk_exporter.rules.audit_report import shown
from tests.flux.clusters import Cluster, on
from tests.peers.processes import poll_until
from tests.peers.prometheus import RunningPrometheus, Version
from tests.rules.test_audit import PUBLISHED, REPOSITORY, SCRAPED_SECONDS
from tests.web.serving import Exporter

PUBLISHED_ALERTS = {
    "FluxMixinReconciliationFailure",
    "MonitoringMixinsReconciliationFailure",
    "SmanaReconciliationFailure",
    "SmanaSuspended",
    "SmanaHelmOperatorFailure",
    "AnkhmorporkReconciliationFailure",
    "TutorialResourceStalled",
    "WrongLabelHelmReleaseFailing",
}
DEAD_FOR_EVER = {"SmanaHelmOperatorFailure", "TutorialResourceStalled", "WrongLabelHelmReleaseFailing"}


class Watched:
    """A page of the exporter about a cluster in which all is well, and Prometheus servers that scrape it."""

    def __init__(self, exporter: Exporter, start: Callable[..., Awaitable[RunningPrometheus]]) -> None:
        self._target: dict[str, Any] = {
            "targets": [exporter.url.removeprefix("http://")],
            "labels": {"namespace": "flux-system"},
        }
        self._start = start

    async def prometheus(self, version: Version, jobs: Mapping[str, str], rules: Sequence[Path]) -> RunningPrometheus:
        """``jobs``: each with the metrics that it keeps, or drops, of the page: "keep a|b"."""
        scraping = []
        for job, what in jobs.items():
            action, regex = what.split()
            labels = {**self._target["labels"], "cluster": "two" if job.endswith("two") else "one"}
            # Two replicas are one exporter.
            targets = [{**self._target, "labels": {**labels, "instance": replica}} for replica in ("a", "b")]
            scraping.append(
                {
                    "job_name": job,
                    "static_configs": targets,
                    "honor_labels": job.startswith("honest"),
                    "metric_relabel_configs": [{"source_labels": ["__name__"], "regex": regex, "action": action}],
                }
            )
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": scraping,
        }
        prometheus = await self._start(json.dumps(configuration), version)

        async def is_scraped() -> bool:
            return len(await prometheus.query("up == 1")) == 2 * len(jobs)

        await poll_until(is_scraped, "prometheus has not scraped the page", SCRAPED_SECONDS)
        return prometheus


@pytest.fixture
async def watched(start_prometheus: Callable[..., Awaitable[RunningPrometheus]]) -> AsyncIterator[Watched]:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.kustomization_is_ready("app", spec=on())
    exporter = Exporter(cluster.store)
    await exporter.start()
    yield Watched(exporter, start_prometheus)
    await exporter.server.stop()


def published() -> list[Path]:
    return sorted(PUBLISHED.glob("*.yaml"))


def our_pack() -> list[Path]:
    rules = REPOSITORY / "rules"
    return [*sorted(rules.glob("recording/*.yaml")), *sorted(rules.glob("alerts/*.yaml"))]


def named(done: Audit, status: str) -> set[str]:
    return {finding.rule.name for finding in done.of(status)}


def remedies(done: Audit) -> dict[str, str]:
    return {finding.rule.name: " ".join(reason.remedy for reason in finding.reasons) for finding in done.of("dead")}


@pytest.mark.parametrize("version", ["2", "3"])
async def test_the_published_dead_rules_are_found_where_flux_is_watched_by_kube_state_metrics(
    watched: Watched, version: Version
) -> None:
    assert len(published()) == 6
    # Of two clusters, whose objects have the same names.
    jobs = {"kube-state-metrics": "keep gotk_resource_info", "kube-state-metrics-two": "keep gotk_resource_info"}
    prometheus = await watched.prometheus(version, jobs, published())
    done = await audit(AuditOptions(prometheus.url))
    assert named(done, "dead") == PUBLISHED_ALERTS
    assert named(done, "doubtful") == named(done, "not_judged") == set()
    assert (done.duplicates, done.notes) == ((), ())
    words = remedies(done)
    for name in PUBLISHED_ALERTS - DEAD_FOR_EVER - {"SmanaSuspended"}:
        assert words[name].startswith("Flux no longer exports it: removed for HelmRelease in 2.2 (December 2023)")
    assert "gotk-exporter exports it again" in words["SmanaSuspended"]
    assert "Flux v1's Helm operator" in words["SmanaHelmOperatorFailure"]
    assert "no controller ever exported a type but Ready" in words["TutorialResourceStalled"]
    assert "customresource_kind" in words["WrongLabelHelmReleaseFailing"]


@pytest.mark.parametrize("version", ["2", "3"])
async def test_our_pack_is_not_accused_beside_published_rules_that_are(watched: Watched, version: Version) -> None:
    pack = our_pack()
    # The legacy metric alone is not allowed there; with it most of what was published would work again.
    no_legacy = {"gotk-exporter": f"drop {RECONCILE_CONDITION.name}"}
    modern = [path for path in pack if path.name != "classic.yaml"]
    all_and_more = {
        "gotk-exporter": "keep .*",
        "kube-state-metrics": "keep gotk_resource_info",
        "honest": "keep gotk_suspend_status",
    }
    both = await asyncio.gather(
        watched.prometheus(version, no_legacy, [*published(), *modern]),
        watched.prometheus(version, all_and_more, [*published(), *pack]),
    )
    without_legacy, with_all = [await audit(AuditOptions(prometheus.url)) for prometheus in both]
    assert named(without_legacy, "dead") == PUBLISHED_ALERTS - {"SmanaSuspended"}
    assert named(with_all, "dead") == DEAD_FOR_EVER
    for done in (without_legacy, with_all):
        assert len(done.findings) > len(PUBLISHED_ALERTS)
        assert named(done, "doubtful") == named(done, "not_judged") == set()
    assert without_legacy.duplicates == ()
    assert {duplicate.metric: duplicate.jobs for duplicate in with_all.duplicates} == {
        "gotk_resource_info": (("gotk-exporter", 2), ("kube-state-metrics", 2)),
        "gotk_suspend_status": (("gotk-exporter", 2), ("honest", 2)),
    }
    words = " ".join(shown(with_all, "text").split())
    assert "the same objects from the jobs gotk-exporter (2), kube-state-metrics (2)" in words
