"""Which requests a server without a log-in answers: those of its own pages and of programs, none of other web pages.

A server on loopback is within reach of every page that a browser on this machine has open. Such a page can send requests
(its origin and Sec-Fetch-Site tell), and with a name of its own that resolves to 127.0.0.1 it can read answers too (the
Host header tells). Programs such as curl send neither header and pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs

from hvac_platform.hosts import Address, is_loopback_name, parse_address

HARMLESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
SHOWN = 100  # characters of a header in an answer


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, as far as the guard looks at it.

    Attributes:
        method: GET, POST …; GET for a websocket's handshake.
        path: decoded.
        query: not decoded, without the question mark.
        headers: names in lower case, each as often as it was sent.
        websocket: whether a websocket is to be opened.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    websocket: bool = False

    def header(self, name: str) -> str | None:
        """Value of a header; of one that was sent several times, all of them in one."""
        values = [value for sent, value in self.headers if sent == name]
        return ", ".join(values) if values else None

    @property
    def graphql(self) -> bool:
        """Whether it goes to a GraphQL endpoint, below whatever prefix."""
        return self.path.rstrip("/").endswith("/graphql")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered."""

    status: HTTPStatus
    reason: str


class RequestGuard:
    """Decides whether a request is answered.

    Args:
        allowed: hosts beside the names of loopback under which the server is known, as :func:`parse_hosts` gives them.
            A port there matters for origins only: a proxy's name, on the port where browsers see it.
    """

    def __init__(self, allowed: Iterable[Address] = ()) -> None:
        self._allowed = tuple(allowed)
        self._names = frozenset(name for name, _ in self._allowed)

    def refusal(self, request: Request) -> Refusal | None:
        """Why a request is refused, or None where it is answered."""
        return (
            self._unknown_host(request)
            or self._foreign_origin(request)
            or self._other_site(request)
            or _not_json(request)
            or _graphql_by_get(request)
        )

    def _unknown_host(self, request: Request) -> Refusal | None:
        said = request.header("host") or ""
        address = parse_address(said)
        if address is not None and (is_loopback_name(address[0]) or address[0] in self._names):
            return None
        advice = "a server is asked by its name here; HVAC_ALLOWED_HOSTS lists names beside those of loopback"
        return Refusal(HTTPStatus.FORBIDDEN, f"Host {said[:SHOWN]!r} is not known: {advice}")

    def _foreign_origin(self, request: Request) -> Refusal | None:
        origin = request.header("origin")
        if origin is None or self._is_own(origin, request.header("host") or ""):
            return None
        return Refusal(HTTPStatus.FORBIDDEN, f"a page of {origin[:SHOWN]!r} may not ask this server")

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, separator, rest = origin.partition("://")
        asking, asked = parse_address(rest), parse_address(host)
        if not separator or asking is None or scheme.lower() not in DEFAULT_PORTS:
            return False

        def full(address: Address) -> Address:
            return address[0], address[1] or DEFAULT_PORTS[scheme.lower()]

        return full(asking) in {full(address) for address in (asked, *self._allowed) if address is not None}

    def _other_site(self, request: Request) -> Refusal | None:
        site = request.header("sec-fetch-site")
        if site is None or site in ("same-origin", "none"):
            return None
        # A link may lead to a page; no frame may hold one, and nothing of another page may ask for data.
        followed = request.header("sec-fetch-mode") == "navigate" and request.header("sec-fetch-dest") == "document"
        if request.method in ("GET", "HEAD") and followed and not request.graphql and not request.websocket:
            return None
        return Refusal(HTTPStatus.FORBIDDEN, f"a page of another site may not ask this server ({site[:SHOWN]})")


def _not_json(request: Request) -> Refusal | None:
    """Pages can send forms and plain text to other sites without asking; JSON they can't."""
    if request.websocket or request.method in HARMLESS:
        return None
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")


def _graphql_by_get(request: Request) -> Refusal | None:
    """A GET must change nothing, so it may hold queries only."""
    if request.websocket or request.method not in HARMLESS or not request.graphql:
        return None
    for document in parse_qs(request.query, keep_blank_values=True).get("query", []):
        if not _only_queries(document):
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "GET is for GraphQL queries: send anything else by POST")
    return None


def _only_queries(document: str) -> bool:
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    try:
        definitions = parse(document).definitions
    except (GraphQLError, RecursionError):
        return False
    operations = [node.operation for node in definitions if isinstance(node, OperationDefinitionNode)]
    return all(operation is OperationType.QUERY for operation in operations)
