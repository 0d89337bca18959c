"""What a test does when something that it needs is not there: skip, or, for a peer in CI, fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.peers import binaries

REPOSITORY = Path(__file__).parents[2]


def require_peer(name: str) -> Path:
    """The binary ``name`` (a key of binaries.BINARIES); without it the test is skipped, with CI=true it fails."""
    found = binaries.find(name)
    if found is not None:
        return found
    message = f"{name} is missing; run 'make peers'"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def shared_data(path: str) -> Path:
    """``path`` in the shared/ directory beside the repository; without it the test is skipped, in CI too.

    Not every clone has a neighbour.
    """
    found = REPOSITORY.parent / "shared" / path
    if not found.exists():
        pytest.skip(f"../shared/{path} is missing")
    return found
