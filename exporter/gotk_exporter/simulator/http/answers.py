"""Answers as data: status, headers, and a body in pieces, so that a long list is never one piece of memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gotk_exporter.simulator.state.errors import NoSuchPath, Refusal

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answer:
    """All of an answer that is not a stream."""

    status: int
    body: Iterable[bytes] = ()
    """Read once, when it is sent."""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    """Bytes of the body, where it is made while it is sent."""

    @property
    def length(self) -> int:
        return sum(map(len, self.body)) if self.size is None else self.size


def json_answer(document: Any, status: int = 200) -> Answer:
    return Answer(status, (encode(document),))


def text_answer(text: str, status: int = 200) -> Answer:
    return Answer(status, (text.encode(),), TEXT)


def refused(refusal: Refusal) -> Answer:
    """The answer that says no."""
    if isinstance(refusal, NoSuchPath):
        return text_answer(f"{refusal.message}\n", refusal.code)
    seconds = refusal.retry_after_seconds
    headers = {"Retry-After": str(seconds)} if seconds is not None else {}
    return Answer(refusal.code, (encode(refusal.status()),), JSON, headers)
