"""The audit against servers that behave badly, and against real Prometheus servers with rules known to be dead."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gotk_exporter.rules import prometheus_api
from gotk_exporter.rules.audit import Audit, AuditOptions, BadOptions, audit
from gotk_exporter.rules.audit_report import shown
from gotk_exporter.rules.prometheus_api import Unavailable

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "tests" / "data" / "published_rules"
SECRET = "s3cr3tPassw0rd"
SOON_SECONDS = 20.0
SCRAPED_SECONDS = 30.0


class NoWaiting:
    """A clock whose sleeps are over at once, and remembered."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


# A server that does what it is told


def rules_of(*expressions: str, **more: Any) -> dict[str, Any]:
    rules = [
        {"name": f"Rule{number}", "query": expression, "type": "alerting", "health": "ok", "state": "inactive", **more}
        for number, expression in enumerate(expressions)
    ]
    return {"status": "success", "data": {"groups": [{"name": "group", "file": "/etc/rules.yaml", "rules": rules}]}}


def vector(*elements: tuple[Mapping[str, str], float]) -> dict[str, Any]:
    result = [{"metric": dict(labels), "value": [1.0, str(value)]} for labels, value in elements]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


SOMETHING, NOTHING = vector(({}, 3)), vector()


class Scripted:
    """Speaks as much of the API as a test needs."""

    def __init__(self) -> None:
        self.rules: Any = rules_of("gone > 0", "up == 0")
        self.answers: Callable[[str], Any] = lambda query: SOMETHING if "up" in query else NOTHING
        self.refusals: list[web.Response] = []
        """Given first, one to each request."""
        self.requests: list[web.Request] = []
        self.queries: list[str] = []
        self.over = asyncio.Event()
        self.server = TestServer(self._application())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def hang(self) -> None:
        await self.over.wait()

    def _application(self) -> web.Application:
        application = web.Application()
        for prefix in ("", "/prometheus"):
            application.router.add_get(f"{prefix}/api/v1/rules", self._rules)
            application.router.add_post(f"{prefix}/api/v1/query", self._query)
        return application

    async def _rules(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, self.rules)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        query = str((await request.post())["query"])
        self.queries.append(query)
        return await self._answer(request, self.answers(query))

    async def _answer(self, request: web.Request, answer: Any) -> web.StreamResponse:
        self.requests.append(request)
        if self.refusals:
            return self.refusals.pop(0)
        if answer is Scripted.hang:
            await self.hang()
        if isinstance(answer, web.Response):
            return answer
        return web.json_response(answer)


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    server = Scripted()
    await server.server.start_server()
    yield server
    server.over.set()
    await server.server.close()


async def ask(server: Scripted, clock: NoWaiting | None = None, **options: Any) -> Audit:
    async with asyncio.timeout(SOON_SECONDS):
        return await audit(AuditOptions(options.pop("url", server.url), **options), clock=clock or NoWaiting())


def statuses(done: Audit) -> dict[str, str]:
    return {finding.rule.name: finding.status for finding in done.findings}


def refusal(status: int, text: str = "", **headers: str) -> web.Response:
    return web.json_response({"status": "error", "errorType": "x", "error": text}, status=status, headers=headers)


async def test_each_selector_is_asked_for_once_and_the_past_only_where_there_is_nothing_now(scripted: Scripted) -> None:
    scripted.rules = rules_of("gone > 0", "up == 0", "up{} != 1 or gone", "absent(away)", "rate(gone[5m]) > 1")
    done = await ask(scripted, since=3_600.0)
    assert statuses(done) == {"Rule0": "dead", "Rule1": "alive", "Rule2": "alive", "Rule3": "alive", "Rule4": "dead"}
    first = [query for query in scripted.queries if "gotk" not in query]
    assert sorted(first) == ["count(count_over_time(gone[3600s]))", "count(gone)", "count(up)", "count(up)"]
    assert not done.notes


async def test_what_was_there_within_the_time_is_not_accused(scripted: Scripted) -> None:
    scripted.answers = lambda query: SOMETHING if "up" in query or "[604800s]" in query else NOTHING
    assert statuses(await ask(scripted)) == {"Rule0": "alive", "Rule1": "alive"}


async def test_an_offset_beyond_the_time_is_looked_for_where_it_looks(scripted: Scripted) -> None:
    scripted.rules = rules_of("gone offset 4w > 0")
    await ask(scripted)
    assert "count(count_over_time(gone[2419200s]))" in scripted.queries


async def test_an_api_that_refuses_to_look_back_for_a_week_is_asked_for_a_day(scripted: Scripted) -> None:
    too_long = refusal(422, "the query time range exceeds the limit")
    scripted.answers = lambda query: SOMETHING if "up" in query else too_long if "[604800s]" in query else NOTHING
    done = await ask(scripted)
    assert statuses(done)["Rule0"] == "dead"
    assert "count(count_over_time(gone[86400s]))" in scripted.queries
    assert done.notes == ("This API refuses to look back further than a day: what comes rarely may look dead.",)


async def test_what_the_api_does_not_answer_is_not_judged(scripted: Scripted) -> None:
    no = refusal(422, "too many samples")
    scripted.answers = lambda query: no if "gone" in query else SOMETHING
    assert statuses(await ask(scripted)) == {"Rule0": "not_judged", "Rule1": "alive"}


async def test_a_prometheus_that_holds_nothing_is_told_of(scripted: Scripted) -> None:
    scripted.answers = lambda query: NOTHING
    done = await ask(scripted)
    assert done.notes == ("It has no series of up: has it ever scraped anything?",)


async def test_who_is_busy_is_asked_again_later_but_not_for_ever(scripted: Scripted) -> None:
    clock = NoWaiting()
    scripted.refusals = [refusal(503), refusal(429, **{"Retry-After": "3"}), refusal(429, **{"Retry-After": "9999"})]
    assert statuses(await ask(scripted, clock))["Rule0"] == "dead"
    assert clock.slept == [0.5, 3.0, 10.0]
    scripted.refusals = [refusal(429) for _ in range(4)]
    with pytest.raises(Unavailable, match="429 for /api/v1/rules"):
        await ask(scripted, clock)


async def test_a_path_in_the_address_is_kept(scripted: Scripted) -> None:
    done = await ask(scripted, url=f"{scripted.url}/prometheus/")
    assert statuses(done)["Rule0"] == "dead"
    assert {request.path for request in scripted.requests} == {"/prometheus/api/v1/rules", "/prometheus/api/v1/query"}


@pytest.mark.parametrize("way", ["password file", "token file", "address"])
async def test_credentials_reach_the_server_and_nothing_else(scripted: Scripted, way: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    basic = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
    options: dict[str, Any] = {
        "password file": {"username": "me", "password_file": str(file)},
        "token file": {"bearer_token_file": str(file)},
        "address": {"url": scripted.url.replace("http://", f"http://me:{SECRET}@")},
    }[way]
    done = await ask(scripted, **options)
    sent = {request.headers["Authorization"] for request in scripted.requests}
    assert sent == {f"Bearer {SECRET}" if way == "token file" else basic}
    assert SECRET not in repr(done) + shown(done, "text") + shown(done, "json")
    scripted.rules = refusal(403, "go away")
    with pytest.raises(Unavailable) as refused:
        await ask(scripted, **options)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: refusal(401), "401 for /api/v1/rules; give credentials"),
        (lambda: web.Response(status=403, text="<html>no</html>"), "403 for /api/v1/rules; these credentials may not"),
        (lambda: web.Response(status=404, text="nothing here"), "404 for /api/v1/rules; is this a Prometheus"),
        (lambda: refusal(500, "line\nbreaks"), "500 for /api/v1/rules: line breaks"),
        (lambda: web.Response(status=302, headers={"Location": "/login?token=x"}), "302, it redirects elsewhere"),
        (lambda: web.Response(text="<html>Welcome</html>"), "not that of a Prometheus"),
        (lambda: web.json_response([1, 2]), "not that of a Prometheus"),
        (lambda: web.json_response({"status": "success", "data": {"groups": 7}}), "not that of a Prometheus"),
        (lambda: web.Response(body=b"\xff\xfe"), "not that of a Prometheus"),
        (lambda: web.Response(text="[" * 100_000), "not that of a Prometheus"),
        (lambda: web.Response(text="x" * 5000), "is longer than"),
    ],
)
async def test_what_is_no_answer_is_named_in_one_line(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], web.Response], words: str
) -> None:
    if words == "is longer than":
        monkeypatch.setattr(prometheus_api, "MAX_RULES_BYTES", 4096)
    scripted.rules = answer()
    with pytest.raises(Unavailable) as refused:
        await ask(scripted)
    text = str(refused.value)
    assert text.startswith(scripted.url)
    assert words in text
    assert "\n" not in text
    assert "token=" not in text


async def test_rules_without_queries_are_no_audit(scripted: Scripted) -> None:
    scripted.answers = lambda query: refusal(422, "no queries here")
    with pytest.raises(Unavailable, match="answers no query: 422: no queries here"):
        await ask(scripted)


async def test_who_never_answers_is_left_in_time(scripted: Scripted) -> None:
    scripted.rules = Scripted.hang
    with pytest.raises(Unavailable, match=r"no list of rules within 0\.3 s; allow more with --timeout"):
        await ask(scripted, timeout=0.3)


async def test_what_was_not_answered_in_time_is_not_judged(scripted: Scripted) -> None:
    scripted.answers = lambda query: Scripted.hang if "gone" in query else SOMETHING
    done = await ask(scripted, timeout=1.5)
    assert statuses(done) == {"Rule0": "not_judged", "Rule1": "alive"}
    assert done.notes[0].startswith("Not everything could be asked in time")


async def test_no_connection_is_said_with_a_remedy() -> None:
    with pytest.raises(
        Unavailable, match=r"^http://127.0.0.1:1: no connection: Connection refused; is this its address"
    ):
        await audit(AuditOptions(f"http://me:{SECRET}@127.0.0.1:1"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "127.0.0.1:9090"}, "has to be like"),
        ({"url": "ftp://here"}, "has to be like"),
        ({"url": "http://here:99999"}, "has to be like"),
        ({"url": f"http://here?token={SECRET}"}, "has to be like"),
        ({"username": "me"}, "go together"),
        ({"password_file": "file"}, "go together"),
        ({"url": f"http://me:{SECRET}@here", "bearer_token_file": "file"}, "one way to log in"),
        ({"bearer_token_file": "/nonexistent"}, "/nonexistent: No such file or directory"),
        ({"bearer_token_file": "two lines"}, "in one line"),
        ({"bearer_token_file": "empty"}, "in one line"),
    ],
)
async def test_options_that_cannot_be_tried(
    scripted: Scripted, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    for name, text in (("two lines", f"{SECRET}\n{SECRET}"), ("empty", "\n")):
        (tmp_path / name).write_text(text)
        if options.get("bearer_token_file") == name:
            options = {"bearer_token_file": str(tmp_path / name)}
    with pytest.raises(BadOptions, match=words) as refused:
        await ask(scripted, **options)
    assert SECRET not in str(refused.value)


async def test_hostile_rules_move_no_cursor_and_break_no_line(scripted: Scripted) -> None:
    hostile = 'gone{a="\\u001b[31m\\n"} > 0'
    scripted.rules = rules_of(hostile, name="A\x1b[2J\nB")
    text = shown(await ask(scripted), "text")
    assert all(line.isprintable() for line in text.splitlines())
    assert "\n\n" in text


# The command


async def command(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gotk_exporter", "rules", "audit", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SOON_SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_the_command_tells_and_exits_with_what_it_found(scripted: Scripted) -> None:
    assert await command("--prometheus", scripted.url, "--since", "1d") == (
        1,
        """\
These can never fire:

  alert Rule0 (group group, /etc/rules.yaml)
      gone > 0
    - no series of gone

2 rules read, 1 can never fire. Series of the last day count.
""",
        "",
    )
    code, output, _ = await command("--prometheus", scripted.url, "-o", "json")
    document = json.loads(output)
    assert code == 1
    assert document["findings"][0]["reasons"][0] == {
        "selector": "gone",
        "missing": "metric",
        "label": "",
        "text": "no series of gone",
        "instead": "",
    }
    assert {key: document[key] for key in ("rules", "dead", "doubtful", "not_judged", "since_seconds")} == {
        "rules": 2,
        "dead": 1,
        "doubtful": 0,
        "not_judged": 0,
        "since_seconds": 604_800.0,
    }
    scripted.rules = rules_of("up == 0")
    code, output, _ = await command("--prometheus", scripted.url)
    assert (code, output) == (0, "1 rules read, 0 can never fire. Series of the last 7 days count.\n")


async def test_the_command_says_in_one_line_what_it_lacks() -> None:
    code, output, errors = await command("--prometheus", f"http://me:{SECRET}@127.0.0.1:1")
    assert (code, output, len(errors.splitlines())) == (1, "", 1)
    assert SECRET not in errors
    for bad in (["--prometheus", "here"], ["--prometheus", "http://here", "--since", "soon"], []):
        code, output, errors = await command(*bad)
        assert (code, output, len(errors.splitlines())) == (2, "", 1)
