"""What a kubeconfig, or a pod's service account, says about the API server; and what each says when it is wrong."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from gotk_exporter.clock import SystemClock
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import CredentialsError, InCluster, Kubeconfig, choose_loader
from gotk_exporter.kube.endpoint import Endpoint
from tests.kube.connection import inline, write_kubeconfig
from tests.kube.identities import client_identity, encrypted_key
from tests.peers.certificates import CertificateAuthority

BOUNDS, CLOCK = Bounds(), SystemClock()
SERVER = "https://apiserver.example:6443"


async def load(path: Path | str, context: str | None = None) -> Endpoint:
    return (await Kubeconfig(BOUNDS, CLOCK, str(path), context).load()).endpoint


async def problem_of(path: Path | str, context: str | None = None) -> str:
    """What is said about a kubeconfig that cannot be used, after its path."""
    with pytest.raises(CredentialsError) as failed:
        await load(path, context)
    named, said = f"kubeconfig {path}: ", str(failed.value)
    assert said.startswith(named)
    return said.removeprefix(named)


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        ({"token": "abc"}, "Bearer abc"),
        ({"username": "me", "password": "a:b"}, f"Basic {base64.b64encode(b'me:a:b').decode()}"),
        ({}, None),
    ],
)
async def test_a_user_has_a_token_a_password_or_nothing(
    tmp_path: Path, user: dict[str, Any], authorization: str | None
) -> None:
    endpoint = await load(write_kubeconfig(tmp_path / "kubeconfig", SERVER, user=user))
    assert (endpoint.base_url, endpoint.authorization) == (SERVER, authorization)


async def test_files_are_named_relative_to_their_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir()
    CertificateAuthority(place)
    identity = client_identity(place, "me")
    (place / "token").write_text("abc\n")
    user = {"tokenFile": "token", "client-certificate": "me.crt", "client-key": identity.key_file.name}
    path = write_kubeconfig(place / "kubeconfig", SERVER, {"certificate-authority": "./ca.crt"}, user)
    monkeypatch.chdir(tmp_path)
    for named in path, path.relative_to(tmp_path):
        assert (await load(named)).authorization == "Bearer abc"


def document(name: str, token: str, current: str | None = None, **cluster: str) -> str:
    """A kubeconfig whose context, cluster and user have one name."""
    return yaml.safe_dump(
        {
            **({"current-context": current} if current is not None else {}),
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example", **cluster}}],
            "users": [{"name": name, "user": {"token": token}}],
        }
    )


async def test_several_files_are_one_and_the_first_has_its_way(tmp_path: Path) -> None:
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    first.write_text(document("a", "of-first"))
    second.write_text(document("b", "of-second", current="b"))
    third.write_text(document("a", "of-third", current="a"))
    joined = os.pathsep.join(map(str, (first, tmp_path / "missing", second, third)))
    # As kubectl: of contexts, users and current-context the first counts. (The package takes the last current-context.)
    assert (await load(joined)).authorization == "Bearer of-second"
    assert (await load(joined, "a")).authorization == "Bearer of-first"


async def test_a_file_without_current_context_needs_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    for current in None, "":
        path.write_text(document("a", "abc", current))
        assert await problem_of(path) == "it has no current-context; choose one with --context"
        assert (await load(path, "a")).authorization == "Bearer abc"


async def test_an_unknown_context_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "kubeconfig", SERVER)
    assert await problem_of(path, "production") == "it has no context 'production'; there are: test"


def changed(path: Path, **sections: Any) -> Path:
    write_kubeconfig(path, SERVER)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | sections))
    return path


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"clusters": []}, "context 'test' leads to no cluster"),
        ({"clusters": None}, "context 'test' leads to no cluster"),
        ({"users": []}, "context 'test' leads to no user"),
        ({"users": [{"name": "test"}]}, "context 'test' leads to no user"),
        ({"contexts": []}, "it has no context 'test'; there are: none"),
        (
            {"clusters": [{"name": "test", "cluster": {"proxy-url": "http://x"}}]},
            "clusters[test].cluster.server is no http:// or https:// URL",
        ),
        (
            {"clusters": [{"name": "test", "cluster": {"server": "apiserver:6443"}}]},
            "clusters[test].cluster.server is no http:// or https:// URL",
        ),
        (
            {"clusters": [{"name": "test", "cluster": {"server": "https://:6443"}}]},
            "the API server's address is no URL",
        ),
        (
            {"clusters": [{"name": "test", "cluster": {"server": "https://x:99999"}}]},
            "the API server's address is no URL",
        ),
        (
            {"clusters": [{"name": "test", "cluster": {"server": SERVER, "certificate-authority": "gone.crt"}}]},
            "clusters[test].cluster.certificate-authority names a file that cannot be read: No such file or directory",
        ),
        (
            {"users": [{"name": "test", "user": {"tokenFile": "gone"}}]},
            "users[test].user.tokenFile names a file that cannot be read: No such file or directory",
        ),
        (
            {"users": [{"name": "test", "user": {"client-certificate": ".", "client-key": "."}}]},
            "users[test].user.client-certificate names a file that cannot be read: Is a directory",
        ),
        (
            {"users": [{"name": "test", "user": {"auth-provider": {"name": "azure"}}}]},
            "the token that its user names is empty, or comes from an unknown auth-provider",
        ),
        (
            {"users": "test"},
            "it is no kubeconfig (ConfigException); see what 'kubectl config view' makes of it",
        ),
    ],
)
async def test_what_is_wrong_is_named_by_its_place(tmp_path: Path, sections: dict[str, Any], problem: str) -> None:
    assert await problem_of(changed(tmp_path / "kubeconfig", **sections)) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is no kubeconfig (TypeError); see what 'kubectl config view' makes of it"),
        ("nonsense", "it is no kubeconfig (TypeError); see what 'kubectl config view' makes of it"),
        ("a: 1\nb: [1, 2\nc: 3\n", "it is no YAML, from line 3 on"),
        ("a: \x00", "it is no YAML"),
        ("{}", "it has no current-context; choose one with --context"),
    ],
)
async def test_a_file_that_is_no_kubeconfig_is_called_so(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    assert await problem_of(path) == problem


async def test_bytes_that_are_no_text_are_no_kubeconfig(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    assert (await problem_of(path)).startswith("it is no kubeconfig (Unicode")


async def test_a_file_that_is_missing_is_asked_for(tmp_path: Path) -> None:
    for missing in tmp_path / "gone", tmp_path:
        said = await problem_of(missing)
        assert said == "there is no such file; name one with --kubeconfig or the KUBECONFIG variable"


async def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    path = write_kubeconfig(tmp_path / "kubeconfig", SERVER, user={"tokenFile": "token"})
    assert (await problem_of(path)).startswith("the token that its user names is empty")
    (tmp_path / "token").write_text("\n")
    assert await problem_of(path) == "the token is empty"


async def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    identity = client_identity(tmp_path, "me")
    key = encrypted_key(identity, tmp_path / "encrypted.key")
    user = {"client-certificate": str(identity.certificate_file), "client-key": str(key)}
    path = write_kubeconfig(tmp_path / "kubeconfig", SERVER, user=user)
    assert await problem_of(path) == "its client certificate and key cannot be read, or are no pair"


async def test_a_certificate_needs_its_own_key(tmp_path: Path) -> None:
    me, other = client_identity(tmp_path, "me"), client_identity(tmp_path, "other")
    user = {"client-certificate-data": inline(me.certificate_file), "client-key-data": inline(other.key_file)}
    path = write_kubeconfig(tmp_path / "kubeconfig", SERVER, user=user)
    assert await problem_of(path) == "its client certificate and key cannot be read, or are no pair"


@pytest.fixture
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /tmp."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


async def test_inline_keys_touch_the_disk_privately_and_only_while_they_are_read(
    tmp_path: Path, temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = client_identity(tmp_path, "me")
    user = {"client-certificate-data": inline(me.certificate_file), "client-key-data": inline(me.key_file)}
    path = write_kubeconfig(tmp_path / "kubeconfig", SERVER, user=user)
    seen: list[int] = []
    read = ssl.SSLContext.load_cert_chain

    def look(context: ssl.SSLContext, *arguments: Any, **named: Any) -> None:
        seen.extend(file.stat().st_mode & 0o777 for file in temporary_directory.iterdir())
        read(context, *arguments, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)
    await load(path)
    assert seen == [0o600, 0o600]
    assert not os.listdir(temporary_directory)
    path.write_text(path.read_text().replace("current-context: test", "current-context: gone"))
    await problem_of(path)
    assert not os.listdir(temporary_directory)


async def test_inline_certificates_are_read_again_though_the_temporary_directory_was_emptied(
    tmp_path: Path, temporary_directory: Path
) -> None:
    trust = {"certificate-authority-data": inline(CertificateAuthority(tmp_path).ca_file)}
    path = write_kubeconfig(tmp_path / "kubeconfig", SERVER, trust)
    for _ in range(2):
        await load(path)
        for name in os.listdir(temporary_directory):
            os.unlink(temporary_directory / name)


def in_pod(tmp_path: Path, token: str | bytes = "abc\n") -> InCluster:
    token_file = tmp_path / "token"
    token_file.write_bytes(token.encode() if isinstance(token, str) else token)
    ca_file = tmp_path / "ca.crt"
    if not ca_file.exists():
        CertificateAuthority(tmp_path)
    return InCluster(BOUNDS, str(token_file), str(ca_file))


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")


@pytest.mark.usefixtures("pod")
async def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    endpoint = (await in_pod(tmp_path).load()).endpoint
    assert (endpoint.base_url, endpoint.authorization) == ("https://[fd00::1]:443", "Bearer abc")


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("", "Token file exists but empty"),
        ("\n", "the token is empty"),
        (b"\xff\xfe", "is no text"),
        ("a\nb", "characters that no header may hold"),
    ],
)
async def test_a_service_account_that_cannot_be_used_says_why(tmp_path: Path, token: str | bytes, problem: str) -> None:
    with pytest.raises(CredentialsError, match=f"^the pod's service account: .*{problem}"):
        await in_pod(tmp_path, token).load()


@pytest.mark.usefixtures("pod")
async def test_a_pod_whose_authority_is_missing_or_nonsense_says_so(tmp_path: Path) -> None:
    loader = in_pod(tmp_path)
    (tmp_path / "ca.crt").write_text("nonsense")
    with pytest.raises(CredentialsError, match="its certificate authority holds no certificate"):
        await loader.load()
    (tmp_path / "ca.crt").unlink()
    with pytest.raises(CredentialsError, match="certification file does not exist"):
        await loader.load()


async def chosen(kubeconfig: Path | None = None, context: str | None = None) -> str:
    """The address that the chosen way leads to, or "in cluster"."""
    loader = choose_loader(BOUNDS, CLOCK, None if kubeconfig is None else str(kubeconfig), context)
    return "in cluster" if isinstance(loader, InCluster) else (await loader.load()).endpoint.base_url


async def test_the_flag_goes_before_the_variable_before_the_pod_before_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".kube").mkdir(parents=True)
    write_kubeconfig(home / ".kube" / "config", "https://home.example")
    by_flag = write_kubeconfig(tmp_path / "flag", "https://flag.example")
    by_variable = write_kubeconfig(tmp_path / "variable", "https://variable.example")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert await chosen() == "https://home.example"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert await chosen() == "in cluster"
    # A pod has no contexts, so whoever names one means a kubeconfig.
    assert await chosen(context="test") == "https://home.example"
    monkeypatch.setenv("KUBECONFIG", "")
    assert await chosen() == "in cluster"
    monkeypatch.setenv("KUBECONFIG", str(by_variable))
    assert await chosen() == "https://variable.example"
    assert await chosen(by_flag) == "https://flag.example"
