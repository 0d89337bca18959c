"""YAML files of Kubernetes objects, as data. Knows nothing about their kinds."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.peers.admin import KubernetesObject

CRDS = Path(__file__).parent.parent / "data" / "crds"
"""Our own minimal CRDs: every field is kept, none is checked."""


def read_objects(*files: Path) -> list[KubernetesObject]:
    """Every object of ``files``, in their order."""
    return [obj for file in files for obj in yaml.safe_load_all(file.read_text()) if obj is not None]
