"""Settings: every valid text is read, and every mistake in the others is named with its place and its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.config import (
    CheckpointSettings,
    ConfigError,
    ControllersSettings,
    MetricsSettings,
    Settings,
    WatchSettings,
    parse,
)
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.owner_labels import MAX_OWNER_LABELS, TAKEN_NAMES, OwnerLabel
from gotk_exporter.metrics.families import OBJECT_FAMILIES, OWNER_INFO, Profile, select

DIRECTORY = Path(__file__).parent / "data" / "config"
INVALID = sorted(DIRECTORY.glob("invalid-*.yaml"))


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return list(caught.value.mistakes)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_file_is_refused_with_exactly_these_mistakes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    expected = [line.removeprefix("#! ") for line in text.splitlines() if line.startswith("#! ")]
    assert expected
    assert mistakes(text) == expected


VALID = {
    "empty": Settings(),
    "comment": Settings(),
    "sections-without-content": Settings(),
    "alias": Settings(WatchSettings(kinds=("Kustomization",)), MetricsSettings(profile=Profile.MINIMAL)),
    "complete": Settings(
        WatchSettings(kinds=("Kustomization", "HelmRelease"), namespaces=("flux-system", "10", "no")),
        MetricsSettings(
            profile=Profile.FULL,
            allow=("gotk_re*", "gotk_suspend_status"),
            deny=("gotk_resource_info",),
            owner_labels=(OwnerLabel("team", "example.com/team"), OwnerLabel("_Tier2", "tier")),
        ),
        CheckpointSettings(namespace="flux-system", config_map="gotk-exporter.state"),
        ControllersSettings(leases=True, namespaces=("flux-system", "flux-shards")),
    ),
    "without-leases": Settings(controllers=ControllersSettings(leases=False)),
}


def test_every_valid_file_is_read() -> None:
    found = {path.stem.removeprefix("valid-"): path for path in DIRECTORY.glob("valid-*.yaml")}
    assert {name: parse(path.read_text(encoding="utf-8")) for name, path in found.items()} == VALID


def test_the_defaults_are_every_kind_everywhere_in_the_default_profile() -> None:
    assert parse("") == Settings(
        WatchSettings(kinds=tuple(BY_NAME), namespaces=()),
        MetricsSettings(profile=Profile.DEFAULT, allow=(), deny=()),
    )


@pytest.mark.parametrize(
    ("text", "namespaces"),
    [
        ("", ("flux-system",)),
        ("controllers: {namespaces: [flux, shards]}", ("flux", "shards")),
        ("controllers: {leases: false}", ()),
        ("controllers: {leases: false, namespaces: [flux]}", ()),
        # Nothing is asked for elsewhere that nobody has named.
        ("watch: {namespaces: [team-a]}", ()),
        ("watch: {namespaces: [team-a, flux-system]}", ("flux-system",)),
        ("watch: {namespaces: [team-a]}\ncontrollers: {namespaces: [flux-system]}", ("flux-system",)),
    ],
)
def test_leases_are_read_where_flux_usually_is_or_where_it_is_said_to_be(
    text: str, namespaces: tuple[str, ...]
) -> None:
    assert parse(text).lease_namespaces == namespaces


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert parse("\ufeffmetrics: {profile: full}") == Settings(metrics=MetricsSettings(profile=Profile.FULL))


def test_an_error_reads_as_its_mistakes_line_by_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("a: 1\nb: 2")
    unknown = "unknown key; known: checkpoint, controllers, metrics, watch"
    assert str(caught.value) == f"a: {unknown}\nb: {unknown}"


# Owner labels


def with_owner_labels(labels: object, **metrics: object) -> str:
    return yaml.safe_dump({"metrics": {**metrics, "ownerLabels": labels}})


@pytest.mark.parametrize("name", sorted(TAKEN_NAMES | {"exported_team"}))
def test_an_owner_label_takes_no_name_that_a_metric_or_an_alert_has(name: str) -> None:
    (mistake,) = mistakes(with_owner_labels({name: "example.com/team"}))
    assert mistake.startswith(f'metrics.ownerLabels.{name}: "{name}" is ')


def test_what_names_an_object_or_an_alert_is_taken() -> None:
    assert {
        *("kind", "name", "namespace", "cluster", "job", "instance", "pod", "severity", "alertname", "shared_cause"),
        *("failure_class", "by_kind", "child_name", "customresource_kind", "revision", "resource", "state"),
    } <= TAKEN_NAMES


def test_owner_labels_are_as_many_as_the_bound_and_no_more() -> None:
    labels = {f"label_{number}": f"example.com/{number}" for number in range(MAX_OWNER_LABELS)}
    assert len(parse(with_owner_labels(labels)).metrics.owner_labels) == MAX_OWNER_LABELS
    assert mistakes(with_owner_labels({**labels, "team": "example.com/team"})) == [
        "metrics.ownerLabels: at most 8 labels, not 9; keep those by which you route alerts"
    ]


@pytest.mark.parametrize(
    ("key", "is_valid"),
    [
        ("k" * 63, True),
        ("k" * 64, False),
        (f"{'p' * 253}/k", True),
        (f"{'p' * 254}/k", False),
        ("Team_1.a-b", True),
        ("team-", False),
        ("team\n", False),
    ],
)
def test_a_key_is_one_that_kubernetes_takes(key: str, is_valid: bool) -> None:
    text = with_owner_labels({"team": key})
    if is_valid:
        assert parse(text).metrics.owner_labels == (OwnerLabel("team", key),)
    else:
        assert "cannot be the key of a Kubernetes label" in mistakes(text)[0]


@pytest.mark.parametrize("labels", [None, {}])
def test_no_owner_labels_are_as_good_as_none(labels: object) -> None:
    assert parse(with_owner_labels(labels)) == Settings()


@pytest.mark.parametrize("profile", Profile, ids=lambda profile: profile.name)
def test_the_owners_family_is_there_in_every_profile_if_there_are_owner_labels(profile: Profile) -> None:
    name = profile.name.lower()
    assert parse(with_owner_labels({"team": "team"}, profile=name)).metrics.families == select(profile)
    without = parse(f"metrics: {{profile: {name}}}").metrics.families
    assert without == tuple(family for family in select(profile) if family is not OWNER_INFO)


def test_an_allow_list_cannot_bring_a_family_about_that_has_no_labels() -> None:
    assert parse("metrics: {allow: [gotk_resource_owner_info]}").metrics.families == ()
    allowed = parse(with_owner_labels({"team": "team"}, allow=["gotk_*_owner_*"])).metrics
    assert allowed.families == (OWNER_INFO,)


@pytest.mark.parametrize(
    ("key", "lists"),
    [
        ("allow", {"allow": ["gotk_reconcile_condition"]}),
        ("deny", {"deny": ["gotk_resource_*"]}),
        ("deny", {"allow": ["gotk_resource_owner_info"], "deny": ["*_info"]}),
    ],
)
def test_owner_labels_that_nobody_would_see_are_a_mistake(key: str, lists: dict[str, list[str]]) -> None:
    assert mistakes(with_owner_labels({"team": "team"}, **lists)) == [
        f"metrics.ownerLabels: nobody would see them: metrics.{key} leaves gotk_resource_owner_info out; serve it, or "
        "take the labels out"
    ]


label_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True).filter(
    lambda name: not name.startswith(("__", "exported_")) and name not in TAKEN_NAMES
)
label_keys = st.from_regex(
    r"([a-z0-9]{1,9}(\.[a-z]{2,9})?/)?[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?", fullmatch=True
)


@settings(deadline=None)
@given(st.lists(st.tuples(label_names, label_keys), unique_by=(lambda it: it[0], lambda it: it[1]), max_size=8))
def test_owner_labels_are_read_as_they_were_written(labels: list[tuple[str, str]]) -> None:
    text = yaml.safe_dump({"metrics": {"ownerLabels": dict(labels)}}, sort_keys=False)
    assert parse(text).metrics.owner_labels == tuple(OwnerLabel(name, key) for name, key in labels)


# Texts that are meant to hurt

HOSTILE: list[tuple[str, Callable[[], str], str]] = [
    ("lists without end", lambda: "[" * 100_000, "the text is nested too deeply for a settings file"),
    ("mappings without end", lambda: "{a: " * 50_000, "the text is nested too deeply for a settings file"),
    ("blocks without end", lambda: "- " * 50_000, "the text is nested too deeply for a settings file"),
    (
        "a list in itself",
        lambda: "&a [*a]",
        "the settings: must be a mapping with the keys checkpoint, controllers, metrics, watch, not a list",
    ),
    ("a section in itself", lambda: "watch: &a {kinds: *a}", "watch.kinds: must be a list, not a mapping"),
    ("a list of itself", lambda: "watch: {kinds: &a [*a]}", "watch.kinds[0]: must be a name, not a list"),
    (
        "aliases that multiply",
        lambda: "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in range(1, 40)),
        "a0: unknown key; known: checkpoint, controllers, metrics, watch",
    ),
    (
        "merges that multiply",
        lambda: "a0: &a0 {x: y}\n" + "".join(f"a{n}: &a{n} {{<<: [{f'*a{n - 1},' * 9}]}}\n" for n in range(1, 40)),
        "a0: unknown key; known: checkpoint, controllers, metrics, watch",
    ),
    (
        "a version without end",
        lambda: f"%YAML {'9' * 5_000}.1\n--- a",
        "the text is not YAML: an escape or a directive holds an impossible number",
    ),
    (
        "an escape beyond Unicode",
        lambda: '"\\UFFFFFFFF"',
        "the text is not YAML: an escape or a directive holds an impossible number",
    ),
    (
        "a NUL",
        lambda: "watch:\0",
        "the text is not YAML: unacceptable character #x0000: special characters are not allowed",
    ),
    (
        "a date that is none",
        lambda: "watch: 2026-99-99",
        "watch: must be a mapping with the keys kinds, namespaces, not 2026-99-99",
    ),
    (
        "a number that is none",
        lambda: "watch: !!int soon",
        "watch: must be a mapping with the keys kinds, namespaces, not soon",
    ),
    (
        "a Python object",
        lambda: "watch: !!python/object/apply:os.system [id]",
        "watch: must be a mapping with the keys kinds, namespaces, not a list",
    ),
    (
        "a value of many lines",
        lambda: 'metrics: "a\\nb\\u2028c"',
        'metrics: must be a mapping with the keys allow, deny, ownerLabels, profile, not "a\\nb\\u2028c"',
    ),
    (
        "a value without end",
        lambda: f"metrics: {'x' * 1_000_000}",
        f'metrics: must be a mapping with the keys allow, deny, ownerLabels, profile, not "{"x" * 60}…"',
    ),
    (
        "half a character",
        lambda: 'metrics: {profile: "\\ud800"}',
        'metrics.profile: "\\ud800" is no profile; known: default, full, minimal',
    ),
]


@pytest.mark.parametrize(("text", "first"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_hostile_text_is_refused_at_once(text: Callable[[], str], first: str) -> None:
    # The ones without end would run for ever, or out of stack, if anything were expanded.
    assert mistakes(text())[0] == first


def refusals(text: str) -> tuple[str, ...]:
    try:
        parse(text)
    except ConfigError as error:
        return error.mistakes
    return ()


def check(text: str) -> None:
    """A text is valid, or refused with mistakes of one line each."""
    assert all(mistake.isprintable() for mistake in refusals(text))


@settings(deadline=None)
@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    check(text)


@settings(deadline=None)
@given(st.text(alphabet="watchkindsmetrcplyfu:[]{},-&*!|>?%@`'\"#~\\<=.0123 \n\t", max_size=60))
def test_no_text_that_looks_like_yaml_raises_anything_else(text: str) -> None:
    check(text)


keys = st.sampled_from(
    ["watch", "kinds", "namespaces", "metrics", "profile", "allow", "deny", "ownerLabels", "x"]
) | st.text(max_size=3)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.dates()
    | st.sampled_from(["Kustomization", "full", "gotk_*", "[a-", "*"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=15
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_no_yaml_document_raises_anything_else(document: Any) -> None:
    check(yaml.safe_dump(document))


namespaces = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
patterns = st.sampled_from([family.name for family in OBJECT_FAMILIES] + ["gotk_*", "*condition", "gotk_resource_?nfo"])


def some(items: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(items, min_size=1, max_size=5, unique=True).map(tuple)


@settings(deadline=None)
@given(
    some(st.sampled_from(list(BY_NAME))),
    some(namespaces),
    st.sampled_from(list(Profile)),
    some(patterns),
    some(patterns),
)
def test_what_was_written_is_what_is_read(
    kinds: tuple[str, ...],
    namespaces: tuple[str, ...],
    profile: Profile,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
) -> None:
    text = yaml.safe_dump(
        {
            "watch": {"kinds": list(kinds), "namespaces": list(namespaces)},
            "metrics": {"profile": profile.name.lower(), "allow": list(allow), "deny": list(deny)},
        }
    )
    assert parse(text) == Settings(WatchSettings(kinds, namespaces), MetricsSettings(profile, allow, deny))
