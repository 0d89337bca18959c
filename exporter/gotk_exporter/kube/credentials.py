"""Where the API server is, and how we prove who we are: kubeconfig or the pod's service account, kept current.

Reading kubeconfigs, in-cluster files and identity providers is the kubernetes package's. Keeping what it read current
is ours, because it reads token files and certificates once: files are read again every minute, a plugin's token before
it expires, everything after a 401. It sends no request to the API server. Nothing here ever prints a credential, nor
quotes the package, whose errors name whole entries of a kubeconfig with the secrets in them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any, Protocol

import yaml

from gotk_exporter.clock import Clock
from gotk_exporter.kube import plugin
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.endpoint import CredentialsError as CredentialsError
from gotk_exporter.kube.endpoint import Endpoint, endpoint_of, fingerprint_of

_USED = ("kubernetes.aio.client", "kubernetes.aio.config")
"""Of the kubernetes package."""


class _Postponing(MetaPathFinder):
    """Finds the other parts of that package, and leaves each to be loaded when something does use it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("kubernetes.") or fullname == "kubernetes.aio" or fullname.startswith(_USED):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextlib.contextmanager
def _postponing() -> Iterator[None]:
    finder = _Postponing()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


# Whoever imports any part of it imports all of it, with a second HTTP client, OAuth and WebSockets: 9 MB of memory.
with _postponing():
    from kubernetes.aio.client import Configuration
    from kubernetes.aio.config import ConfigException, incluster_config, kube_config
    from kubernetes.aio.config.exec_provider import ExecProvider

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read just now."""

    endpoint: Endpoint
    fingerprint: bytes
    """Of all that the endpoint was made of."""
    reload_after: float | None
    """Seconds after which to read again; None: only when refused."""
    costly: bool = False
    """Whether reading takes a subprocess or a request, so that a refusal must not repeat it at once."""


class Loader(Protocol):
    """One way to find the API server."""

    async def load(self) -> Loaded:
        """Raises CredentialsError."""


class InCluster:
    """The pod's service account."""

    def __init__(
        self,
        bounds: Bounds,
        token_file: str = incluster_config.SERVICE_TOKEN_FILENAME,
        ca_file: str = incluster_config.SERVICE_CERT_FILENAME,
    ) -> None:
        self._bounds = bounds
        self._token_file = token_file
        self._ca_file = ca_file

    async def load(self) -> Loaded:
        configuration = Configuration()
        loader = incluster_config.InClusterConfigLoader(self._token_file, self._ca_file, try_refresh_token=False)
        try:
            loader.load_and_set(configuration)
            return _loaded(configuration, self._bounds.credentials_interval)
        except (ConfigException, CredentialsError, OSError) as error:
            problem = str(error)
        except UnicodeError:
            problem = f"{self._token_file} or {self._ca_file} is no text"
        raise CredentialsError(f"the pod's service account: {problem}")


class Kubeconfig:
    """A kubeconfig: a file, or several joined by the path separator as kubectl joins them."""

    def __init__(self, bounds: Bounds, clock: Clock, path: str, context: str | None = None) -> None:
        self._bounds = bounds
        self._clock = clock
        self._path = path
        self._context = context

    async def load(self) -> Loaded:
        try:
            return await self._load()
        except (CredentialsError, plugin.PluginError) as error:
            problem = str(error)
        except TimeoutError:
            seconds = f"{self._bounds.plugin_timeout:g} s"
            problem = f"its credential plugin (or identity provider) did not answer within {seconds}; run it by hand"
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = "it is no YAML" + (f", from line {mark.line + 1} on" if mark else "")
        except OSError as error:
            problem = f"it cannot be read: {error.strerror or type(error).__name__}"
        except Exception as error:
            # The package lets through whatever its parsers raise.
            problem = f"it is no kubeconfig ({type(error).__name__}); see what 'kubectl config view' makes of it"
        raise CredentialsError(f"kubeconfig {self._path}: {problem}")

    async def _load(self) -> Loaded:
        if not _any_exists(self._path):
            raise CredentialsError("there is no such file; name one with --kubeconfig or the KUBECONFIG variable")
        configuration = Configuration()
        try:
            merger = kube_config.KubeConfigMerger(self._path)
            context = _checked_context(merger.config_files, self._context)
            loader = _KubeconfigLoader(merger.config, active_context=context, config_base_path=None)
            async with asyncio.timeout(self._bounds.plugin_timeout):
                await loader.load_and_set(configuration)
            # Whoever switches to another context meanwhile means their kubectl, not us.
            self._context = context
            return _loaded(configuration, self._reload_after(loader), costly=loader.asks_someone)
        finally:
            _remove_temporary_files()

    def _reload_after(self, loader: _KubeconfigLoader) -> float | None:
        if loader.provider is not None:
            # An expired id-token is refreshed at each load.
            return 10 * self._bounds.credentials_interval
        if not loader.asks_someone:
            return self._bounds.credentials_interval
        if loader.expiry is None:
            return None
        return max((loader.expiry - self._clock.wall()) * 0.8, self._bounds.plugin_interval)


class _KubeconfigLoader(kube_config.KubeConfigLoader):  # type: ignore[misc]
    """The package's, with credential plugins run by ourselves, and never without the credential that was named."""

    expiry: float | None = None
    """Unix time at which what the plugin gave ends."""

    @property
    def asks_someone(self) -> bool:
        """Whether loading takes a subprocess or a request."""
        return self.provider is not None or (self._user is not None and "exec" in self._user)

    async def _load_authentication(self) -> None:
        await super()._load_authentication()
        user = self._user.value if self._user else {}
        named = self.provider is not None or "token" in user or "tokenFile" in user
        if (
            named
            and "token" not in self.__dict__
            and not user.keys() & {"client-certificate", "client-certificate-data"}
        ):
            # As nobody we would be told "forbidden", and believe it. A token file may be empty while it is written.
            raise CredentialsError("the token that its user names is empty, or comes from an unknown auth-provider")

    async def load_from_exec_plugin(self) -> bool:
        """In place of the package's, which leaves plugins behind that hang, and goes on without a credential."""
        provider = ExecProvider(self._user["exec"])
        command = provider.args[0]
        if os.path.dirname(command):
            # As kubectl has it: relative to the kubeconfig.
            command = os.path.join(self._get_base_path(self._user.path), command)
        given = await plugin.ask([command, *provider.args[1:]], provider.env, provider.api_version)
        self.expiry = given.expiry
        if given.token:
            self.token = f"Bearer {given.token}"
        if given.client_certificate_data:
            self.cert_file = _temporary_file(given.client_certificate_data)
            self.key_file = _temporary_file(given.client_key_data)
        return True


def choose_loader(bounds: Bounds, clock: Clock, kubeconfig: str | None, context: str | None) -> Loader:
    """The flag first, then the KUBECONFIG variable, then the pod's service account, then ~/.kube/config."""
    # An empty variable is none, as for kubectl.
    path = kubeconfig or os.environ.get("KUBECONFIG")
    if not path and context is None and os.environ.get(incluster_config.SERVICE_HOST_ENV_NAME):
        return InCluster(bounds)
    return Kubeconfig(bounds, clock, path or os.path.expanduser("~/.kube/config"), context)


class Credentials:
    """The endpoint to use now; reads the configuration again when it is due."""

    def __init__(
        self, loader: Loader, bounds: Bounds, clock: Clock, count: Callable[[str], None] = lambda result: None
    ) -> None:
        self._loader = loader
        self._bounds = bounds
        self._clock = clock
        self._count = count
        """Told "changed", "unchanged" or "failed" at each load."""
        self._lock = asyncio.Lock()
        self._endpoint: Endpoint | None = None
        self._fingerprint = b""
        self._loaded_at = 0.0
        self._reload_after: float | None = 0.0
        self._costly = False
        self._refused = False
        self._failing = False

    async def endpoint(self) -> Endpoint:
        """The endpoint to use now.

        Raises:
            CredentialsError: there has never been a usable one. When reading again fails, the last one goes on.
        """
        if self._endpoint is None or self._is_due():
            async with self._lock:
                if self._endpoint is None or self._is_due():
                    await self._load()
        assert self._endpoint is not None
        return self._endpoint

    def refuse(self, endpoint: Endpoint) -> None:
        """The API server answered 401 to this endpoint: read again before the next request."""
        if endpoint is self._endpoint:
            self._refused = True

    def _is_due(self) -> bool:
        age = self._clock.monotonic() - self._loaded_at
        if self._refused:
            return not self._costly or age >= self._bounds.plugin_interval
        return self._reload_after is not None and age >= self._reload_after

    async def _load(self) -> None:
        try:
            loaded = await self._loader.load()
        except CredentialsError as error:
            self._count("failed")
            if self._endpoint is None:
                raise
            if not self._failing:
                log.warning("credentials cannot be read again, the last ones stay in use: %s", error)
            self._failing = True
            self._loaded_at, self._reload_after = self._clock.monotonic(), self._bounds.plugin_interval
            return
        if self._failing:
            log.info("credentials can be read again")
        changed = self._endpoint is None or loaded.fingerprint != self._fingerprint
        if changed:
            # Only then: connections are kept for one endpoint and its TLS context.
            self._endpoint, self._fingerprint = loaded.endpoint, loaded.fingerprint
        self._count("changed" if changed else "unchanged")
        self._failing = self._refused = False
        self._loaded_at = self._clock.monotonic()
        self._reload_after, self._costly = loaded.reload_after, loaded.costly


def _any_exists(path: str) -> bool:
    return any(os.path.isfile(os.path.expanduser(part)) for part in path.split(os.pathsep))


def _checked_context(files: Mapping[str, Any], wanted: str | None) -> str:
    """The context to use, once everything that it leads to is there; ``files``: the parsed kubeconfigs by their path.

    The package says the same in words that quote secrets, or takes http://localhost for a server that is missing.
    """
    # The first file that names one, as kubectl has it; the package takes the last.
    current = next((name for document in files.values() if (name := document.get("current-context"))), None)
    name = wanted or current
    contexts = _entries(files, "contexts", "context")
    if name is None:
        raise CredentialsError("it has no current-context; choose one with --context")
    if name not in contexts:
        raise CredentialsError(f"it has no context {name!r}; there are: {', '.join(map(str, contexts)) or 'none'}")
    context = contexts[name][1]
    cluster_name, user_name = context.get("cluster"), context.get("user")
    cluster_file, cluster = _entries(files, "clusters", "cluster").get(cluster_name, ("", None))
    if cluster is None:
        raise CredentialsError(f"context {name!r} leads to no cluster")
    if not str(cluster.get("server")).startswith(("http://", "https://")):
        raise CredentialsError(f"clusters[{cluster_name}].cluster.server is no http:// or https:// URL")
    user_file, user = _entries(files, "users", "user").get(user_name, ("", None))
    if user is None and (user_name or cluster["server"].startswith("https")):
        raise CredentialsError(f"context {name!r} leads to no user")
    for key, inline in _FILES_OF_A_CLUSTER:
        _check_file(cluster, key, inline, cluster_file, f"clusters[{cluster_name}].cluster")
    for key, inline in _FILES_OF_A_USER if user else ():
        _check_file(user, key, inline, user_file, f"users[{user_name}].user")
    return name


def _entries(files: Mapping[str, Any], section: str, key: str) -> dict[Any, tuple[str, Any]]:
    """What ``section`` names: the file and the value, of the first file that has the name."""
    found: dict[Any, tuple[str, Any]] = {}
    for path, document in files.items():
        for entry in document.get(section) or ():
            found.setdefault(entry["name"], (path, entry.get(key)))
    return found


_FILES_OF_A_CLUSTER = (("certificate-authority", "certificate-authority-data"),)
_FILES_OF_A_USER = (
    ("tokenFile", "token"),
    ("client-certificate", "client-certificate-data"),
    ("client-key", "client-key-data"),
)


def _check_file(entry: Mapping[str, Any], key: str, inline: str, kubeconfig: str, place: str) -> None:
    """Names the place and never the file: a key or a token put in the wrong place would be its name."""
    named = entry.get(key)
    if not named or entry.get(inline):
        return
    try:
        with open(os.path.join(os.path.dirname(kubeconfig), named), "rb"):
            pass
    except OSError as error:
        raise CredentialsError(f"{place}.{key} names a file that cannot be read: {error.strerror}") from None


def _temporary_file(content: str) -> str:
    name: str = kube_config.FileOrData({"inline": content}, None, "inline", base64_file_content=False).as_file()
    return name


def _remove_temporary_files() -> None:
    """The package writes inline certificates and keys to files (of mode 0600) and keeps these until the process ends.

    A directory for temporary files may be cleaned meanwhile, which it does not notice.
    """
    kube_config._cleanup_temp_files()
    atexit.unregister(kube_config._cleanup_temp_files)


def _loaded(configuration: Any, reload_after: float | None, *, costly: bool = False) -> Loaded:
    # The fingerprint first: of a file that is replaced in between, the next load must still see the difference.
    fingerprint = fingerprint_of(configuration)
    return Loaded(endpoint_of(configuration), fingerprint, reload_after, costly)
