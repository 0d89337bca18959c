"""Where the rule files are that come with this package: inside an installed wheel, or in a checkout beside it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

CLASSIC = "classic.yaml"
"""The rules that the field copied for years, for those who want only these: nothing installs them unasked."""


class NotShipped(Exception):
    """The rule files are not where they should be."""


def root() -> Path:
    """The folder that holds ``rules`` and ``tests/rules``: a test file finds its rules by ../../rules in either place.

    Raises:
        NotShipped: this installation has none.
    """
    package = Path(str(resources.files("gotk_exporter")))
    for folder in (package / "_shipped", package.parents[1]):
        if (folder / "rules" / "alerts").is_dir():
            return folder
    raise NotShipped("this installation holds no rule files; install gotk-exporter again, or name files of your own")


def rule_files() -> list[Path]:
    """Native rule files, those that are off by default too; recording rules first, as alerts build upon them."""
    rules = root() / "rules"
    return [path for topic in ("recording", "alerts") for path in sorted((rules / topic).glob("*.yaml"))]


def test_files() -> list[Path]:
    """Raises NotShipped: none would pass as well as all."""
    found = sorted((root() / "tests" / "rules").glob("*_test.yaml"))
    if not found:
        raise NotShipped("this installation holds no tests of its rules; name test files of your own")
    return found


def name_of(path: Path) -> str:
    """Of one of ours: "alerts-reconciliation", since a topic may have alerts and recording rules."""
    return "-".join(path.relative_to(root() / "rules").with_suffix("").parts)
