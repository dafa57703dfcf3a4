"""A run as what is uploaded while it goes on."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen

from t9k.em import session
from t9k.em.errors import InvalidURI, NotLoggedIn
from t9k.em.records import Outcome
from t9k.em.uris import is_uri, parse

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.live.follower import GrowingFile
    from t9k.em.records import Node
    from t9k.em.transfer.progress import Progress


@frozen(kw_only=True)
class Destination:
    """Where a run is uploaded by itself; the arguments of `upload`."""

    folder: str
    make_folder: bool
    conflict_strategy: str

    def command(self, directory: Path) -> str:
        """Return the command that uploads a run from anywhere, for a shell.

        Args:
            directory: Of the run.
        """
        words = ["em", "upload", str(directory), "--folder", self._shown_folder()]
        if self.make_folder:
            words.append("--make-folder")
        if self.conflict_strategy != "new":
            words += ["--conflict-strategy", self.conflict_strategy]
        if not is_uri(self.folder):
            with contextlib.suppress(NotLoggedIn):
                words += ["--backend", session.root(self.folder)]
        return shlex.join(words)

    def describe(self) -> str:
        """Return the destination, for the line that is printed when a run is created."""
        folder = self._shown_folder()
        if is_uri(self.folder):
            return folder
        try:
            return f"{folder} in {session.root(self.folder)}"
        except NotLoggedIn:
            return f"{folder}, as soon as em.login was called"

    def _shown_folder(self) -> str:
        """Return the folder as a warning may repeat it: one that cannot be used may hold a secret."""
        try:
            if is_uri(self.folder):
                parse(self.folder)
        except InvalidURI:
            return "FOLDER"
        return self.folder


class Recorded(Protocol):
    """What is asked of a run."""

    def send(
        self, backend: Backend, folder: str, *, make_folder: bool, strategy: str, progress: Progress | None
    ) -> tuple[Outcome, Node]:
        """See `t9k.em.nodes.local_node.LocalNode`."""

    def _fingerprint(self) -> Any:
        """See `t9k.em.run.Run`."""

    def _growing(self) -> Sequence[GrowingFile]:
        """See `t9k.em.run.Run`."""

    def _sync(self) -> None:
        """See `t9k.em.run.Run`."""


@define
class RunSource:
    """See `t9k.em.live.rounds.Source`.

    Attributes:
        run: The run.
        to: Where it goes.
        progress: Receives the number of bytes sent.
        place: The backend and the path of the folder, where that is known already.
    """

    run: Recorded
    to: Destination
    progress: Progress
    _place: tuple[Backend, str] | None = field(default=None)

    def publish(self) -> tuple[Backend, Node] | None:
        """See `Source`; `login` may come later, and a run stays in the backend in which it was published first."""
        backend, folder = self._place or session.resolve(self.to.folder)
        outcome, node = self.run.send(
            backend,
            folder,
            make_folder=self.to.make_folder,
            strategy=self.to.conflict_strategy,
            progress=self.progress,
        )
        self._place = backend, folder
        return None if outcome is Outcome.SKIPPED else (backend, node)

    def state(self) -> Any:
        """See `Source`."""
        return self.run._fingerprint()

    def growing(self) -> Sequence[GrowingFile]:
        """See `Source`."""
        return self.run._growing()

    def sent(self, size: int) -> None:
        """See `Source`."""
        self.progress.advance(0, size)

    def sync(self) -> None:
        """See `Source`."""
        self.run._sync()
