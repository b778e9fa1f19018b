"""Ten thousand broken requests to a dashboard: `python -m benchmarks.fuzz --help`; ends with 1 where one of them broke it.

A dashboard of its own over a filled store, with users, asked over HTTP: the API as schemathesis makes requests of its
OpenAPI document, callbacks with what no page sends, bodies of 10 MB, odd hosts, methods, headers and paths, requests that
end in the middle. Counted are answers of 5xx, tracebacks in answers and in the log, and requests that nothing came of; and
the server must live on.
"""

from __future__ import annotations

import argparse
import errno
import json
import random
import re
import socket
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from benchmarks.pages import Plant, say
from devtools.services.base import free_port
from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.api.openapi import openapi
from hvac_platform.runtime.live import HOST, StartedProcess, start_dashboard, stop, wait_until_ready
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import now_ms

UPDATE, LOG_IN = "/_dash-update-component", "/log-in"
LARGE = 10_000_000
PATIENCE_SECONDS = 60.0
OPERATORS = 20
"""So many act: each may act 60 times a minute."""
SHARES = {
    "paths": 0.10,
    "hosts": 0.05,
    "methods and headers": 0.12,
    "cut off": 0.06,
    "large bodies": 0.01,
    "callbacks": 0.25,
}
"""Of all requests, by kind; as many as LOG_INS are odd log-ins, and the rest is the API's."""
LOG_INS = 0.01
SHOWN = 10
"""So many requests that broke something are printed."""
# fmt: off
PAGES = (
    "/", "/incidents", "/plant", "/methods", "/what-if", "/ingestion", "/metrics", "/healthz", "/log-in", "/nowhere",
)
TREES = ("/device/", "/incident/", "/assets/", "/_dash-component-suites/", "/api/v1/devices/", "/api/v1/incidents/")
ODD_TEXTS = (
    "", " ", "\x00", "\ufeff", "\u202e", "é", "💥", "%00", "%", "%zz", "..", "../../etc/passwd", "..%2f..%2fstore.db",
    "<script>alert(1)</script>", "' OR 1=1 --", "{{7*7}}", "${x}", "NaN", "-0", "1e999", "9" * 40, "None", "null",
    "0001-01-01", "9999-12-31", "2024-13-45", "1969-12-31T23:59:59Z", "24 h", "x" * 1_900, "a/b/c", "\n", "\r\nX: y",
)
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 2**63, 1e308, -1e308, float("nan"), float("inf"), "\ud800", *ODD_TEXTS, [], {},
    [[]], [None], {"": None}, {"a": {"b": []}}, [0] * 500, ["x"] * 501, "x" * 2_001, [{}], [True, 1.5, "x"],
)
ODD_HOSTS = (
    "evil.example", "", " ", "localhost:99999", "localhost:-1", "localhost:x", "localhost@evil.example", "[::1",
    "[::]", "[::1]:80:80", "127.1", "0x7f000001", "2130706433", "127.0.0.1.", "LOCALHOST", "localhost,evil.example",
    "a" * 5_000, "127.0.0.1\t", "\xff\xfe", "localhost/../", "xn--80ak6aa92e.com", "%6cocalhost", "169.254.169.254",
    "[fe80::1%25eth0]",
)
ODD_METHODS = (
    "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "HEAD", "POST", "GET", "PROPFIND", "FOO", "get", "G ET",
    "\x00", "", "A" * 1_000, "GET\t", "\xe9", "M-SEARCH",
)
ODD_VERSIONS = (
    "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTQ/1.1", "HTTP/1.1 x", "",
)
ODD_HEADERS = (
    "Content-Length: -1", "Content-Length: 1e3", "Content-Length: +5", "Content-Length: 5, 6", "Content-Length: ٣",
    "Content-Length: 99999999999999999999", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity", "Transfer-Encoding: xchunked", "Expect: 100-continue", "Expect: the worst",
    "Cookie: hvac_session=x; =; ;;; a", "Cookie: \xff=\xfe", 'If-None-Match: "', "If-None-Match: W/*",
    "Range: bytes=9-1", "Authorization: Basic eDp5", "Authorization", "Authorization: ", "Authorization: Digest \xff",
    "Upgrade: websocket", "Origin: null", "Origin: http://[", "Origin: ://", "Sec-Fetch-Site: cross-site",
    "Referer: \x01", "Accept: \xff/*", "Content-Type: application/json; charset=utf-7",
    "Content-Type: multipart/form-data", "Content-Type: application/json", "Content-Encoding: gzip",
    "Accept-Encoding: br;q=x", "X-Forwarded-Proto: https, x", "X-Forwarded-For: \xff", "Long: " + "x" * 40_000,
    " folded: x", "No colon", ": no name", "A\x00B: x", "Nul: \x00", "Date: 0", "Connection: Upgrade",
    "Accept-Language: x-" + "y" * 900, "If-Modified-Since: yesterday",
    "If-Modified-Since: Fri, 99 Foo 99999 99:99:99 GMT",
)
# fmt: on


ANSWERED_EARLIER = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)
"""A server that refuses a request need not read the rest of it: it answers and hangs up while it is still being sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: its status, 0 where the connection was closed without one; and the content."""

    status: int
    content: bytes


@dataclass
class Counted:
    """What came of all requests.

    Attributes:
        by_kind: answers by kind of request and status.
        broken: what broke something: the fault, and the beginning of the request.
    """

    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    broken: list[tuple[str, str]] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """How many there were."""
        return sum(counter.total() for counter in self.by_kind.values())

    def count(self, kind: str, answer: Answer, asked: str) -> None:
        """One more answer."""
        told = str(answer.status or "closed")
        self.by_kind.setdefault(kind, Counter())[told] += 1
        if answer.status >= 500:
            self.broken.append((f"answer {answer.status}", asked))
        if b"Traceback (most recent" in answer.content:
            self.broken.append(("a traceback in the answer", asked))


class Target:
    """A dashboard that is asked.

    Args:
        port: of it, on loopback.
        tokens: of operators.
        devices: ids of devices.
        incidents: ids of incidents.
        chance: what is random comes from here.
    """

    def __init__(
        self, port: int, tokens: Sequence[str], devices: Sequence[str], incidents: Sequence[str], chance: random.Random
    ) -> None:
        self.port, self.devices, self.incidents, self.chance = port, devices, incidents, chance
        self.counted = Counted()
        self._tokens = tokens

    def authorization(self) -> str:
        """Of one of the operators."""
        return f"Bearer {self.chance.choice(self._tokens)}"

    def send(self, kind: str, request: Iterator[bytes] | bytes, *, cut: bool = False) -> Answer:
        """Send bytes, and read the answer, or until the connection is closed.

        Args:
            kind: of request, for the count.
            request: what is sent.
            cut: whether nothing more will come: the server sees that the sender is gone.
        """
        parts = iter([request]) if isinstance(request, bytes) else request
        first, content = b"", b""
        try:
            with socket.create_connection((HOST, self.port), timeout=PATIENCE_SECONDS) as connection:
                try:
                    for part in parts:
                        first = first or part[:600]
                        connection.sendall(part)
                    if cut:
                        connection.shutdown(socket.SHUT_WR)
                except OSError as error:
                    if error.errno not in ANSWERED_EARLIER:
                        raise
                with suppress(ConnectionResetError):
                    while not _is_whole(content, first) and (read := connection.recv(65_536)):
                        content += read
        except OSError as error:
            self.counted.broken.append((f"nothing came: {type(error).__name__}", repr(first)[:400]))
        answer = Answer(_status(content), content)
        self.counted.count(kind, answer, repr(first)[:400])
        return answer

    def ask(
        self, kind: str, head: str, body: bytes = b"", *headers: str, host: str | None = None, cut: bool = False
    ) -> Answer:
        """Send a request of a first line, headers and a body, after whose answer the connection is closed.

        With a token, unless the headers have something in its place: of two, the server would make a wrong one, and after
        ten of those it answers nobody from here for a minute.
        """
        named = f"{HOST}:{self.port}" if host is None else host
        own = any(one.startswith("Authorization") for one in headers)
        token = [] if own else [f"Authorization: {self.authorization()}"]
        lines = [head, f"Host: {named}", *token, "Connection: close", *headers]
        return self.send(kind, _bytes("\r\n".join(lines)) + b"\r\n\r\n" + body, cut=cut)

    def post(self, kind: str, path: str, body: bytes, *headers: str) -> Answer:
        """Post JSON, or what is said to be such."""
        more = ("Content-Type: application/json", f"Content-Length: {len(body)}", *headers)
        return self.ask(kind, f"POST {path} HTTP/1.1", body, *more)

    def odd_path(self) -> str:
        """A path of a page or a resource, or nearly so."""
        pick = self.chance.choice
        text = pick([*ODD_TEXTS, pick(self.devices), pick(self.incidents), pick(self.devices) + "/readings"])
        tail = pick([quote(text, safe="/"), quote(text, safe=""), text])
        path = pick([*PAGES, pick(TREES) + tail, pick(TREES) + tail, "/" + tail, pick(PAGES) + "/" + tail])
        names = ("limit", "cursor", "from", "until", "state", "to", "method", "metric_name", "device", "x")
        query = [(pick(names), pick(ODD_TEXTS)) for _ in range(self.chance.randrange(4))]
        joined = "?" + pick([urlencode(query), "&".join("=".join(one) for one in query)]) if query else ""
        # A blank would end the path, and everything would be refused for the same reason.
        return (path + joined).replace(" ", "+").replace("\r", "").replace("\n", "")


def _bytes(text: str) -> bytes:
    """A text as it goes over the wire: characters up to 255 as one byte, others as UTF-8."""
    return b"".join(c.encode("latin-1") if ord(c) < 256 else c.encode("utf-8", "surrogatepass") for c in text)


def _status(content: bytes) -> int:
    """Status of an answer.

    >>> _status(b"HTTP/1.1 404 Not Found\\r\\n"), _status(b"")
    (404, 0)
    """
    parts = content[:100].split(None, 2)
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0


def _is_whole(content: bytes, request: bytes) -> bool:
    """Whether an answer has come as far as it says that it goes; the server may go on waiting for another request.

    >>> _is_whole(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok", b"GET"), _is_whole(b"HTTP/1.1 200 OK", b"GET")
    (True, False)
    """
    head, end, body = content.partition(b"\r\n\r\n")
    if not end or _status(head) < 200:
        return False
    said = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
    return said is not None and (len(body) >= int(said[1]) or request.startswith(b"HEAD ") or _status(head) == 304)


# -- kinds of requests -----------------------------------------------------------------------------------------------------


def odd_paths(target: Target, number: int) -> None:
    """Pages, resources and files that there are not, or not so."""
    for _ in range(number):
        target.ask("paths", f"{target.chance.choice(['GET', 'GET', 'HEAD'])} {target.odd_path()} HTTP/1.1")


def odd_hosts(target: Target, number: int) -> None:
    """Names under which the server isn't known."""
    pick = target.chance.choice
    for _ in range(number):
        more = [f"Host: {pick(ODD_HOSTS)}"] if target.chance.random() < 0.2 else []
        target.ask("hosts", f"GET {pick(PAGES)} HTTP/1.1", b"", *more, host=pick(ODD_HOSTS))


def odd_methods(target: Target, number: int) -> None:
    """Methods, versions and headers that nobody sends."""
    pick = target.chance.choice
    for _ in range(number):
        # One oddity at a time, mostly: of two, the server may see the first alone.
        method = pick(ODD_METHODS) if target.chance.random() < 0.4 else pick(["GET", "POST", "PUT", "OPTIONS"])
        version = pick(ODD_VERSIONS) if target.chance.random() < 0.2 else "HTTP/1.1"
        head = f"{method} {target.odd_path()} {version}"
        headers = [pick(ODD_HEADERS) for _ in range(target.chance.randrange(1, 4))]
        body = pick([b"", b"{}", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n\r\n", b"\x00" * 100])
        # Of a body that does not come, the server is told that it won't.
        waits = any(one.startswith(("Content-Length: 9999", "Expect: 100", "Transfer")) for one in headers)
        target.ask("methods and headers", head, body, *headers, cut=waits)


def cut_off(target: Target, number: int) -> None:
    """Requests that end somewhere, and noise."""
    for _ in range(number):
        body = json.dumps(
            {"inputs": [], "output": "page.children", "note": "x" * target.chance.randrange(400)}
        ).encode()
        head = [
            f"POST {target.chance.choice([UPDATE, LOG_IN, '/api/v1/incidents/x/actions'])} HTTP/1.1",
            *(f"Host: {HOST}", f"Authorization: {target.authorization()}", "Content-Type: application/json"),
            target.chance.choice([f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"]),
        ]
        whole = "\r\n".join(head).encode() + b"\r\n\r\n" + body
        if target.chance.random() < 0.1:
            whole = target.chance.randbytes(300)
        target.send("cut off", whole[: target.chance.randrange(1, len(whole))], cut=True)


def large_bodies(target: Target, number: int) -> None:
    """Ten megabytes, announced or in chunks."""
    part = b"[" + b'"x",' * 25_000
    for _ in range(number):
        chunked = target.chance.random() < 0.5
        path = target.chance.choice(
            [UPDATE, LOG_IN, "/log-out", "/", f"/api/v1/incidents/{target.incidents[0]}/actions"]
        )
        head = [
            f"POST {path} HTTP/1.1",
            *(f"Host: {HOST}", f"Authorization: {target.authorization()}", "Content-Type: application/json"),
            *("Connection: close", "Transfer-Encoding: chunked" if chunked else f"Content-Length: {LARGE}"),
        ]

        def sent(head: list[str] = head, chunked: bool = chunked) -> Iterator[bytes]:
            yield "\r\n".join(head).encode() + b"\r\n\r\n"
            for begin in range(0, LARGE, len(part)):
                piece = part[: LARGE - begin]
                yield b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
            if chunked:
                yield b"0\r\n\r\n"

        target.send("large bodies", sent())


def broken_callbacks(target: Target, number: int) -> None:
    """Every callback of the pages, with values that no page sends, and documents that are none of a callback."""
    answer = target.ask("callbacks", "GET /_dash-dependencies HTTP/1.1")
    dependencies = json.loads(answer.content.partition(b"\r\n\r\n")[2])
    for n in range(number - 1):
        document = _callback(dependencies[n % len(dependencies)], target)
        body = json.dumps(document).encode()
        if target.chance.random() < 0.1:
            cut = target.chance.randrange(len(body))
            body = target.chance.choice(
                [body[:cut], body + b"}", b"[" * 5_000 + body, body[:cut] + b"\xff" + body[cut:]]
            )
        target.post("callbacks", UPDATE, body)


def _callback(dependency: dict[str, Any], target: Target) -> Any:
    """What a page would send to a callback, and something wrong in it."""
    pick, chance = target.chance.choice, target.chance.random
    incident = pick(target.incidents)
    good = [
        pick(target.devices),
        incident,
        incident.rpartition("/")[::2],
        "/",
        f"/incident/{incident}",
        "24 h",
        1,
        None,
    ]

    def value() -> Any:
        return pick(ODD_VALUES) if chance() < 0.6 else pick(good)

    references = [_reference(name) for name in dependency["output"].strip(".").split("...")]
    document: dict[str, Any] = {
        "output": dependency["output"],
        "outputs": references if len(references) > 1 else references[0],
        "inputs": [{**one, "value": value()} for one in dependency["inputs"]],
        "state": [{**one, "value": value()} for one in dependency["state"]],
        "changedPropIds": [f"{one['id']}.{one['property']}" for one in dependency["inputs"][:1]],
    }
    if chance() < 0.1 and document["inputs"]:
        pick(document["inputs"])[pick(["id", "property", "value", "more"])] = pick(ODD_VALUES)
    if chance() < 0.3:
        name = pick(list(document))
        if chance() < 0.5:
            del document[name]
        else:
            document[name] = pick(ODD_VALUES)
    return document if chance() < 0.97 else pick(ODD_VALUES)


def _reference(name: str) -> dict[str, str]:
    part, _, prop = name.rpartition(".")
    return {"id": part, "property": prop}


def odd_log_ins(target: Target, number: int) -> None:
    """Log-ins that are none; after ten of them the address waits, so they come last."""
    for _ in range(number):
        names = target.chance.sample(["token", "name", "password", "x"], target.chance.randrange(5))
        document = {name: target.chance.choice(ODD_VALUES) for name in names}
        odd = target.chance.choice([document, document, target.chance.choice(ODD_VALUES)])
        target.post("log-ins", target.chance.choice([LOG_IN, LOG_IN, "/log-out"]), json.dumps(odd).encode())


def api_requests(target: Target, number: int) -> None:
    """What schemathesis makes of the OpenAPI document: requests that fit it, and such that don't."""
    schema = schemathesis.openapi.from_dict(openapi())
    known = st.fixed_dictionaries(
        {"device": st.sampled_from(target.devices), "incident": st.sampled_from(target.incidents)}
    )
    strategies: list[st.SearchStrategy[Any]] = []
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            strategies.append(operation.as_strategy(generation_mode=mode))
            if "{" in operation.path:
                strategies.append(_of_known(operation, mode, known))
    base = f"http://{HOST}:{target.port}"
    left, cursors = number, [""]
    with requests.Session() as session:
        session.trust_env = False

        def ask(case: Any) -> None:
            nonlocal left
            if left <= 0:
                return
            left -= 1
            _mend(case.query, cursors, target.chance)
            asked = f"{case.method} {case.formatted_path} {case.query} {case.body!r}"[:400]
            try:
                answer = case.call(
                    base_url=base,
                    session=session,
                    headers={"Authorization": target.authorization()},
                    timeout=PATIENCE_SECONDS,
                )
            except requests.RequestException as error:
                target.counted.broken.append((f"nothing came: {type(error).__name__}", asked))
                return
            target.counted.count("API, by schemathesis", Answer(answer.status_code, answer.content), asked)
            with suppress(ValueError, TypeError, KeyError):
                cursors.extend(filter(None, [answer.json()["next"]]))

        turn = 0
        while left > 0:
            turn += 1
            quietly = settings(
                max_examples=left,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )
            seed(target.chance.randrange(2**32))(quietly(given(st.one_of(strategies))(ask)))()
            if turn > 100:
                raise SystemExit("schemathesis makes no more requests")


def _mend(query: Any, cursors: Sequence[str], chance: random.Random) -> None:
    """Most made-up cursors and spans are refused before anything is read: often there is a true one, or none."""
    if not isinstance(query, dict):
        return
    if "cursor" in query and chance.random() < 0.8:
        query["cursor"] = chance.choice(cursors[-20:])
        if not query["cursor"]:
            del query["cursor"]
    for name in ("from", "until"):
        if chance.random() < 0.5:
            query.pop(name, None)


def _of_known(operation: Any, mode: GenerationMode, known: st.SearchStrategy[dict[str, str]]) -> st.SearchStrategy[Any]:
    """Requests of an operation about a device and an incident that there are."""

    def of(names: dict[str, str]) -> st.SearchStrategy[Any]:
        wanted = {name: value for name, value in names.items() if "{" + name + "}" in operation.path}
        strategy: st.SearchStrategy[Any] = operation.as_strategy(generation_mode=mode, path_parameters=wanted)
        return strategy

    return known.flatmap(of)


KINDS: dict[str, Callable[[Target, int], None]] = {
    "paths": odd_paths,
    "hosts": odd_hosts,
    "methods and headers": odd_methods,
    "cut off": cut_off,
    "large bodies": large_bodies,
    "callbacks": broken_callbacks,
}


def fuzz(target: Target, number: int) -> None:
    """Send so many requests of all kinds."""
    for kind, share in SHARES.items():
        KINDS[kind](target, max(1, round(share * number)))
    last = max(1, round(LOG_INS * number))
    api_requests(target, number - target.counted.requests - last)
    odd_log_ins(target, last)


# -- the server ------------------------------------------------------------------------------------------------------------


def served(home: Path, port: int) -> tuple[StartedProcess, Path]:
    """A dashboard over the store of a folder, and its log."""
    log = home / "dashboard.log"
    started = start_dashboard(home, port, {"HVAC_HOME": str(home)}, log)
    wait_until_ready([started], port, log, page="healthz")
    return started, log


def target_of(home: Path, port: int, chance: random.Random) -> Target:
    """A dashboard over the store of a folder, with operators that it makes."""
    store = EmbeddedStore(home / "store.db")
    tokens = [add_user(store, f"fuzz{n}", Role.OPERATOR, None, now_ms()) for n in range(OPERATORS)]
    devices = [device.device_id for device in store.devices()]
    incidents = [one.incident_id for one in Incident.read(store, only=("incident_id",), most=200)]
    store.close()
    return Target(port, tokens, devices, incidents, chance)


def faults(target: Target, started: StartedProcess, log: Path) -> list[tuple[str, str]]:
    """Everything that was broken: by requests, in the log, and whether the server lives and answers."""
    found = list(target.counted.broken)
    text = log.read_text(encoding="utf-8", errors="replace")
    found += [("a traceback in the log", text[at : at + 1_500]) for at in _places(text, "Traceback (most recent")]
    if started.process.poll() is not None:
        return [*found, ("the server has ended", f"with {started.process.returncode}")]
    try:
        with urllib.request.urlopen(f"http://{HOST}:{target.port}/healthz", timeout=PATIENCE_SECONDS):
            return found
    except OSError as error:
        return [*found, ("the server doesn't answer", str(error))]


def _places(text: str, sought: str) -> Iterator[int]:
    at = text.find(sought)
    while at >= 0:
        yield at
        at = text.find(sought, at + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--seed", type=int, default=18)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvac-fuzz-") as name:
        home = Path(name)
        Plant(home, arguments.devices).store.close()
        port = free_port()
        target = target_of(home, port, random.Random(arguments.seed))
        started, log = served(home, port)
        began = time.monotonic()
        try:
            fuzz(target, arguments.requests)
            found = faults(target, started, log)
        finally:
            stop([started])
        counted = target.counted
        for kind, counter in counted.by_kind.items():
            say(kind, f"{counter.total():,}", ", ".join(f"{told} {n:,}" for told, n in sorted(counter.items())))
        say("requests", f"{counted.requests:,}", f"in {time.monotonic() - began:.0f} s, seed {arguments.seed}")
        kinds = Counter(fault.partition(":")[0] for fault, _ in found)
        say("of 5xx", f"{sum(n for fault, n in kinds.items() if fault.startswith('answer 5')):,}", "(aim: 0)")
        say("tracebacks in answers", f"{kinds['a traceback in the answer']:,}", "(aim: 0)")
        say("tracebacks in the log", f"{kinds['a traceback in the log']:,}", "(aim: 0)")
        say("that nothing came of", f"{kinds['nothing came']:,}", "(aim: 0)")
        dead = kinds["the server has ended"] + kinds["the server doesn't answer"]
        say("the server", "is dead" if dead else "lives", "(aim: lives)")
        for fault, asked in found[:SHOWN]:
            print(f"\n{fault}\n  {asked}")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
