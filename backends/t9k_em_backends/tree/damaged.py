"""Where a damaged head is kept that was set aside: `F/.em/damaged/<c>/<generation>-<random>.json`; see `repairing`."""

from __future__ import annotations

import re

from t9k_em_backends.tree.heads import folder_prefix

_KEY = re.compile(r"(?P<folder>(?:.*/)?)\.em/damaged/(?P<c>[^/]+)/[^/]+")


def damaged_prefix(folder: str, c: str) -> str:
    """Return the prefix of the records of one folded, encoded name."""
    return f"{folder_prefix(folder)}.em/damaged/{c}/"


def split_damaged(key: str) -> tuple[str, str] | None:
    """Return the path of the folder and the folded, encoded name in the key of such a record; None for any other key."""
    match = _KEY.fullmatch(key)
    return match and ("/" + match["folder"][:-1], match["c"])
