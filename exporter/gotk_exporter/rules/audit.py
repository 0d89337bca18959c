"""Ask a running Prometheus for its rules and for what they select; what follows from the answers is judged in findings.

Each distinct selector is one cheap query (a count), and one more over the last days where there is nothing now: what
exists only while something fails has no series on a good day.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gotk_exporter.clock import Clock, SystemClock
from gotk_exporter.metrics import families as f
from gotk_exporter.rules.expressions import NAME, Matcher, Selector, of_metric, selector
from gotk_exporter.rules.findings import Evidence, Finding, judge
from gotk_exporter.rules.prometheus_api import Credentials, Element, PrometheusApi, Refused, Unavailable, shown_address

DAY = 86_400.0
DEFAULT_SINCE = 7 * DAY
CONCURRENT = 4
MAX_QUERIES = 10_000
MAX_ROUNDS = 12
"""Of questions that follow from answers; three or four are usual."""
SHOWN_VALUES = 5
MAX_CREDENTIAL_BYTES = 64 * 1024


class BadOptions(Exception):
    """What was asked for cannot be tried; the text says what to change."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    prometheus: str
    """An address with scheme; it may have a path, and a user and a password, which are shown nowhere."""
    timeout: float = 60.0
    """Seconds, for all of it."""
    username: str | None = None
    password_file: str | None = None
    bearer_token_file: str | None = None
    since: float = DEFAULT_SINCE
    """Seconds of the past in which a series counts as there."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same objects in one metric, from several jobs."""

    metric: str
    jobs: tuple[tuple[str, int], ...]
    """Each with how many of its objects another one has as well."""


@dataclass(frozen=True, slots=True)
class Audit:
    prometheus: str
    since: float
    findings: tuple[Finding, ...]
    duplicates: tuple[Duplicate, ...]
    notes: tuple[str, ...] = ()
    """What a person should know of the answer itself."""

    def of(self, status: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == status]


async def audit(
    options: AuditOptions, progress: Callable[[str], None] = lambda text: None, clock: Clock | None = None
) -> Audit:
    """Raises BadOptions, or Unavailable where the Prometheus cannot be asked."""
    url, credentials = _access(options)
    deadline = asyncio.get_running_loop().time() + options.timeout
    async with PrometheusApi(url, credentials, clock or SystemClock()) as api:
        try:
            async with asyncio.timeout_at(deadline):
                rules = await api.rules()
        except TimeoutError:
            raise Unavailable(
                f"{api.shown}: no list of rules within {options.timeout:g} s; allow more with --timeout"
            ) from None
        asking = _Asking(api, Evidence(since=options.since), deadline, progress)
        try:
            for _ in range(MAX_ROUNDS):
                findings = judge(rules, asking.evidence)
                if not await asking.answer_all():
                    break
            if any(finding.status == "dead" for finding in findings):
                await asking.look_for_anything()
            duplicates = await asking.duplicates()
        finally:
            progress("")
        if asking.refused and not asking.answered:
            raise Unavailable(f"{api.shown}: it lists its rules and answers no query: {asking.refused}")
        return Audit(api.shown, asking.evidence.since, tuple(findings), tuple(duplicates), asking.notes())


@dataclass
class _Asking:
    """The answers so far, and what is left of the time and of the number of questions."""

    api: PrometheusApi
    evidence: Evidence
    deadline: float
    progress: Callable[[str], None]
    answered: int = 0
    refused: str = ""
    """Why one of the queries had no answer."""
    _queries: int = 0
    _is_over: bool = False
    _shortened: bool = False
    _is_empty: bool = False

    async def answer_all(self) -> bool:
        """Ask what is wanted; False where nothing was."""
        selectors, values = tuple(self.evidence.wanted), tuple(self.evidence.wanted_values)
        self.evidence.wanted.clear()
        self.evidence.wanted_values.clear()
        await self._all([partial(self._find, asked) for asked in selectors])
        await self._all([partial(self._list_values, *asked) for asked in values])
        return bool(selectors or values)

    async def look_for_anything(self) -> None:
        """A Prometheus that holds nothing would make every rule look dead."""
        self._is_empty = await self._has(_UP) is False

    def notes(self) -> tuple[str, ...]:
        said = (
            (
                self._is_over,
                "Not everything could be asked in time: more rules may be dead; allow more with --timeout.",
            ),
            (self._shortened, "This API refuses to look back further than a day: what comes rarely may look dead."),
            (self._is_empty, "It has no series of up: has it ever scraped anything?"),
        )
        return tuple(text for applies, text in said if applies)

    async def duplicates(self) -> list[Duplicate]:
        """Metrics that say of the same objects the same thing under two names of jobs."""
        found = []
        try:
            exporters = await self._query(f"count by ({NAME}, job) ({_EXPORTED_TWICE})")
            jobs = Counter(element.labels.get(NAME, "") for element in exporters)
            for metric in sorted(metric for metric, number in jobs.items() if number > 1):
                twice = await self._query(_twice(metric))
                if twice:
                    by_job = sorted((element.labels.get("job", ""), int(element.value)) for element in twice)
                    found.append(Duplicate(metric, tuple(by_job)))
        except Refused:
            pass
        return found

    async def _all(self, work: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """A few at a time; the first that cannot be asked ends them all."""
        waiting = iter(work)

        async def take_turns() -> None:
            for ask in waiting:
                await ask()
                self.progress(f"{self._queries} queries")

        takers = [asyncio.create_task(take_turns()) for _ in range(min(CONCURRENT, len(work)))]
        try:
            await asyncio.gather(*takers)
        finally:
            for taker in takers:
                taker.cancel()
            await asyncio.gather(*takers, return_exceptions=True)

    async def _find(self, asked: Selector) -> None:
        self.evidence.present[asked] = await self._has(asked)

    async def _has(self, asked: Selector) -> bool | None:
        try:
            if await self._query(f"count({asked})"):
                return True
            window = math.ceil(self.evidence.since + asked.reach)
            try:
                return bool(await self._query(f"count(count_over_time({asked}[{window}s]))"))
            except Refused:
                if window <= DAY or self._is_over:
                    raise
            found = bool(await self._query(f"count(count_over_time({asked}[{DAY:.0f}s]))"))
            self._shortened = True
            return found
        except Refused:
            return None

    async def _list_values(self, everything: Selector, label: str) -> None:
        try:
            found = await self._query(f"topk({SHOWN_VALUES}, count by ({label}) ({everything}))")
        except Refused:
            found = []
        values = sorted(value for element in found if (value := element.labels.get(label)))
        self.evidence.values[everything, label] = tuple(values)

    async def _query(self, expression: str) -> list[Element]:
        """Raises Refused and Unavailable."""
        self._queries += 1
        self._is_over = self._is_over or self._queries > MAX_QUERIES
        try:
            if self._is_over:
                raise Refused("there is no time left")
            async with asyncio.timeout_at(self.deadline):
                answer = await self.api.query(expression)
        except TimeoutError:
            self._is_over, self.refused = True, "no answer in time; allow more with --timeout"
            raise Refused(self.refused) from None
        except Refused as error:
            self.refused = self.refused or str(error)
            raise
        self.answered += 1
        return answer


_UP = of_metric("up")

# What is exported twice

_FAMILIES = (f.RECONCILE_CONDITION, f.SUSPEND_STATUS, f.RESOURCE_INFO, f.RESOURCE_INTERVAL)
_EXPORTED_TWICE = selector(Matcher(NAME, "=~", "|".join(family.name for family in _FAMILIES)))
"""Of the families that every object has; who exports one of them twice exports all of them twice."""
_CLUSTER = ("cluster", "cluster_id", "cluster_name", "k8s_cluster", "environment", "env", "region", "tenant")
"""Labels by which people tell clusters apart: objects of two clusters are not the same."""
_OBJECT = ", ".join((*_CLUSTER, "kind", "name", "namespace"))


def _twice(metric: str) -> str:
    """Per job, how many of its objects another job has, too. Two replicas of one job are none."""
    # The object's namespace and kind go by two names each, by scrape and by exporter.
    series = f'label_replace({metric}, "namespace", "$1", "exported_namespace", "(.+)")'
    series = f'label_replace({series}, "kind", "$1", "customresource_kind", "(.+)")'
    objects = f"group by ({_OBJECT}, job) ({series})"
    return f"count by (job) ({objects} and on ({_OBJECT}) (count by ({_OBJECT}) ({objects}) > 1))"


# Who asks


def _access(options: AuditOptions) -> tuple[str, Credentials]:
    """The address less what may be secret in it, and the credentials from there or from their files."""
    try:
        parts = urlsplit(options.prometheus)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address or parts.query or parts.fragment:
        raise BadOptions("the Prometheus's address has to be like http://127.0.0.1:9090, perhaps with a path")
    in_address = parts.username is not None
    ways = [in_address, options.username is not None, options.bearer_token_file is not None]
    if sum(ways) > 1:
        raise BadOptions("give one way to log in: a user in the address, --username, or --bearer-token-file")
    if (options.username is None) is not (options.password_file is None):
        raise BadOptions("--username and --password-file go together")
    credentials = Credentials()
    if in_address:
        credentials = Credentials(unquote(parts.username or ""), unquote(parts.password or ""))
    elif options.username is not None and options.password_file is not None:
        credentials = Credentials(options.username, _secret(options.password_file))
    elif options.bearer_token_file is not None:
        credentials = Credentials(bearer_token=_secret(options.bearer_token_file))
    return shown_address(options.prometheus), credentials


def _secret(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_CREDENTIAL_BYTES).decode().strip()
    except OSError as error:
        raise BadOptions(f"{path}: {error.strerror}; name a file that can be read") from None
    except UnicodeDecodeError:
        raise BadOptions(f"{path}: it is not UTF-8") from None
    if not text or not text.isprintable():
        raise BadOptions(f"{path}: it has to hold the secret in one line, and nothing else")
    return text
