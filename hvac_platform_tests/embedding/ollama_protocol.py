"""A small HTTP server that speaks the part of Ollama's protocol that the platform uses, and can misbehave on request."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

MODEL = "all-minilm:l6-v2"
LONGEST_WORDS = 200


class OllamaProtocol:
    """Vectors follow from the text alone. ``fault`` is None or one of: error, hang, short, zero, garbage."""

    def __init__(self):
        self.fault = None
        self.faults_left = 10**9
        self.texts = []
        self._server = None
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def up(self):
        """Start, on the port of the last time if there was one."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self):
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, request):
        """(status, body) of one embed request."""
        texts = request["input"]
        if self.fault is not None and self.faults_left > 0:
            self.faults_left -= 1
            if self.fault == "hang":
                time.sleep(1.5)
            if self.fault == "error":
                return 500, {"error": "llama runner process has terminated"}
            if self.fault in {"short", "zero"}:
                row = [1.0] * 12 if self.fault == "short" else [0.0] * 384
                return 200, {"model": MODEL, "embeddings": [row] * len(texts)}
        if request["model"] != MODEL:
            return 404, {"error": f'model "{request["model"]}" not found, try pulling it first'}
        if request.get("truncate") is False and any(len(text.split()) > LONGEST_WORDS for text in texts):
            return 400, {"error": "input length exceeds maximum context length"}
        self.texts += texts
        return 200, {"model": MODEL, "embeddings": [vector_of(text) for text in texts]}

    def _handler(self):
        protocol = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = protocol.answer(request)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler


def vector_of(text):
    """A vector that follows from a text; not of unit length."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return (3.5 * np.random.default_rng(seed).normal(size=384)).tolist()
