"""Real Prometheus servers scrape our real server, take what they prefer, and hold what we meant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from gotk_exporter.metrics.exposition import MAX_LABEL_VALUE_CHARS, Format, label_text, line
from gotk_exporter.metrics.families import SUSPEND_STATUS
from gotk_exporter.metrics.store import Store
from tests.metrics.hostile import HOSTILE_JSON, HOSTILE_VALUES
from tests.peers.processes import poll_until
from tests.peers.prometheus import RunningPrometheus, Sample
from tests.web.serving import Exporter

Serve = Callable[..., Awaitable[Exporter]]
StartPrometheus = Callable[..., Awaitable[RunningPrometheus]]

SCRAPED_SECONDS = 20
"""A Prometheus scrapes nothing in its first 5 s."""

LONG = "漢" * 5000
READ_BACK: dict[str, str] = {
    **{value: value for value in HOSTILE_VALUES},
    **{json.loads(text): readable for text, readable in HOSTILE_JSON},
    LONG: LONG[: MAX_LABEL_VALUE_CHARS - 1] + "…",
}
"""What an object says, and what the query API has to say."""


def hostile_store() -> Store:
    """One object for each hostile value, which is in two of its labels and whose number is in the third."""
    store = Store((SUSPEND_STATUS,))
    for number, value in enumerate(READ_BACK):
        labels = label_text([("kind", str(number)), ("name", value), ("namespace", value)])
        store.put("Kustomization", value, (line(SUSPEND_STATUS.name, labels, number).encode(),))
    return store


def configuration(**jobs: tuple[Exporter, str]) -> str:
    scrape_configs = [
        f'{{job_name: {name}, static_configs: [{{targets: ["{exporter.url.removeprefix("http://")}"]}}]{more}}}'
        for name, (exporter, more) in jobs.items()
    ]
    return f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{', '.join(scrape_configs)}]\n"


async def scraped(prometheus: RunningPrometheus, jobs: int) -> None:
    async def all_are_up() -> bool:
        targets = await prometheus.targets()
        assert [target.last_error for target in targets if target.last_error] == []
        return [target.health for target in targets] == ["up"] * jobs

    await poll_until(all_are_up, "prometheus has not scraped its targets", SCRAPED_SECONDS)


def by_number(samples: list[Sample]) -> dict[int, tuple[str, str, float]]:
    return {
        int(sample.labels["kind"]): (sample.labels["name"], sample.labels["namespace"], sample.value)
        for sample in samples
    }


async def test_hostile_values_are_scraped_without_a_warning_and_read_back(
    serve: Serve, start_prometheus: StartPrometheus
) -> None:
    for_2, for_3, as_text = [await serve(hostile_store()) for _ in range(3)]
    # Together: each needs 5 s before its first scrape.
    prometheus_2, prometheus_3 = await asyncio.gather(
        start_prometheus(configuration(negotiated=(for_2, "")), "2"),
        start_prometheus(
            configuration(negotiated=(for_3, ""), text=(as_text, ", scrape_protocols: [PrometheusText0.0.4]")), "3"
        ),
    )
    await asyncio.gather(scraped(prometheus_2, jobs=1), scraped(prometheus_3, jobs=2))

    expected = {number: (value, value, float(number)) for number, value in enumerate(READ_BACK.values())}
    for prometheus, job in ((prometheus_2, "negotiated"), (prometheus_3, "negotiated"), (prometheus_3, "text")):
        assert by_number(await prometheus.query(f'gotk_suspend_status{{job="{job}"}}')) == expected
        (own,) = await prometheus.query(f'gotk_exporter_build_info{{job="{job}"}}')
        assert own.value == 1
    assert {format_ for exporter in (for_2, for_3) for format_ in exporter.body.gzipped_as} == {Format.OPENMETRICS}
    assert set(as_text.body.gzipped_as) == {Format.TEXT}
    for prometheus in (prometheus_2, prometheus_3):
        assert prometheus.log()
        assert prometheus.warnings() == []


async def test_prometheus_would_complain_of_a_value_that_is_not_escaped(
    serve: Serve, start_prometheus: StartPrometheus
) -> None:
    store = Store((SUSPEND_STATUS,))
    store.put("Kustomization", "a", (b'gotk_suspend_status{name="not\nescaped"} 1\n',))
    broken = configuration(broken=(await serve(store), ""))
    both = await asyncio.gather(*(start_prometheus(broken, version) for version in ("2", "3")))

    async def both_refuse_the_page() -> bool:
        targets = [target for prometheus in both for target in await prometheus.targets()]
        return [target.health for target in targets] == ["down"] * len(both)

    await poll_until(both_refuse_the_page, "prometheus has not refused the page", SCRAPED_SECONDS)
