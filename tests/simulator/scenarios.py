"""Conversations that go the same way with every API server; each is a function that talks about a kind of its own.

The kind is Widget, in a group for tests: served at v1 and v1beta1, stored at v1, with a status subresource,
columns, and no schema but the default of its status.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.simulator.talk import MERGE, TABLE, Talk

Scenario = Callable[[Talk, "Place"], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}
OWN_KIND: set[str] = set()
"""Scenarios that look at all objects of their kind, or change the kind: each needs one that no other talks about."""
CODE = ("code", "reason")
"""Where the words are Go's own, or tell more than they need."""


class Place:
    """Where a scenario takes place: a namespace of its own, and a group."""

    def __init__(self, name: str, group: str) -> None:
        self.namespace = name
        self.group = f"{group}.simulator.test"
        self.api_version = f"{self.group}/v1"
        self.everywhere = f"/apis/{self.group}/v1/widgets"
        self.widgets = self.path("v1")
        self.definition_path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{self.group}"

    def path(self, version: str, plural: str = "widgets") -> str:
        return f"/apis/{self.group}/{version}/namespaces/{self.namespace}/{plural}"

    def widget(self, name: str, spec: Any = None, **metadata: Any) -> dict[str, Any]:
        return {
            "apiVersion": self.api_version,
            "kind": "Widget",
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            **({} if spec is None else {"spec": spec}),
        }

    def definition(self, *, served: tuple[str, ...] = ("v1beta1", "v1"), storage: str = "v1") -> dict[str, Any]:
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema = {**anything, "properties": {"status": {**anything, "default": {"seen": -1}}}}
        ready = '.status.conditions[?(@.type=="Ready")]'
        columns = [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": f"{ready}.status"},
            {"name": "Parts", "type": "string", "jsonPath": ".spec.parts[0]", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"widgets.{self.group}"},
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"], "categories": ["toys"]},
                "versions": [
                    {
                        "name": version,
                        "served": version in served,
                        "storage": version == storage,
                        "schema": {"openAPIV3Schema": schema},
                        "subresources": {"status": {}},
                        "additionalPrinterColumns": columns,
                    }
                    for version in ("v1beta1", "v1")
                ],
            },
        }

    async def prepare(self, talk: Talk) -> None:
        """The namespace and the kind, served."""
        await talk.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        await talk.ask("POST", self.definition_path.rpartition("/")[0], self.definition())
        await talk.until(lambda status, _: status == 200, self.widgets)


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def scenario_of_its_own_kind(function: Scenario) -> Scenario:
    OWN_KIND.add(function.__name__)
    return scenario(function)


@scenario
async def an_object_is_created_once(talk: Talk, place: Place) -> None:
    one = place.widget("one", {"size": 1}, labels={"a": "b"}, annotations={"c": "d"})
    await talk.say("POST", place.widgets, {**one, "status": {"phase": "is dropped"}})
    await talk.say("POST", place.widgets, one)
    status, generated = await talk.ask("POST", place.widgets, {**one, "metadata": {"generateName": "g-"}})
    talk.note([status, len(generated["metadata"]["name"]), generated["metadata"]["generation"]])
    await talk.say("POST", place.widgets, {**place.widget("nothing"), "spec": None, "extra": {"a": None, "b": []}})
    system = {"uid": "x", "generation": 7, "creationTimestamp": "2020-01-01T00:00:00Z", "selfLink": "/x"}
    await talk.say("POST", place.widgets, place.widget("two", {}, **system))
    await talk.say("POST", place.path("v1beta1"), {**place.widget("old"), "apiVersion": f"{place.group}/v1beta1"})
    await talk.say("GET", f"{place.widgets}/old")


@scenario
async def what_cannot_be_created_is_refused(talk: Talk, place: Place) -> None:
    fine = place.widget("fine")
    await talk.say("POST", place.widgets, place.widget("B_ad"))
    await talk.say("POST", place.widgets, place.widget("a" * 254))
    await talk.say("POST", place.widgets, {**fine, "metadata": {}})
    await talk.say("POST", place.widgets, {"apiVersion": place.api_version, "kind": "Widget"})
    await talk.say("POST", place.widgets, {**fine, "apiVersion": f"{place.group}/v9"})
    await talk.say("POST", place.widgets, {"kind": "Widget", "metadata": {"name": "x"}})
    await talk.say("POST", place.widgets, {"apiVersion": place.api_version, "metadata": {"name": "x"}}, only=CODE)
    await talk.say("POST", place.widgets, {**fine, "kind": "Gadget"})
    await talk.say("POST", place.widgets, place.widget("x", namespace="default"))
    for method in "POST", "DELETE":
        await talk.say(method, place.everywhere, fine)
    nowhere = place.widgets.replace(place.namespace + "/widgets", "nowhere/widgets")
    await talk.say("POST", nowhere, place.widget("x", namespace="nowhere"))
    await talk.say("POST", place.widgets, place.widget("x", resourceVersion="5"))
    for bad in b"{bad", b"[]", b"", b'"text"':
        await talk.say("POST", place.widgets, bad, only=CODE)
    await talk.say("POST", place.widgets, fine, kind="text/plain", only=CODE)
    for labels in {"a": 1}, ["a"]:
        await talk.say("POST", place.widgets, place.widget("x", labels=labels), only=CODE)
    await talk.say("POST", place.widgets, {**fine, "metadata": "text"}, only=CODE)
    await talk.say("POST", place.widgets, place.widget("x", labels={"a b": "c"}))
    await talk.say("POST", place.widgets, place.widget("x", labels={"a": "c" * 64}))
    await talk.say("POST", place.widgets, place.widget("x", labels={"a": "b c"}))
    await talk.say("POST", place.widgets, place.widget("x", annotations={"a b": "c"}))
    await talk.say("POST", place.widgets, place.widget("x", finalizers=["a b"]))
    await talk.say("POST", place.widgets, place.widget("big", {"x": "y" * 3_300_000}), only=CODE)
    await talk.say("GET", place.widgets)


@scenario
async def an_object_is_read(talk: Talk, place: Place) -> None:
    await talk.say("POST", place.widgets, place.widget("one", {"size": 1}))
    for path in "one", "one/status", "missing", "missing/status", "one/scale", "one/nothing":
        await talk.say("GET", f"{place.widgets}/{path}")
    for path in "/apis/nothing.test/v1/things", f"/apis/{place.group}/v1/things", f"/apis/{place.group}/v7/widgets":
        await talk.say("GET", path)
    for path in f"/apis/{place.group}/v7", "/apis/nothing.test", "/nothing", f"{place.everywhere}/one":
        await talk.say("GET", path)
    await talk.say("GET", f"{place.widgets}/one", resourceVersion="0")
    await talk.say("GET", f"{place.widgets}/one", resourceVersion="abc")
    await talk.say("GET", f"{place.widgets}/one", resourceVersion="99999999", only=CODE)
    await talk.say("GET", f"{place.path('v1beta1')}/one")
    await talk.say("GET", f"{place.widgets}/one", accept="text/html", only=CODE)
    await talk.say("GET", f"{place.widgets}/one", accept="text/html, application/json;q=0.9")
    await talk.say("HEAD", f"{place.widgets}/one")
    # A watch is of a collection.
    await talk.say("GET", f"{place.widgets}/one", watch="1")


@scenario
async def an_update_needs_the_version_that_it_changes(talk: Talk, place: Place) -> None:
    path = f"{place.widgets}/one"
    await talk.say("POST", place.widgets, place.widget("one", {"size": 1}, labels={"a": "b"}))
    # Until its first write, kube-apiserver has a default status in no store.
    one = await talk.say("PATCH", f"{path}/status", {"status": {"phase": "new"}}, kind=MERGE)
    version = one["metadata"]["resourceVersion"]
    await talk.say("PUT", path, one)
    await talk.say("PUT", path, place.widget("one", {"size": 2}))
    two = await talk.say("PUT", path, place.widget("one", {"size": 2}, resourceVersion=version))
    await talk.say("PUT", path, one)
    await talk.say("PUT", f"{path}/status", {**one, "status": {"phase": "late"}})
    await talk.say("PUT", path, place.widget("one", resourceVersion="abc"))
    await talk.say("PUT", path, {**two, "metadata": {**two["metadata"], "uid": "other"}}, only=CODE)
    await talk.say("PUT", path, place.widget("other"))
    await talk.say("PUT", f"{place.widgets}/missing", place.widget("missing"))
    await talk.say("PUT", f"{place.widgets}/missing", place.widget("missing", resourceVersion=version))
    await talk.say("PUT", place.widgets, two)
    await talk.say("POST", f"{path}/status", two)
    await talk.say("DELETE", f"{path}/status")


@scenario
async def status_and_all_else_are_written_apart(talk: Talk, place: Place) -> None:
    one = await talk.say("POST", place.widgets, place.widget("one", {"size": 1}))
    path = f"{place.widgets}/one"
    two = await talk.say("PUT", path, {**one, "spec": {"size": 2}, "status": {"phase": "ignored"}})
    await talk.say("PUT", f"{path}/status", {**two, "spec": {"size": 9}, "status": {"phase": "Ready"}})
    await talk.say("PATCH", f"{path}/status", {"spec": {"size": 9}, "status": {"seen": 2}}, kind=MERGE)
    await talk.say("PATCH", path, {"status": {"seen": 3}}, kind=MERGE)
    await talk.say("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, kind=MERGE)
    await talk.say("PATCH", path, {"spec": {"size": 3}, "extra": 1}, kind=MERGE)
    await talk.say("PATCH", f"{path}/status", {"status": None}, kind=MERGE)
    await talk.say("PATCH", f"{place.path('v1beta1')}/one/status", {"status": {"by": "old"}}, kind=MERGE)


@scenario
async def a_merge_patch_changes_what_it_names(talk: Talk, place: Place) -> None:
    await talk.say("POST", place.widgets, place.widget("one", {"a": {"b": 1, "c": [1]}, "d": 2}, labels={"l": "1"}))
    path = f"{place.widgets}/one"
    await talk.say("PATCH", path, {"spec": {"a": {"b": None, "e": {"f": 3}}, "d": [4]}}, kind=MERGE)
    # What changes nothing is no write.
    await talk.say("PATCH", path, {"spec": {"a": {"e": {"f": 3}}}, "metadata": {"labels": {"x": None}}}, kind=MERGE)
    await talk.say("PATCH", path, {"metadata": {"labels": None, "annotations": {"k": "v"}}}, kind=MERGE)
    await talk.say("PATCH", path, {"spec": "text"}, kind=MERGE)
    await talk.say("PATCH", path, {"metadata": {"creationTimestamp": None, "generation": 77}}, kind=MERGE)
    await talk.say("PATCH", path, {"metadata": {"resourceVersion": "3"}, "spec": {"k": 1}}, kind=MERGE)
    await talk.say("PATCH", path, {"metadata": {"name": "b"}}, kind=MERGE)
    await talk.say("PATCH", f"{place.widgets}/missing", {"spec": {}}, kind=MERGE)
    for bad in b"{x", b"[]":
        await talk.say("PATCH", path, bad, kind=MERGE, only=CODE)
    await talk.say("PATCH", path, {"metadata": {"labels": {"a": 1}}}, kind=MERGE, only=CODE)
    await talk.say("PATCH", path, {"metadata": {"uid": "other"}}, kind=MERGE, only=CODE)
    await talk.say("PATCH", path, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, kind=MERGE, only=CODE)
    await talk.say("PATCH", path, {"kind": "Gadget"}, kind=MERGE)
    await talk.say("PATCH", path, {"apiVersion": f"{place.group}/v1beta1"}, kind=MERGE)
    await talk.say("PATCH", place.widgets, {"spec": {}}, kind=MERGE)
    for unknown in "application/strategic-merge-patch+json", "application/json":
        await talk.say("PATCH", path, {"spec": {}}, kind=unknown, only=CODE)


@scenario
async def fields_belong_to_who_wrote_them_last(talk: Talk, place: Place) -> None:
    path = f"{place.widgets}/one"
    await talk.say("POST", place.widgets, place.widget("one", {"a": 2}))
    for manager, status in (
        ("m1", {"a": 1, "b": {"c": 1, "d": [1]}}),
        ("m2", {"a": 2, "b": {"c": 2}}),
        ("m2", {"b": None}),
        ("m3", {"a": None}),
        ("m3", None),
    ):
        await talk.say("PATCH", f"{path}/status", {"status": status}, kind=MERGE, fieldManager=manager)
    owner = {"apiVersion": "v1", "kind": "Secret", "name": "x", "uid": "1"}
    for manager, metadata, spec in (
        ("m4", {"labels": {"x": "y"}, "finalizers": ["a.b/c", "a.b/d"], "ownerReferences": [owner]}, {}),
        ("m5", {"labels": {"x": "z"}, "finalizers": ["a.b/d"]}, {"l": [{"a": 1}], "m": {}}),
        ("m6", {"labels": None, "finalizers": None}, {"l": None, "m": {"k": 1}}),
        ("m6", {}, {"m": None}),
        ("m7", {}, {"a": {"x": 1}}),
        ("m8", {}, {"a": "s"}),
    ):
        await talk.say("PATCH", path, {"metadata": metadata, "spec": spec}, kind=MERGE, fieldManager=manager)
    await talk.say("PATCH", path, {"metadata": {"managedFields": None}}, kind=MERGE, fieldManager="m9")


@scenario
async def an_object_is_deleted_when_nobody_holds_it(talk: Talk, place: Place) -> None:
    held = f"{place.widgets}/held"
    await talk.say("POST", place.widgets, place.widget("free", {"size": 1}))
    await talk.say("DELETE", f"{place.widgets}/free")
    await talk.say("DELETE", f"{place.widgets}/free")
    await talk.say("POST", place.widgets, place.widget("held", {"size": 1}, finalizers=["x.io/f", "x.io/g"]))
    await talk.say("DELETE", held)
    await talk.say("DELETE", held)
    await talk.say("PATCH", held, {"spec": {"size": 2}}, kind=MERGE)
    await talk.say("PATCH", f"{held}/status", {"status": {"phase": "Terminating"}}, kind=MERGE)
    await talk.say("PATCH", held, {"metadata": {"finalizers": ["x.io/f", "y.io/new"]}}, kind=MERGE, only=CODE)
    await talk.say("POST", place.widgets, place.widget("held"))
    await talk.say("PATCH", held, {"metadata": {"finalizers": ["x.io/f"]}}, kind=MERGE)
    await talk.say("PATCH", held, {"metadata": {"finalizers": []}}, kind=MERGE)
    await talk.say("GET", held)
    again = await talk.say("POST", place.widgets, place.widget("held"))
    for preconditions in {"resourceVersion": "1"}, {"uid": "1"}:
        await talk.say("DELETE", held, {"preconditions": preconditions}, only=CODE)
    await talk.say("DELETE", held, {"preconditions": {"uid": again["metadata"]["uid"]}})
    for number in range(3):
        await talk.say("POST", place.widgets, place.widget(f"w{number}", labels={"even": str(number % 2 == 0)}))
    await talk.say("DELETE", place.widgets, labelSelector="even=True")
    await talk.say("GET", place.widgets)


async def _six(talk: Talk, place: Place) -> list[Any]:
    return [
        await talk.say("POST", place.widgets, place.widget(name, labels={"app": name, "odd": str(index % 2)}))
        for index, name in enumerate("abcdef")
    ]


@scenario_of_its_own_kind
async def a_list_comes_page_by_page_as_of_its_first(talk: Talk, place: Place) -> None:
    await _six(talk, place)
    for everything in place.widgets, place.everywhere:
        page = await talk.say("GET", everything, limit="2")
        await talk.say("DELETE", f"{place.widgets}/c")
        await talk.say("POST", place.widgets, place.widget("bb"))
        await talk.say("PATCH", f"{place.widgets}/d", {"spec": {"changed": True}}, kind=MERGE)
        while token := page["metadata"].get("continue"):
            page = await talk.say("GET", everything, limit="2", continue_=token)
        await talk.say("DELETE", f"{place.widgets}/bb")
        await talk.say("POST", place.widgets, place.widget("c"))
        await talk.say("PATCH", f"{place.widgets}/d", {"spec": {"changed": None}}, kind=MERGE)
    for limit in "5", "6", "7", "-1":
        await talk.say("GET", place.widgets, limit=limit)
    await talk.say("GET", place.widgets, limit="x", only=CODE)
    page = await talk.say("GET", place.widgets, limit="2", labelSelector="odd=0")
    await talk.say("GET", place.widgets, limit="2", labelSelector="odd=0", continue_=page["metadata"]["continue"])
    await talk.say("GET", place.widgets, limit="2", continue_="garbage", only=CODE)
    await talk.say("GET", place.widgets, continue_=page["metadata"]["continue"], resourceVersion="5")


@scenario
async def a_list_shows_the_version_that_is_asked_for(talk: Talk, place: Place) -> None:
    third = (await _six(talk, place))[2]["metadata"]["resourceVersion"]
    await talk.say("DELETE", f"{place.widgets}/a")
    # Version 0 is whatever a cache has, and that may lag behind until it is asked for no less than the latest.
    _, now = await talk.ask("GET", place.widgets)
    latest = now["metadata"]["resourceVersion"]
    await talk.ask("GET", place.widgets, resourceVersion=latest, resourceVersionMatch="NotOlderThan")
    await talk.say("GET", place.widgets, resourceVersion="0", limit="2")
    await talk.say("GET", place.widgets, resourceVersion=third, resourceVersionMatch="Exact")
    await talk.say("GET", place.widgets, resourceVersion=third, resourceVersionMatch="Exact", limit="2")
    await talk.say("GET", place.widgets, resourceVersion=third, resourceVersionMatch="NotOlderThan")
    await talk.say("GET", place.widgets, resourceVersion=third)
    await talk.say("GET", place.widgets, resourceVersion=third, limit="1")
    await talk.say("GET", place.widgets, resourceVersion="abc")
    await talk.say("GET", place.widgets, resourceVersion="99999999", only=CODE)
    await talk.say("GET", place.widgets, resourceVersionMatch="Exact")
    await talk.say("GET", place.widgets, resourceVersionMatch="Exact", resourceVersion="0")
    await talk.say("GET", place.widgets, resourceVersionMatch="Bogus", resourceVersion="5", only=CODE)
    await talk.say("GET", place.widgets, watch="1", resourceVersion=third, resourceVersionMatch="Exact", only=CODE)
    await talk.say("GET", place.widgets, sendInitialEvents="true", only=CODE)
    await talk.say("GET", place.widgets, watch="1", sendInitialEvents="true", only=CODE)


@scenario
async def selectors_choose_by_labels_and_names(talk: Talk, place: Place) -> None:
    await _six(talk, place)
    await talk.say("POST", place.widgets, place.widget("bare"))
    for selector in (
        "app=a",
        "app==a",
        "app!=a",
        "app in (a,b)",
        "app notin (a, b)",
        "app",
        "!app",
        "app=a,odd=0",
        "app=a,odd=1",
        "odd>0",
        "odd<1",
        "app==",
        "app in (a,)",
        " app = a ",
        "zone notin (a)",
    ):
        listing = await talk.ask("GET", place.widgets, labelSelector=selector)
        talk.note([selector, [item["metadata"]["name"] for item in listing[1]["items"]]])
    for selector in "app in (a", "=", "app=a b", "app in a", ",app", "app,,odd":
        await talk.say("GET", place.widgets, labelSelector=selector, only=CODE)
    for selector in (
        "metadata.name=a",
        "metadata.name!=a",
        f"metadata.namespace={place.namespace}",
        "metadata.name==a,metadata.namespace=default",
    ):
        listing = await talk.ask("GET", place.widgets, fieldSelector=selector)
        talk.note([selector, [item["metadata"]["name"] for item in listing[1]["items"]]])
    for selector in "spec.size=1", "bad", "metadata.name":
        await talk.say("GET", place.widgets, fieldSelector=selector)


@scenario_of_its_own_kind
async def a_watch_tells_what_happened_since(talk: Talk, place: Place) -> None:
    before = await talk.say("POST", place.widgets, place.widget("zero"))
    since = before["metadata"]["resourceVersion"]
    await talk.say("POST", place.widgets, place.widget("a", {"size": 1}, labels={"l": "1"}))
    await talk.say("POST", place.widgets, place.widget("b", labels={"l": "2"}, finalizers=["x.io/f"]))
    for label in "2", "1":
        await talk.say("PATCH", f"{place.widgets}/a", {"metadata": {"labels": {"l": label}}}, kind=MERGE)
    await talk.say("PATCH", f"{place.widgets}/a/status", {"status": {"seen": 1}}, kind=MERGE)
    await talk.say("PATCH", f"{place.widgets}/a", {}, kind=MERGE)
    await talk.say("DELETE", f"{place.widgets}/b")
    await talk.say("PATCH", f"{place.widgets}/b", {"metadata": {"finalizers": None}}, kind=MERGE)
    await talk.say("DELETE", f"{place.widgets}/a")
    await talk.say("POST", place.widgets, place.widget("c", labels={"l": "1"}))
    for path, version in (place.widgets, "v1"), (place.everywhere, "v1"), (place.path("v1beta1"), "v1beta1"):
        await talk.watch(path, 9, resourceVersion=since)
        talk.note(version)
    await talk.watch(place.widgets, 6, resourceVersion=since, labelSelector="l=1")
    await talk.watch(place.widgets, 1, resourceVersion=since, fieldSelector="metadata.name=c")
    await talk.watch(place.widgets, None, resourceVersion=since, fieldSelector="metadata.name=c", timeoutSeconds="1")
    await talk.watch(place.widgets, 2, resourceVersion="0")
    await talk.watch(place.widgets, 9, resourceVersion=since, accept=TABLE)
    await talk.say("GET", place.widgets, watch="1", resourceVersion="abc")
    await talk.say("GET", place.widgets, watch="1", timeoutSeconds="x", only=CODE)
    await talk.say("GET", place.widgets, watch="false", fieldSelector="metadata.name=c")


@scenario_of_its_own_kind
async def a_definition_makes_a_kind_served(talk: Talk, place: Place) -> None:
    name = f"sprockets.{place.group}"
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    definition = place.definition(served=("v1beta1",), storage="v1beta1")
    definition["metadata"]["name"] = name
    definition["spec"]["names"] = {"kind": "Sprocket", "plural": "sprockets"}
    definition["spec"]["group"] = place.group
    sprockets, newer = place.path("v1beta1", "sprockets"), place.path("v1", "sprockets")
    await talk.say("GET", sprockets)
    await talk.ask("POST", path.rpartition("/")[0], definition)
    await talk.until(lambda status, _: status == 200, sprockets)
    await talk.say("GET", newer)
    _, now = await talk.ask("GET", path)
    talk.note([now["spec"], now["status"]["acceptedNames"], now["status"]["storedVersions"]])
    talk.note([{**condition, "lastTransitionTime": ""} for condition in now["status"]["conditions"]])
    await talk.say("POST", path.rpartition("/")[0], definition)
    one = {"apiVersion": f"{place.group}/v1beta1", "kind": "Sprocket", "metadata": {"name": "one"}, "spec": {}}
    await talk.say("POST", sprockets, one)

    both = [
        {**version, "served": True, "storage": version["name"] == "v1"} for version in definition["spec"]["versions"]
    ]
    await talk.ask("PATCH", path, {"spec": {"versions": both}}, kind=MERGE)
    await talk.until(lambda status, _: status == 200, newer)
    await talk.say("GET", newer)
    await talk.say("GET", f"{sprockets}/one")
    status, now = await talk.ask("GET", path)
    talk.note([status, now["status"]["storedVersions"], now["metadata"]["generation"]])

    await talk.say("PATCH", path, {"spec": {"scope": "Cluster"}}, kind=MERGE)
    wrong = {**definition, "metadata": {"name": f"other.{place.group}"}}
    await talk.say("POST", path.rpartition("/")[0], wrong)
    bare = json.loads(json.dumps(definition).replace("sprocket", "gear").replace("Sprocket", "Gear"))
    del bare["spec"]["versions"][0]["schema"]
    await talk.say("POST", path.rpartition("/")[0], bare)


@scenario_of_its_own_kind
async def a_deleted_definition_takes_its_objects_along(talk: Talk, place: Place) -> None:
    await talk.say("POST", place.widgets, place.widget("free"))
    held = await talk.say("POST", place.widgets, place.widget("held", finalizers=["x.io/f"]))
    since = held["metadata"]["resourceVersion"]
    status, answer = await talk.ask("DELETE", place.definition_path)
    talk.note([status, answer["kind"], answer["metadata"]["finalizers"]])
    await talk.until(lambda _, found: len(found["items"]) == 1, place.widgets)
    await talk.until(lambda _, found: "deletionTimestamp" in found["items"][0]["metadata"], place.widgets)
    await talk.say("POST", place.widgets, place.widget("late"))
    # It ends by itself, when the kind does.
    async with talk.watching(place.widgets, None, resourceVersion=since):
        await talk.ask("PATCH", f"{place.widgets}/held", {"metadata": {"finalizers": None}}, kind=MERGE)
    await talk.until(lambda status, _: status == 404, place.definition_path)
    await talk.until(lambda status, _: status == 404, place.widgets)
    await talk.say("GET", place.widgets)


@scenario_of_its_own_kind
async def discovery_says_what_is_served(talk: Talk, place: Place) -> None:
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

    def group_in(document: Any) -> list[Any]:
        return [group for group in document["items"] if group["metadata"].get("name") == place.group]

    await talk.until(lambda _, document: bool(group_in(document)), "/apis", accept=aggregated)
    _, document = await talk.ask("GET", "/apis", accept=aggregated)
    talk.note([document["kind"], document["apiVersion"], group_in(document)])
    _, plain = await talk.ask("GET", "/apis")
    talk.note([plain["kind"], [group for group in plain["groups"] if group["name"] == place.group]])
    await talk.say("GET", f"/apis/{place.group}")
    for version in "v1", "v1beta1":
        _, resources = await talk.ask("GET", f"/apis/{place.group}/{version}")
        for resource in resources["resources"]:
            resource.pop("storageVersionHash", None)
            resource["verbs"] = sorted(resource["verbs"])
        talk.note(resources)
    _, core = await talk.ask("GET", "/api", accept=aggregated)
    talk.note([entry for entry in core["items"][0]["versions"][0]["resources"] if entry["resource"] == "namespaces"])
    _, versions = await talk.ask("GET", "/api")
    talk.note([versions["kind"], versions["versions"]])
    for path in "/readyz", "/livez", "/healthz":
        await talk.say("GET", path)


@scenario
async def tables_show_what_the_kind_wants_shown(talk: Talk, place: Place) -> None:
    for name, spec in ("one", {"size": 3, "parts": ["x", "y"]}), ("two", {}):
        await talk.say("POST", place.widgets, place.widget(name, spec))
    ready = {"conditions": [{"type": "Stalled", "status": "x"}, {"type": "Ready", "status": "True"}]}
    await talk.say("PATCH", f"{place.widgets}/one/status", {"status": ready}, kind=MERGE)
    partial = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
    for path, accept in (
        (place.widgets, TABLE),
        (f"{place.widgets}/one", TABLE),
        (place.widgets, partial.format("List")),
        (f"{place.widgets}/one", partial.format("")),
    ):
        _, answer = await talk.ask("GET", path, accept=accept)
        talk.note(answer)
    for include in "None", "Object":
        _, answer = await talk.ask("GET", place.widgets, accept=TABLE, includeObject=include)
        talk.note(answer["rows"])


@scenario
async def a_namespace_stays_until_it_is_finalized(talk: Talk, place: Place) -> None:
    name = f"{place.namespace}-more"
    path = f"/api/v1/namespaces/{name}"
    inside = place.widgets.replace(f"namespaces/{place.namespace}/", f"namespaces/{name}/")

    async def look(method: str, path: str, body: Any = None, kind: str = "application/json") -> None:
        status, answer = await talk.ask(method, path, body, kind=kind)
        metadata = answer["metadata"]
        talk.note([status, answer.get("kind"), metadata.get("labels"), "deletionTimestamp" in metadata])
        talk.note([answer.get("spec"), answer.get("status"), answer.get("message"), answer.get("details")])

    await look("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    await look("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    await look("POST", "/api/v1/namespaces", {"metadata": {"name": "a.b"}})
    labels = {"metadata": {"labels": {"a": "b"}}}
    await look("PATCH", path, labels, "application/strategic-merge-patch+json")
    await look("DELETE", path)
    await look("DELETE", path)
    await talk.say("POST", inside, {**place.widget("late"), "metadata": {"name": "late"}})
    finalized = {"kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": []}}
    status, _ = await talk.ask("PUT", f"{path}/finalize", finalized)
    talk.note(status)
    await talk.say("GET", path)


@scenario_of_its_own_kind
async def tokens_of_lists_can_be_read_by_people(talk: Talk, place: Place) -> None:
    await _six(talk, place)
    _, page = await talk.ask("GET", place.everywhere, limit="2")
    token = page["metadata"]["continue"]
    said = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    talk.note([said["v"], said["start"]])
