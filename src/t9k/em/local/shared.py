"""A file with a mapping that several objects and processes change: each writes what it has changed, over what lies there by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from t9k.em.errors import CorruptLocalData
from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.layout import understanding, write_mapping
from t9k.em.local.yamlwriter import MAX_BYTES
from t9k.em.threeway import joined, same
from t9k.em.warn import outside, warn_incomplete


class SharedMapping:
    """What one object knows of such a file.

    Args:
        what: How messages call what it holds.
        understand: Makes of what somebody else wrote what this object would have written; raises `InvalidInput` where that cannot be.
        lists: See `threeway.joined`.
        has_fixed_keys: Whether keys that this object does not know are not its own to remove.

    Attributes:
        base: What the file held when this object read or wrote it last; None for one that it writes anew.
    """

    def __init__(
        self,
        what: str,
        understand: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        lists: Mapping[str, Any] | None = None,
        has_fixed_keys: bool = False,
    ) -> None:
        self.base: dict[str, Any] | None = None
        self._what = what
        self._understand = understand
        self._lists = lists
        self._has_fixed_keys = has_fixed_keys
        self._seen: bytes | None = None
        self._unknown: dict[str, Any] = {}

    def replace(self) -> None:
        """Write the file anew the next time, whatever others have made of it."""
        self.base = None
        self._unknown = {}

    def is_changed(self, mine: Mapping[str, Any]) -> bool:
        """Return whether an object holds something else than the file did when it read or wrote it last."""
        return self.base is None or not same(mine, self.base)

    def look(self, path: Below, mine: dict[str, Any], own: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what others have made of what this object has not changed, for it to take over; needs no lock.

        Args:
            path: The file.
            mine: What the object holds.
            own: See `write`.

        Raises:
            CorruptLocalData: The file cannot be understood.
        """
        theirs = self._changed_there(path)
        if theirs is None:
            return mine
        found = {**theirs, **(own or {})}
        self._know(mine, found)
        return found

    def write(self, path: Below, mine: dict[str, Any], own: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write what the object has changed, over what others have. To be called with the lock of the directory held.

        Args:
            path: The file.
            mine: What the object holds.
            own: Keys with their values that nobody else has a say in.

        Returns:
            What the file holds now, for the object to take over.

        Raises:
            LocalError: See `write_mapping`.
        """
        merged = {**mine, **self._unknown} if self._unknown else mine
        try:
            theirs = self._changed_there(path)
        except CorruptLocalData as error:
            warn_incomplete(f"{error}. What this process knows was written over it", outside())
            theirs = None
        if theirs is not None and self.base is not None:
            merged = {**joined(self.base, mine, theirs, self._lists), **(own or {})}
        if theirs is None or not same(merged, theirs):
            self._seen = write_mapping(path, merged)
        self._know(mine, merged)
        return merged

    def _know(self, mine: Mapping[str, Any], found: dict[str, Any]) -> None:
        self.base = found
        if self._has_fixed_keys:
            self.base = {key: found[key] for key in mine}
            self._unknown = {key: value for key, value in found.items() if key not in mine}

    def _changed_there(self, path: Below) -> dict[str, Any] | None:
        """Return the mapping that another process has made of the file; None for an unchanged file.

        Raises:
            CorruptLocalData: The file cannot be understood.
        """
        if self.base is None:
            return None
        try:
            data = below.read(path, MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        if data == self._seen:
            return None
        from t9k.em.local import yamlfile  # noqa: PLC0415 - YAML is slow to import, and a run that nobody else changes reads none

        found = yamlfile.load(data, what=f"{self._what} {path}")
        if not isinstance(found, dict):
            raise CorruptLocalData(f"{path} holds no mapping; put a good copy in its place")
        with understanding(Path(path.root)):
            theirs = self._understand(found)
        self._seen = data
        return theirs
