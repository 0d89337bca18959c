"""How the other controllers get an artifact from source-controller, and how long they try while it is not there.

Not recorded: it follows fluxcd/pkg, http/fetch, whose retries are the same for manifests and for charts.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from gotk_exporter.simulator.fleet.cluster import Cluster
from gotk_exporter.simulator.fleet.patches import Wait


def download(cluster: Cluster, url: str) -> Generator[Wait, Any, str]:
    """Why it cannot be had, after all retries; empty if it can."""
    flags = cluster.flags
    delay = flags.fetch_retry_min
    for _ in range(flags.fetch_retries):
        if cluster.world.serving:
            return ""
        yield Wait(delay)
        delay = min(2 * delay, flags.fetch_retry_max)
    if cluster.world.serving:
        return ""
    attempts = flags.fetch_retries + 1
    return f'GET {url} giving up after {attempts} attempt(s): Get "{url}": dial tcp: connect: connection refused'
