"""Servers that come as jars from Maven Central."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from hvac_platform_tests.services.base import CONFIGURATION, ServiceError, require_tools, run

COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def jars(service: str, cache: Path) -> Path:
    """Folder with a server's jars, by the version that its ``pom.xml`` names; fetched if it isn't there.

    Raises:
        ServiceError: Maven is missing or fails.
    """
    pom = CONFIGURATION / service / "pom.xml"
    (version,) = re.findall(r"<server\.version>(.+?)</server\.version>", pom.read_text())
    folder = cache / f"{service}-{version}"
    if not folder.exists():
        require_tools(service, "java", "mvn")
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        run(
            service,
            f"fetching version {version} with Maven",
            [
                "mvn",
                "-B",
                "-q",
                "-f",
                str(pom),
                COPY_DEPENDENCIES,
                f"-DoutputDirectory={partial}",
                "-DincludeScope=runtime",
            ],
        )
        partial.rename(folder)
    return folder


def require_java(service: str, *, oldest: int, newest: int | None = None) -> None:
    """Check the version of Java.

    Raises:
        ServiceError: there is none, or one that the server doesn't run on.
    """
    require_tools(service, "java")
    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', said)
    version = int(found.group(1)) if found else 0
    if version < oldest or (newest is not None and version > newest):
        wanted = f"Java {oldest}" + ("" if newest == oldest else " or newer" if newest is None else f" to {newest}")
        raise ServiceError(f"{service} needs {wanted}, `java -version` says {version or said.strip()!r}")
