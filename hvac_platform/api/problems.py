"""What goes wrong, as RFC 9457 says it: ``application/problem+json``."""

from __future__ import annotations

import json
from http import HTTPStatus

from flask import Response

PREFIX = "/api/v1"
PROBLEM = "application/problem+json"


class ProblemError(Exception):
    """A request that can't be answered.

    Args:
        status: of the answer.
        detail: what is wrong with this request, and what would be right.
        retry_seconds: how long to wait with the next one; None where waiting doesn't help.
    """

    def __init__(self, status: HTTPStatus, detail: str, *, retry_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_seconds = status, detail, retry_seconds


def problem_answer(status: int, detail: str, retry_seconds: float | None = None) -> Response:
    """The answer that says it, with ``Retry-After`` (RFC 9110, 10.2.3) where it helps to wait."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    answer = Response(json.dumps(document), status, content_type=PROBLEM)
    if retry_seconds is not None:
        answer.headers["Retry-After"] = str(int(retry_seconds) + 1)
    return answer
