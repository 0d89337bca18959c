"""The rules pack, its runbooks and its names hang together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gotk_exporter.cli import main
from gotk_exporter.rules.known_metrics import MAY_BE_SILENT

RULES = Path(__file__).parents[2] / "rules"
ALERTS: list[tuple[str, dict[str, Any]]] = [
    (path.name, rule)
    for path in sorted((RULES / "alerts").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
EACH_ALERT = pytest.mark.parametrize(("file", "rule"), ALERTS, ids=[rule["alert"] for _, rule in ALERTS])
SECTIONS = ["Meaning", "Impact", "First three commands", "Usual causes", "When to silence"]


@EACH_ALERT
def test_an_alert_has_a_runbook_with_everything_that_one_needs_at_night(file: str, rule: dict[str, Any]) -> None:
    runbook = RULES / "runbooks" / f"{rule['alert']}.md"
    assert rule["annotations"]["runbook_url"].endswith(f"/rules/runbooks/{runbook.name}")
    text = runbook.read_text(encoding="utf-8")
    assert text.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    commands = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert len(commands) == 3


def test_there_is_no_runbook_without_an_alert() -> None:
    assert {path.stem for path in (RULES / "runbooks").glob("*.md")} == {rule["alert"] for _, rule in ALERTS}


@EACH_ALERT
def test_an_alert_has_a_severity_of_the_four_and_what_a_reader_needs(file: str, rule: dict[str, Any]) -> None:
    if file != "classic.yaml":
        assert rule["labels"]["severity"] in ("critical", "error", "info", "none")
    assert {"summary", "description", "runbook_url"} <= rule["annotations"].keys()
    # Values in a summary would split notifications that belong together.
    assert "$labels" not in rule["annotations"]["summary"]


@EACH_ALERT
def test_what_pages_waits_in_its_expression_and_not_in_for(file: str, rule: dict[str, Any]) -> None:
    """A restarted Prometheus would make a pending ``for:`` wait for up to ten more minutes."""
    if file != "classic.yaml" and rule["labels"]["severity"] in ("critical", "error"):
        assert "for" not in rule


def test_what_may_be_silent_is_recorded_and_its_alert_says_so_in_the_runbook() -> None:
    recording = (RULES / "recording" / "flux.yaml").read_text(encoding="utf-8")
    for name in MAY_BE_SILENT:
        assert f"- record: {name}\n" in recording
        for _, rule in ALERTS:
            if name in rule["expr"]:
                runbook = RULES / "runbooks" / f"{rule['alert']}.md"
                assert "Silent unless Flux's controllers are scraped" in runbook.read_text(encoding="utf-8")


def _commands(text: str) -> set[str]:
    """The first words of every call of ours, in a command block or behind "Next:"."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    nexts = "\n".join(re.findall(r"Next: (.*)", text))
    calls = re.findall(r"gotk-exporter ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", f"{blocks}\n{nexts}")
    return {call if call.startswith("rules ") else call.split()[0] for call in calls}


@EACH_ALERT
def test_every_command_of_ours_that_one_is_told_to_type_exists(
    file: str, rule: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    runbook = (RULES / "runbooks" / f"{rule['alert']}.md").read_text(encoding="utf-8")
    for command in _commands(f"{rule['annotations']['description']}\n{runbook}"):
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), "--help"])
        assert ended.value.code == 0, f"gotk-exporter {command}: {capsys.readouterr().err}"
