"""Things that are opened and closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Closable:
    """What both ports share: `with` opens and closes."""

    def open(self) -> None:
        """Acquire what the first use would acquire; may be called again."""

    def close(self) -> None:
        """Release connections, pools and threads; may be called again. Use after it opens again."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
