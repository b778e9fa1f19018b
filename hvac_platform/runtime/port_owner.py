"""Who listens on a port, where the operating system tells: Linux, and for processes of the same user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTENING = "0A"
LONGEST_COMMAND = 200


@dataclass(frozen=True, slots=True)
class PortOwner:
    """A process that listens on a port."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def port_owner(port: int) -> PortOwner | None:
    """The process that listens on a TCP port, or None where that can't be found."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not inodes:
        return None
    for process in PROC.iterdir():
        if process.name.isdigit() and _holds(process, inodes):
            return PortOwner(int(process.name), command_line(int(process.name)))
    return None


def command_line(pid: int) -> str:
    """Command line of a process, on one line and short; empty where it can't be read."""
    with suppress(OSError):
        words = (PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        line = "".join(c if c.isprintable() else "?" for c in " ".join(words).strip())
        return line[:LONGEST_COMMAND] + ("…" if len(line) > LONGEST_COMMAND else "")
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _holds(process: Path, inodes: set[str]) -> bool:
    with suppress(OSError):  # a process of another user, or one that has just ended
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in inodes:
                    return True
    return False
