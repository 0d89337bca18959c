"""What one report is taken with: a server with a fleet in it, and clients of everything."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from tests.bench.figures import Report, Target
from tests.bench.objects import Fleet
from tests.bench.servers import KUBE_APISERVER, Server
from tests.peers.admin import AdminClient

TARGETS_OBJECTS = 10_000
"""Kustomizations through a real kube-apiserver: what the targets of the figures are stated for."""


@dataclass(frozen=True)
class Options:
    """Of the command line."""

    changes: int
    """Status changes before memory is read."""
    freshness: int
    """Changes whose visibility is timed, for each exporter."""
    peers: tuple[tuple[str, str], ...] = ()
    """Name and command of each exporter to be measured beside ours."""


@dataclass(frozen=True)
class Run:
    through: str
    fleet: Fleet
    options: Options
    server: Server
    admin: AdminClient
    session: aiohttp.ClientSession
    """For exporters; it decompresses nothing."""
    report: Report

    def target(self, limit: float, *, at_least: bool = False) -> Target | None:
        """A target that holds for the conditions that the targets are stated for, and no others."""
        stated = self.through == KUBE_APISERVER and self.fleet == Fleet(TARGETS_OBJECTS)
        return Target(limit, at_least) if stated else None
