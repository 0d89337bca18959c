"""Stories that the exporter's own code tells to promtool, and which alerts fire in them. Judges none of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.flux.clusters import BEGINNING, on
from tests.flux.examples import text_of
from tests.flux.scenarios_follower import Exporter, Write
from tests.rules.recordings import Recording, Scraped
from tests.simulator.fleets import EPOCH

RULES = Path(__file__).parents[2] / "rules"
FILES = [RULES / "recording/flux.yaml", *(RULES / f"alerts/{topic}.yaml" for topic in ("reconciliation", "progress"))]
"""The alerts about objects and what they are made of."""
PROMTOOL_SECONDS = 240
FAMILIES = (
    "gotk_suspend_status",
    "gotk_resource_failing_since_timestamp_seconds",
    "gotk_resource_failing_since_uncertainty_seconds",
    "gotk_resource_failure_info",
    "gotk_resource_waiting_since_timestamp_seconds",
    "gotk_resource_progressing_since_timestamp_seconds",
    "gotk_resource_blocked",
    "gotk_root_cause_info",
    "gotk_resource_awaiting_retry_until_timestamp_seconds",
    "gotk_resource_last_reconcile_timestamp_seconds",
    "gotk_resource_interval_seconds",
    "gotk_resource_timeout_seconds",
    "gotk_resource_usual_run_seconds",
    "gotk_resource_revision_behind_since_timestamp_seconds",
    "gotk_resource_inventory_entries",
)
"""What the alerts about objects are made of."""


@dataclass(frozen=True)
class Span:
    """One alert, as Alertmanager would be sent it, from when until when; in minutes of its story."""

    labels: Mapping[str, str]
    start: float
    end: float

    @property
    def of(self) -> tuple[str, str]:
        """The name of the alert, and of its object or shared cause."""
        return self.labels["alertname"], self.labels.get("name") or self.labels.get("shared_cause", "")


class Story(Scraped):
    """With the families that the rules read."""

    def __init__(self) -> None:
        super().__init__(FAMILIES)

    def spans(self, promtool: Path, directory: Path) -> list[Span]:
        """Every alert, from when until when it fires."""
        return spans(promtool, directory, self.recording, BEGINNING)

    def fired(self, promtool: Path, directory: Path) -> dict[tuple[str, str], float]:
        """When each alert began to fire."""
        return first(self.spans(promtool, directory))


def root_with_forty_dependents() -> Story:
    """Its run fails at minute 7, again every eight minutes, and no more at minute 58."""
    story = Story()
    story.cluster.source_is_ready()
    story.cluster.kustomization_is_ready("root", spec=on())
    for number in range(40):
        story.cluster.kustomization_is_ready(f"leaf{number}", spec=on("root" if number < 10 else f"leaf{number - 10}"))
    story.until(2)
    for start in range(2, 58, 8):
        story.cluster.kustomization_runs("root", at=start)
        if start == 2:
            for number in range(40):
                after = "root" if number < 10 else f"leaf{number - 10}"
                story.cluster.kustomization_waits(f"leaf{number}", at=start, on=after)
        story.until(start + 5)
        story.cluster.health_check_fails("root", start + 5, "Deployment/apps/web")
        story.until(start + 8)
    story.cluster.kustomization_is_ready("root", at=58)
    for number in range(40):
        story.cluster.kustomization_is_ready(f"leaf{number}", at=59)
    story.until(75)
    return story


def followed(writes: Iterable[Write], begin: float, end: float) -> Recording:
    """Every 30 s, what one shows that has seen every write."""
    known, exporter, recording = list(writes), Exporter(), Recording(FAMILIES)
    before = [write for write in known if write.at <= begin]
    exporter.list(before, begin)
    rest = iter(known[len(before) :])
    upcoming = next(rest, None)
    for scrape in range(round((end - begin) / 30) + 1):
        at = begin + scrape * 30
        while upcoming is not None and upcoming.at <= at:
            exporter.receive(upcoming, upcoming.at)
            upcoming = next(rest, None)
        exporter.relations.advance(EPOCH + at)
        recording.scrape(text_of(exporter.store))
    return recording


def first(found: Iterable[Span]) -> dict[tuple[str, str], float]:
    """When each began; one that changed a label counts once."""
    began: dict[tuple[str, str], float] = {}
    for span in found:
        began[span.of] = min(span.start, began.get(span.of, span.start))
    return began


def spans(promtool: Path, directory: Path, recording: Recording, start: float) -> list[Span]:
    """Every alert that fires, and from when until when it does.

    promtool begins at 0 and the story at ``start``: the times in its samples are moved.
    """
    fires = 'timestamp(ALERTS{alertstate="firing"})[1d:30s]'
    asked = [
        {
            "expr": f"{which}({fires})",
            "eval_time": f"{round(recording.minutes)}m",
            "exp_samples": [{"labels": '{name="nothing fires for this"}', "value": 1}],
        }
        for which in ("min_over_time", "max_over_time")
    ]
    series: Sequence[Mapping[str, str]] = recording.input_series()
    test = {
        "rule_files": [str(path) for path in FILES],
        "evaluation_interval": "30s",
        "group_eval_order": ["gotk-exporter-objects"],
        "tests": [
            {
                "interval": "30s",
                "input_series": [{**one, "values": _moved(one["series"], one["values"], start)} for one in series],
                "promql_expr_test": asked,
            }
        ],
    }
    path = directory / "story.yaml"
    path.write_text(yaml.safe_dump(test, width=1_000_000))
    done = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, timeout=PROMTOOL_SECONDS, check=False
    )
    output = done.stdout + done.stderr
    answers = re.findall(r"got:(.*)", output)
    assert len(answers) == len(asked), output
    began, ended = map(_values, answers)
    return [Span(dict(labels), began[labels] / 60, ended[labels] / 60) for labels in began]


def _values(answer: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple((label, text) for label, text in re.findall(r'(\w+)="([^"]*)"', labels) if label != "alertstate"): float(
            value
        )
        for labels, value in re.findall(r"\{([^}]*)\} ([\d.E+]+)", answer)
    }


def _moved(series: str, values: str, start: float) -> str:
    if "_timestamp_" not in series.partition("{")[0]:
        return values
    return re.sub(r"(?<!\S)([\d.e+]+)\+0x", lambda match: f"{float(match[1]) - start:.3f}+0x", values)
