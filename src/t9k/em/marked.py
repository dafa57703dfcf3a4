"""The artifacts that a run has marked as its inputs and outputs: where they are, and their upload before the run's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from t9k.em.artifact import Artifact
from t9k.em.errors import Diverged
from t9k.em.local import below, layout
from t9k.em.local.below import Below
from t9k.em.local.layout import INDEX
from t9k.em.names import parent_and_name
from t9k.em.nodes import history
from t9k.em.records import ARTIFACT
from t9k.em.warn import warn_incomplete

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.local.state import LocalState
    from t9k.em.transfer.progress import Progress


class MarkedArtifacts:
    """The artifacts that one run has marked.

    Args:
        state: The private state of the run, which also knows what other processes have marked.
        directory: The directory of the run.
    """

    def __init__(self, state: Callable[[], LocalState], directory: Callable[[], Path]) -> None:
        self._state = state
        self._directory = directory
        self._here: dict[str, Artifact] = {}

    def add(self, artifact: Artifact) -> None:
        """Remember an artifact, durably, and write its metadata; in work that is done `alone` already.

        Raises:
            LocalError, OSError: The disk is full or refuses.
        """
        self._here[artifact.id] = artifact
        artifact._save_metadata()  # noqa: SLF001 - this is done `alone`, as `save` would be
        local = str(artifact.directory)
        self._state().change_here("artifacts", lambda known: {**(known or {}), artifact.id: local})

    def changes(self) -> list[int]:
        """Return when the objects of the artifacts of this process were last changed, in nanoseconds."""
        files = [Below(artifact.directory, INDEX) for artifact in list(self._here.values())]
        return [found.st_mtime_ns for path in files if (found := below.status(path)) is not None]

    def upload(
        self,
        backend: Backend,
        folder: str,
        *,
        make_folder: bool,
        strategy: str,
        progress: Progress | None,
        run_name: str,
        is_recorded: Callable[[str], bool],
    ) -> Iterator[Artifact]:
        """Upload those that are not in a backend as they are now, and yield all that are there afterwards.

        What cannot be found and what others have changed is left out, with a warning.

        Args:
            backend: Where to.
            folder: Of those that were not there before.
            make_folder: Whether to make it.
            strategy: Conflict strategy.
            progress: Receives the progress.
            run_name: The run, for warnings.
            is_recorded: Says of an id whether the run records already where in this backend the artifact is.
        """
        known = {
            **self._state().get("artifacts", {}),
            **{key: str(each.directory) for key, each in self._here.items()},
        }
        for identity, local in known.items():
            artifact = self._find(identity, Path(local))
            if artifact is None:
                if not is_recorded(identity):
                    warn_incomplete(
                        f"an artifact of the run {run_name!r} was not uploaded: it is not in {local}; put it back there",
                        5,
                    )
                continue
            try:
                _send(artifact, backend, folder, make_folder=make_folder, strategy=strategy, progress=progress)
            except Diverged as error:  # the run is no part of that, and must not stay here for it
                warn_incomplete(f"the artifact {artifact.name!r} of the run {run_name!r} was not uploaded: {error}", 5)
                continue
            yield artifact

    def _find(self, identity: str, local: Path) -> Artifact | None:
        """Return the artifact with an id: as this process has it, where it was, or where it is after a project was moved."""
        known = self._here.get(identity)
        if known is not None and layout.kind_of(known.directory) == ARTIFACT:
            return known
        beside = self._directory().parent.parent / "artifacts" / local.name
        for directory in (local, beside, layout.parent_directory(ARTIFACT) / local.name):
            if layout.kind_of(directory) == ARTIFACT:
                artifact = Artifact._open_directory(directory)
                if artifact.id == identity:
                    return artifact
        return None


def _send(
    artifact: Artifact,
    backend: Backend,
    folder: str,
    *,
    make_folder: bool,
    strategy: str,
    progress: Progress | None,
) -> None:
    """Upload an artifact to where it was before, if it was there; one that only came from there only when it has changed."""
    place = history.place_in(artifact.remote, backend.uri)
    if place is None:
        artifact.send(backend, folder, make_folder=make_folder, strategy=strategy, progress=progress)
    elif history.was_uploaded(artifact.remote, backend.uri) or not artifact._is_in(backend, place):
        # Also one that is there already: what is damaged or missing of it is found out and sent again.
        there = parent_and_name(place["path"])[0]
        artifact.send(backend, there, make_folder=True, strategy=strategy, progress=progress)
