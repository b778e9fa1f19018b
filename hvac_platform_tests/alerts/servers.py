"""Real receivers on loopback: an HTTP server and an SMTP server that keep what they took, and can be told to refuse."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller


@dataclass
class Taken:
    """One request: headers in lower case, body as sent."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self):
        return json.loads(self.body)


class HttpReceiver:
    """Takes POSTs; ``answers`` holds statuses of the next ones, then 200 with ``answer`` as body."""

    def __init__(self, port=0):
        self.taken: list[Taken] = []
        self.answers: deque[int | tuple[int, dict[str, str]]] = deque()
        self.answer = b"{}"
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # who sent it was killed
                status, headers = 200, {}
                if receiver.answers:
                    said = receiver.answers.popleft()
                    status, headers = said if isinstance(said, tuple) else (said, {})
                if status < 300:
                    receiver.taken.append(Taken({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 50

            def handle_error(self, *_):
                """Who asked was killed."""

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@dataclass
class _Kept:
    mails: list = field(default_factory=list)
    refuse: str = ""

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802
        if self.refuse:
            return self.refuse
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


class SmtpReceiver:
    """Takes mails; ``kept.refuse`` is what it says instead, such as ``451 later``."""

    def __init__(self, port=0):
        self.kept = _Kept()
        self.controller = Controller(self.kept, hostname="127.0.0.1", port=port or free_port())
        self.controller.start()
        self.port = self.controller.port

    @property
    def mails(self):
        return self.kept.mails

    def close(self):
        self.controller.stop()


def free_port():
    """A port that nobody listens on."""
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]
