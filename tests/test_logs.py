"""Log lines: one line for each record, from which logfmt and JSON parsers get the same fields back."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter import logs


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


PAIR = re.compile(r'([a-z]+)=("(?:[^"\\]|\\.)*"|[^ ="\\]*)(?: |$)')


def parse_logfmt(line: str) -> dict[str, str]:
    """As kr/logfmt and Loki do: key=value, or key="value" with the escapes of JSON; nothing else in between."""
    fields, position = {}, 0
    while position < len(line):
        pair = PAIR.match(line, position)
        assert pair is not None, line[position:]
        fields[pair[1]] = json.loads(pair[2]) if pair[2].startswith('"') else pair[2]
        position = pair.end()
    return fields


PARSERS: dict[str, Callable[[str], dict[str, str]]] = {"logfmt": parse_logfmt, "json": json.loads}
formats = pytest.mark.parametrize("fmt", logs.FORMATS)


def written(
    fmt: str, message: str, *args: object, level: str = "debug", name: str = "gotk_exporter.kube.client"
) -> str:
    stream = io.StringIO()
    logs.configure(level, fmt, stream)
    logging.getLogger(name).warning(message, *args)
    return stream.getvalue()


def test_a_line_of_logfmt_reads_like_this() -> None:
    line = written("logfmt", "Kustomization %s: %s is left out", "shop/checkout", "spec.interval")
    assert re.fullmatch(
        r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=warn caller=kube\.client "
        r'msg="Kustomization shop/checkout: spec\.interval is left out"\n',
        line,
    )


def test_a_line_of_json_reads_like_this() -> None:
    line = written("json", "stopping")
    assert re.fullmatch(r'\{"ts": "[^"]*Z", "level": "warn", "caller": "kube\.client", "msg": "stopping"\}\n', line)


messages = st.text() | st.text(alphabet='a ="\\\n\r\t\0\x1b\x7f\x85\x9b\u2028\u2029é漢\ud800', max_size=20)


@formats
@settings(deadline=None)
@given(message=messages)
def test_whatever_a_message_holds_it_is_one_line_and_reads_back(fmt: str, message: str) -> None:
    line = written(fmt, "%s", message)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert line[:-1].isprintable()
    fields = PARSERS[fmt](line[:-1])
    assert list(fields) == ["ts", "level", "caller", "msg"]
    assert fields["msg"] == message


@formats
def test_a_traceback_is_one_field_of_the_line(fmt: str) -> None:
    stream = io.StringIO()
    logs.configure("info", fmt, stream)
    try:
        raise ValueError('a "quoted"\nproblem')
    except ValueError:
        logging.getLogger("gotk_exporter").exception("it broke")
    (line,) = stream.getvalue().splitlines()
    fields = PARSERS[fmt](line)
    assert fields["level"] == "error"
    assert fields["error"].startswith("Traceback (most recent call last):\n")
    assert fields["error"].endswith('ValueError: a "quoted"\nproblem')


@formats
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warn", "error", "error"]),
        ("info", ["info", "warn", "error", "error"]),
        ("warn", ["warn", "error", "error"]),
        ("error", ["error", "error"]),
    ],
)
def test_a_level_lets_through_itself_and_what_is_worse(fmt: str, level: str, expected: list[str]) -> None:
    stream = io.StringIO()
    logs.configure(level, fmt, stream)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logging.getLogger("anything").log(number, "text")
    assert [PARSERS[fmt](line)["level"] for line in stream.getvalue().splitlines()] == expected


def test_every_level_that_can_be_asked_for_is_tested() -> None:
    assert logs.LEVELS == ("debug", "info", "warn", "error")


@pytest.mark.parametrize("name", ["aiohttp.access", "aiohttp.client", "asyncio"])
def test_libraries_speak_up_only_when_something_is_broken(name: str) -> None:
    assert written("logfmt", "a connection was reset", name=name) == ""


def test_configuring_again_does_not_double_the_lines() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("info", "logfmt", first)
    logs.configure("info", "json", second)
    logging.getLogger("anything").info("once")
    assert (first.getvalue(), second.getvalue().count("\n")) == ("", 1)


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "logfmt")
    logging.getLogger("anything").info("here")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("msg=here\n")
