"""What stands before the dashboard's application: requests of others, and such as ask for too much, do not reach it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from hvac_platform.api.problems import PREFIX, problem_answer
from hvac_platform.runtime.request_guard import Request, RequestGuard

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LONGEST_BODY = 1_000_000
"""Bytes of a request's body; a page sends a few thousand."""
LONGEST_LIST = 500
"""Entries of a list in a body; of an object likewise."""
LONGEST_TEXT = 2_000
"""Characters of a text in a body."""
LONGER_TEXTS = {"what-if-rules": 20_001}
"""Characters of the value of an element into which people paste; one more than it takes, so that too many are told."""


class Front:
    """A WSGI application that passes on what the guard and the bounds allow.

    Args:
        app: what answers then.
        guard: decides by the headers.
        methods_of: methods that a path of the API takes; any other is answered as such, whatever its body is.
    """

    def __init__(self, app: WSGIApplication, guard: RequestGuard, methods_of: Callable[[str], Collection[str]]) -> None:
        self._app = app
        self._guard = guard
        self._methods_of = methods_of

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or refuse."""
        refusal = self._guard.refusal(_request(environ))
        if refusal is not None and refusal.status != HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return _refuse(environ, refusal.status, refusal.reason)(environ, start_response)
        length = _length(environ)
        if length > LONGEST_BODY:
            return _refuse(environ, 413, f"a body may be {LONGEST_BODY:,} bytes long")(environ, start_response)
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if path.startswith(PREFIX) and method not in self._methods_of(path):
            return self._app(environ, start_response)  # which says what the path takes
        if refusal is not None:
            return _refuse(environ, refusal.status, refusal.reason)(environ, start_response)
        if method == "POST":
            body = environ["wsgi.input"].read(length)
            try:
                check_bounds(json.loads(body))
            except (ValueError, RecursionError) as error:
                reason = str(error) if isinstance(error, BoundsError) else f"the body isn't JSON: {error}"
                return _refuse(environ, 400, reason[:LONGEST_TEXT])(environ, start_response)
            environ["wsgi.input"] = BytesIO(body)
        return self._app(environ, start_response)


class BoundsError(ValueError):
    """A list or a text of a document is longer than any page has it, or is no text at all."""


def check_bounds(document: Any) -> None:
    """Check that no list or text of a document is longer than any page has it, and that its texts can be written as UTF-8.

    Raises:
        BoundsError: one is, or can't.
    """
    waiting = [(document, LONGEST_TEXT)]
    while waiting:
        value, longest = waiting.pop()
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise BoundsError("a text has half of a character in it: a surrogate without its other half")
        if isinstance(value, str) and len(value) > longest:
            raise BoundsError(f"a text may be {longest:,} characters long")
        if isinstance(value, (list, dict)) and len(value) > LONGEST_LIST:
            raise BoundsError(f"a list may have {LONGEST_LIST:,} entries")
        if isinstance(value, list):
            waiting.extend((one, LONGEST_TEXT) for one in value)
        elif isinstance(value, dict):
            of = value.get("id")
            pasted = LONGER_TEXTS.get(of, LONGEST_TEXT) if isinstance(of, str) else LONGEST_TEXT
            waiting.extend((name, LONGEST_TEXT) for name in value)
            waiting.extend((one, pasted if name == "value" else LONGEST_TEXT) for name, one in value.items())


def texts_once(values: object, most: int) -> list[str]:
    """Texts that a browser chose from a list: each once, so many at most.

    >>> texts_once(["cop", "cop", 7, "load", "flow"], 2), texts_once(None, 2)
    (['cop', 'load'], [])
    """
    texts: Sequence[str] = [v for v in values if isinstance(v, str)] if isinstance(values, list) else []
    return list(dict.fromkeys(texts))[:most]


def _request(environ: WSGIEnvironment) -> Request:
    headers = [
        (name[5:].replace("_", "-").lower(), str(value)) for name, value in environ.items() if name.startswith("HTTP_")
    ]
    if "CONTENT_TYPE" in environ:
        headers.append(("content-type", environ["CONTENT_TYPE"]))
    return Request(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", ""), headers)


def _length(environ: WSGIEnvironment) -> int:
    """Length of the body; the server has read all of it by now, so it tells the length of chunks too."""
    said = str(environ.get("CONTENT_LENGTH") or "0")
    return int(said) if said.isascii() and said.isdigit() else 0


def _refuse(
    environ: WSGIEnvironment, status: int, reason: str
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    if environ.get("PATH_INFO", "").startswith(PREFIX):  # programs read one kind of answer
        answer = problem_answer(status, reason)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer
    return Response(f"{reason}\n", status, {"X-Content-Type-Options": "nosniff"}, mimetype="text/plain")
