"""Faults on demand: what goes wrong with which requests, and for how long. It decides; streams.py does it.

server.faults.add(too_many_requests(retry_after_seconds=2), verbs={"list"}, requests=3)
hanging = server.faults.add(Hang(), resources={"kustomizations"})
...
hanging.clear()
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer with this, in place of what was asked for."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hang:
    """Accept and answer nothing. What hangs is answered once the fault is cleared."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Answer late, and little by little."""

    delay_seconds: float = 0.0
    """Before the first byte."""
    bytes_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection in mid-answer."""

    after_bytes: int
    """Of the body."""


Kind = Reply | Hang | Slow | Cut

HTML = b"<html><head><title>500</title></head><body><h1>Internal Server Error</h1></body></html>\n"


def internal_error() -> Reply:
    """What a proxy says whose backend failed: 500, in HTML."""
    return Reply(500, HTML, "text/html")


def too_many_requests(retry_after_seconds: int) -> Reply:
    """What kube-apiserver's priority and fairness says: 429, in plain text."""
    body = b"Too many requests, please try again later.\n"
    return Reply(429, body, "text/plain; charset=utf-8", {"Retry-After": str(retry_after_seconds)})


class Fault:
    """One fault, until it is used up or cleared."""

    def __init__(
        self, kind: Kind, verbs: Collection[str], resources: Collection[str], requests: int | None, faults: Faults
    ) -> None:
        self.kind = kind
        self.hits = 0
        """Requests that it struck so far."""
        self._verbs = frozenset(verbs)
        self._resources = frozenset(resources)
        self._left = requests
        self._faults = faults
        self._cleared = asyncio.Event()

    def clear(self) -> None:
        """End it; does nothing where it has ended."""
        self._cleared.set()
        self._faults.remove(self)

    async def cleared(self) -> None:
        """Wait until then."""
        await self._cleared.wait()

    def strikes(self, verb: str, resource: str) -> bool:
        """Whether it is meant for such a request."""
        return verb in (self._verbs or {verb}) and resource in (self._resources or {resource})

    def strike(self) -> None:
        """Count one request; the last that it was meant for takes it out of the list, and leaves it in force."""
        self.hits += 1
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._faults.remove(self)


class Faults:
    """Those in force."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(
        self,
        kind: Kind,
        *,
        verbs: Collection[str] = (),
        resources: Collection[str] = (),
        requests: int | None = None,
    ) -> Fault:
        """From now on, for the next ``requests`` that it is meant for, or until it is cleared.

        ``verbs``: as RBAC knows them; a path that is no resource's has the verb "get". ``resources``: plurals. Each
        empty for all of them.
        """
        fault = Fault(kind, verbs, resources, requests, self)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """End all."""
        for fault in tuple(self._faults):
            fault.clear()

    def remove(self, fault: Fault) -> None:
        """Strike nothing with it any more."""
        if fault in self._faults:
            self._faults.remove(fault)

    def strike(self, verb: str, resource: str) -> list[Fault]:
        """What this request must suffer."""
        struck = [fault for fault in self._faults if fault.strikes(verb, resource)]
        for fault in struck:
            fault.strike()
        return struck
