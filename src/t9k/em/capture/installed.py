"""All packages that are installed for this Python."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

_SUFFIX = ".dist-info"
_NAME = re.compile(r"[-_.]+")
_OLD = (".egg-info", ".egg-link", ".egg")


def requirements() -> bytes:
    """Return what is installed, as pip takes it: a line `name==version` for each package, by name, in UTF-8.

    The names of the directories on `sys.path` tell; reading the metadata of hundreds of packages would take a hundred times as long.
    Of two versions the one that is found first counts, as for an import.
    """
    found: dict[str, str] = {}
    for name, version in _packages():
        found.setdefault(_NAME.sub("-", name).lower(), version)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items())).encode(
        "utf-8", "backslashreplace"
    )


def _packages() -> Iterator[tuple[str, str]]:
    for directory in dict.fromkeys(path or os.curdir for path in sys.path):
        try:
            names = sorted(os.listdir(directory))  # noqa: PTH208 - names are all that is needed
        except OSError:  # an archive, or a directory that is not there
            continue
        for name in names:
            if name.endswith(_SUFFIX):
                package, dash, version = name.removesuffix(_SUFFIX).partition("-")
                if dash and version:
                    yield package, version
        if any(name.endswith(_OLD) for name in names):
            yield from _by_metadata(directory)


def _by_metadata(directory: str) -> Iterator[tuple[str, str]]:
    """Yield the packages whose installers wrote no `.dist-info`."""
    import importlib.metadata  # noqa: PLC0415 - 40 modules, which few need

    for distribution in importlib.metadata.distributions(path=[directory]):
        metadata = distribution.metadata
        if "Name" in metadata and "Version" in metadata:
            yield metadata["Name"], metadata["Version"]
