"""The table of kinds, held against the kinds that exist, its own structs, its examples and the real CRDs."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from gotk_exporter.flux import relation_samples
from gotk_exporter.flux.durations import parse_duration
from gotk_exporter.flux.kinds import BY_NAME, KINDS
from gotk_exporter.flux.objects import FluxObject, decode
from gotk_exporter.flux.readiness import Sign, case_of, observe
from gotk_exporter.flux.rows import Case, Kind, Past, Reconciled
from gotk_exporter.flux.samples import SAMPLES
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import CONTROLLER_LEASE_RENEW, OBJECT_FAMILIES, OWNER_INFO, REVISION_BEHIND
from tests.flux.examples import EXAMPLES, NOW, Example, json_bytes

# What Flux 2.9, flux-operator, tofu-controller and Flagger have.
EXISTING = {
    "kustomize.toolkit.fluxcd.io": {"Kustomization": "kustomizations"},
    "helm.toolkit.fluxcd.io": {"HelmRelease": "helmreleases"},
    "source.toolkit.fluxcd.io": {
        "GitRepository": "gitrepositories",
        "OCIRepository": "ocirepositories",
        "Bucket": "buckets",
        "HelmRepository": "helmrepositories",
        "HelmChart": "helmcharts",
        "ExternalArtifact": "externalartifacts",
    },
    "source.extensions.fluxcd.io": {"ArtifactGenerator": "artifactgenerators"},
    "notification.toolkit.fluxcd.io": {"Receiver": "receivers", "Alert": "alerts", "Provider": "providers"},
    "image.toolkit.fluxcd.io": {
        "ImageRepository": "imagerepositories",
        "ImagePolicy": "imagepolicies",
        "ImageUpdateAutomation": "imageupdateautomations",
    },
    "fluxcd.controlplane.io": {
        "FluxInstance": "fluxinstances",
        "FluxReport": "fluxreports",
        "ResourceSet": "resourcesets",
        "ResourceSetInputProvider": "resourcesetinputproviders",
    },
    "infra.contrib.fluxcd.io": {"Terraform": "terraforms"},
    "flagger.app": {"Canary": "canaries", "MetricTemplate": "metrictemplates", "AlertProvider": "alertproviders"},
}


def test_the_table_has_exactly_the_kinds_that_exist() -> None:
    assert {(kind.group, kind.name, kind.plural) for kind in KINDS} == {
        (group, name, plural) for group, kinds in EXISTING.items() for name, plural in kinds.items()
    }


def test_names_are_unique_across_groups_because_the_legacy_metrics_have_no_group() -> None:
    assert len(BY_NAME) == len(KINDS)


def test_a_kind_is_named_as_rbac_and_kubectl_name_it() -> None:
    assert BY_NAME["Canary"].resource == "canaries.flagger.app"


# The examples


def examples_of(kind: Kind) -> list[Example]:
    return [example for example in EXAMPLES if example.kind == kind.name]


def decoded(example: Example) -> FluxObject:
    obj, defects = decode(json_bytes(example.object))
    assert defects == ()
    return obj


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_has_three_examples_or_more(kind: Kind) -> None:
    examples = examples_of(kind)
    assert len(examples) >= 3
    assert {example.object["apiVersion"].partition("/")[0] for example in examples} == {kind.group}
    assert {example.name.partition("/")[0] for example in examples} == {kind.name}


@pytest.mark.parametrize(
    ("kind", "case"), [(kind, case) for kind in KINDS for case in kind.cases], ids=lambda row: getattr(row, "name", "")
)
def test_every_case_of_the_table_has_an_example(kind: Kind, case: Case) -> None:
    assert any(case_of(kind, decoded(example)) is case for example in examples_of(kind)), case


def test_every_alternative_of_a_text_has_an_example() -> None:
    """Words of a controller that nobody has written down are words that nobody has looked at."""
    messages = {condition["message"] for example in EXAMPLES for condition in conditions_of(example)}
    for text in (
        "path not found",
        "failed to ",
        "Source artifact not found, retrying in 30s",
        "Source is not ready, artifact not found",
        "Source not ready: artifact not found. Retrying in 30s",
        "HelmChart 'cache/cache-redis' is not ready",
        "get sources failed: source ",
    ):
        assert any(text in message for message in messages), text


def conditions_of(example: Example) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (example.object.get("status") or {}).get("conditions") or []
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.phases], ids=lambda kind: kind.name)
def test_every_phase_of_the_table_has_an_example(kind: Kind) -> None:
    assert {example.object["status"]["phase"] for example in examples_of(kind)} == kind.phases.keys()


def signs_of(kinds: list[Kind]) -> set[Sign]:
    observations = (observe(kind, decoded(example), Seen(NOW)) for kind in kinds for example in examples_of(kind))
    return {observation.sign for observation in observations if observation is not None}


def test_every_sign_has_an_example() -> None:
    assert signs_of(list(KINDS)) == set(Sign)


@pytest.mark.parametrize("past", [past for past in Past if past is not Past.NONE], ids=lambda past: past.name)
def test_every_way_of_keeping_a_past_is_asked_between_runs_and_within_one(past: Past) -> None:
    kinds = [kind for kind in KINDS if kind.past is past]
    assert {Sign.FAILED, Sign.RUNS, Sign.RESTS} <= signs_of(kinds)


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_an_example_says_what_is_the_matter(example: Example) -> None:
    assert example.comment.startswith("# ")
    assert example.comment.endswith(".")


def test_every_family_has_samples_and_every_sample_a_family() -> None:
    # Rendered apart: of no object, of whole fleets at once, and as it is configured.
    apart = {CONTROLLER_LEASE_RENEW.name, REVISION_BEHIND.name, OWNER_INFO.name}
    assert SAMPLES.keys() | relation_samples.SAMPLES.keys() | apart == {family.name for family in OBJECT_FAMILIES}


def test_what_nothing_reconciles_has_no_periods() -> None:
    assert [
        kind.name for kind in KINDS if kind.reconciled is Reconciled.NEVER and (kind.interval or kind.timeout)
    ] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_path_of_the_table_leads_to_a_field_that_is_decoded(kind: Kind) -> None:
    assert [path for path in paths(kind) if not leads_to_a_scalar(FluxObject, path.split("."))] == []


# The real CRDs

REAL = [kind for kind in KINDS if kind.group.endswith(".toolkit.fluxcd.io") and not kind.group.startswith("image.")]


@pytest.fixture
def crd(request: pytest.FixtureRequest, shared_data: Callable[[str], Path]) -> dict[str, Any]:
    kind: Kind = request.getfixturevalue("kind")
    text = shared_data(f"crds/flux/{kind.group}_{kind.plural}.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document


@pytest.fixture
def schema(crd: dict[str, Any]) -> dict[str, Any]:
    """Of the version that is stored."""
    (schema,) = [version["schema"]["openAPIV3Schema"] for version in crd["spec"]["versions"] if version["storage"]]
    assert isinstance(schema, dict)
    return schema


@pytest.mark.parametrize("kind", REAL, ids=lambda kind: kind.name)
class TestRealCustomResourceDefinitions:
    def test_call_the_kind_as_the_table_does(self, kind: Kind, crd: dict[str, Any]) -> None:
        spec = crd["spec"]
        assert (spec["group"], spec["names"]["kind"], spec["names"]["plural"]) == (kind.group, kind.name, kind.plural)
        assert spec["scope"] == "Namespaced"

    def test_have_each_field_that_the_table_names(self, kind: Kind, schema: dict[str, Any]) -> None:
        # Where the table names several, the later ones are for older versions.
        missing = [
            spelling
            for spelling in spellings(kind)
            if not any(find(schema, path.strip().split(".")) for path in spelling.split("|"))
        ]
        assert missing == []

    def test_can_suspend_what_the_table_can(self, kind: Kind, schema: dict[str, Any]) -> None:
        assert bool(find(schema, ["spec", "suspend"])) is (kind.suspend_path is not None)

    def test_have_an_interval_and_a_timeout_where_the_table_has_them(self, kind: Kind, schema: dict[str, Any]) -> None:
        # Two fields do nothing: the Provider's interval is deprecated, and its timeout is that of one notification.
        stated = {name for name in ("interval", "timeout") if find(schema, ["spec", name]) and kind.name != "Provider"}
        assert stated == {name for name, period in periods(kind) if period is not None}

    def test_default_to_what_the_table_says(self, kind: Kind, schema: dict[str, Any]) -> None:
        for name, period in periods(kind):
            default = (find(schema, ["spec", name]) or {}).get("default")
            if period is not None and default is not None:
                assert period.default_seconds == parse_duration(default)

    def test_have_conditions_where_the_table_expects_a_verdict(self, kind: Kind, schema: dict[str, Any]) -> None:
        assert kind.reconciled is Reconciled.IF_CONDITIONS or find(schema, ["status", "conditions"])

    def test_have_each_field_that_an_example_has(self, kind: Kind, crd: dict[str, Any], schema: dict[str, Any]) -> None:
        (stored,) = [version["name"] for version in crd["spec"]["versions"] if version["storage"]]
        current = [example for example in examples_of(kind) if example.version == stored]
        assert current
        for example in current:
            for part in ("spec", "status"):
                assert list(unknown(example.object.get(part), find(schema, [part]) or {}, part)) == [], example.name

    def test_give_each_field_the_type_that_we_decode(self, kind: Kind, schema: dict[str, Any]) -> None:
        # Else every object of the kind would be reported as malformed.
        assert list(mismatches(FluxObject, schema, "")) == []


def spellings(kind: Kind) -> Iterator[str]:
    yield from kind.info.values()
    for path in (kind.suspend_path, *(period.path for _, period in periods(kind) if period is not None)):
        if path is not None:
            yield path


def paths(kind: Kind) -> Iterator[str]:
    for spelling in spellings(kind):
        yield from (path.strip() for path in spelling.split("|"))


def periods(kind: Kind) -> tuple[tuple[str, Any], ...]:
    return ("interval", kind.interval), ("timeout", kind.timeout)


def alternatives(into: Any) -> tuple[Any, ...]:
    return typing.get_args(into) if typing.get_origin(into) in (typing.Union, types.UnionType) else (into,)


def leads_to_a_scalar(into: Any, steps: list[str]) -> bool:
    if not steps:
        return bool({str, bool} & set(alternatives(into)))
    step, *rest = steps
    for candidate in alternatives(into):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            fields = {field.encode_name: field.type for field in msgspec.structs.fields(candidate)}
            if step in fields and leads_to_a_scalar(fields[step], rest):
                return True
        if typing.get_origin(candidate) is list and step.isdigit():
            return leads_to_a_scalar(typing.get_args(candidate)[0], rest)
    return False


def find(schema: dict[str, Any], steps: list[str]) -> dict[str, Any] | None:
    """The part of an OpenAPI schema at a path; None where there is none."""
    for step in steps:
        found = schema.get("items") if step.isdigit() else schema.get("properties", {}).get(step)
        if found is None:
            return None
        schema = found
    return schema


def unknown(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """Where the value has a field that the schema has not, or lacks one that it must have."""
    if isinstance(value, list):
        for item in value:
            yield from unknown(item, schema.get("items", {}), path)
    elif isinstance(value, dict) and "properties" in schema:
        yield from (f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, part in value.items():
            if name not in schema["properties"]:
                yield f"{path}.{name}"
            else:
                yield from unknown(part, schema["properties"][name], f"{path}.{name}")


OPENAPI_TYPES = {str: "string", bool: "boolean", list: "array", dict: "object"}


def openapi_type(into: Any) -> str:
    origin = typing.get_origin(into)
    if origin is typing.Annotated:
        return "integer"
    if isinstance(into, type) and issubclass(into, msgspec.Struct):
        return "object"
    return OPENAPI_TYPES[origin or into]


def mismatches(struct: type[msgspec.Struct], schema: dict[str, Any], path: str) -> Iterator[str]:
    """The fields that both know, with different types."""
    for field in msgspec.structs.fields(struct):
        part = find(schema, [field.encode_name])
        if part is None or (path == "" and field.name == "metadata"):
            continue
        place = f"{path}.{field.encode_name}".removeprefix(".")
        candidates = [candidate for candidate in alternatives(field.type) if candidate is not type(None)]
        fitting = [candidate for candidate in candidates if openapi_type(candidate) == part["type"]]
        if not fitting:
            yield f"{place} is {part['type']}"
            continue
        (candidate,) = fitting
        if typing.get_origin(candidate) is list:
            candidate, part = typing.get_args(candidate)[0], part["items"]
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            yield from mismatches(candidate, part, place)
