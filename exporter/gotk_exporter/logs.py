"""How log lines look: logfmt or JSON, one line each. What is worth a line is each room's decision."""

from __future__ import annotations

import json
import logging
import time
from typing import TextIO

FORMATS = ("logfmt", "json")
LEVELS = ("debug", "info", "warn", "error")

_LEVEL_NAMES = {logging.WARNING: "warn", logging.CRITICAL: "error"}


def configure(level: str, fmt: str, stream: TextIO | None = None) -> None:
    """Send everything at or above the level to the stream (standard error), in one of ``FORMATS``."""
    output = logging.StreamHandler(stream)
    output.setFormatter(_Json() if fmt == "json" else _Logfmt())
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))
    # One line per connection problem comes from us; aiohttp's and asyncio's own would repeat it.
    # The server's would quote what strangers send, headers and all.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    for name in ("aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(self, record).items())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        pairs = [f'"{key}": "{_escaped(value)}"' for key, value in _fields(self, record).items()]
        return "{" + ", ".join(pairs) + "}"


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, str]:
    fields = {
        "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
        "level": _LEVEL_NAMES.get(record.levelno, record.levelname.lower()),
        "caller": record.name.removeprefix("gotk_exporter."),
        "msg": record.getMessage(),
    }
    if record.exc_info:
        fields["error"] = formatter.formatException(record.exc_info)
    return fields


def _quoted(value: str) -> str:
    if value and value.isprintable() and not any(character in ' ="\\' for character in value):
        return value
    return f'"{_escaped(value)}"'


def _escaped(value: str) -> str:
    """As JSON escapes it, and whatever else is not printable: U+2028 ends a line for some, U+009B steers terminals."""
    if value.isprintable():
        return json.dumps(value, ensure_ascii=False)[1:-1]
    return "".join([json.dumps(character, ensure_ascii=not character.isprintable())[1:-1] for character in value])
