"""What kind of failure an object has: its class, the host that was called, and the cause that it may share with others.

From the reason and the message of a condition alone. The class is the first row of failure_patterns.ROWS that fits.
Nothing here knows an object, a clock or what the cluster holds.

One cause, many texts. These alternate while one thing lasts, and are of one class, with the same host:

- timeout: "i/o timeout", "Client.Timeout exceeded while awaiting headers", "context deadline exceeded" of a fetch, "TLS
  handshake timeout", "connection timed out", "operation timed out", 504;
- dns: "no such host", "server misbehaving", "i/o timeout" of a lookup;
- connect: "connection refused", "connection reset", "no route to host", EOF, 500, 502, 503;
- workload_unhealthy: "timeout waiting for", "failed early due to stalled resources", "timed out waiting for the
  condition", "context deadline exceeded" of a Helm action or a health check;
- webhook_unavailable: all of the first three, behind "failed calling webhook".

The first three alternate as well: while a host is away, one call runs into a timeout, the next is refused, and the one
after it finds no such name. That is one incident. So these three classes have one shared cause, unreachable/HOST, and
the class says which of them the words are of. TLS, credentials and rate limits have causes of their own: there the host
answers.

What a text alone cannot tell (a bare "context deadline exceeded" between two refused connections, "retries exhausted"
after a failed upgrade) needs the memory of the failure: steady().
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gotk_exporter.flux.failure_patterns import ROWS, FailureClass, texts_in

__all__ = ["MAX_HOST_CHARS", "Failure", "FailureClass", "at_host", "classify", "host_of", "steady"]

MAX_HOST_CHARS = 253
"""What DNS allows."""
_HEAD_CHARS = 4096
_TAIL_CHARS = 4096
"""Of the 32 KiB that controllers write at most: the beginning names what was tried, and the end the cause."""

_C = FailureClass

_AT_A_HOST = frozenset({_C.AUTH, _C.RATE_LIMITED, _C.DNS, _C.TLS, _C.CONNECT, _C.TIMEOUT})
"""The classes whose cause is shared by whoever called the same host."""
_UNREACHABLE = frozenset({_C.DNS, _C.CONNECT, _C.TIMEOUT})
"""Of those, the ones whose words alternate within one outage of the host."""
_WITH_A_HOST = _AT_A_HOST | {_C.WEBHOOK_UNAVAILABLE, _C.NOT_FOUND, _C.DECRYPTION, _C.OTHER}
"""The classes whose messages are about a call. In those of the others an address is part of the manifest."""
_TRANSPORT = frozenset({_C.DNS, _C.TLS, _C.CONNECT, _C.RATE_LIMITED, _C.TIMEOUT})
"""What may be behind a timeout that names no host."""


@dataclass(frozen=True, slots=True)
class Failure:
    failure_class: FailureClass
    upstream_host: str = ""
    """What was called: in small letters, without port; empty where the message names none."""
    shared_cause: str = ""
    """For causes that come from the environment: of what kind it is, and what is shared. Empty for others.

    The kind is the class ("tls/github.com"), but the same for dns, connect and timeout ("unreachable/github.com"):
    their words alternate within one outage, and it is one incident.
    """
    vague: bool = field(default=False, compare=False)
    """The text says less than an earlier one may have (see steady)."""


def classify(kind: str, reason: str, message: str) -> Failure:
    """The failure that a condition of an object of this kind tells of.

    The kind decides nothing today: reasons are unambiguous across kinds. It is part of the question all the same, since
    the next controller may use a reason in another sense.
    """
    text = _readable(message)
    held = texts_in(text)
    row = next(row for row in ROWS if row.fits(reason, held))
    host = _host(text) if row.failure_class in _WITH_A_HOST else ""
    vague = row.vague or (row.failure_class is _C.TIMEOUT and not host)
    return Failure(row.failure_class, host, _shared_cause(row.failure_class, host, text), vague)


def host_of(address: str) -> str:
    """The host of an address that an object states, with a scheme or (a bucket's endpoint) without one."""
    address = address.lower()
    scp = _SCP.match(address)
    return _cleaned(scp["host"] if scp is not None else _host_of(address.rpartition("://")[2]))


def at_host(failure: Failure, host: str) -> Failure:
    """The failure of a call to ``host``, where its message names none, or only an IP address that the name stood for.

    Many messages of one outage lack the name. What the API server called, a webhook, is none of the object's calls.
    """
    known = failure.upstream_host
    if not host or failure.failure_class is _C.WEBHOOK_UNAVAILABLE or (known and not _is_ip(known)):
        return failure
    at_a_host = failure.failure_class in _AT_A_HOST
    shared_cause = _cause(failure.failure_class, host) if at_a_host else failure.shared_cause
    return replace(failure, upstream_host=host, shared_cause=shared_cause)


def steady(previous: Failure | None, now: Failure) -> Failure:
    """What to say while a failure lasts: ``previous`` is what was said of it so far, None at its start.

    A text that says less takes nothing back: one of the same class, or of the same outage, may lack the host or the
    shared cause. A text that says something else is believed: the cause has changed.
    """
    if previous is None:
        return now
    if now.vague and not previous.vague:
        # A bare timeout may be what was known of the transport. To anything else it is news.
        return now if now.failure_class is _C.TIMEOUT and previous.failure_class not in _TRANSPORT else previous
    if now.vague and now.failure_class is _C.OTHER:
        return previous
    if not (now.upstream_host or now.shared_cause) and _goes_on(previous, now):
        return previous
    return now


def _goes_on(previous: Failure, now: Failure) -> bool:
    if now.failure_class is previous.failure_class:
        return True
    # Without a host there is nothing to keep, and the last words count.
    return bool(previous.upstream_host) and {previous.failure_class, now.failure_class} <= _UNREACHABLE


def _readable(message: str) -> str:
    """In small letters, in one line, and no more of it than we care to read."""
    if len(message) > _HEAD_CHARS + _TAIL_CHARS:
        message = f"{message[:_HEAD_CHARS]} {message[-_TAIL_CHARS:]}"
    text = message.lower()
    if "\\" in text:
        # Quoted once more on its way here.
        text = text.replace('\\"', '"').replace("\\n", "\n")
    if "\n" in text:
        # SOPS draws a line in front of what it wraps in the middle of a sentence.
        text = " ".join(text.replace("| ", " ").split())
    return text


# Where a host stands in a message. Every repetition is bounded, and no two neighbours can take the same character, so
# that each place costs a bounded number of steps.
_NAME = r"[a-z0-9][a-z0-9._-]{0,252}"
_ADDRESS = re.compile(
    r"""(?P<call>\b(?:get|head|post|put|patch|delete|request to) "?)?[a-z]{2,8}://(?P<url>[^\s"'`<>]{1,1000})"""
)
_BROKEN_OFF = re.compile(r"\s[^\s@]{0,200}@")
"""What follows upon an address that ended in the middle of its password."""
_AUTHORITY = re.compile(rf"(?:[^@]{{1,500}}@)?(?P<host>{_NAME}|\[[0-9a-f:.]{{2,45}}\])(?::[0-9]{{1,5}})?")
_BRACKETED = r"\[[0-9a-f:.]{2,45}\]"
_SCP = re.compile(rf"\bgit@(?P<host>{_NAME}):")
_IN_CALLS = (
    # A proxy only where it is what fails, and never the resolver that was asked.
    (
        "proxyconnect tcp: ",
        re.compile(rf"proxyconnect tcp: (?:dial tcp:? )?(?:lookup )?(?P<host>{_NAME}|{_BRACKETED})"),
    ),
    ("lookup ", re.compile(rf"\blookup (?P<host>{_NAME})(?= on |: |['\",]|:?$)")),
    ("could not resolve host", re.compile(rf"could not resolve host(?:name)?:? (?P<host>{_NAME})")),
)
"""What tells more than the address: a text that must be there, and where the host stands."""
_IN_PROSE = (
    ("git@", _SCP),
    # "connect to the server" is about no host: a dot must be in it.
    ("from host ", re.compile(rf"from host (?=[a-z0-9_-]{{1,63}}\.)(?P<host>{_NAME})")),
    ("connect to ", re.compile(rf"connect to (?=[a-z0-9_-]{{1,63}}\.)(?P<host>{_NAME})")),
    ("registry ", re.compile(rf"provider registry (?=[a-z0-9_-]{{1,63}}\.)(?P<host>{_NAME})")),
    ("dial tcp ", re.compile(rf"dial tcp (?P<host>{_NAME}|{_BRACKETED}):[0-9]{{1,5}}\b")),
    ("->", re.compile(rf"->(?P<host>{_NAME}|{_BRACKETED}):[0-9]{{1,5}}\b")),
)
"""Where there is no address."""
_DOCUMENTATION = frozenset({"www.docker.com", "docker.com", "kubernetes.io", "fluxcd.io", "aka.ms"})
"""Who is linked to for further reading."""

_WEBHOOK = re.compile(r'webhook "(?P<name>[a-z0-9.-]{1,253})"')
_NAMESPACES = (
    re.compile(r"\b[a-z0-9]{1,63}/(?P<name>[a-z0-9-]{1,63})/[a-z0-9.:-]{1,253} (?:dry-run|apply) failed"),
    re.compile(r"\bfor release (?P<name>[a-z0-9-]{1,63})/"),
    re.compile(r'\bin (?:the )?namespace "?(?P<name>[a-z0-9-]{1,63})\b'),
)


def _host(text: str) -> str:
    """Of what was called: the first that can be one."""
    return next((host for host in map(_cleaned, _candidates(text)) if host), "")


def _candidates(text: str) -> Iterator[str]:
    """From the most to the least telling."""
    yield from _found(_IN_CALLS, text)
    if "://" in text:
        addresses = [match for match in _ADDRESS.finditer(text) if not _BROKEN_OFF.match(text, match.end())]
        # The last that was called: what went before was redirected, or asked for a token first.
        yield from [_host_of(match["url"]) for match in reversed(addresses) if match["call"]]
        yield from [_host_of(match["url"]) for match in addresses]
    yield from _found(_IN_PROSE, text)


def _found(places: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> Iterator[str]:
    for sign, pattern in places:
        if sign in text:
            yield from [match["host"] for match in pattern.finditer(text)]


def _host_of(url: str) -> str:
    """The host of an address that came without its scheme; empty where part of it may be a password."""
    end = min([at for at in map(url.find, "/?#") if at >= 0], default=len(url))
    authority, rest = url[:end].rstrip(".,;:)]}'"), url[end:]
    # An @ behind the host: somebody's password holds a slash, and then what looks like the host is part of it.
    if "@" in rest.replace("@sha", ""):
        return ""
    match = _AUTHORITY.fullmatch(f"{authority}]" if authority.startswith("[") and "]" not in authority else authority)
    return match["host"] if match is not None else ""


def _cleaned(host: str) -> str:
    """The host if it can be one, else nothing."""
    host = host.strip("[]").rstrip(".-_")
    if host in _DOCUMENTATION or host.startswith("docs."):
        return ""
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            return ""
    labels = host.split(".")
    return host if host and len(host) <= MAX_HOST_CHARS and all(0 < len(label) <= 63 for label in labels) else ""


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _shared_cause(failure_class: FailureClass, host: str, text: str) -> str:
    if failure_class in _AT_A_HOST:
        shared = host
    elif failure_class is _C.WEBHOOK_UNAVAILABLE:
        match = _WEBHOOK.search(text)
        shared = match["name"].strip(".-") if match is not None else host
    elif failure_class is _C.QUOTA:
        shared = next((match["name"] for pattern in _NAMESPACES if (match := pattern.search(text))), "")
    else:
        return ""
    return _cause(failure_class, shared) if shared else ""


def _cause(failure_class: FailureClass, shared: str) -> str:
    """The name of the cause, for all that share it."""
    return f"{'unreachable' if failure_class in _UNREACHABLE else failure_class.value}/{shared}"
