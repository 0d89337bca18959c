"""The kinds that are installed by default are those of the real CRDs, as far as they say the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.simulator.crds import served_kind
from gotk_exporter.simulator.flux import definitions
from gotk_exporter.simulator.storage import Storage
from tests.peers.manifests import read_objects

OURS = {definition["metadata"]["name"]: definition for definition in definitions()}


def test_every_kind_that_we_know_is_installed(storage: Storage) -> None:
    assert {(kind.group, kind.plural) for kind in KINDS} <= {kind.resource for kind in storage.kinds}


@pytest.fixture
def real(shared_data: Callable[[str], Path]) -> list[dict[str, Any]]:
    return read_objects(*sorted(shared_data("crds/flux").glob("*.yaml")))


def test_versions_and_names_are_those_of_the_real_ones(real: list[dict[str, Any]]) -> None:
    for definition in real:
        ours = OURS[definition["metadata"]["name"]]["spec"]
        theirs = definition["spec"]
        assert (ours["group"], ours["scope"]) == (theirs["group"], theirs["scope"])
        for field in "kind", "plural", "shortNames":
            assert ours["names"].get(field) == theirs["names"].get(field)
        assert [version["name"] for version in ours["versions"]] == [
            version["name"] for version in theirs["versions"] if version["served"]
        ]


def test_columns_and_status_are_those_of_the_real_ones(real: list[dict[str, Any]], storage: Storage) -> None:
    kinds = {kind.name: kind for kind in storage.kinds}
    for definition in real:
        names = definition["spec"]["names"]
        theirs = served_kind({"spec": {**definition["spec"], "names": {"singular": "", **names}}}).preferred
        ours = kinds[names["kind"]].preferred
        assert ours.status == theirs.status
        assert ours.defaults.completed({"status": {}})["status"] == theirs.defaults.completed({"status": {}})["status"]
        # Of a wide row the real ones may show more.
        assert {column.name: column.path for column in ours.columns}.items() <= {
            column.name: column.path for column in theirs.columns
        }.items()
