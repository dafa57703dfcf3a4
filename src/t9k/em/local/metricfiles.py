"""The metrics of a run: one file for each type, appended to from any thread; nothing is kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from t9k.em.errors import InvalidInput
from t9k.em.local import metrics
from t9k.em.local.appender import LineAppender
from t9k.em.local.disk import explained, sync_dir
from t9k.em.local.metrictypes import canonical_type, file_name, type_of
from t9k.em.metadata import mapping_of, text_of
from t9k.em.records import utc_text


class MetricFiles:
    """The directory `metrics/` of one run.

    Args:
        directory: Where the files lie; it exists when something is appended.
        types: Those that an index names; a file whose type is too long for its name is known from there only.
        on_new_type: Called after the file of a new type was made.
    """

    def __init__(self, directory: Path, types: Iterable[str], on_new_type: Callable[[], None]) -> None:
        self._directory = directory
        self._types = {file_name(known): canonical_type(known) for known in types}
        self._on_new_type = on_new_type
        self._appenders: dict[str, LineAppender] = {}
        self._lock = threading.Lock()

    def append(self, type: str, line: bytes) -> None:
        """Adds a line; it survives the end of the process when this returns.

        Args:
            type: Any alias of the type.
            line: What `metrics.encode` made.
        """
        try:
            self._appenders[type].append(line)
        except (KeyError, TypeError, ValueError):  # the first of its type, or another thread closed the files meanwhile
            self._append_anew(type, line)

    def _append_anew(self, type: str, line: bytes) -> None:
        while True:
            appender = (self._appenders.get(type) if isinstance(type, str) else None) or self._open(type)
            try:
                appender.append(line)
            except ValueError:
                if appender in self._appenders.values():
                    raise
            else:
                return

    def append_all(self, lines: Mapping[str, list[bytes]]) -> None:
        """Adds lines to several types."""
        for kind, encoded in lines.items():
            for line in encoded:
                self.append(kind, line)

    def replace_all(self, lines: Mapping[str, list[bytes]]) -> None:
        """Replaces all there was."""
        self.close()
        for name in self.names().values():
            (self._directory / name).unlink()
        self.append_all(lines)
        self._on_new_type()

    def names(self) -> dict[str, str]:
        """The names of the files, by type."""
        found = sorted(self._directory.glob("*.yaml")) if self._directory.is_dir() else []
        return {self._types.get(path.name) or type_of(path.name) or path.stem: path.name for path in found}

    def read(self) -> dict[str, list[dict[str, Any]]]:
        """All entries, by type, in the order of logging."""
        return {kind: metrics.read(self._directory / name) for kind, name in self.names().items()}

    def close(self) -> None:
        """Syncs and closes the files; appending opens them again."""
        with self._lock:
            appenders, self._appenders = set(self._appenders.values()), {}
            for appender in appenders:
                appender.close()

    def _open(self, type: str) -> LineAppender:
        canonical = canonical_type(type)
        path = self._directory / file_name(canonical)
        with self._lock:
            appender = self._appenders.get(canonical) or LineAppender(path)
            self._appenders[canonical] = self._appenders[type] = appender
            self._types[path.name] = canonical
            if not path.exists():
                with explained("make", path):
                    path.touch(0o600)
                sync_dir(self._directory)
                # Under the lock, so that an index written last names every type.
                self._on_new_type()
        return appender


def encode_all(given: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[bytes]]:
    """Makes the lines of metrics files.

    Args:
        given: Metrics as `Run.to_dict` gives them.

    Raises:
        InvalidInput: They have a wrong form.
    """
    lines: dict[str, list[bytes]] = {}
    for kind, entries in mapping_of(given, "metrics").items():
        canonical_type(kind)
        if not isinstance(entries, (list, tuple)):
            raise InvalidInput(f"the metrics {kind!r} must be a list of entries, not {entries!r}")
        lines[kind] = [_encode_entry(kind, entry) for entry in entries]
    return lines


def _encode_entry(kind: str, entry: object) -> bytes:
    form = f"an entry of the metrics {kind!r}"
    parts = mapping_of(entry, form)
    place = mapping_of(parts.get("sequence"), f"the 'sequence' of {form}")
    if "value" not in parts or "step" not in place:
        raise InvalidInput(f"{form} needs 'value', and 'sequence' with 'step', not {entry!r}")
    return metrics.encode(parts["value"], place["step"], place.get("epoch"), text_of(place, "timestamp") or utc_text())
