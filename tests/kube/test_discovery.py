"""Which kinds are served, and at which version, in the words of both forms of discovery."""

from __future__ import annotations

import copy
import json

import pytest

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.kube.client import Resource
from gotk_exporter.kube.discovery import Discovery, Served
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from tests.kube.connection import Connector
from tests.kube.discovery_documents import AGGREGATED_TYPE, IMAGE, KUSTOMIZE, SOURCE, Aggregated, Plain, Script
from tests.kube.scripted_server import Raw, Reply, Scripted, ScriptedServer, html, status

KINDS = [BY_NAME[name] for name in ("Kustomization", "GitRepository", "ImageRepository", "HelmRelease")]


@pytest.fixture(params=[Aggregated, Plain], ids=["aggregated", "plain"])
def script(request: pytest.FixtureRequest) -> Script:
    made: Script = request.param()
    return made


async def discover(server: ScriptedServer, connect: Connector) -> Served:
    return await Discovery((await connect(server.url)).client, KINDS).ask()


KUSTOMIZATION = Resource(KUSTOMIZE, "v1", "kustomizations", "Kustomization")
GIT_REPOSITORY = Resource(SOURCE, "v1", "gitrepositories", "GitRepository")


async def test_each_kind_is_found_at_the_preferred_version(
    server: ScriptedServer, connect: Connector, script: Script
) -> None:
    script.apply(server)
    served = await discover(server, connect)
    assert served.resources == {"Kustomization": KUSTOMIZATION, "GitRepository": GIT_REPOSITORY}
    assert served.unknown == {"ImageRepository"}  # its group is there and does not answer; HelmRelease's is not


async def test_the_servers_preference_counts_and_not_the_versions_name(
    server: ScriptedServer, connect: Connector, script: Script
) -> None:
    script.prefer(KUSTOMIZE, "v1beta2")
    script.rename_version(SOURCE, "v1", "v9alpha7")
    script.apply(server)
    served = await discover(server, connect)
    assert served.resources["Kustomization"].version == "v1beta2"
    assert served.resources["GitRepository"].version == "v9alpha7"


async def test_a_kind_that_only_another_version_has_is_found_there(
    server: ScriptedServer, connect: Connector, script: Script
) -> None:
    script.drop_kind(KUSTOMIZE, "v1")
    script.apply(server)
    served = await discover(server, connect)
    assert served.resources["Kustomization"].version == "v1beta2"
    assert served.unknown == {"ImageRepository"}


@pytest.mark.parametrize("verbs", [["get"], ["get", "list"], ["watch"], [], None])
async def test_a_kind_that_cannot_be_listed_and_watched_is_not_followed_there(
    server: ScriptedServer, connect: Connector, script: Script, verbs: list[str] | None
) -> None:
    script.set_verbs(KUSTOMIZE, "v1", verbs)
    script.set_verbs(SOURCE, "v1", verbs)
    script.set_verbs(SOURCE, "v1beta2", verbs)
    script.apply(server)
    served = await discover(server, connect)
    assert served.resources["Kustomization"].version == "v1beta2"
    assert "GitRepository" not in served.resources.keys() | served.unknown


async def test_a_group_that_is_gone_takes_its_kinds_with_it(
    server: ScriptedServer, connect: Connector, script: Script
) -> None:
    script.drop_group(KUSTOMIZE)
    script.apply(server)
    served = await discover(server, connect)
    assert "Kustomization" not in served.resources.keys() | served.unknown
    assert served.resources["GitRepository"] == GIT_REPOSITORY


async def test_a_version_that_cannot_say_leaves_its_kinds_unknown_and_the_others_alone(
    server: ScriptedServer, connect: Connector, script: Script
) -> None:
    """Though the kind is known at a version that is less preferred: it would be listed anew twice."""
    script.break_version(KUSTOMIZE, "v1")
    script.apply(server)
    served = await discover(server, connect)
    assert served.resources == {"GitRepository": GIT_REPOSITORY}
    assert served.unknown == {"Kustomization", "ImageRepository"}


async def test_a_version_that_nobody_prefers_may_be_broken(
    server: ScriptedServer, connect: Connector, script: Script
) -> None:
    script.break_version(KUSTOMIZE, "v1beta2")
    script.apply(server)
    served = await discover(server, connect)
    assert served.resources["Kustomization"] == KUSTOMIZATION
    assert served.unknown == {"ImageRepository"}


async def test_a_stale_version_that_still_names_the_kind_is_good_enough(
    server: ScriptedServer, connect: Connector
) -> None:
    script = Aggregated()
    resources = copy.deepcopy(script.version(KUSTOMIZE, "v1")["resources"])
    script.break_version(KUSTOMIZE, "v1")
    script.version(KUSTOMIZE, "v1")["resources"] = resources
    script.apply(server)
    assert (await discover(server, connect)).resources["Kustomization"] == KUSTOMIZATION


async def test_null_is_an_empty_list(server: ScriptedServer, connect: Connector) -> None:
    aggregated = Aggregated()
    aggregated.version(KUSTOMIZE, "v1")["resources"] = None
    aggregated.group(SOURCE)["versions"] = None
    aggregated.apply(server)
    served = await discover(server, connect)
    assert {name: found.version for name, found in served.resources.items()} == {"Kustomization": "v1beta2"}
    plain = Plain()
    plain.versions[KUSTOMIZE, "v1"]["resources"] = None
    plain.apply(server)
    assert (await discover(server, connect)).resources["Kustomization"].version == "v1beta2"


async def test_a_subresource_of_the_same_kind_is_not_the_resource(server: ScriptedServer, connect: Connector) -> None:
    script = Plain()
    resources = script.versions[KUSTOMIZE, "v1"]["resources"]
    subresource = next(item for item in resources if item["name"] == "kustomizations/status")
    subresource["verbs"] = ["get", "list", "watch"]
    for order in resources, resources[::-1]:
        script.versions[KUSTOMIZE, "v1"]["resources"] = order
        script.apply(server)
        assert (await discover(server, connect)).resources["Kustomization"] == KUSTOMIZATION


@pytest.mark.parametrize(
    ("answer", "unknown"),
    [
        (status(404, "NotFound", "the version has just gone"), False),
        (status(403, "Forbidden", "no"), True),
        (status(500, "InternalError", "etcdserver: leader changed"), True),
        (html(), True),
        (Reply(body=b'{"kind":"APIResourceList"}'), True),
        (Raw(), True),
    ],
)
async def test_only_404_says_that_a_version_is_not_there(
    server: ScriptedServer, connect: Connector, answer: Scripted, unknown: bool
) -> None:
    script = Plain()
    script.apply(server)
    for version in "v1", "v1beta2":
        server.answer(f"/apis/{KUSTOMIZE}/{version}", answer)
    served = await discover(server, connect)
    assert "Kustomization" not in served.resources
    assert ("Kustomization" in served.unknown) is unknown
    assert served.resources["GitRepository"] == GIT_REPOSITORY


async def test_what_has_not_changed_is_not_sent_again(server: ScriptedServer, connect: Connector) -> None:
    script = Aggregated()
    script.drop_group(IMAGE)
    first = script.reply('"1"')
    script.drop_group(SOURCE)
    server.answer("/apis", first, Reply(304), Reply(304), script.reply('"2"'), Reply(304))
    connection = await connect(server.url)
    discovery = Discovery(connection.client, KINDS)
    answers = [await discovery.ask() for _ in range(5)]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].resources.keys() == {"Kustomization", "GitRepository"}
    assert answers[3].resources.keys() == {"Kustomization"}
    assert answers[3] == answers[4]
    assert [request.headers.get("If-None-Match") for request in server.requests] == [None, '"1"', '"1"', '"1"', '"2"']
    assert [outcome for _, _, outcome in connection.requests] == ["200", "304", "304", "200", "304"]


async def test_an_answer_with_gaps_is_asked_for_again_in_full(server: ScriptedServer, connect: Connector) -> None:
    Aggregated().apply(server)
    discovery = Discovery((await connect(server.url)).client, KINDS)
    for _ in range(2):
        assert (await discovery.ask()).unknown
    assert "If-None-Match" not in server.requests[1].headers


async def test_a_list_of_groups_is_not_believed_to_be_all_that_can_change(
    server: ScriptedServer, connect: Connector
) -> None:
    """A caching proxy may add an ETag; the kinds of a group come and go while the list of groups stays the same."""
    script = Plain()
    script.drop_group(IMAGE)
    script.apply(server)
    server.answer("/apis", Reply(body=json.dumps(script.groups).encode(), headers={"ETag": '"1"'}))
    discovery = Discovery((await connect(server.url)).client, KINDS)
    assert "Kustomization" in (await discovery.ask()).resources
    for version in "v1", "v1beta2":
        script.drop_kind(KUSTOMIZE, version)
        server.answer(f"/apis/{KUSTOMIZE}/{version}", Reply(body=b'{"resources":[]}'))
    assert "Kustomization" not in (await discovery.ask()).resources
    assert all("If-None-Match" not in request.headers for request in server.requests)


async def test_the_document_says_itself_which_of_the_two_it_is(server: ScriptedServer, connect: Connector) -> None:
    reply = Aggregated().reply()
    server.answer("/apis", Reply(body=reply.body, content_type="application/json"))
    assert "Kustomization" in (await discover(server, connect)).resources


async def test_the_aggregated_form_is_asked_for_first_and_the_plain_one_is_taken(
    server: ScriptedServer, connect: Connector
) -> None:
    Aggregated().apply(server)
    await discover(server, connect)
    assert [part.strip() for part in server.requests[0].headers["Accept"].split(",")] == [
        AGGREGATED_TYPE,
        AGGREGATED_TYPE.replace("v=v2", "v=v2beta1"),
        "application/json",
    ]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (html(), "it answered with text/html"),
        (Reply(body=b'{"kind":"APIGroupDiscoveryList","items":[{'), "cannot be read"),
        (Reply(body=b'{"items":"none"}'), "cannot be read"),
        (Reply(body=b"[]"), "cannot be read"),
        (Reply(body=b'{"kind":"Pod"}'), "no discovery document"),
        (Reply(body=b"\xff"), "cannot be read"),
    ],
)
async def test_an_answer_that_is_no_discovery_is_a_failure(
    server: ScriptedServer, connect: Connector, answer: Reply, text: str
) -> None:
    server.answer("/apis", answer)
    with pytest.raises(Unreachable, match=text) as failed:
        await discover(server, connect)
    assert failed.value.outcome == "malformed"


async def test_a_refusal_is_passed_on_and_what_was_known_is_not_forgotten(
    server: ScriptedServer, connect: Connector
) -> None:
    script = Aggregated()
    script.drop_group(IMAGE)
    server.answer("/apis", script.reply(), status(429, "TooManyRequests", headers={"Retry-After": "7"}), Reply(304))
    discovery = Discovery((await connect(server.url)).client, KINDS)
    first = await discovery.ask()
    with pytest.raises(StatusError) as refused:
        await discovery.ask()
    assert refused.value.retry_after == 7
    assert await discovery.ask() == first


async def test_a_server_that_goes_away_between_two_questions_leaves_kinds_unknown(
    server: ScriptedServer, connect: Connector
) -> None:
    Plain().apply(server)
    for version in "v1", "v1beta2":
        for group in KUSTOMIZE, SOURCE:
            server.answer(f"/apis/{group}/{version}", Raw())
    served = await discover(server, connect)
    assert served == Served({}, frozenset({"Kustomization", "GitRepository", "ImageRepository"}))


async def test_an_unreachable_server_is_a_failure(connect: Connector) -> None:
    connection = await connect("http://127.0.0.1:1")
    with pytest.raises(ApiError):
        await Discovery(connection.client, KINDS).ask()
