"""Malformed objects: each broken field costs itself, is told once, and nothing ever raises."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gotk_exporter.flux.objects import FluxObject, decode
from tests.flux.examples import EXAMPLE, EXAMPLES, Example, by_family, lines_of, render, sorted_lines

CONDITION = "gotk_resource_condition"
VERDICT = "gotk_reconcile_condition"
INFO = "gotk_resource_info"
LAG = "gotk_resource_generation_lag"
INTERVAL = "gotk_resource_interval_seconds"
TIMEOUT = "gotk_resource_timeout_seconds"
RETRY = "gotk_resource_retry_interval_seconds"
CHECKED = "gotk_resource_health_checked"
INVENTORY = "gotk_resource_inventory_entries"
NEEDS = "gotk_resource_dependency_info"
RUNNING = "gotk_resource_progressing_since_timestamp_seconds"
UNCERTAINTY = "gotk_resource_failing_since_uncertainty_seconds"
FAILING = {"gotk_resource_failing_since_timestamp_seconds", UNCERTAINTY}
CAUSE = {"gotk_root_cause_info", "gotk_resource_blocked_dependents", "gotk_resource_held_back"}
RUNS = {"gotk_resource_last_reconcile_timestamp_seconds", "gotk_resource_usual_run_seconds"}
CHILDREN = "gotk_resource_failing_child_info"
WITHOUT_CONDITIONS = {
    CONDITION,
    VERDICT,
    INFO,
    RUNNING,
    CHILDREN,
    "gotk_resource_failure_info",
    *FAILING,
    *CAUSE,
}
"""What differs from the intact object's: it looks as if nothing had ever touched it."""

INTACT = EXAMPLE["Kustomization/health-check-failing"]

MALFORMED: list[tuple[str, tuple[str | int, ...], Any, set[str], set[str]]] = [
    # what is put where, the fields reported, the families that differ from the intact object's
    ("conditions as a string", ("status", "conditions"), "Ready", {"status.conditions"}, WITHOUT_CONDITIONS),
    ("conditions as an object", ("status", "conditions"), {}, {"status.conditions"}, WITHOUT_CONDITIONS),
    ("a condition as a string", ("status", "conditions", 0), "Ready", {"status.conditions"}, {CONDITION}),
    ("a condition as null", ("status", "conditions", 0), None, {"status.conditions"}, {CONDITION}),
    ("a condition without type", ("status", "conditions", 0), {"status": "x"}, {"status.conditions.type"}, {CONDITION}),
    # Of Reconciling: without it a run seems to go on.
    (
        "a reason of null",
        ("status", "conditions", 0, "reason"),
        None,
        {"status.conditions.reason"},
        {CONDITION, RUNNING},
    ),
    (
        "a reason as a number",
        ("status", "conditions", 0, "reason"),
        5,
        {"status.conditions.reason"},
        {CONDITION, RUNNING},
    ),
    ("a status as a boolean", ("status", "conditions", 0, "status"), True, {"status.conditions.status"}, {CONDITION}),
    # The verdict is the same: the history says how the last run ended. But now a run seems to go on.
    ("a status of its own kind", ("status", "conditions", 1, "status"), "false", set(), {CONDITION, RUNNING}),
    (
        "a time as a number",
        ("status", "conditions", 1, "lastTransitionTime"),
        5,
        {"status.conditions.lastTransitionTime"},
        set(),
    ),
    ("a message as a list", ("status", "conditions", 1, "message"), ["x"], {"status.conditions.message"}, {CHILDREN}),
    # When it last succeeded is lost, with it how old the failure is at most, and how long its runs take.
    ("a history as a string", ("status", "history"), "x", {"status.history"}, FAILING | RUNS),
    (
        "a first run as a number",
        ("status", "history", 0, "firstReconciled"),
        5,
        {"status.history.firstReconciled"},
        {UNCERTAINTY},
    ),
    (
        "a run without a result",
        ("status", "history", 0, "lastReconciledStatus"),
        5,
        {"status.history.lastReconciledStatus"},
        set(),
    ),
    ("a creation time as a number", ("metadata", "creationTimestamp"), 5, {"metadata.creationTimestamp"}, set()),
    ("labels as text", ("metadata", "labels"), "x", {"metadata.labels"}, set()),
    ("an interval in words", ("spec", "interval"), "soon", {"spec.interval"}, {INTERVAL, TIMEOUT}),
    ("an interval as a number", ("spec", "interval"), 5, {"spec.interval"}, {INTERVAL, TIMEOUT}),
    ("a status of null", ("status",), None, {"status"}, {*WITHOUT_CONDITIONS, *RUNS, LAG, INVENTORY}),
    ("a status as a list", ("status",), [], {"status"}, {*WITHOUT_CONDITIONS, *RUNS, LAG, INVENTORY}),
    ("a spec as a string", ("spec",), "x", {"spec"}, {INFO, INTERVAL, RETRY, TIMEOUT, NEEDS, CHECKED}),
    ("an inventory as a string", ("status", "inventory"), "x", {"status.inventory"}, {INVENTORY, CHILDREN}),
    ("an inventory of junk", ("status", "inventory"), [1, "x", None], {"status.inventory"}, {CHILDREN}),
    ("entries as a number", ("status", "inventory", "entries"), 5, {"status.inventory.entries"}, {INVENTORY, CHILDREN}),
    ("a fraction", ("metadata", "generation"), 4.5, {"metadata.generation"}, {LAG}),
    ("a whole number with a point", ("metadata", "generation"), 4.0, {"metadata.generation"}, {LAG}),
    ("a number without end", ("metadata", "generation"), 10**400, {"metadata.generation"}, {LAG}),
    ("more than 64 bits", ("status", "observedGeneration"), 2**63, {"status.observedGeneration"}, {LAG}),
    ("a number as text", ("metadata", "generation"), "4", {"metadata.generation"}, {LAG}),
    ("suspend as text", ("spec", "suspend"), "true", {"spec.suspend"}, set()),
    ("a reference as text", ("spec", "sourceRef"), "fleet", {"spec.sourceRef"}, {INFO, NEEDS}),
    ("a reference's name as a number", ("spec", "sourceRef", "name"), 5, {"spec.sourceRef.name"}, {INFO, NEEDS}),
    ("dependencies as a string", ("spec", "dependsOn"), "x", {"spec.dependsOn"}, {NEEDS}),
    ("dependencies as text", ("spec", "dependsOn"), ["databases"], {"spec.dependsOn"}, {NEEDS}),
    ("a dependency without a name", ("spec", "dependsOn", 0), {"namespace": "x"}, set(), {NEEDS}),
    ("health checks as text", ("spec", "healthChecks"), "x", {"spec.healthChecks"}, set()),
    (
        "an entry's id as a number",
        ("status", "inventory", "entries", 0, "id"),
        5,
        {"status.inventory.entries.id"},
        {CHILDREN},
    ),
    ("an annotation as a number", ("metadata", "annotations"), {"a": 5, "b": "c"}, {"metadata.annotations"}, set()),
    ("annotations as a list", ("metadata", "annotations"), ["a"], {"metadata.annotations"}, set()),
    ("an annotation of a mebibyte", ("metadata", "annotations"), {"a": "x" * 2**20}, set(), set()),
    ("a deletion time as a number", ("metadata", "deletionTimestamp"), 5, {"metadata.deletionTimestamp"}, set()),
    ("a uid as a number", ("metadata", "uid"), 5, {"metadata.uid"}, set()),
    ("junk that nobody reads", ("spec", "patches"), [{"a": [None, 1e308, {"": -(2**70)}]}], set(), set()),
]


@pytest.mark.parametrize(
    ("path", "value", "fields", "families"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED]
)
def test_a_malformed_field_costs_itself_only(
    path: tuple[str | int, ...], value: Any, fields: set[str], families: set[str]
) -> None:
    text, defects = render(INTACT.changed(*path, to=value), INTACT.kind)

    assert {defect.field for defect in defects} == fields
    before, after = by_family(INTACT.expected), by_family(text)
    assert {name for name in before | after if before.get(name) != after.get(name)} == families


def test_an_annotation_that_is_no_text_costs_no_other_annotation() -> None:
    intact = EXAMPLE["FluxInstance/well"]
    text, (defect,) = render(intact.changed("metadata", "annotations", "example.com/weight", to=5), intact.kind)
    assert sorted_lines(text) == sorted_lines(intact.expected)
    assert defect.field == "metadata.annotations"


@pytest.mark.parametrize("damage", [b'"\\ud800"', b'"\xff"', b'"\xed\xa0\x80"'])
def test_text_that_has_no_utf_8_form_is_shown_with_a_replacement(damage: bytes) -> None:
    raw = json.dumps(INTACT.object).encode().replace(b'"fleet"', damage)
    text, defects = render(raw, "Kustomization")
    assert 'source_name="�' in text
    assert by_family(text)[VERDICT] == by_family(INTACT.expected)[VERDICT]
    assert defects == ()


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["]}\\"",{"[":'])
@pytest.mark.parametrize("depth", [100, 3_000, 100_000])
def test_nesting_without_end_costs_only_what_is_nested(opening: bytes, depth: int) -> None:
    closing = b"".join(b"]" if bracket == ord("[") else b"}" for bracket in brackets(opening))
    values = opening * depth + b"1" + closing * depth
    intact = EXAMPLE["HelmRelease/well"]
    raw = json.dumps(intact.changed("spec", "values", to="VALUES")).encode()
    text, defects = render(raw.replace(b'"VALUES"', values), "HelmRelease", "v2")
    assert (sorted_lines(text), defects) == (sorted_lines(intact.expected), ())
    text, defects = render(raw.replace(b'"30m"', values).replace(b'"VALUES"', values), "HelmRelease", "v2")
    assert by_family(text).keys() == by_family(intact.expected).keys() - {INTERVAL}
    assert [defect.field for defect in defects] == ["spec.interval"]


def brackets(opening: bytes) -> Iterator[int]:
    """The brackets outside of strings, innermost first."""
    outside = opening.replace(b'"]}\\""', b"").replace(b'"["', b"")
    return (byte for byte in reversed(outside) if byte in b"[{")


@pytest.mark.parametrize(
    "number",
    [b"9" * 5_000, b"-" + b"9" * 5_000, b"1e999", b"NaN", b"-Infinity"],
    ids=["digits", "negative digits", "exponent", "NaN", "infinity"],
)
def test_a_number_that_no_float_holds_costs_its_field_only(number: bytes) -> None:
    raw = json.dumps(INTACT.changed("metadata", "generation", to="NUMBER")).encode()
    text, defects = render(raw.replace(b'"NUMBER"', number), "Kustomization")
    assert by_family(text).keys() == by_family(INTACT.expected).keys() - {LAG}
    assert [defect.field for defect in defects] == ["metadata.generation"]


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"5", b'"object"', b"[]", b"\xff\xfe", b'{"metadata"'])
def test_what_is_no_object_at_all_reads_as_an_empty_one(raw: bytes) -> None:
    obj, (defect,) = decode(raw)
    assert (obj, defect.field) == (FluxObject(), "object")


def test_a_thousand_broken_fields_are_one_defect_for_each_field_of_ours() -> None:
    conditions = [{"type": index, "status": "True", "reason": None} for index in range(1_000)]
    intact = INTACT.object["status"]["conditions"]
    document = INTACT.changed("status", "conditions", to=conditions + intact)

    text, defects = render(document, "Kustomization")

    assert {defect.field for defect in defects} == {"status.conditions.type", "status.conditions.reason"}
    assert len(defects) == 2
    assert sorted_lines(text) == sorted_lines(INTACT.expected)


def test_a_defect_says_what_was_expected_and_never_what_was_found() -> None:
    document = INTACT.changed("spec", "suspend", to="s3cr3t")
    _, (defect,) = render(document, "Kustomization")
    assert (defect.field, defect.problem) == ("spec.suspend", "Expected `bool | null`, got `str`")


# Any object, any damage

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**30])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["True", "10m", "\ud800"])
)
names = st.text(max_size=5) | st.sampled_from(
    ["conditions", "type", "status", "reason", "interval", "entries", "name", "spec", "history"]
)
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
Path = tuple[str | int, ...]


def nodes(node: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of everything below."""
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from nodes(child, (*path, key))


def fields(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The scalars of a decoded object, by their paths in the JSON."""
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from fields(getattr(value, field.name), (*path, field.encode_name))
    elif isinstance(value, list | dict):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from fields(item, (*path, key))
    else:
        yield path, value


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Example, Path, dict[str, Any]]:
    example = draw(st.sampled_from(EXAMPLES))
    path = draw(st.sampled_from([path for path in nodes(example.object) if path not in (("kind",), ("apiVersion",))]))
    return example, path, example.changed(*path, to=draw(junk))


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_every_field_outside_of_the_damage_reads_as_before(damage: tuple[Example, Path, dict[str, Any]]) -> None:
    example, path, document = damage
    intact, defects = decode(json.dumps(example.object).encode())
    assert defects == ()

    obj, defects = decode(json.dumps(document).encode())

    if path[:2] == ("status", "conditions") and len(path) > 2:
        # A condition that cannot be read at all has no type to be known by, and falls out.
        assert obj.status.conditions is not None
        assert intact.status.conditions is not None
        hit = int(path[2])
        others = intact.status.conditions[:hit] + intact.status.conditions[hit + 1 :]
        found = list(obj.status.conditions)
        if len(found) > len(others):
            del found[hit]
        assert found == others
        path = path[:2]
    before = {place: value for place, value in fields(intact) if place[: len(path)] != path}
    after = {place: value for place, value in fields(obj) if place[: len(path)] != path}
    assert after == before
    # What is told lies in the damage. Positions in lists are not told, nor are the names of test hooks.
    place = [
        step
        for before, step in zip((None, *path), path, strict=False)
        if isinstance(step, str) and before != "testHooks"
    ]
    for defect in defects:
        steps = defect.field.split(".")
        assert steps[: len(place)] == place[: len(steps)]


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_every_damaged_object_still_becomes_lines_that_prometheus_reads(
    damage: tuple[Example, Path, dict[str, Any]],
) -> None:
    example, _, document = damage
    text, _ = render(document, example.kind)
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert len(samples) == len(lines_of(text))
    assert [sample.name for sample in samples].count(INFO) == 1


@settings(deadline=None)
@given(junk)
def test_no_json_at_all_makes_decoding_raise(document: Any) -> None:
    decode(json.dumps(document).encode())
    decode(json.dumps({"metadata": document, "spec": document, "status": document}).encode())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_decoding_raise(raw: bytes) -> None:
    decode(raw)


@settings(deadline=None)
@given(st.sampled_from(EXAMPLES), st.data())
def test_bytes_lost_from_an_object_do_not_make_decoding_raise(example: Example, data: st.DataObject) -> None:
    raw = json.dumps(example.object).encode()
    start = data.draw(st.integers(0, len(raw)))
    decode(raw[:start] + raw[start + data.draw(st.integers(0, 30)) :])


def test_the_slow_reader_agrees_with_the_fast_one() -> None:
    for example in EXAMPLES:
        fast, _ = decode(json.dumps(example.object).encode())
        broken = copy.deepcopy(example.object)
        broken["metadata"]["deletionTimestamp"] = 5
        slow, _ = decode(json.dumps(broken).encode())
        assert msgspec.structs.replace(slow.metadata, deletion_timestamp=fast.metadata.deletion_timestamp) == (
            fast.metadata
        )
        assert (slow.spec, slow.status) == (fast.spec, fast.status)
