"""Servers that come as Debian packages, and how to run one without being root."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from devtools.services.base import ServiceError, run


def require_program(service: str, package: str, *candidates: str | Path) -> Path:
    """The first of some programs that there is; in continuous integration its package is installed when there is none.

    Raises:
        ServiceError: there is none; says which package has it.
    """
    if found := _first(candidates):
        return found
    if os.environ.get("CI") == "true" and os.geteuid() == 0 and shutil.which("apt-get"):
        run(service, f"installing {package}", ["apt-get", "update", "-qq"])
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        run(service, f"installing {package}", install, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        if found := _first(candidates):
            return found
    raise ServiceError(f"{service} needs {candidates[0]} (Debian: apt-get install {package})")


def _first(candidates: tuple[str | Path, ...]) -> Path | None:
    """The first program that exists; a pattern stands for the highest version that matches."""
    for candidate in candidates:
        if "*" in str(candidate):
            matching = Path("/").glob(str(candidate).lstrip("/"))
            newest = max(matching, key=lambda path: [int(p) for p in path.parts if p.isdigit()], default=None)
            if newest is not None:
                return newest
        elif found := shutil.which(str(candidate)):
            return Path(found)
    return None


def as_user(user: str, command: list[str]) -> list[str]:
    """The command, run by another user when this process is root: some servers refuse root."""
    if os.geteuid() != 0:
        return command
    account = pwd.getpwnam(user)
    drop = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--no-new-privs"]
    return [*drop, *command]


def give_to(user: str, folder: Path) -> None:
    """Make a folder another user's when this process is root.

    Raises:
        ServiceError: that user can't get to it.
    """
    if os.geteuid() != 0:
        return
    shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            raise ServiceError(f"user {user} can't get to {folder}: others may not enter {parent}")
