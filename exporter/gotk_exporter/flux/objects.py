"""The part of an object that we decode.

One struct serves all kinds: each field means the same wherever it occurs, and what a kind does with it stands in the
table (kinds). Fields that we do not name are skipped by the decoder without being built, which is what makes this ten
times faster than decoding whole objects. A field of the wrong type costs itself, never the object: ``decode`` gives
what could be read and a ``Defect`` for what could not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from gotk_exporter.flux.lenient import read_leniently

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer as Kubernetes has them. A larger one that became a sample would cost the whole page: Prometheus refuses
numbers beyond float64."""


class Part(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A JSON object of which we know some fields."""


class Metadata(Part, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: Int64 | None = None
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None


class Condition(Part, frozen=True):
    type: str
    status: str
    reason: str = ""


class Reference(Part, frozen=True):
    name: str = ""


class ChartSpec(Part, frozen=True):
    source_ref: Reference = Reference()


class ChartTemplate(Part, frozen=True):
    spec: ChartSpec = ChartSpec()


class Analysis(Part, frozen=True):
    interval: str | None = None


class Spec(Part, frozen=True):
    suspend: bool | None = None
    interval: str | None = None
    timeout: str | None = None
    type: str | None = None
    url: str | None = None
    endpoint: str | None = None
    bucket_name: str | None = None
    image: str | None = None
    version: str | None = None
    chart: str | ChartTemplate | None = None
    chart_ref: Reference | None = None
    source_ref: Reference | None = None
    image_repository_ref: Reference | None = None
    analysis: Analysis | None = None
    canary_analysis: Analysis | None = None


class Artifact(Part, frozen=True):
    revision: str | None = None


class Release(Part, frozen=True):
    """An entry of a HelmRelease's history; a Kustomization's history has other fields, so all of these are absent."""

    chart_name: str | None = None
    chart_version: str | None = None
    app_version: str | None = None


class Entry(Part, frozen=True):
    """Something an object manages. Only counted, so nothing of it is read."""


class Inventory(Part, frozen=True):
    entries: list[Entry] | None = None


class Status(Part, frozen=True):
    conditions: list[Condition] | None = None
    observed_generation: Int64 | None = None
    artifact: Artifact | None = None
    last_applied_revision: str | None = None
    history: list[Release] | None = None
    inventory: Inventory | list[Entry] | None = None
    """ArtifactGenerator has a bare list where the appliers have an object with ``entries``."""


class FluxObject(Part, frozen=True):
    metadata: Metadata = Metadata()
    spec: Spec = Spec()
    status: Status = Status()


@dataclass(frozen=True, slots=True)
class Defect:
    """A field that could not be read. ``field`` is a path of ours, never of the object's making: bounded as a label."""

    field: str
    problem: str


_decoder = msgspec.json.Decoder(FluxObject)


def decode(raw: bytes | msgspec.Raw) -> tuple[FluxObject, tuple[Defect, ...]]:
    """The object as far as it could be read, and what could not. Never raises, whatever the bytes."""
    try:
        return _decoder.decode(raw), ()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # The last two: what is no UTF-8 or has thousands of digits, and what is nested by the thousand.
        obj, problems = read_leniently(bytes(raw), FluxObject)
        return obj, tuple([Defect(path or "object", problem) for path, problem in problems.items()])
