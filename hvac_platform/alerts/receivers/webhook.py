"""Webhooks: CloudEvents 1.0 in JSON, signed as Standard Webhooks say."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any

from hvac_platform.alerts.messages import Message, rfc3339
from hvac_platform.alerts.receivers.answers import Answer, DeliveryError
from hvac_platform.alerts.tree import Webhook, secret_bytes

SECONDS = 10.0
LONGEST_ANSWER = 65_536
LONGEST_REFERENCE = 200
SOURCE = "/hvac-platform"
LONGEST_RETRY_AFTER_MS = 3_600_000


def webhook_id(key: str) -> str:
    """Id of a message for the receiver: the same for the same incident and transition, without what ids may not have.

    >>> webhook_id("RTU-001/1000#opened#cmms") == webhook_id("RTU-001/1000#opened#cmms")
    True
    """
    return f"msg_{sha256(key.encode()).hexdigest()[:32]}"


def signature(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    """Signature of a body, version 1: HMAC-SHA256 over id, timestamp and body.

    >>> secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    >>> signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{id_}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret_bytes(secret), signed, sha256).digest()).decode()


def cloud_event(message: Message) -> dict[str, Any]:
    """The message as a CloudEvent, structured mode."""
    return {
        "specversion": "1.0",
        "id": message.key,
        "source": SOURCE,
        "type": f"hvac.incident.{message.base}",
        "subject": message.contents[0].incident_id,
        "time": rfc3339(message.happened_at),
        "datacontenttype": "application/json",
        "data": message.document(),
    }


class WebhookSender:
    """A POST for each message; the connection is kept between them."""

    def __init__(self, settings: Webhook) -> None:
        import httpx  # takes a while to load

        self._httpx: Any = httpx
        self._settings = settings
        # What an answer redirects to was not named by who wrote the file.
        self._client = httpx.Client(timeout=SECONDS, follow_redirects=False)

    def send(self, message: Message) -> Answer:
        """One event.

        Raises:
            DeliveryError: it was not answered by a status of 200 to 299.
        """
        body = json.dumps(cloud_event(message), ensure_ascii=False).encode()
        id_, timestamp = webhook_id(message.key), int(time.time())
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "user-agent": "hvac-platform",
            "idempotency-key": id_,
            "webhook-id": id_,
            "webhook-timestamp": str(timestamp),
            **{name: value.get_secret_value() for name, value in self._settings.headers.items()},
        }
        if secret := self._settings.secret.get_secret_value():
            try:
                headers["webhook-signature"] = signature(secret, id_, timestamp, body)
            except ValueError as error:
                raise DeliveryError(str(error), everything=True) from None
        try:
            url = self._settings.url.get_secret_value()
            with self._client.stream("POST", url, content=body, headers=headers) as response:
                answered = _at_most(response.iter_bytes(), LONGEST_ANSWER)
        except (self._httpx.HTTPError, self._httpx.InvalidURL, UnicodeError) as error:
            raise DeliveryError(f"{type(error).__name__}: {error}", everything=True) from None
        status = response.status_code
        if not 200 <= status < 300:
            said = " ".join(answered[:200].decode(errors="replace").split())
            again = status == 429 or status >= 500 or status in (401, 403, 404, 408, 410)
            after = _retry_after(response.headers.get("retry-after", ""))
            raise DeliveryError(f"HTTP {status} {said}".strip(), everything=again, retry_after_ms=after)
        return Answer(reference=reference_in(answered, self._settings.reference))

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def reference_in(body: bytes, path: str) -> str:
    """What an answer calls the message, found by a path with dots; empty where it names nothing.

    >>> reference_in(b'{"workOrder": {"id": 4711}}', "workOrder.id"), reference_in(b"<html>", "id")
    ('4711', '')
    """
    if not path:
        return ""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    told = str(found) if isinstance(found, (str, int)) and not isinstance(found, bool) else ""
    return "".join(c for c in told if c.isprintable())[:LONGEST_REFERENCE]


def _at_most(chunks: Any, most: int) -> bytes:
    found = b""
    for chunk in chunks:
        found += chunk
        if len(found) >= most:
            break
    return found[:most]


def _retry_after(text: str) -> int:
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * 1000, LONGEST_RETRY_AFTER_MS)
    try:
        wanted = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0
    return min(max(0, round(wanted * 1000)), LONGEST_RETRY_AFTER_MS)
