"""What long work tells about itself, to whoever wants to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Follows one transfer; called from several threads at once."""

    def start(self, what: str, files: int, size: int) -> None:
        """A transfer begins; called again when its plan changes.

        Args:
            what: For people, for example 'uploading mnist'.
            files: Number of files to move.
            size: Of these files, in bytes.
        """

    def advance(self, files: int, size: int) -> None:
        """So many more files and bytes have arrived."""


class Silent:
    """Shows nothing."""

    def start(self, what: str, files: int, size: int) -> None:
        """See `Progress`."""

    def advance(self, files: int, size: int) -> None:
        """See `Progress`."""
