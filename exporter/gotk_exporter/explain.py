"""Why is it not ready? One question, asked of a cluster that is listed once for it, or of a running exporter.

It composes what the other rooms offer, as app does for ever: credentials, discovery, listings, collectors, the graph of
causes. Nothing is watched and nothing is served. What the controllers say is shown here, and not by the exporter: who
asks a cluster may read these objects anyway.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from gotk_exporter import __version__
from gotk_exporter.clock import Clock, SystemClock
from gotk_exporter.config import Settings
from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.evidence import condition_of
from gotk_exporter.flux.explanation import Explanation, NotKnown, Why, decode, encode, with_messages
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.objects import decode as decode_object
from gotk_exporter.flux.question import BadQuestion, Known, NoAnswer, NoSuchObject, Question, answer, question
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.samples import without_credentials
from gotk_exporter.flux.telling import tell
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import ApiClient, Resource
from gotk_exporter.kube.credentials import Credentials, CredentialsError, choose_loader
from gotk_exporter.kube.discovery import Discovery
from gotk_exporter.kube.failures import ApiError, StatusError, named_errors
from gotk_exporter.kube.wire import ShapeError, identify
from gotk_exporter.metrics.store import Store
from gotk_exporter.web.server import EXPLAIN_PATH

ATTEMPTS = 2
"""To list one kind: an API server that is being replaced refuses once."""
RETRY_SECONDS = 0.5
RETRY_AFTER_SECONDS = 5.0
"""A Retry-After beyond this is obeyed only so far."""
MAX_ANSWER_BYTES = 4 * 2**20
_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Unavailable(NoAnswer):
    """The cluster, or the exporter, could not be asked."""


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    kind: str
    name: str
    namespace: str | None
    timeout: float
    """Seconds, for all of it."""
    kubeconfig: str | None = None
    context: str | None = None
    exporter: str | None = None
    """The address of a running one, which is asked in place of the cluster."""


@dataclass(frozen=True, slots=True)
class Explained:
    explanation: Explanation
    note: str = ""
    """What a person should know of the answer itself."""


async def explain(
    options: ExplainOptions,
    settings: Settings,
    progress: Callable[[str], None] = lambda text: None,
    clock: Clock | None = None,
) -> Explained:
    """Raises NoAnswer, or one of its kinds: BadQuestion, NoSuchObject, Unavailable."""
    if options.exporter is not None:
        return Explained(await _ask_exporter(options.exporter, options))
    preferred = context_namespace(options.kubeconfig, options.context) if options.namespace is None else None
    asked = question(options.kind, options.name, options.namespace, preferred)
    inquiry = _Inquiry(asked, settings, clock or SystemClock(), progress)
    explanation = await inquiry.run(options)
    found = explanation.object.namespace
    if preferred is None or found == preferred:
        return Explained(explanation)
    where = f"in the namespace {preferred}; the only one of this name is in {found}"
    return Explained(explanation, f"There is no {asked.kind.name} {asked.name} {where}.")


def shown(explained: Explained, output: str, now: float) -> str:
    """As text for a person, or as JSON."""
    if output == "json":
        return msgspec.json.format(encode(explained.explanation), indent=2).decode() + "\n"
    note = f"{explained.note}\n\n" if explained.note else ""
    return note + tell(explained.explanation, now)


# From a cluster


@dataclass
class _Inquiry:
    """One look at a cluster."""

    asked: Question
    settings: Settings
    clock: Clock
    progress: Callable[[str], None]
    relations: Relations = field(default_factory=lambda: Relations(Store(())))
    collectors: list[Collector] = field(default_factory=list)
    gaps: list[NotKnown] = field(default_factory=list)
    messages: dict[Key, str] = field(default_factory=dict)

    async def run(self, options: ExplainOptions) -> Explanation:
        bounds = Bounds()
        credentials = Credentials(
            choose_loader(bounds, self.clock, options.kubeconfig, options.context), bounds, self.clock
        )
        kinds = [BY_NAME[name] for name in self.settings.watch.kinds]
        deadline = asyncio.get_running_loop().time() + options.timeout
        server = "the API server"
        async with ApiClient(credentials, bounds, self.clock) as client:
            try:
                async with asyncio.timeout_at(deadline):
                    server = without_credentials((await credentials.endpoint()).base_url)
                    served = await Discovery(client, kinds).ask()
            except CredentialsError as error:
                raise Unavailable(str(error)) from None
            except ApiError as error:
                raise Unavailable(f"{server}: {error}{_remedy(error)}") from None
            except TimeoutError:
                raise Unavailable(
                    f"{server} did not answer within {options.timeout:g} s; see whether kubectl reaches it"
                ) from None
            self._gap([BY_NAME[name] for name in sorted(served.unknown)], "unreachable")
            await self._list_all(client, list(served.resources.values()), deadline)
        absent = frozenset(kind.name for kind in kinds) - served.resources.keys() - served.unknown
        now = self.clock.wall()
        self.relations.advance(now)
        known = Known(self.relations, self.collectors, sorted(self.gaps, key=_order), absent)
        return with_messages(answer(self.asked, known, now), self.messages)

    async def _list_all(self, client: ApiClient, resources: Sequence[Resource], deadline: float) -> None:
        places = [(resource, place) for resource in resources for place in self.settings.watch.namespaces or (None,)]
        tasks = {asyncio.create_task(self._list(client, *place)): place for place in places}
        try:
            waiting = set(tasks)
            while waiting:
                self.progress(f"{len(tasks) - len(waiting)} of {len(tasks)} listings")
                left = deadline - asyncio.get_running_loop().time()
                done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if not done:
                    for resource, namespace in (tasks[task] for task in waiting):
                        self._gap([BY_NAME[resource.kind]], "timed_out", namespace)
                    break
        finally:
            self.progress("")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _gap(self, kinds: Sequence[Kind], why: Why, namespace: str | None = None) -> None:
        self.gaps += [NotKnown(kind=kind.name, namespace=namespace or "", why=why) for kind in kinds]

    async def _list(self, client: ApiClient, resource: Resource, namespace: str | None) -> None:
        """List a kind; where that is forbidden everywhere, in the one namespace that is asked about."""
        kind = BY_NAME[resource.kind]
        why = await self._try_to_list(client, resource, kind, namespace)
        if why is None:
            return
        self._gap([kind], why, namespace)
        own = self.asked.namespace or self.asked.preferred
        if why == "forbidden" and namespace is None and own is not None:
            await self._try_to_list(client, resource, kind, own)

    async def _try_to_list(
        self, client: ApiClient, resource: Resource, kind: Kind, namespace: str | None
    ) -> Why | None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._read(client, resource, kind, namespace)
            except ApiError as error:
                if isinstance(error, StatusError) and error.code == 403:
                    return "forbidden"
                if attempt < ATTEMPTS:
                    await self.clock.sleep(min(error.retry_after or RETRY_SECONDS, RETRY_AFTER_SECONDS))
            else:
                return None
        return "unreachable"

    async def _read(self, client: ApiClient, resource: Resource, kind: Kind, namespace: str | None) -> None:
        collector = Collector(kind, namespace, Store(()), self.relations)
        replacement = collector.begin_replacement(resource.version)
        token = ""
        while True:
            page = await client.list_page(resource, namespace, token)
            seen = Seen(self.clock.wall())
            for raw in page.items or ():
                try:
                    item = identify(raw)
                except ShapeError:
                    continue
                replacement.add(item.key, item.uid, item.resource_version, raw, seen)
                self._remember_message(kind, raw)
            token = page.metadata.continue_
            if not token:
                break
        replacement.commit()
        self.collectors.append(collector)

    def _remember_message(self, kind: Kind, raw: msgspec.Raw) -> None:
        obj, _ = decode_object(raw)
        key = Key(kind.name, obj.metadata.namespace, obj.metadata.name)
        ready, released = condition_of(obj, kind.condition), condition_of(obj, "Released")
        if ready is None or ready.status == "True":
            return
        # Of a release that was taken back, only the second says why.
        failed = [released.message] if released is not None and released.status == "False" else []
        if said := [message for message in dict.fromkeys([ready.message, *failed]) if message]:
            self.messages[key] = "; ".join(said)


def _order(gap: NotKnown) -> tuple[str, str, str]:
    return gap.why, gap.kind, gap.namespace


def _remedy(error: ApiError) -> str:
    if isinstance(error, StatusError):
        return "; log in again, or see the kubeconfig's users" if error.code == 401 else ""
    return "; see whether kubectl reaches it, or choose another --context"


def context_namespace(kubeconfig: str | None, context: str | None) -> str:
    """The namespace that kubectl would take: the context's, in a pod the pod's, else "default".

    What is wrong with a kubeconfig is told when credentials are read from it.
    """
    paths = kubeconfig or os.environ.get("KUBECONFIG")
    if not paths and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            return _ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip() or "default"
        except (OSError, UnicodeDecodeError):
            return "default"
    documents = list(_documents(paths or os.path.expanduser("~/.kube/config")))
    name = context or next((found for document in documents if (found := document.get("current-context"))), None)
    for document in documents:
        for entry in document.get("contexts") or ():
            if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get("context"), dict):
                return str(entry["context"].get("namespace") or "default")
    return "default"


def _documents(paths: str) -> Iterator[dict[str, Any]]:
    for path in paths.split(os.pathsep):
        try:
            document = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            continue
        if isinstance(document, dict) and isinstance(document.get("contexts") or [], list):
            yield document


# From a running exporter


async def _ask_exporter(address: str, options: ExplainOptions) -> Explanation:
    asked = question(options.kind, options.name, options.namespace)
    shown = without_credentials(address)
    params = {"kind": asked.kind.name, "name": asked.name}
    if asked.namespace is not None:
        params["namespace"] = asked.namespace
    try:
        status, body = await _get(address.rstrip("/") + EXPLAIN_PATH, params, options.timeout)
    except ApiError as error:
        # The words are those for the API server, and true of any server.
        what = str(error).replace("the API server's", "its").replace("the API server", "it")
        raise Unavailable(f"{shown}: {what}; is this the address of a gotk-exporter?") from None
    if status == 200:
        try:
            return decode(body)
        except ValueError:
            raise Unavailable(f"{shown}: the answer is no explanation; is it a gotk-exporter {__version__}?") from None
    refusal = _refusal(body)
    if refusal is None:
        raise Unavailable(f"{shown}: {status} for {EXPLAIN_PATH}; is it a gotk-exporter, and of this version?")
    raise BadQuestion(refusal) if status == 400 else NoSuchObject(refusal)


async def _get(url: str, params: dict[str, str], timeout_seconds: float) -> tuple[int, bytes]:
    """Raises ApiError."""
    with named_errors():
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        headers = {"User-Agent": f"gotk-exporter/{__version__}", "Accept": "application/json"}
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(url, params=params) as response,
        ):
            body = bytearray()
            while (piece := await response.content.readany()) and len(body) <= MAX_ANSWER_BYTES:
                body += piece
            return response.status, bytes(body)


class _Refusal(msgspec.Struct):
    error: str


def _refusal(body: bytes) -> str | None:
    try:
        return " ".join(msgspec.json.decode(body, type=_Refusal).error.split())[:1000]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
