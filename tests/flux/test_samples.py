"""From one object to its lines: every example, the published labels, and what must never be seen."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gotk_exporter.flux.references import MAX_REFERENCES
from gotk_exporter.flux.relation_samples import MAX_BLOCKED_BY
from gotk_exporter.flux.samples import MAX_CONDITIONS
from gotk_exporter.metrics.exposition import Format
from tests.flux.examples import EXAMPLE, EXAMPLES, NOW, OWNER_LABELS, Example, by_family, render, sorted_lines
from tests.metrics.hostile import HOSTILE_VALUES
from tests.metrics.pages import series_of


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_an_object_becomes_these_lines(example: Example) -> None:
    text, defects = render(example.object, example.kind, example.version, owner_labels=OWNER_LABELS)
    assert sorted_lines(text) == sorted_lines(example.expected)
    assert defects == ()


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_no_time_in_an_example_is_later_than_the_look_at_it(example: Example) -> None:
    values = [value for name, _, value in series_of(example.expected, Format.TEXT) if "_timestamp_" in name]
    assert all(value <= NOW for value in values)


# The labels of gotk_resource_info

# flux2-monitoring-example's kube-state-metrics configuration, less webhook_path, which is a secret.
PUBLISHED = {
    "Kustomization": "ready suspended revision source_name",
    "HelmRelease": "ready suspended revision chart_name chart_app_version chart_ref_name chart_source_name",
    "GitRepository": "ready suspended revision url",
    "OCIRepository": "ready suspended revision url",
    "HelmRepository": "ready suspended revision url",
    "Bucket": "ready suspended revision endpoint bucket_name",
    "HelmChart": "ready suspended revision chart_name chart_version",
    "Alert": "suspended",
    "Provider": "suspended",
    "Receiver": "ready suspended",
    "ImageRepository": "ready suspended image",
    "ImagePolicy": "ready suspended source_name",
    "ImageUpdateAutomation": "ready suspended source_name",
}
COMMON = "customresource_group customresource_kind customresource_version exported_namespace name"


def info_labels(document: dict[str, Any], kind: str, version: str = "v1") -> dict[str, str]:
    text, _ = render(document, kind, version)
    (sample,) = (
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "gotk_resource_info"
    )
    return sample.labels


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_complete_object_has_exactly_the_published_labels(kind: str) -> None:
    case = "plain" if kind in ("Alert", "Provider") else "well"
    document = EXAMPLE[f"{kind}/{case}"].changed("spec", "suspend", to=False)
    if kind == "HelmRelease":
        document["spec"]["chart"] = {"spec": {"sourceRef": {"name": "a-repository"}}}
    assert sorted(info_labels(document, kind)) == sorted(f"{COMMON} {PUBLISHED[kind]}".split())


@pytest.mark.parametrize("example", [it for it in EXAMPLES if it.kind not in PUBLISHED], ids=repr)
def test_kinds_that_the_published_configuration_lacks_have_the_common_labels_only(example: Example) -> None:
    labels = info_labels(example.object, example.kind)
    assert set(COMMON.split()) <= labels.keys() <= {*COMMON.split(), "ready", "suspended"}


@pytest.mark.parametrize(("spec", "label"), [({"suspend": True}, "true"), ({"suspend": False}, "false"), ({}, None)])
def test_suspended_is_what_the_spec_says(spec: dict[str, bool], label: str | None) -> None:
    document = {"metadata": {"name": "a", "namespace": "b"}, "spec": spec}
    assert info_labels(document, "Kustomization").get("suspended") == label
    assert f" {int(label == 'true')}\n" in by_family(render(document, "Kustomization")[0])["gotk_suspend_status"]


@pytest.mark.parametrize(
    ("annotation", "label"),
    [("disabled", "true"), ("Disabled", "true"), ("enabled", "false"), ("", "false"), (None, None)],
)
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("ResourceSet", "fluxcd.controlplane.io/reconcile"),
        ("ArtifactGenerator", "source.extensions.fluxcd.io/reconcile"),
    ],
)
def test_an_annotation_suspends_kinds_without_the_field(
    kind: str, key: str, annotation: str | None, label: str | None
) -> None:
    annotations = {} if annotation is None else {key: annotation}
    document = {"metadata": {"name": "a", "namespace": "b", "annotations": annotations}, "spec": {"suspend": True}}
    assert info_labels(document, kind).get("suspended") == label


def test_a_terminating_object_is_neither_ready_nor_failing() -> None:
    document = EXAMPLE["Kustomization/well"].changed("metadata", "deletionTimestamp", to="2026-11-20T08:20:00Z")
    assert info_labels(document, "Kustomization")["ready"] == "Unknown"


def test_the_revision_is_that_of_the_newest_release_and_never_an_older_one() -> None:
    document = EXAMPLE["HelmRelease/well"].changed("status", "history", 0, "chartVersion", to=5)
    labels = info_labels(document, "HelmRelease")
    assert "revision" not in labels
    assert labels["chart_name"] == "ingress-nginx"

    document = EXAMPLE["HelmRelease/well"].changed("status", "history", 0, to="junk")
    assert not {"revision", "chart_name", "chart_app_version"} & info_labels(document, "HelmRelease").keys()


@pytest.mark.parametrize(
    ("generation", "observed", "lag"),
    [(3, 3, 0), (5, 3, 2), (1, -1, 1), (3, 4, -1), (None, 3, None), (3, None, None)],
)
def test_generation_lag_counts_edits_and_takes_minus_one_for_nothing_observed_yet(
    generation: int | None, observed: int | None, lag: int | None
) -> None:
    document = {"metadata": {"name": "a", "generation": generation}, "status": {"observedGeneration": observed}}
    text, _ = render(document, "Kustomization")
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith("gotk_resource_generation_lag")]
    assert values == ([] if lag is None else [str(lag)])


# Conditions


def test_of_two_conditions_of_one_type_the_first_is_shown() -> None:
    conditions = [{"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}]
    text, _ = render({"metadata": {"name": "a"}, "status": {"conditions": conditions}}, "Kustomization")
    assert by_family(text)["gotk_resource_condition"] == (
        'gotk_resource_condition{kind="Kustomization",name="a",namespace="",type="Ready",status="True",reason=""} 1\n'
    )
    assert 'type="Ready",status="True"} 1\n' in by_family(text)["gotk_reconcile_condition"]


def test_a_thousand_conditions_are_cut_to_a_bounded_number() -> None:
    conditions = [{"type": f"Type{index}", "status": "True"} for index in range(1_000)]
    text, _ = render({"metadata": {"name": "a"}, "status": {"conditions": conditions}}, "Kustomization")
    assert by_family(text)["gotk_resource_condition"].count("\n") == MAX_CONDITIONS


def test_a_label_value_of_a_mebibyte_is_cut() -> None:
    text, defects = render(EXAMPLE["Bucket/well"].changed("spec", "bucketName", to="x" * 2**20), "Bucket")
    assert len(text) < 10_000
    assert defects == ()


any_text = st.text(max_size=20) | st.sampled_from(
    ['"', "\\", "\n", "\ud800", "\0", "é", "x" * 1_100, "x" * 1_100 + "y"]
)
conditions = st.fixed_dictionaries(
    {"type": any_text | st.sampled_from(["Ready", "Stalled"]), "status": any_text, "reason": any_text}
)


@settings(deadline=None)
@given(st.lists(conditions, max_size=30), any_text, any_text, st.sampled_from(["Kustomization", "Canary", "Alert"]))
def test_whatever_the_conditions_no_two_samples_have_the_same_labels(
    conditions: list[dict[str, str]], name: str, namespace: str, kind: str
) -> None:
    text, _ = render({"metadata": {"name": name, "namespace": namespace}, "status": {"conditions": conditions}}, kind)
    series = [
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert len(set(series)) == len(series) == text.count("\n")


# Secrets

MARKER = "s3cr3t"

# What an object names: the kind, the namespace and the name of it are shown, and nothing else that stands beside them.
REFERENCES = {
    "spec.chart.spec.sourceRef",
    "spec.chartRef",
    "spec.dependsOn",
    "spec.imageRepositoryRef",
    "spec.include.repository",
    "spec.sourceRef",
    "spec.sources",
}
# What the catalogue, or the published configuration, makes a label. Everything else might be a secret.
PUBLIC = {
    "apiVersion",
    "metadata.name",
    "metadata.namespace",
    "metadata.deletionTimestamp",
    "spec.bucketName",
    "spec.chart",
    "spec.image",
    "spec.kubeConfig.configMapRef.name",
    "spec.kubeConfig.secretRef.name",
    "spec.version",
    "status.artifact.revision",
    "status.conditions.reason",
    "status.conditions.status",
    "status.conditions.type",
    "status.history.appVersion",
    "status.history.chartName",
    "status.history.chartVersion",
    # A reason, as its controller writes it.
    "status.history.lastReconciledStatus",
    "status.lastAppliedRevision",
    "status.latestRef.name",
    "status.latestRef.tag",
    *(f"{reference}.{part}" for reference in REFERENCES for part in ("kind", "namespace", "name")),
}
# Not shown, but without a meaning where they are no durations.
PERIODS = {"spec.interval", "spec.timeout", "spec.analysis.interval", "spec.canaryAnalysis.interval"}
ADDRESSES = {"spec.url", "spec.endpoint"}


def marked(node: Any, path: str = "") -> Any:
    """A copy with the marker in every string that is not public."""
    if isinstance(node, dict):
        return {key: marked(value, f"{path}.{key}".removeprefix(".")) for key, value in node.items()}
    if isinstance(node, list):
        return [marked(item, path) for item in node]
    if path in ADDRESSES:
        return f"https://{MARKER}:{MARKER}@{node}?token={MARKER}#{MARKER}"
    if path == "status.conditions.message":
        # Its beginning stays, by which it is understood.
        return f"{node} {MARKER}"
    if isinstance(node, str) and path not in PUBLIC | PERIODS and "reconcile" not in path:
        return MARKER
    return node


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_no_string_that_may_be_a_secret_is_shown(example: Example) -> None:
    document = copy.deepcopy(example.object)
    document["metadata"].setdefault("annotations", {})["example.com/token"] = "value"
    document["metadata"]["labels"] = {"token": "value", "kustomize.toolkit.fluxcd.io/name": "value"}
    document["spec"] = document.get("spec") or {}
    document["spec"].update(address="value", secretRef={"name": "value"}, token="value")
    document["status"] = document.get("status") or {}
    document["status"].update(webhookPath="value", url="value")
    for reference in document["spec"].get("dependsOn", ()):
        reference.update(readyExpr="value")
    secretive = marked(document)
    # Half a dozen that were added, and whatever the example has.
    assert json.dumps(secretive).count(MARKER) > 6

    text, defects = render(secretive, example.kind, example.version)

    assert MARKER not in text + str(defects)
    assert 'name="' in text


def test_of_a_message_only_the_names_of_a_dependency_are_shown() -> None:
    """Two places in a message are read: nothing else of it reaches the page, however it is put."""
    for message in (
        f"dependency '{MARKER} apps/web' is not ready",
        f"{MARKER} dependency 'apps/web' is not ready",
        f"dependency 'apps/web' is not ready according to readyExpr eval {MARKER}",
        f"failed to evaluate the CEL expression '{MARKER}': no such key",
    ):
        document = EXAMPLE["Kustomization/waiting-for-a-missing-dependency"].changed(
            "status", "conditions", 0, "message", to=message
        )
        text, _ = render(document, "Kustomization")
        shown = {sample["by_name"] for name, sample, _ in series_of(text, Format.TEXT) if name.endswith("_blocked")}
        assert shown <= {"databases", "web"}, message


ADDRESS_TABLE = [
    ("https://github.com/org/repo.git", "https://github.com/org/repo.git"),
    ("https://user:password@github.com/org/repo", "https://github.com/org/repo"),
    ("https://token@github.com/org/repo", "https://github.com/org/repo"),
    ("https://github.com:8443/org/repo?token=x#y", "https://github.com:8443/org/repo"),
    ("https://me@corp.example:password@github.com/org/repo", "https://github.com/org/repo"),
    ("HTTPS://token@github.com", "HTTPS://github.com"),
    ("http://[2001:db8::1]:3000/org/repo", "http://[2001:db8::1]:3000/org/repo"),
    ("http://gitea_http/org/repo", "http://gitea_http/org/repo"),
    ("https://bücher.example/repo", "https://bücher.example/repo"),
    ("ssh://git@github.com/org/repo", "ssh://git@github.com/org/repo"),
    ("ssh://git:password@github.com:22/org/repo", "ssh://git@github.com:22/org/repo"),
    ("oci://ghcr.io/org/app", "oci://ghcr.io/org/app"),
    ("minio.storage:9000", "minio.storage:9000"),
    ("user:password@minio.storage:9000?x=y", "minio.storage:9000"),
    ("git@github.com:org/repo", "…"),
    # Passwords that nobody escaped, or somebody escaped too much.
    ("https://user:pass/word@github.com/org/repo", "https://…"),
    ("https://user:pass?word@github.com/org/repo", "https://…"),
    ("https://user:pass#word@github.com/org/repo", "https://…"),
    ("https://user:12/34@github.com/org/repo", "https://…"),
    ("https://user:password%40github.com/org/repo", "https://…"),
    ("https://user:password", "https://…"),
    ("https://user:pass word@git hub.com/", "https://…"),
    ("https://github.com/x?mail=me@corp.example&token=x", "https://…"),
    ("https:/user:password@github.com", "…"),
    ("user:password@", "…"),
]


@pytest.mark.parametrize(("address", "shown"), ADDRESS_TABLE)
def test_an_address_is_shown_without_what_may_be_secret(address: str, shown: str) -> None:
    document = {"metadata": {"name": "a"}, "spec": {"url": address, "endpoint": address}}
    assert info_labels(document, "GitRepository")["url"] == shown
    assert info_labels(document, "Bucket")["endpoint"] == shown


nasty = st.text(alphabet="ab/?#@:%[]\\ .\n~é", max_size=8)


@settings(deadline=None)
@given(
    st.sampled_from(["http://", "https://", "oci://", "ssh://", "", "//", "https:/"]),
    st.text(alphabet="ab.@", max_size=4),
    nasty,
    nasty,
    st.sampled_from(["github.com", "[::1]:80", "host:9000"]),
    nasty,
)
@example("https://", "user", "pa/", "", "github.com", "/org/repo")
def test_a_password_is_never_shown_however_it_is_written(
    scheme: str, user: str, before: str, after: str, host: str, rest: str
) -> None:
    address = f"{scheme}{user}:{before}{MARKER}{after}@{host}{rest}"
    assert MARKER not in render({"metadata": {"name": "a"}, "spec": {"url": address}}, "GitRepository")[0]


@settings(deadline=None)
@given(nasty, st.sampled_from(["http://", "https://", "oci://", "ssh://", ""]), st.sampled_from(["?", "#"]), nasty)
def test_a_query_is_never_shown_however_it_is_written(path: str, scheme: str, mark: str, before: str) -> None:
    address = f"{scheme}github.com/{path}{mark}{before}{MARKER}"
    assert MARKER not in render({"metadata": {"name": "a"}, "spec": {"url": address}}, "GitRepository")[0]


# References

LONG = "x" * 1_100


@pytest.mark.parametrize("value", HOSTILE_VALUES)
def test_a_hostile_name_of_something_else_comes_back_as_it_is(value: str) -> None:
    document = {
        "metadata": {"name": "a", "namespace": "b", "creationTimestamp": "2026-11-20T08:00:00Z"},
        "spec": {"sourceRef": {"kind": value, "name": value, "namespace": value}},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "ArtifactFailed"}]},
    }
    series = {name: labels for name, labels, _ in series_of(render(document, "Kustomization")[0], Format.TEXT)}
    needed = series["gotk_resource_dependency_info"]
    assert [needed[label] for label in ("on_kind", "on_name", "on_namespace")] == [value] * 3
    blocked = series["gotk_resource_blocked"]
    assert [blocked[label] for label in ("by_kind", "by_name", "by_namespace")] == [value] * 3
    root = series["gotk_root_cause_info"]
    assert [root[label] for label in ("kind", "name", "namespace", "reason")] == [value, value, value, "NotWatched"]


@pytest.mark.parametrize("value", HOSTILE_VALUES)
def test_a_hostile_reason_of_a_failure_comes_back_as_it_is(value: str) -> None:
    document = EXAMPLE["Kustomization/build-failing"].changed("status", "conditions", 1, "reason", to=value)
    series = {name: labels for name, labels, _ in series_of(render(document, "Kustomization")[0], Format.TEXT)}
    assert series["gotk_root_cause_info"]["reason"] == value


names = any_text | st.sampled_from([LONG, f"{LONG}y", "web", ""])
references = st.lists(st.fixed_dictionaries({"name": names, "namespace": names, "kind": names}), max_size=8)


@settings(deadline=None)
@given(references, references, st.sampled_from(["Kustomization", "ResourceSet", "ArtifactGenerator"]), st.booleans())
@example([{"name": LONG}, {"name": f"{LONG}y"}], [], "Kustomization", True)
def test_whatever_it_names_no_two_samples_have_the_same_labels(
    depends_on: list[dict[str, str]], sources: list[dict[str, str]], kind: str, waits: bool
) -> None:
    reason = "DependencyNotReady" if waits else "BuildFailed"
    document = {
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"dependsOn": depends_on, "sources": sources, "wait": True},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": reason}]},
    }
    text, _ = render(document, kind)
    series = [(name, frozenset(labels.items())) for name, labels, _ in series_of(text, Format.TEXT)]
    assert len(set(series)) == len(series) == len(sorted_lines(text))


def test_two_missing_objects_are_two_whatever_their_names() -> None:
    document = EXAMPLE["Kustomization/waiting-for-a-missing-dependency"].changed(
        "spec", "dependsOn", to=[{"name": "c", "namespace": "a/b"}, {"name": "b/c", "namespace": "a"}]
    )
    roots = by_family(render(document, "Kustomization")[0])["gotk_root_cause_info"]
    assert 'name="c",namespace="a/b"' in roots
    assert 'name="b/c",namespace="a"' in roots


# Bounds

MANY = 200


def counts(document: dict[str, Any], kind: str) -> dict[str, int]:
    """How many series each family has."""
    return {name: lines.count("\n") for name, lines in by_family(render(document, kind)[0]).items()}


def a_crowd(reason: str, message: str = "") -> dict[str, Any]:
    """A Kustomization that names, and manages, far too much."""
    child = "apps_child-{}_helm.toolkit.fluxcd.io_HelmRelease"
    return {
        "metadata": {"name": "a", "namespace": "b", "creationTimestamp": "2026-11-20T08:00:00Z"},
        "spec": {"wait": True, "dependsOn": [{"name": f"other-{number}"} for number in range(MANY)]},
        "status": {
            "conditions": [{"type": "Ready", "status": "False", "reason": reason, "message": message}],
            "inventory": {"entries": [{"id": child.format(number), "v": "v2"} for number in range(MANY)]},
        },
    }


def test_it_shows_64_of_what_it_names_and_64_of_what_it_manages() -> None:
    document = a_crowd("BuildFailed")
    text = by_family(render(document, "Kustomization")[0])["gotk_resource_dependency_info"]
    assert MAX_REFERENCES == 64
    assert text.count('via="dependsOn"') == text.count('via="health"') == MAX_REFERENCES
    assert text.count("\n") == 2 * MAX_REFERENCES


def test_it_shows_five_of_what_blocks_it() -> None:
    found = counts(a_crowd("DependencyNotReady", "dependency 'b/other-199' not found"), "Kustomization")
    assert found["gotk_resource_blocked"] == MAX_BLOCKED_BY == 5
    # Beside what it names, what its message names.
    assert found["gotk_root_cause_info"] == MAX_REFERENCES + 1


def test_the_first_64_are_always_the_same() -> None:
    document = a_crowd("DependencyNotReady")
    before = sorted_lines(render(document, "Kustomization")[0])
    document["status"]["inventory"]["entries"].reverse()
    assert sorted_lines(render(document, "Kustomization")[0]) == before


# Beside the conditions: four statuses, suspend, info, two of failing, waiting, progressing, three of a root cause,
# interval, timeout, lag, inventory.
SINGLE = 4 + 2 + 2 + 2 + 3 + 4


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_an_object_has_a_bounded_number_of_series(example: Example) -> None:
    document = copy.deepcopy(example.object)
    document["spec"] = document.get("spec") or {}
    document["status"] = document.get("status") or {}
    conditions = document["status"].setdefault("conditions", [])
    conditions += [{"type": f"Type{index}", "status": "True"} for index in range(MANY)]
    crowd = a_crowd("")
    document["spec"].update(crowd["spec"], sources=crowd["spec"]["dependsOn"], include=crowd["spec"]["dependsOn"])
    document["status"]["inventory"] = crowd["status"]["inventory"]
    found = counts(document, example.kind)
    missing = {name: found.pop(name, 0) for name in ("gotk_root_cause_info", "gotk_resource_blocked_dependents")}
    assert sum(found.values()) <= SINGLE + MAX_CONDITIONS + MAX_BLOCKED_BY + 2 * MAX_REFERENCES
    assert all(count <= MAX_REFERENCES + 1 for count in missing.values())
