"""``gotk-exporter rules audit``: the rules of a running Prometheus that can never fire. 1: there are some."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Callable

from gotk_exporter.cli.output import INTERRUPTED, complain, printable, progress, show

_UNITS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def add(audit: argparse.ArgumentParser, duration: Callable[[str], float]) -> None:
    """The arguments; ``duration`` reads one like "90s"."""
    audit.description = (
        "Which rules of a running Prometheus can never fire, because a metric, a label or a value has no series, and "
        "what to use instead. Reads only. Exit code 0: there is none; 1: there are some, or it cannot be asked; 2: bad "
        "usage."
    )
    audit.add_argument(
        "--prometheus",
        metavar="URL",
        required=True,
        help="e.g. http://127.0.0.1:9090; for Mimir with its path /prometheus",
    )
    audit.add_argument("--username", metavar="NAME", help="for basic auth, with --password-file")
    audit.add_argument("--password-file", metavar="FILE", help="that holds the password")
    audit.add_argument("--bearer-token-file", metavar="FILE", help="that holds a token, in place of a password")
    audit.add_argument(
        "--since",
        metavar="DURATION",
        type=_since,
        default="7d",
        help="a series that was there within this time counts; default 7d",
    )
    audit.add_argument("--timeout", metavar="DURATION", type=duration, default="60s", help="for all of it; default 60s")
    audit.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default text")
    audit.set_defaults(command=_audit, refuse=audit.error)


def _audit(arguments: argparse.Namespace) -> int:
    from gotk_exporter.rules.audit import AuditOptions, BadOptions, audit
    from gotk_exporter.rules.audit_report import shown
    from gotk_exporter.rules.prometheus_api import Unavailable

    options = AuditOptions(
        arguments.prometheus,
        arguments.timeout,
        arguments.username,
        arguments.password_file,
        arguments.bearer_token_file,
        arguments.since,
    )
    try:
        done = asyncio.run(audit(options, progress if sys.stderr.isatty() else lambda text: None))
    except (BadOptions, Unavailable) as error:
        complain(printable(str(error)))
        return 2 if isinstance(error, BadOptions) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    show(shown(done, arguments.output))
    return 1 if done.of("dead") else 0


def _since(text: str) -> float:
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mhdw])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f'"{text}" is no time to look back; write e.g. "12h", "7d" or "4w"')
    return int(match[1]) * _UNITS[match[2]]
