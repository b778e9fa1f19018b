"""Files that come with the package: table definitions, and a Dagster instance and workspace to start from.

In a checkout ``schema``, ``sensors`` and ``instance`` are links to what stands at its top; in what pip installs they are
copies.
"""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

_PACKAGE = Path(str(files("hvac_platform")))
SCHEMA_DIRECTORY = _PACKAGE / "schema"
WORKSPACE_FILE = _PACKAGE / "instance" / "workspace.yaml"
INSTANCE_FILE = "dagster.yaml"


def place_instance_file(folder: Path) -> None:
    """Put the default ``dagster.yaml`` into a folder; one that is there is left as it is.

    Raises:
        OSError: it can't be written.
    """
    if not (folder / INSTANCE_FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_PACKAGE / "instance" / INSTANCE_FILE, folder / INSTANCE_FILE)


def checkout() -> Path | None:
    """The checkout that this package runs from, where it is the developers' own; None where pip has copied it."""
    root = _PACKAGE.parent
    return root if (root / INSTANCE_FILE).is_file() and (root / "pyproject.toml").is_file() else None
