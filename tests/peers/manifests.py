"""YAML files of Kubernetes objects, as data. Knows nothing about their kinds."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.peers.admin import KubernetesObject

CRDS = Path(__file__).parent.parent / "data" / "crds"
"""Our own minimal CRDs: every field is kept, none is checked."""


class _Loader(yaml.SafeLoader):
    """Takes a bare ``=`` for what it is: prometheus-operator's CRDs have one (pyyaml#89)."""


def _plain(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:value", _plain)


def read_objects(*files: Path) -> list[KubernetesObject]:
    """Every object of ``files``, in their order."""
    return [obj for file in files for obj in yaml.load_all(file.read_text(), _Loader) if obj is not None]
