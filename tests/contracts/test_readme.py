"""README.md says what the tables say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

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
