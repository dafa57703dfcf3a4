"""Runs and artifacts that are kept nowhere: what the API gives with `EM_MODE=disabled`.

They have the interface of those that are kept, in memory only: no file, no thread, no request. Hyperparameters and attributes hold what they
were given, metrics and objects are gone. A class of its own for each, so that neither `Run` nor `Artifact` has to ask what it may do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from t9k.em.artifact import Artifact
from t9k.em.containers import Params
from t9k.em.ending.failure import status_of
from t9k.em.ending.status import COMPLETE, RUNNING, check_end
from t9k.em.errors import InvalidName, NotFound
from t9k.em.live.source import Destination
from t9k.em.local import layout
from t9k.em.local.metriccalls import MISSING
from t9k.em.names import alternative_name, check_name
from t9k.em.nodes.local_node import LocalNode
from t9k.em.records import Node, Outcome, utc_text
from t9k.em.run import Run

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa
    from typing_extensions import Self

    from t9k.em.backend import Backend
    from t9k.em.capture import Capture
    from t9k.em.live.follower import GrowingFile
    from t9k.em.transfer.progress import Progress


class _Nowhere(LocalNode):
    """What a run and an artifact that are kept nowhere have in common."""

    def _live_nowhere(self) -> None:
        """Name the directory that there would be."""
        self.alternative_name = self.alternative_name or alternative_name(self.name)
        directory = layout.parent_directory(self.kind) / self.alternative_name
        self._place = Path(os.path.abspath(directory))  # noqa: PTH100 - `resolve` would look at the disk

    @property
    def remote(self) -> list[dict[str, str]]:
        """Nothing."""
        return []

    @property
    def _has_directory(self) -> bool:
        """No."""
        return False

    def _look(self, files: Path, keep: Callable[[Path | None], Path]) -> None:
        """Do nothing."""

    def save(self) -> None:
        """Do nothing."""

    def send(
        self,
        backend: Backend,
        folder: str,
        *,
        make_folder: bool = False,
        strategy: str = "new",
        progress: Progress | None = None,
    ) -> tuple[Outcome, Node]:
        """Raise `NotFound`: there is nothing to be sent; `upload` does nothing."""
        del backend, folder, make_folder, strategy, progress
        raise _absent(self)

    def upload(self, folder: str = "default", make_folder: bool = False, conflict_strategy: str = "new") -> None:
        """Do nothing."""

    def _save_metadata(self, *, is_look: bool = False) -> None:
        """Do nothing."""


class DisabledRun(_Nowhere, Run):
    """A run that is kept nowhere; see `Run` for its interface.

    Args:
        metadata: As of a `Run`.
        hparams: As of a `Run`.
        metrics: Dropped.
        platform: Dropped.
        git: Dropped.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any],
        hparams: object = None,
        metrics: Mapping[str, list[dict[str, Any]]] | None = None,
        platform: Mapping[str, Any] | None = None,
        git: Mapping[str, Any] | None = None,
    ) -> None:
        del metrics, platform, git
        self._set_metadata(metadata)
        self._hparams = Params(self._save_hparams, hparams)
        self.destination = None
        self._live_nowhere()

    def __enter__(self) -> Self:
        """Return the run itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Set the status."""
        self._stop(None if error is None else status_of(error))

    @property
    def error(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @property
    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """Nothing."""
        return {}

    def metrics_table(self, type: str | None = None) -> pa.Table:
        """Return a table without rows."""
        del type
        from t9k.em.local.columns import read_table  # noqa: PLC0415 - the module that needs pyarrow

        return read_table({})

    @property
    def platform(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @property
    def git(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def log(
        self, type: str, metrics: Mapping[str, float] = MISSING, step: int = MISSING, epoch: float | None = None
    ) -> None:
        """Do nothing, and check nothing."""

    def download(self, path: str | None = None, *, progress: Progress | None = None) -> str:
        """Do nothing; the directory that there would be."""
        del progress
        return self.local if path is None else path

    def mark_input(self, resource: object) -> None:
        """Do nothing."""

    def mark_output(self, resource: object) -> None:
        """Do nothing."""

    def finish(self, *args: Any, timeout: float | None = None, status: str | None = None, **kwargs: Any) -> None:
        """Set the status: 'Complete', or the argument `status` where one is given."""
        del args, timeout, kwargs
        self._stop(None if status is None else check_end(status))

    def parse_from_dict(self, data: Mapping[str, Any]) -> None:
        """Take over metadata and hyperparameters."""
        self._set_metadata(data.get("metadata", {}))
        self._hparams = Params(self._save_hparams, data.get("hparams"))
        self._live_nowhere()

    def _leave(self, status: str, error: BaseException | None) -> None:
        """Do nothing."""

    def _leave_backend(self, timeout_s: float) -> None:
        """Do nothing."""

    def _record(self, capture: Capture) -> None:
        """Do nothing."""

    def _resume_with(self, capture: Capture) -> None:
        """Do nothing."""

    def _sample(self, period_s: float | None) -> None:
        """Do nothing."""

    def _go_live(self, to: Destination, place: tuple[Backend, str] | None = None) -> None:
        """Only remembers where to."""
        del place
        self.destination = to

    def _fingerprint(self) -> Any:
        """Nothing."""

    def _growing(self) -> list[GrowingFile]:
        """Nothing."""
        return []

    def _sync(self) -> None:
        """Do nothing."""

    def _become_copy(self) -> None:
        """Do nothing."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return a copy with the same content."""
        return DisabledRun, (self._metadata(), self._hparams.as_dict())

    def _stop(self, status: str | None) -> None:
        if self.status == RUNNING or status is not None:
            self.status, self.end_timestamp = status or COMPLETE, self.end_timestamp or utc_text()

    def _save_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Do nothing."""


class DisabledArtifact(_Nowhere, Artifact):
    """An artifact that is kept nowhere; see `Artifact` for its interface.

    Args:
        metadata: As of an `Artifact`.
        objects: Dropped.
    """

    def __init__(self, metadata: Mapping[str, Any], objects: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        del objects
        self._set_metadata(metadata)
        self._objects = {}
        self._live_nowhere()

    def add_file(self, file_path: str, obj_path: str | None = None) -> None:
        """Do nothing."""

    def add_dir(self, dir_path: str, obj_path: str | None = None, *, follow_symlinks: bool = False) -> None:
        """Do nothing."""

    def add_reference(self, uri: str, obj_path: str | None = None) -> None:
        """Do nothing."""

    def get(self, key: str) -> str:
        """Raise `NotFound`."""
        raise _absent(self, key)

    def open(self, key: str) -> BinaryIO:
        """Raise `NotFound`."""
        raise _absent(self, key)

    def download(self, keys: Collection[str] | None = None, *, progress: Progress | None = None) -> None:
        """Do nothing."""

    def parse_from_dict(self, data: Mapping[str, Any]) -> None:
        """Take over metadata."""
        self._set_metadata(data.get("metadata", {}))
        self._live_nowhere()

    def _is_in(self, backend: Backend, place: Mapping[str, str]) -> bool:
        """No."""
        del backend, place
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        """Return a copy with the same content."""
        return DisabledArtifact, (self._metadata(),)


def stand_in(kept: type[LocalNode]) -> type[LocalNode]:
    """Return the replacement of a run or artifact that a caller makes; a class that a user derived stays as it is.

    Args:
        kept: The class that was called.
    """
    if kept is Run:
        return DisabledRun
    return DisabledArtifact if kept is Artifact else kept


def run_called(path: str) -> DisabledRun:
    """Return a run in place of one that would be loaded.

    Args:
        path: Its local directory, path or URI; the run is named for the last part.
    """
    return DisabledRun({"name": _name(path)})


def artifact_called(path: str) -> DisabledArtifact:
    """Return an artifact in place of one that would be loaded.

    Args:
        path: Its local directory, path or URI; the artifact is named for the last part.
    """
    return DisabledArtifact({"name": _name(path)})


def _name(path: str) -> str:
    last = path.rstrip("/").replace("#", "/").rpartition("/")[2].partition("@")[0]
    try:
        return check_name(last)
    except InvalidName:
        return "default"


def _absent(node: LocalNode, key: str | None = None) -> NotFound:
    what = f"{node.kind.lower()} {node.name!r}"
    return NotFound(
        f"{what if key is None else f'object {key!r} of {what}'} is not kept, for EM_MODE is 'disabled'; "
        "run without that variable where it is needed"
    )
