"""Both real Prometheus versions start, scrape, answer, reload, and say what is wrong with a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.peers.processes import PeerFailed, free_port, poll_until
from tests.peers.prometheus import RunningPrometheus

StartPrometheus = Callable[..., Awaitable[RunningPrometheus]]

VERSIONS = {"2": "2.42", "3": "3."}


def scrape_itself(port: int) -> str:
    return f"""
global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}
scrape_configs:
  - job_name: itself
    static_configs: [targets: ["127.0.0.1:{port}"]]
"""


async def scraping_itself(version: str, start_prometheus: StartPrometheus) -> RunningPrometheus:
    port = free_port()
    prometheus = await start_prometheus(scrape_itself(port), version, port=port)

    async def scraped() -> bool:
        return [sample.value for sample in await prometheus.query('up{job="itself"}')] == [1.0]

    await poll_until(scraped, f"prometheus-{version}: has not scraped itself", 15)
    return prometheus


async def test_both_versions_scrape_themselves_without_a_warning(start_prometheus: StartPrometheus) -> None:
    # Both at once: the first scrape of each takes 5 s.
    both = await asyncio.gather(*(scraping_itself(version, start_prometheus) for version in VERSIONS))
    for prometheus, version in zip(both, VERSIONS.values(), strict=True):
        (build,) = await prometheus.query("prometheus_build_info")
        assert build.labels["version"].startswith(version)
        assert [sample.value for sample in await prometheus.query("1 + 1")] == [2]
        (target,) = await prometheus.targets()
        assert (target.pool, target.health, target.last_error) == ("itself", "up", "")
        assert prometheus.log()
        assert prometheus.warnings() == []
        await prometheus.stop()
        assert not prometheus.running


@pytest.mark.parametrize("version", VERSIONS)
async def test_broken_configuration_is_named_in_the_failure(version: str, start_prometheus: StartPrometheus) -> None:
    with pytest.raises(PeerFailed, match=r"(?s)ended while it started.*scrape_interva1"):
        await start_prometheus("global: {scrape_interva1: 1s}", version)


@pytest.mark.parametrize("version", VERSIONS)
async def test_warning_is_found_in_the_log(version: str, start_prometheus: StartPrometheus) -> None:
    prometheus = await start_prometheus("global: {}", version)
    with pytest.raises(PeerFailed, match="reload answered 500"):
        await prometheus.reload("global: 1")
    assert any("global: 1" in line or "reloading config" in line for line in prometheus.warnings())
