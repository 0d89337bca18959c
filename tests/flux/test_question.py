"""Which object is meant: spellings of kinds, names without a namespace, and what is said where there is none."""

from __future__ import annotations

import pytest

from gotk_exporter.flux.explanation import NotKnown, Why
from gotk_exporter.flux.naming import kind_called
from gotk_exporter.flux.question import BadQuestion, Known, NoSuchObject, answer, question
from tests.flux.clusters import BEGINNING, Cluster, on


def asked(
    cluster: Cluster,
    name: str,
    namespace: str | None = None,
    preferred: str | None = None,
    kind: str = "ks",
    not_known: tuple[NotKnown, ...] = (),
    absent: frozenset[str] = frozenset(),
) -> str:
    """The namespace in which the object was found."""
    known = Known(cluster.relations, list(cluster._collectors.values()), not_known, absent)
    return answer(question(kind, name, namespace, preferred), known, BEGINNING).object.namespace


def apology(error: type[Exception], *arguments: object, **options: object) -> str:
    with pytest.raises(error) as caught:
        asked(*arguments, **options)  # type: ignore[arg-type]
    return str(caught.value)


def a_cluster(**namespaces: str) -> Cluster:
    """One Kustomization in each of these namespaces."""
    cluster = Cluster()
    for namespace, name in namespaces.items():
        cluster.kustomization_is_ready(name, namespace=namespace, spec=on())
    return cluster


@pytest.mark.parametrize(
    ("spelling", "kind"),
    [
        ("Kustomization", "Kustomization"),
        ("kustomization", "Kustomization"),
        ("KUSTOMIZATIONS", "Kustomization"),
        ("ks", "Kustomization"),
        ("kustomizations.kustomize.toolkit.fluxcd.io", "Kustomization"),
        ("kustomization.kustomize.toolkit.fluxcd.io", "Kustomization"),
        ("hr", "HelmRelease"),
        ("gitrepo", "GitRepository"),
        ("ocirepo", "OCIRepository"),
        ("helmrepo", "HelmRepository"),
        ("hc", "HelmChart"),
        ("buckets", "Bucket"),
        ("imagepolicy", "ImagePolicy"),
        ("Canary", "Canary"),
    ],
)
def test_kinds_are_understood_as_kubectl_takes_them(spelling: str, kind: str) -> None:
    found = kind_called(spelling)
    assert found is not None
    assert found.name == kind


def test_an_unknown_kind_gets_the_nearest_one_or_all() -> None:
    with pytest.raises(BadQuestion, match=r'^"kustomisation" is no kind of Flux; did you mean Kustomization\?$'):
        question("kustomisation", "x", None)
    with pytest.raises(BadQuestion, match="known: Alert, AlertProvider, ArtifactGenerator"):
        question("pod", "x", None)


def test_a_name_that_none_can_be_is_refused() -> None:
    for name in "x" * 254, "a\nb":
        with pytest.raises(BadQuestion, match="can be no name"):
            question("ks", name, None)


def test_the_preferred_namespace_counts_before_others_and_the_named_one_alone() -> None:
    cluster = a_cluster(default="app", shop="app")
    assert asked(cluster, "app", preferred="default") == "default"
    assert asked(cluster, "app", namespace="shop") == "shop"


def test_the_only_one_of_its_name_is_found_wherever_it_is() -> None:
    cluster = a_cluster(shop="app", apps="other")
    assert asked(cluster, "app", preferred="default") == asked(cluster, "app") == "shop"


def test_of_several_the_namespaces_are_named() -> None:
    cluster = a_cluster(one="app", two="app")
    text = apology(BadQuestion, cluster, "app", preferred="default")
    assert text == "Kustomization app is in the namespaces one, two; say which with -n"


def test_in_another_namespace_than_the_named_one_it_is_pointed_at_and_not_taken() -> None:
    cluster = a_cluster(shop="app")
    text = apology(NoSuchObject, cluster, "app", namespace="apps")
    assert text == "there is no Kustomization apps/app; it is in the namespace shop"


def test_near_names_are_told_of_the_same_namespace_or_else_of_all() -> None:
    cluster = a_cluster(shop="checkout", apps="checkouts", zoo="unlike")
    text = apology(NoSuchObject, cluster, "chekout", namespace="shop")
    assert text == "there is no Kustomization shop/chekout; did you mean shop/checkout?"
    text = apology(NoSuchObject, cluster, "chekout", namespace="zoo")
    assert text == "there is no Kustomization zoo/chekout; did you mean shop/checkout or apps/checkouts?"


def test_where_nothing_is_near_the_way_to_all_is_told() -> None:
    text = apology(NoSuchObject, a_cluster(shop="checkout"), "zzz", namespace="shop")
    assert text.endswith("there is one other; kubectl get kustomizations.kustomize.toolkit.fluxcd.io -A lists them")


def test_one_that_is_missing_and_awaited_says_by_how_many() -> None:
    cluster = Cluster()
    cluster.source_is_missed("app", at=1, spec=on())
    text = apology(NoSuchObject, cluster, "repo", namespace="apps", kind="gitrepo")
    assert text == (
        "there is no GitRepository apps/repo (and one object waits for it); there is none of that kind at all"
    )


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("forbidden", "grant it list"),
        ("not_listed_yet", "ask again in a moment"),
        ("unreachable", "did not answer"),
        ("timed_out", "--timeout"),
    ],
)
def test_of_a_kind_that_is_not_known_nobody_says_that_it_has_no_such_object(why: Why, words: str) -> None:
    cluster = Cluster(without=["Kustomization"])
    gap = NotKnown(kind="Kustomization", namespace="", why=why)
    text = apology(NoSuchObject, cluster, "app", namespace="apps", not_known=(gap,))
    assert text.startswith("nothing is known of Kustomization apps/app: ")
    assert words in text


def test_a_kind_that_the_cluster_lacks_is_told_as_such() -> None:
    text = apology(NoSuchObject, Cluster(), "app", absent=frozenset({"Kustomization"}))
    assert text.startswith("the cluster does not serve Kustomization (kustomizations.kustomize.toolkit.fluxcd.io)")


def test_a_kind_that_the_settings_leave_out_is_told_as_such() -> None:
    text = apology(NoSuchObject, Cluster(without=["Kustomization"]), "app")
    assert text == "Kustomization is not among watch.kinds of the settings; add it there"


def test_among_thousands_of_names_the_nearest_is_found_in_time() -> None:
    """A web client may ask; the whole suite would feel it."""
    cluster = Cluster()
    for number in range(3000):
        cluster.kustomization_is_ready(f"app-{number}", spec=on())
    assert "did you mean apps/app-" in apology(NoSuchObject, cluster, "app-1x", namespace="apps")
