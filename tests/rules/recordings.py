"""What Prometheus would have scraped of a story, as input series of promtool's rule tests."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.flux.clusters import MINUTE, Cluster
from tests.flux.examples import text_of

SCRAPE_SECONDS = 30
PROMTOOL_SECONDS = 120
_SAMPLE = re.compile(r"(\w+\{.*\}) (\S+)")


class Recording:
    """One scrape after the other, every 30 s."""

    def __init__(self, families: Sequence[str]) -> None:
        self._families = tuple(families)
        self._series: dict[str, dict[int, str]] = {}
        self._scrapes = 0

    def scrape(self, page: str) -> None:
        """Take the series of the chosen families from the text of a page."""
        for line in page.splitlines():
            match = _SAMPLE.fullmatch(line)
            if match and line.partition("{")[0] in self._families:
                self._series.setdefault(match[1], {})[self._scrapes] = match[2]
        self._scrapes += 1

    @property
    def minutes(self) -> float:
        return (self._scrapes - 1) * SCRAPE_SECONDS / 60

    def input_series(self) -> list[dict[str, str]]:
        return [{"series": series, "values": self._values(samples)} for series, samples in self._series.items()]

    def _values(self, samples: Mapping[int, str]) -> str:
        # A series that is not on a page is stale at that scrape.
        values = (samples.get(scrape, "stale") for scrape in range(self._scrapes))
        runs = ((value, len(list(run))) for value, run in itertools.groupby(values))
        return " ".join(
            " ".join(["stale"] * count) if value == "stale" else f"{value}+0x{count - 1}" for value, count in runs
        )


class Scraped:
    """A cluster that is scraped every 30 s while something happens in it."""

    def __init__(self, families: Sequence[str]) -> None:
        self.cluster = Cluster()
        self.recording = Recording(families)
        self._now = 0.0

    def until(self, minutes: float) -> None:
        """Nothing more happens before that minute."""
        while self._now < minutes:
            self.cluster.wait(self._now)
            self.recording.scrape(text_of(self.cluster.store))
            self._now += SCRAPE_SECONDS / MINUTE


def firing(
    promtool: Path,
    directory: Path,
    rules: Sequence[Mapping[str, Any]],
    series: Sequence[Mapping[str, str]],
    minutes: float,
) -> dict[str, set[str]]:
    """Which alerts fire at any time of the story, and the name label of what they fire for.

    promtool compares and does not tell, so that each alert is asked for twice: what it holds to be wrong is what fired.
    """
    found: dict[str, set[str]] = {}
    for rule in rules:
        name = str(rule["alert"])
        test = {
            "rule_files": ["rules.yaml"],
            "evaluation_interval": "30s",
            "tests": [
                {
                    "interval": f"{SCRAPE_SECONDS}s",
                    "input_series": list(series),
                    "promql_expr_test": [
                        {
                            "expr": "count by (name) (last_over_time("
                            f'ALERTS{{alertname="{name}",alertstate="firing"}}[30d]))',
                            "eval_time": f"{round(minutes * 60)}s",
                            "exp_samples": [{"labels": '{name="nothing fires for this"}', "value": 1}],
                        }
                    ],
                }
            ],
        }
        (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "story", "rules": [dict(rule)]}]}))
        (directory / "test.yaml").write_text(yaml.safe_dump(test))
        done = subprocess.run(
            [promtool, "test", "rules", "test.yaml"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=PROMTOOL_SECONDS,
            check=False,
        )
        got = re.search(r"got:(.*)", done.stdout + done.stderr, re.DOTALL)
        assert got, done.stdout + done.stderr
        found[name] = set(re.findall(r'\{name="([^"]*)"\}', got[1]))
    return found
