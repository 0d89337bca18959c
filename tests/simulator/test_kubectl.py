"""kubectl, the real one, works with the simulator as with a cluster: without flags, and in its own words."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.crds import DEFINITIONS
from gotk_exporter.simulator.state.objects import GroupResource
from gotk_exporter.simulator.storage import Storage
from tests.peers.manifests import CRDS

APPS = GroupResource("kustomize.toolkit.fluxcd.io", "kustomizations")
SECONDS = 30.0


@dataclass(frozen=True)
class Output:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """A table's cells, its head included."""
        return [line.split() for line in self.out.splitlines()]


class Kubectl:
    """Runs it against one server, with nothing of the machine's configuration."""

    def __init__(self, binary: Path, server: ApiServer, directory: Path) -> None:
        self._command = [str(binary), f"--server={server.url}", f"--cache-dir={directory / 'cache'}"]
        self._directory = directory

    async def __call__(self, *arguments: str) -> Output:
        async with self.running(*arguments) as process:
            out, err = await process.communicate()
        assert process.returncode is not None
        return Output(process.returncode, out.decode(), err.decode())

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """While the block lasts, and no longer."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self._directory)},
        )
        try:
            async with asyncio.timeout(SECONDS):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    def manifest(self, *documents: object) -> str:
        """A file's path."""
        path = self._directory / "manifest.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)


@pytest.fixture
def kubectl(require_peer: Callable[[str], Path], server: ApiServer, tmp_path: Path) -> Kubectl:
    return Kubectl(require_peer("kubectl"), server, tmp_path)


Act = Callable[..., Awaitable[None]]


def app(name: str, team: str = "a", interval: str = "5m") -> dict[str, object]:
    return {
        "apiVersion": f"{APPS.group}/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "default", "labels": {"team": team}},
        "spec": {"interval": interval, "prune": True, "sourceRef": {"kind": "GitRepository", "name": "fleet"}},
    }


def set_ready(storage: Storage, name: str, status: str, message: str) -> None:
    condition = {"type": "Ready", "status": status, "reason": "Tested", "message": message}
    change = {"status": {"conditions": [condition], "observedGeneration": 1}}
    storage.patch(APPS, "default", name, change, subresource="status", manager="kustomize-controller")


async def test_apply_creates_leaves_and_configures(kubectl: Kubectl) -> None:
    said = []
    for interval in "5m", "5m", "6m":
        output = await kubectl("apply", "-f", kubectl.manifest(app("one", interval=interval)))
        assert output.err == ""
        said.append(output.out.split()[1])

    assert said == ["created", "unchanged", "configured"]
    found = json.loads((await kubectl("get", "kustomization", "one", "-o", "json")).out)
    assert (found["spec"]["interval"], found["metadata"]["generation"]) == ("6m", 2)


async def test_apply_installs_a_definition_and_then_its_objects(kubectl: Kubectl, server: ApiServer) -> None:
    server.storage.delete(DEFINITIONS, "", f"{APPS.plural}.{APPS.group}")
    assert "could not find the requested resource" in (await kubectl("get", "--raw", f"/apis/{APPS.group}/v1")).err

    installed = await kubectl("apply", "-f", str(CRDS / "kustomizations.yaml"))
    assert installed.out.endswith("created\n")
    applied = await kubectl("apply", "-f", kubectl.manifest(app("one")))
    assert applied.out == "kustomization.kustomize.toolkit.fluxcd.io/one created\n"


async def test_get_shows_what_flux_users_are_used_to(kubectl: Kubectl, server: ApiServer) -> None:
    await kubectl("apply", "-f", kubectl.manifest(app("one"), app("two", team="b")))
    set_ready(server.storage, "one", "True", "Applied")

    short = await kubectl("get", "ks")
    assert short.rows[0] == ["NAME", "AGE", "READY", "STATUS"]
    assert [row[0] for row in short.rows[1:]] == ["one", "two"]
    assert short.rows[1][2:] == ["True", "Applied"]
    wide = await kubectl("get", "ks", "-A", "-o", "wide", "--show-labels")
    assert wide.rows[0] == ["NAMESPACE", "NAME", "AGE", "READY", "STATUS", "LABELS"]
    assert wide.rows[1][-1] == "team=a"
    everything = await kubectl("get", "all")
    assert "kustomization.kustomize.toolkit.fluxcd.io/one" in everything.out


async def test_get_selects_by_label_field_and_page(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", kubectl.manifest(*(app(f"k{number}", team=str(number % 2)) for number in range(5))))

    async def names(*arguments: str) -> list[str]:
        output = await kubectl("get", "ks", "-o", "name", *arguments)
        assert output.err == ""
        return [line.rpartition("/")[2] for line in output.out.splitlines()]

    assert await names("--chunk-size=2") == ["k0", "k1", "k2", "k3", "k4"]
    assert await names("-l", "team=1") == ["k1", "k3"]
    assert await names("-l", "team notin (1),team") == ["k0", "k2", "k4"]
    assert await names("--field-selector", "metadata.name=k3") == ["k3"]
    assert await names("-n", "kube-system") == []


async def test_get_tells_an_object_whole_as_yaml(kubectl: Kubectl, server: ApiServer) -> None:
    await kubectl("apply", "-f", kubectl.manifest(app("one")))
    set_ready(server.storage, "one", "False", "it's not")

    found = yaml.safe_load((await kubectl("get", "ks", "one", "-o", "yaml", "--show-managed-fields")).out)
    assert found["apiVersion"] == f"{APPS.group}/v1"
    assert found["spec"] == app("one")["spec"]
    assert found["status"]["conditions"][0]["message"] == "it's not"
    writers = {(entry["manager"], entry.get("subresource")) for entry in found["metadata"]["managedFields"]}
    assert writers == {("kubectl-client-side-apply", None), ("kustomize-controller", "status")}
    described = await kubectl("describe", "ks", "one")
    assert "it's not" in described.out
    assert described.code == 0


async def test_get_w_follows_what_happens(kubectl: Kubectl, server: ApiServer) -> None:
    await kubectl("apply", "-f", kubectl.manifest(app("one")))
    async with kubectl.running("get", "ks", "-w") as watching:
        assert watching.stdout is not None

        async def row() -> list[str]:
            assert watching.stdout is not None
            return (await watching.stdout.readline()).decode().split()

        assert await row() == ["NAME", "AGE", "READY", "STATUS"]
        assert (await row())[0] == "one"
        set_ready(server.storage, "one", "Unknown", "building")
        assert (await row())[2:] == ["Unknown", "building"]
        set_ready(server.storage, "one", "True", "Applied")
        assert (await row())[2:] == ["True", "Applied"]
        server.storage.delete(APPS, "default", "one")
        assert (await row())[0] == "one"


async def test_wait_ends_when_the_condition_holds(kubectl: Kubectl, server: ApiServer) -> None:
    await kubectl("apply", "-f", kubectl.manifest(app("one")))
    async with kubectl.running("wait", "ks/one", "--for=condition=Ready", "--timeout=20s") as waiting:
        set_ready(server.storage, "one", "True", "Applied")
        out, _ = await waiting.communicate()
    assert out.decode() == "kustomization.kustomize.toolkit.fluxcd.io/one condition met\n"


async def test_objects_are_changed_in_kubectls_ways(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", kubectl.manifest(app("one")))
    for arguments in (
        ("label", "ks", "one", "tier=web"),
        ("annotate", "ks", "one", "reconcile.fluxcd.io/requestedAt=now"),
        ("patch", "ks", "one", "--type=merge", "-p", '{"spec":{"suspend":true}}'),
        ("patch", "ks", "one", "--subresource=status", "--type=merge", "-p", '{"status":{"observedGeneration":2}}'),
    ):
        output = await kubectl(*arguments)
        assert (output.code, output.err) == (0, "")

    found = json.loads((await kubectl("get", "ks", "one", "-o", "json")).out)
    assert found["metadata"]["labels"] == {"team": "a", "tier": "web"}
    assert found["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"] == "now"
    assert (found["spec"]["suspend"], found["status"]) == (True, {"observedGeneration": 2})


async def test_delete_waits_until_an_object_is_gone(kubectl: Kubectl, server: ApiServer) -> None:
    held = app("held")
    held["metadata"] = {"name": "held", "namespace": "default", "finalizers": ["finalizers.fluxcd.io"]}
    await kubectl("apply", "-f", kubectl.manifest(app("free"), held))

    gone = await kubectl("delete", "ks", "free")
    assert '"free" deleted' in gone.out
    async with kubectl.running("delete", "ks", "held") as deleting:
        assert deleting.stdout is not None
        assert b'"held" deleted' in await deleting.stdout.readline()
        assert server.storage.get(APPS, "default", "held").deleting
        server.storage.patch(APPS, "default", "held", {"metadata": {"finalizers": None}})
        await deleting.wait()
    assert deleting.returncode == 0
    missing = await kubectl("delete", "ks", "held")
    assert missing.err == 'Error from server (NotFound): kustomizations.kustomize.toolkit.fluxcd.io "held" not found\n'
    assert (await kubectl("delete", "ks", "--all")).out == "No resources found\n"


async def test_resources_versions_and_fields_are_known(kubectl: Kubectl) -> None:
    resources = await kubectl("api-resources", "--no-headers")
    assert ["kustomizations", "ks", "kustomize.toolkit.fluxcd.io/v1", "true", "Kustomization"] in resources.rows
    assert ["namespaces", "ns", "v1", "false", "Namespace"] in resources.rows
    assert "helm.toolkit.fluxcd.io/v2" in (await kubectl("api-versions")).out.split()
    version = json.loads((await kubectl("version", "-o", "json")).out)
    assert version["serverVersion"]["gitVersion"].endswith("+simulated")
    assert "VERSION:    v1" in (await kubectl("explain", "ks")).out
    assert (await kubectl("get", "--raw", "/readyz")).out == "ok"


async def test_what_it_cannot_do_it_says(kubectl: Kubectl) -> None:
    manifest = kubectl.manifest(app("one"))
    for arguments in ("apply", "--server-side", "-f", manifest), ("apply", "--dry-run=server", "-f", manifest):
        refused = await kubectl(*arguments)
        assert refused.code == 1
        assert refused.err
    assert (await kubectl("get", "ks")).err == "No resources found in default namespace.\n"
