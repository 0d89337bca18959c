"""How people write a kind: as its objects do, or as kubectl takes it (plural, with the group, short), in any case."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from gotk_exporter.flux.kinds import BY_NAME, KINDS
from gotk_exporter.flux.rows import Kind

MAX_COMPARED = 1000
"""Names that are compared with one that does not exist: comparing takes 10 µs."""
MAX_CHARS = 253
"""Of any name in Kubernetes."""

_SHORT: Mapping[str, tuple[str, ...]] = {
    "Kustomization": ("ks",),
    "HelmRelease": ("hr",),
    "GitRepository": ("gitrepo",),
    "OCIRepository": ("ocirepo",),
    "HelmRepository": ("helmrepo",),
    "HelmChart": ("hc",),
    "ExternalArtifact": ("ea",),
    "ArtifactGenerator": ("ag",),
    "ImageRepository": ("imgrepo", "imagerepo"),
    "ImagePolicy": ("imgpol", "imagepol"),
    "ImageUpdateAutomation": ("iua", "imgupd", "imgauto"),
    "ResourceSet": ("rset",),
    "ResourceSetInputProvider": ("rsip",),
    "Terraform": ("tf",),
}
"""The shortNames of the CRDs; flux's own names for kinds are none of kubectl's."""


def _spellings(kind: Kind) -> tuple[str, ...]:
    singular = kind.name.lower()
    names = (singular, kind.plural, *_SHORT.get(kind.name, ()))
    return (*names, f"{singular}.{kind.group}", kind.resource)


_BY_SPELLING: Mapping[str, Kind] = {spelling: kind for kind in KINDS for spelling in _spellings(kind)}


def kind_called(text: str) -> Kind | None:
    """The kind that is meant."""
    return _BY_SPELLING.get(text.lower())


def kind_like(text: str) -> str:
    """A remedy for a kind that is none."""
    near = difflib.get_close_matches(text[:MAX_CHARS].lower(), _BY_SPELLING, n=1)
    return f"did you mean {_BY_SPELLING[near[0]].name}?" if near else f"known: {', '.join(sorted(BY_NAME))}"


def names_like(name: str, known: Iterable[str]) -> list[str]:
    """Up to three names that resemble this one, the nearest first."""
    # The cheap look first: those that begin alike, or hold the name or are held by it.
    akin: list[str] = []
    others: list[str] = []
    for other in sorted(set(known)):
        (akin if _is_akin(name, other) else others).append(other)
    near = difflib.get_close_matches(name[:MAX_CHARS], [*akin, *others][:MAX_COMPARED], n=3)
    return near or akin[:3]


def _is_akin(name: str, other: str) -> bool:
    return other[:3] == name[:3] or name in other or other in name
