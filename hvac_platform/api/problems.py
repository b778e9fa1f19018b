"""What goes wrong, as RFC 9457 says it: ``application/problem+json``."""

from __future__ import annotations

import json
from http import HTTPStatus

from flask import Response


class ProblemError(Exception):
    """A request that can't be answered.

    Args:
        status: of the answer.
        detail: what is wrong with this request, and what would be right.
    """

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def problem_answer(status: int, detail: str) -> Response:
    """The answer that says it."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(document), status, content_type="application/problem+json")
