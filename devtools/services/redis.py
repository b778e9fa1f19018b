"""Redis from its Debian package: the broker of Celery."""

from __future__ import annotations

import secrets
import socket

from devtools.services.base import Service
from devtools.services.debian import require_program
from hvac_platform.runtime.live import HOST


class Redis(Service):
    """One Redis server with a password, in memory only."""

    name = "redis"
    default_port = 6379

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables of Dagster's daemon and of the workers."""
        address = f"redis://:{self.password}@{HOST}:{self.port}"
        return {"CELERY_BROKER_URL": f"{address}/0", "CELERY_RESULT_BACKEND": f"{address}/1"}

    @property
    def password(self) -> str:
        """What clients must know; new for each folder."""
        file = self.folder / "password"
        if not file.exists():
            file.write_text(secrets.token_hex(16))
        return file.read_text()

    def fetch(self) -> None:
        """Find its program."""
        require_program(self.name, "redis-server", "redis-server")

    def prepare(self) -> None:
        """Write the configuration."""
        lines = (f"bind {HOST}", f"port {self.port}", 'save ""', "appendonly no", f"requirepass {self.password}")
        (self.folder / "redis.conf").write_text("\n".join(lines))

    def command(self) -> list[str]:
        """The server in the foreground."""
        return [str(require_program(self.name, "redis-server", "redis-server")), str(self.folder / "redis.conf")]

    def answers(self) -> bool:
        """Whether it accepts the password and answers PING."""
        with socket.create_connection((HOST, self.port), timeout=2) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := connection.recv(64)):
                answer += part
            return answer == b"+OK\r\n+PONG\r\n"
