"""``gotk-exporter explain`` against API servers, simulated and real, and against a running exporter."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gotk_exporter.app import Exporter
from gotk_exporter.clock import SystemClock
from gotk_exporter.config import Settings, WatchSettings
from gotk_exporter.explain import Explained, ExplainOptions, Unavailable, context_namespace, explain, shown
from gotk_exporter.flux.explanation import encode
from gotk_exporter.flux.question import BadQuestion, NoSuchObject
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Kubeconfig
from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.http.access import ANY, Permission
from gotk_exporter.simulator.http.faults import Hang, internal_error
from gotk_exporter.web.server import Address
from tests.kube.connection import write_kubeconfig
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import CRDS, read_objects
from tests.peers.processes import poll_until

SECRET = "s3cr3tT0ken"
SOON_SECONDS = 20.0
HOURS = 3600.0
KUSTOMIZE, SOURCE = "kustomize.toolkit.fluxcd.io/v1", "source.toolkit.fluxcd.io/v1"
OPTIONS = ExplainOptions("ks", "checkout", "shop", SOON_SECONDS)


def written(
    name: str, ready: str, reason: str = "", message: str = "", namespace: str = "shop", **spec: Any
) -> dict[str, Any]:
    """A Kustomization that changed last an hour ago."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - HOURS))
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": message, "lastTransitionTime": moment}
    source = {"kind": "GitRepository", "name": "fleet", "namespace": "flux-system"}
    return {
        "apiVersion": KUSTOMIZE,
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"interval": "10m", "prune": True, "sourceRef": source, **spec},
        "status": {"conditions": [condition], "lastAppliedRevision": "main@sha1:1"},
    }


def a_shop() -> list[dict[str, Any]]:
    """ "checkout" waits for "base", whose build fails, and the message holds a token."""
    failure = f'kustomize build failed: Get "https://me:{SECRET}@git.test/base?token={SECRET}": no such host'
    waiting = written(
        "checkout", "False", "DependencyNotReady", "dependency 'shop/base' is not ready", dependsOn=[{"name": "base"}]
    )
    return [
        written("base", "False", "BuildFailed", failure),
        waiting,
        written("web", "True", "ReconciliationSucceeded"),
    ]


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """A simulated API server with a shop on it, whose clock is two hours slow: its objects are two hours old."""
    async with ApiServer(new_cluster(lambda: time.time() - 2 * HOURS)) as running:
        async with AdminClient(running.url) as admin:
            await admin.ensure_namespace("shop")
            for document in a_shop():
                await admin.create(document)
        yield running


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path) -> str:
    return str(write_kubeconfig(tmp_path / "kubeconfig", server.url, user={}))


Ask = Callable[..., Awaitable[Explained]]


@pytest.fixture
def ask(kubeconfig: str) -> Ask:
    """``await ask(name="base", settings=...)``: of the simulated cluster, in this process."""

    async def asked(settings: Settings | None = None, **changes: Any) -> Explained:
        options = dataclasses.replace(OPTIONS, **{"kubeconfig": kubeconfig, **changes})
        return await explain(options, settings or Settings())

    return asked


async def command(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gotk_exporter", "explain", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SOON_SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


# From a cluster


async def test_the_command_tells_the_cause_and_its_message_and_no_credential(kubeconfig: str) -> None:
    code, output, errors = await command("ks/checkout", "-n", "shop", "--kubeconfig", kubeconfig)
    assert (code, errors) == (1, "")
    assert SECRET not in output
    assert "it waits for something else (DependencyNotReady).\n" in output
    assert "The cause is Kustomization shop/base: its last run failed (BuildFailed).\n" in output
    assert '  it says     kustomize build failed: Get "https://git.test/base": no such host\n' in output


async def test_of_a_release_that_was_rolled_back_it_is_told_why_it_had_failed(server: ApiServer, ask: Ask) -> None:
    document = written("redis", "False", "RollbackSucceeded", "rolled back")
    released = {"type": "Released", "status": "False", "reason": "UpgradeFailed", "message": "timed out"}
    document["status"]["conditions"].append({**document["status"]["conditions"][0], **released})
    document.update(apiVersion="helm.toolkit.fluxcd.io/v2", kind="HelmRelease")
    async with AdminClient(server.url) as admin:
        await admin.create(document)
    assert (await ask(kind="hr", name="redis")).explanation.message == "rolled back; timed out"


async def test_what_is_well_ends_with_0_and_speaks_json_on_demand(kubeconfig: str) -> None:
    code, output, errors = await command(
        "Kustomization", "web", "--namespace=shop", "--kubeconfig", kubeconfig, "-o", "json"
    )
    assert (code, errors) == (0, "")
    answer = json.loads(output)
    assert answer["object"] == {"kind": "Kustomization", "namespace": "shop", "name": "web"}
    assert (answer["state"], answer["causes"], answer["next"]) == ("well", [], [])


async def test_without_a_namespace_the_only_one_is_found_and_that_is_said(ask: Ask) -> None:
    found = await ask(namespace=None)
    assert found.explanation.object.namespace == "shop"
    note = "There is no Kustomization checkout in the namespace default; the only one of this name is in shop.\n\n"
    assert shown(found, "text", time.time()).startswith(note)


async def test_the_contexts_namespace_counts_first(server: ApiServer, ask: Ask, tmp_path: Path) -> None:
    async with AdminClient(server.url) as admin:
        await admin.ensure_namespace("other")
        await admin.create(written("checkout", "True", namespace="other"))
    document = yaml.safe_load(write_kubeconfig(tmp_path / "k", server.url, user={}).read_text())
    document["contexts"][0]["context"]["namespace"] = "other"
    (tmp_path / "k").write_text(yaml.safe_dump(document))
    found = await ask(namespace=None, kubeconfig=str(tmp_path / "k"))
    assert (found.explanation.object.namespace, found.note) == ("other", "")
    with pytest.raises(BadQuestion, match="is in the namespaces other, shop; say which with -n"):
        await ask(namespace=None)


async def test_a_name_that_is_nearly_right_is_corrected(ask: Ask) -> None:
    with pytest.raises(NoSuchObject, match=r"no Kustomization shop/chekout; did you mean shop/checkout\?"):
        await ask(name="chekout")


async def test_large_listings_are_read_to_their_end(server: ApiServer, ask: Ask) -> None:
    async with AdminClient(server.url) as admin:
        await asyncio.gather(*(admin.create(written(f"app-{number:03}", "True")) for number in range(520)))
    assert (await ask(name="app-519")).explanation.ready
    assert (await ask(name="web")).explanation.ready


async def test_progress_is_told_and_taken_back(kubeconfig: str) -> None:
    told: list[str] = []
    options = dataclasses.replace(OPTIONS, kubeconfig=kubeconfig)
    await explain(options, Settings(WatchSettings(("Kustomization", "GitRepository"))), told.append)
    assert told[0] == "0 of 2 listings"
    assert told[-1] == ""


# What cannot be read


def may_list(server: ApiServer, plurals: set[str], namespaces: set[str] | None = None) -> dict[str, str]:
    """A user who may list these."""
    anywhere = frozenset(namespaces or {ANY})
    permission = Permission(frozenset({ANY}), frozenset(plurals), frozenset({"list"}), anywhere)
    server.access.grant("little", [permission])
    return {"token": "little"}


async def test_kinds_that_may_not_be_listed_are_named_as_not_known(server: ApiServer, ask: Ask, tmp_path: Path) -> None:
    user = may_list(server, {"kustomizations"})
    found = await ask(kubeconfig=str(write_kubeconfig(tmp_path / "k", server.url, user=user)))
    assert found.explanation.causes[0].object.name == "base"
    gaps = {(gap.kind, gap.why) for gap in found.explanation.not_known}
    assert ("GitRepository", "forbidden") in gaps
    assert "Kustomization" not in {kind for kind, _ in gaps}
    with pytest.raises(NoSuchObject, match="nothing is known of GitRepository shop/fleet: this account may not list"):
        await ask(kind="gitrepo", name="fleet", kubeconfig=str(tmp_path / "k"))


async def test_who_may_look_into_one_namespace_only_is_answered_for_that_one(
    server: ApiServer, ask: Ask, tmp_path: Path
) -> None:
    user = may_list(server, {ANY}, {"shop"})
    path = str(write_kubeconfig(tmp_path / "k", server.url, user=user))
    assert (await ask(kubeconfig=path)).explanation.causes[0].object.name == "base"
    with pytest.raises(NoSuchObject, match="there is no Kustomization shop/nobody"):
        await ask(name="nobody", kubeconfig=path)
    with pytest.raises(NoSuchObject, match="this account may not list"):
        await ask(namespace="flux-system", kubeconfig=path)


async def test_settings_say_which_kinds_and_namespaces_are_looked_at(server: ApiServer, ask: Ask) -> None:
    settings = Settings(WatchSettings(("Kustomization",), ("shop",)))
    assert (await ask(settings)).explanation.causes[0].object.name == "base"
    with pytest.raises(NoSuchObject, match=r"GitRepository is not among watch\.kinds"):
        await ask(settings, kind="gitrepo")


async def test_a_kind_that_does_not_come_in_time_is_left_out(server: ApiServer, ask: Ask) -> None:
    hanging = server.faults.add(Hang(), resources={"gitrepositories"})
    found = await ask(timeout=0.5)
    assert [(gap.kind, gap.why) for gap in found.explanation.not_known] == [("GitRepository", "timed_out")]
    assert found.explanation.causes[0].object.name == "base"
    hanging.clear()
    server.faults.add(Hang(), resources={"kustomizations"})
    with pytest.raises(NoSuchObject, match=r"took too long to list .*; give it more with --timeout"):
        await ask(timeout=0.5)


async def test_an_api_server_that_says_nothing_at_all_is_given_up(server: ApiServer, ask: Ask) -> None:
    server.freeze()
    with pytest.raises(Unavailable, match=r"http://127.* did not answer within 0\.2 s; see whether kubectl reaches it"):
        await ask(timeout=0.2)


async def test_an_api_server_that_refuses_once_is_asked_again(server: ApiServer, ask: Ask) -> None:
    server.faults.add(internal_error(), verbs={"list"}, resources={"kustomizations"}, requests=1)
    assert (await ask()).explanation.not_known == []


async def test_a_cluster_that_cannot_be_reached_is_told_in_one_line(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", "https://127.0.0.1:1")
    code, output, errors = await command("ks/checkout", "--kubeconfig", str(path))
    assert (code, output) == (1, "")
    assert errors == (
        "gotk-exporter: https://127.0.0.1:1: no connection to the API server: Connection refused; "
        "see whether kubectl reaches it, or choose another --context\n"
    )


async def test_a_real_api_server_is_asked_and_answers(
    api_server: RealApiServer, admin: AdminClient, namespace: str, tmp_path: Path
) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml", CRDS / "gitrepositories.yaml"))
    for document in a_shop():
        document["metadata"]["namespace"] = namespace
        for condition in document["status"]["conditions"]:
            condition["message"] = condition["message"].replace("shop/", f"{namespace}/")
        await admin.create(document)
    path = api_server.kubeconfig(tmp_path / "kubeconfig")
    code, output, errors = await command("kustomizations/checkout", "-n", namespace, "--kubeconfig", str(path))
    assert (code, errors) == (1, "")
    assert f"The cause is Kustomization {namespace}/base: its last run failed (BuildFailed).\n" in output
    assert SECRET not in output


# From a running exporter


@pytest.fixture
async def exporter(kubeconfig: str) -> AsyncIterator[str]:
    """The address of one that follows the simulated cluster, and is ready."""
    bounds, clock, stop = Bounds(), SystemClock(), asyncio.Event()
    running = Exporter(Settings(), Kubeconfig(bounds, clock, kubeconfig), bounds, clock)
    listening: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as ends:
        task = asyncio.create_task(running.run(Address("127.0.0.1", 0), stop, listening.set_result))
        ends.push_async_callback(asyncio.wait, [task])
        ends.callback(stop.set)

        async def ready() -> bool:
            return not running.cluster.pending()

        address = await listening
        await poll_until(ready, "the exporter", SOON_SECONDS)
        yield f"http://{address}"


async def test_the_exporter_answers_as_the_cluster_does_but_for_messages(exporter: str, ask: Ask) -> None:
    for name in "checkout", "base", "web":
        of_cluster = json.loads(encode((await ask(name=name)).explanation))
        of_exporter = (await ask(name=name, exporter=exporter)).explanation
        for part in of_cluster, *of_cluster["causes"]:
            part.pop("message", None)
        assert json.loads(encode(of_exporter)) == of_cluster


async def test_no_message_and_no_credential_leaves_the_exporter(exporter: str) -> None:
    async with aiohttp.ClientSession() as session:
        for name in "checkout", "base":
            async with session.get(f"{exporter}/api/v1/explain?kind=ks&name={name}&namespace=shop") as response:
                body = await response.text()
            assert response.status == 200
            assert SECRET not in body
            assert '"message"' not in body
            assert "build failed" not in body


async def test_the_command_asks_an_exporter_and_needs_no_cluster(exporter: str) -> None:
    address = exporter.removeprefix("http://")
    code, output, errors = await command("ks/checkout", "--exporter", address)
    assert (code, errors) == (1, "")
    assert "The cause is Kustomization shop/base: its last run failed (BuildFailed).\n" in output
    assert "it says" not in output
    code, output, errors = await command("ks/chekout", "-n", "shop", "--exporter", exporter)
    assert (code, output) == (1, "")
    assert errors == "gotk-exporter: there is no Kustomization shop/chekout; did you mean shop/checkout?\n"


@pytest.mark.parametrize(
    ("path", "words"), [("/metrics", r"404 for /api/v1/explain; is it a gotk-exporter"), ("", "")], ids=["path", "none"]
)
async def test_what_is_no_exporter_is_told_as_such(path: str, words: str, server: ApiServer, ask: Ask) -> None:
    with pytest.raises(Unavailable, match=words or "is it a gotk-exporter"):
        await ask(exporter=server.url + path)


async def test_an_exporter_that_is_not_there_is_told_without_its_password(ask: Ask) -> None:
    with pytest.raises(Unavailable) as caught:
        await ask(exporter=f"http://me:{SECRET}@127.0.0.1:1")
    assert str(caught.value) == (
        "http://127.0.0.1:1: no connection to it: Connection refused; is this the address of a gotk-exporter?"
    )


# Usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required: KIND/NAME"),
        (("ks",), "name one object as KIND/NAME, e.g. ks/checkout, and its namespace with -n"),
        (("ks/",), "name one object as KIND/NAME"),
        (("ks/a/b",), "name one object as KIND/NAME"),
        (("ks/a", "b"), "name one object as KIND/NAME"),
        (("ks", "a", "b"), "unrecognized arguments: b"),
        (("ks/a", "--timeout", "soon"), '"soon" is no duration'),
        (("ks/a", "-o", "yaml"), "invalid choice: 'yaml'"),
        (("ks/a", "--exporter", "ftp://x"), "it is no address of an exporter; write e.g. http://127.0.0.1:8080"),
        (("ks/a", "--exporter", "localhost:1", "--context", "x"), "--exporter asks no cluster"),
        (
            ("kustomisation/a", "--kubeconfig", "/nonexistent"),
            '"kustomisation" is no kind of Flux; did you mean Kustomization?',
        ),
    ],
)
async def test_bad_usage_is_told_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    code, output, errors = await command(*arguments)
    assert (code, output) == (2, "")
    assert words in errors
    assert errors.count("\n") == 1


async def test_a_kubeconfig_that_is_missing_is_named() -> None:
    code, _, errors = await command("ks/a", "--kubeconfig", "/nonexistent")
    assert code == 1
    assert "kubeconfig /nonexistent: there is no such file" in errors


def test_of_several_kubeconfigs_the_first_that_names_something_counts(tmp_path: Path) -> None:
    def document(namespace: str, **more: Any) -> str:
        return yaml.safe_dump({"contexts": [{"name": "here", "context": {"namespace": namespace}}], **more})

    one, two, broken = tmp_path / "one", tmp_path / "two", tmp_path / "broken"
    one.write_text(document("first"))
    two.write_text(document("second", **{"current-context": "here"}))
    broken.write_text("contexts: [")
    assert context_namespace(f"{broken}:{one}:{two}", None) == "first"
    assert context_namespace(str(two), "here") == "second"
    assert context_namespace(str(two), "elsewhere") == context_namespace(str(broken), None) == "default"
