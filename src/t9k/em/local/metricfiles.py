"""The metrics of a run: one file for each type, appended to from any thread; nothing is kept in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from t9k.em.errors import InvalidInput, LocalError
from t9k.em.local import below, forks, metrics, reentry
from t9k.em.local.appender import InUse, LineAppender
from t9k.em.local.below import Below
from t9k.em.local.disk import NO_SPACE, explained
from t9k.em.local.lost_lines import LostLines
from t9k.em.local.metriccalls import LeftOut
from t9k.em.local.metricreader import Reader
from t9k.em.local.metrictypes import canonical_type, file_name, type_of
from t9k.em.metadata import mapping_of, text_of
from t9k.em.records import utc_text


class MetricFiles:
    """The directory `metrics/` of one run.

    Threads and processes may append at the same time, children made by fork included: all share the file of a type, since each
    line is one write at its end. So the order of a file is the order of logging.

    Args:
        directory: Where the files lie; it exists when something is appended.
        types: Those that an index names; a file whose type is too long for its name is known from there only.
        on_new_type: Called after the file of a new type was made.

    Attributes:
        left_out: What could not be recorded; see `metrics.encode_now`.
    """

    def __init__(self, directory: Below, types: Iterable[str], on_new_type: Callable[[], None]) -> None:
        self._directory = directory
        self._types = {file_name(known): canonical_type(known) for known in types}
        self._on_new_type = on_new_type
        self._is_untold = False
        self._appenders: dict[str, LineAppender] = {}  # by any alias; empty during a fault
        self._by_type: dict[str, LineAppender] = {}
        self.left_out = LeftOut()
        self._losses = LostLines(directory)
        self.forget_parent()
        forks.watch(self)

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`."""
        self._lock = threading.Lock()
        self._losses.forget_parent()

    def append(self, type: str, line: bytes) -> None:
        """Add a line; it survives the end of the process when this returns.

        What the disk refuses is lost, with a warning; see `Losses`.

        Args:
            type: Any alias of the type.
            line: What `metrics.encode` made.

        Raises:
            InvalidMetric: `type` is no type of metrics.
        """
        try:
            self._appenders[type].append(line)
        except (LocalError, OSError) as error:
            self._append_anew(type, line, error)
        except (KeyError, TypeError, ValueError):  # the first of its type, or another thread closed the files meanwhile
            self._append_anew(type, line, None)
        except InUse:
            reentry.later(partial(self.append, type, line))

    def _append_anew(self, type: str, line: bytes, failure: Exception | None) -> None:
        kind = canonical_type(type)
        reentry.alone(partial(self._append_alone, type, kind, line, failure))

    def _append_alone(self, type: str, kind: str, line: bytes, failure: Exception | None) -> None:
        if failure is not None:
            self._failed(failure)
        is_again = False
        while True:
            appender = self._appender(kind)
            try:
                self._make_file(appender)
                appender.append(line)
            except (LocalError, OSError) as error:
                # The first error may be what the last sync met, which says nothing about this line.
                self._failed(error, kind if is_again else None)
                if is_again:
                    return
                is_again = True
            except ValueError:
                if appender is self._by_type.get(kind):
                    raise
            else:
                break
        if self._losses.is_faulty:
            self._losses.written()
        else:
            self._appenders[type] = appender

    def _failed(self, error: Exception, lost: str | None = None) -> None:
        self._losses.failed(error, lost)
        self._appenders = {}
        cause = error.__cause__ if isinstance(error, LocalError) else error
        if not isinstance(cause, OSError) or cause.errno not in NO_SPACE:
            for appender in list(self._by_type.values()):
                appender.rest()

    def append_all(self, lines: Mapping[str, list[bytes]]) -> None:
        """Add lines to several types."""
        for kind, encoded in lines.items():
            for line in encoded:
                self.append(kind, line)

    def replace_all(self, lines: Mapping[str, list[bytes]]) -> None:
        """Replace all there was."""
        self.close()
        for name in self.names().values():
            below.remove(self._directory / name)
        self.append_all(lines)
        self._on_new_type()

    def names(self) -> dict[str, str]:
        """Return the names of the files, by type."""
        try:  # not by a pattern of pathlib, which costs each new run more than its first file
            found = sorted(name for name in below.names(self._directory) if name.endswith(".yaml"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            found = []
        return {self._types.get(name) or type_of(name) or os.path.splitext(name)[0]: name for name in found}

    def has_unknown(self) -> bool:
        """Return whether there is a file whose type is too long for its name, and not known here."""
        return any(type_of(name) is None and name not in self._types for name in self.names().values())

    def learn(self, types: Iterable[str]) -> None:
        """Take over types that an index names."""
        self._types = {**{file_name(known): canonical_type(known) for known in types}, **self._types}

    def read(self) -> dict[str, list[dict[str, Any]]]:
        """All entries, by type, in the order of logging."""
        return {kind: metrics.read(self._directory / name) for kind, name in self.names().items()}

    def count(self, type: str) -> int:
        """Return the number of lines of a type."""
        return sum(block.count(b"\n") for path in self.paths(type).values() for block in Reader(path).blocks(1 << 20))

    def sync(self) -> None:
        """Wait until everything appended so far would survive a power cut.

        Raises:
            LocalError: The disk is full or refuses.
        """
        for appender in list(self._by_type.values()):
            appender.sync()

    def paths(self, type: str | None = None) -> dict[str, Below]:
        """Return the files, by type; with an alias of a type only its file, if there is one."""
        wanted = None if type is None else canonical_type(type)
        names = self.names()
        return {kind: self._directory / name for kind, name in names.items() if wanted in (None, kind)}

    def close(self) -> None:
        """Sync and close the files, and return what was lost; appending opens them again."""
        reentry.alone(self._close_alone)

    def _close_alone(self) -> None:
        with self._lock:
            appenders, self._by_type, self._appenders = list(self._by_type.values()), {}, {}
        for appender in appenders:
            try:
                appender.close()
            except (LocalError, OSError) as error:
                self._losses.failed(error)
        self._losses.ended()

    def _appender(self, kind: str) -> LineAppender:
        with self._lock:
            appender = self._by_type.get(kind)
            if appender is None:
                appender = self._by_type[kind] = LineAppender(self._directory / file_name(kind))
                self._types[file_name(kind)] = kind
            return appender

    def _make_file(self, appender: LineAppender) -> None:
        with self._lock:
            if below.status(appender.path) is None:
                with explained("make", appender.path):
                    os.close(below.open_file(appender.path, os.O_WRONLY | os.O_CREAT))
                    below.sync_parent(appender.path)
                appender.rest()
                self._is_untold = True
            if self._is_untold:
                # Under the lock, so that an index written last names every type.
                try:
                    self._on_new_type()
                    self._is_untold = False
                except (LocalError, OSError) as error:
                    self._losses.failed(error)


def encode_all(given: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[bytes]]:
    """Make the lines of metrics files.

    Args:
        given: Metrics as `Run.to_dict` gives them.

    Raises:
        InvalidInput: The entries have a wrong form.
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
