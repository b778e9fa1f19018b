"""Run a command that ends with the process that started it, however that one ends.

``python -m hvac_platform.runtime.leash FD COMMAND…`` becomes the command. Beside it, in the same process group, stays a
watcher that reads from FD: a pipe whose other end only the starting process has. The kernel closes that end when the process
dies, by SIGKILL too, and then the watcher ends the whole group: the command and all that it has started. A pipe does
this wherever Python runs; Linux's parent-death signal would reach the direct child alone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

GRACE_SECONDS = 4.0
"""How long the group may take to end by itself before it is killed."""


def leashed(command: Sequence[str], read_end: int) -> list[str]:
    """A command on a leash; ``read_end`` must be passed to the process, which must lead a process group."""
    return [sys.executable, "-m", "hvac_platform.runtime.leash", str(read_end), *command]


def _watch(read_end: int) -> None:
    """Wait for the end of the starting process; then end the group, this process with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(read_end, 1):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Fork the watcher off and become the command."""
    read_end, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(read_end, False)
    middle = os.fork()
    if middle == 0:
        # Forked twice, so that the command does not find a child that it knows nothing of.
        if os.fork() == 0:
            try:
                _watch(read_end)
            finally:
                os._exit(1)
        os._exit(0)
    os.waitpid(middle, 0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
