"""README.md says what the tables say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from generate import window
from gotk_exporter.config import parse
from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.metrics.families import OBJECT_FAMILIES
from gotk_exporter.metrics.own_families import EXPORTER_FAMILIES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_metric_tables_list_every_family_of_the_catalogue_with_its_labels() -> None:
    rows = re.findall(r"^\| `(gotk_\w+)` \| (\w+) \| ([^|]*) \|", README, re.MULTILINE)
    assert rows == [
        (family.name, family.type, ", ".join(family.labels) or "none")
        for family in (*OBJECT_FAMILIES, *EXPORTER_FAMILIES)
    ]


def test_the_kinds_table_lists_every_kind() -> None:
    rows = re.findall(r"^\| (\w+) \| ([a-z.]+) \| (?:from|none)", README, re.MULTILINE)
    assert rows == [(kind.name, kind.group) for kind in KINDS]


def test_the_alerts_table_has_a_row_for_every_alert_with_its_runbook_severity_and_summary() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\((\S+)\)( \(classic\))? \| (\w+) \| [^|]+ \| ([^|]+) \|$", README, re.MULTILINE)
    expected = {
        (
            rule["alert"],
            f"rules/runbooks/{rule['alert']}.md",
            " (classic)" if path.name == "classic.yaml" else "",
            rule["labels"]["severity"],
            rule["annotations"]["summary"].strip(),
        )
        for path in (ROOT / "rules" / "alerts").glob("*.yaml")
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    assert set(rows) == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"expr": "x > 1"}, "no window"),
        ({"expr": "x > 1", "for": "15m"}, "for 15 minutes"),
        ({"expr": "x > 1", "for": "1h30m"}, "for 1h30m"),
        ({"expr": "x >= 720  # window: 12 minutes"}, "12 minutes"),
        ({"expr": "x >= 720  # window: 12 minutes, in which much may happen\n"}, "12 minutes"),
        ({"expr": "x  # window: a day\nor y  # window: a day\n"}, "a day"),
        ({"expr": "x  # threshold: two intervals\n+ 1  # threshold: and a day\n"}, "two intervals, and a day"),
        ({"expr": "x > 2.5  # threshold: three in a row; extrapolated", "for": "5m"}, "three in a row; for 5 minutes"),
        ({"expr": "x  # threshold: 15 minutes\nor y  # window: a day\n"}, "15 minutes; a day"),
        ({"expr": "x >= 3  # members\n# No window: it is so.\n"}, "no window"),
        ({"expr": 'flux:decided:max{kind="X"}'}, "12 minutes; two intervals"),
        ({"expr": "flux:decided:max > 5"}, "no window"),
    ],
)
def test_the_window_of_an_alert_is_read_from_its_expression_and_its_for(rule: dict[str, str], expected: str) -> None:
    records = {
        "flux:decided:max": "flux:late:max or x >= 720  # window: 12 minutes\nunless flux:other:max",
        "flux:late:max": "x > 2 * y  # threshold: two intervals\n",
        "flux:other:max": "x >= 300  # window: 5 minutes\n",
    }
    assert window(rule, records) == expected


def test_the_example_of_the_settings_is_valid() -> None:
    (example,) = re.findall(r"```yaml\n(# gotk-exporter run --config.*?)```", README, re.DOTALL)
    settings = parse(example)
    assert settings.watch.namespaces == ("team-a", "team-b")
    assert settings.metrics.deny == ("gotk_resource_timeout_seconds",)


def test_the_example_for_prometheus_is_yaml() -> None:
    (example,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", README, re.DOTALL)
    assert yaml.safe_load(example)["scrape_configs"][0]["job_name"] == "gotk-exporter"


def test_generated_parts_are_current() -> None:
    checked = subprocess.run(
        [sys.executable, "exporter/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, checked.stderr) == (0, "")
