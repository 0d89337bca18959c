"""From one object to its lines: every example, the published labels, and what must never be seen."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gotk_exporter.flux.samples import MAX_CONDITIONS
from tests.flux.examples import BY_STEM, EXAMPLES, Example, by_family, render


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_an_object_becomes_these_lines(example: Example) -> None:
    assert render(example.object, example.kind, example.version) == (example.expected, ())


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
    document = BY_STEM[kind].changed("spec", "suspend", to=False)
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
    document = BY_STEM["Kustomization"].changed("metadata", "deletionTimestamp", to="2026-11-20T08:20:00Z")
    assert info_labels(document, "Kustomization")["ready"] == "Unknown"


def test_the_revision_is_that_of_the_newest_release_and_never_an_older_one() -> None:
    document = BY_STEM["HelmRelease"].changed("status", "history", 0, "chartVersion", to=5)
    labels = info_labels(document, "HelmRelease")
    assert "revision" not in labels
    assert labels["chart_name"] == "ingress-nginx"

    document = BY_STEM["HelmRelease"].changed("status", "history", 0, to="junk")
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
    text, defects = render(BY_STEM["Bucket"].changed("spec", "bucketName", to="x" * 2**20), "Bucket")
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

# What the catalogue, or the published configuration, makes a label. Everything else might be a secret.
PUBLIC = {
    "apiVersion",
    "metadata.name",
    "metadata.namespace",
    "metadata.deletionTimestamp",
    "spec.bucketName",
    "spec.chart",
    "spec.chart.spec.sourceRef.name",
    "spec.chartRef.name",
    "spec.image",
    "spec.imageRepositoryRef.name",
    "spec.sourceRef.name",
    "spec.version",
    "status.artifact.revision",
    "status.conditions.reason",
    "status.conditions.status",
    "status.conditions.type",
    "status.history.appVersion",
    "status.history.chartName",
    "status.history.chartVersion",
    "status.lastAppliedRevision",
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
    if isinstance(node, str) and path not in PUBLIC | PERIODS and "reconcile" not in path:
        return MARKER
    return node


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_no_string_that_may_be_a_secret_is_shown(example: Example) -> None:
    document = copy.deepcopy(example.object)
    document["metadata"].setdefault("annotations", {})["example.com/token"] = "value"
    document["metadata"]["labels"] = {"token": "value"}
    document.setdefault("spec", {}).update(address="value", secretRef={"name": "value"}, token="value")
    document.setdefault("status", {}).update(webhookPath="value", url="value")
    secretive = marked(document)
    # Half a dozen that were added, and whatever the example has.
    assert json.dumps(secretive).count(MARKER) > 6

    text, defects = render(secretive, example.kind, example.version)

    assert MARKER not in text + str(defects)
    assert 'name="' in text


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


# Bounds


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_an_object_has_a_bounded_number_of_series(example: Example) -> None:
    many = [{"type": f"Type{index}", "status": "True"} for index in range(100)]
    text, _ = render(example.changed("status", "conditions", to=many), example.kind)
    # Four statuses and five families with one series each, beside the conditions.
    assert text.count("\n") <= 4 + 6 + MAX_CONDITIONS
