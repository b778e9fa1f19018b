"""Servers that come as jars from Maven Central."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from devtools.services.base import CONFIGURATION, ServiceError, require_tools, run

COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def jars(service: str, cache: Path) -> Path:
    """Folder of a server's jars, by the version that its ``pom.xml`` names."""
    (version,) = re.findall(r"<server\.version>(.+?)</server\.version>", _pom(service).read_text())
    return cache / f"{service}-{version}"


def fetch_jars(service: str, cache: Path, *, oldest_java: int, newest_java: int | None = None) -> None:
    """Fetch a server's jars, unless they are in the cache, and check that its Java is there.

    Raises:
        ServiceError: Java or Maven is missing, Java has a version that the server doesn't run on, or Maven fails.
    """
    folder = jars(service, cache)
    require_tools(service, "java", *([] if folder.exists() else ["mvn"]))
    _require_java_version(service, oldest_java, newest_java)
    if folder.exists():
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    options = ["-f", str(_pom(service)), f"-DoutputDirectory={partial}", "-DincludeScope=runtime"]
    run(service, f"fetching {folder.name} with Maven", ["mvn", "-B", "-q", COPY_DEPENDENCIES, *options])
    partial.rename(folder)


def _pom(service: str) -> Path:
    return CONFIGURATION / service / "pom.xml"


def _require_java_version(service: str, oldest: int, newest: int | None) -> None:
    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', said)
    version = int(found.group(1)) if found else 0
    if version < oldest or (newest is not None and version > newest):
        wanted = f"Java {oldest}" + ("" if newest == oldest else " or newer" if newest is None else f" to {newest}")
        raise ServiceError(f"{service} needs {wanted}, `java -version` says {version or said.strip()!r}")
