"""A TCP proxy on loopback that can be paused, cut and slowed: a network that fails on demand."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

from hvac_platform.runtime.live import HOST

CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TcpProxy:
    """Forwards a port of loopback to a server.

    Args:
        host: the server's.
        port: the server's.
        listens: address of its own.
    """

    def __init__(self, host: str, port: int, *, listens: str = HOST) -> None:
        self._target = (host, port)
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._delay_seconds = 0.0
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((listens, 0))
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Its own port."""
        return int(self._listener.getsockname()[1])

    def pause(self) -> None:
        """Keep connections and accept new ones, but deliver nothing: what a dropped packet looks like."""
        self._flows.clear()

    def cut(self) -> None:
        """Reset every connection and each new one."""
        self._refuses = True
        self._reset_all()

    def slow(self, seconds: float) -> None:
        """Deliver each chunk so much later."""
        self._delay_seconds = seconds

    def heal(self) -> None:
        """Forward as at first. Connections that were paused deliver what they held back."""
        self._refuses, self._delay_seconds = False, 0.0
        self._flows.set()

    def close(self) -> None:
        """End it and every connection."""
        self._closed = True
        self._listener.close()
        self._flows.set()
        self._reset_all()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._connections |= {client, server}
            for source, target in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK):
                if self._delay_seconds:
                    time.sleep(self._delay_seconds)
                self._flows.wait()
                target.sendall(chunk)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._connections.discard(one)

    def _reset_all(self) -> None:
        with self._lock:
            open_now, self._connections = self._connections, set()
        for one in open_now:
            _reset(one)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.shutdown(socket.SHUT_RD)  # wakes who reads from it; to write-shut it would send an orderly end
    connection.close()
