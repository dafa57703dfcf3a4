"""Which uploads may not be published any more, because the collector takes files of theirs; and how that stays short.

An upload is fenced by a head before its files are deleted, and looks at the newest head before it publishes. The fence is
needed while a collector may still be deleting. After that a writer that goes on finds that its files are missing, as it
compares the store with its plan, and sends them again. So a fence is dropped when it has stood for three days, longer
than any collector goes on deleting, and nothing of the upload is there.

Many fences become spans: all uploads from one to another by the time that is in their ids. None that has files lies in a
span but those that are fenced; one without files that does begins anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone

from attrs import frozen

from t9k_em_backends.tree.heads import Head, Span

MOST_FENCED = 1000
MOST_SPANS = 1000

STANDS_S = 72 * 3600.0
"""How long a fence stands at least."""

DELETES_S = 24 * 3600.0
"""How long a collector may go on deleting after it published the fences."""


@frozen
class Fences:
    """The fences of one name.

    Attributes:
        ops: Uploads.
        spans: The first and the last of many.
    """

    ops: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, head: Head | None) -> Fences:
        """Return those in a head."""
        return cls() if head is None else cls(head.fenced, head.fenced_spans)

    def hold(self, op: str) -> bool:
        """Return whether an upload is fenced."""
        return op in self.ops or _is_within(op, self.spans)

    def holds_all(self, span: Span) -> bool:
        """Return whether all uploads of a span are fenced by one."""
        return any(first <= span[0] and span[1] <= last for first, last in self.spans)

    @property
    def is_short(self) -> bool:
        """Return whether so many fit into a head."""
        return len(self.ops) <= MOST_FENCED and len(self.spans) <= MOST_SPANS

    def dropped(self, stood: Fences, there: Collection[str]) -> Fences:
        """Return those that are still needed.

        Args:
            stood: The fences that have stood for `STANDS_S`.
            there: The uploads of which anything is there, without those that are published.
        """
        known, left = set(stood.ops), set(there)
        return Fences(
            tuple(op for op in self.ops if op not in known or op in left),
            tuple(
                span for span in self.spans if not stood.holds_all(span) or any(span[0] <= op <= span[1] for op in left)
            ),
        )

    def added(self, ops: Iterable[str], alive: Collection[str], before: float) -> Fences:
        """Return these and others; where they are many, those of old uploads as spans.

        Args:
            ops: The others.
            alive: The uploads that must not be fenced with them.
            before: When an upload is an old one, POSIX seconds by the clock of its writer.
        """
        single = sorted({op for op in (*self.ops, *ops) if not _is_within(op, self.spans)})
        if len(single) <= MOST_FENCED:
            return Fences(tuple(single), self.spans)
        limit = f"{datetime.fromtimestamp(before, timezone.utc):%Y%m%dT%H%M%S.%f}Z"
        spans = [*self.spans, *((op, op) for op in single if op < limit)]
        return Fences(tuple(op for op in single if op >= limit), _joined(spans, sorted(alive)))


def stood(heads: Mapping[int, Head], modified: Mapping[int, float], before: float) -> Fences:
    """Return the fences of the newest head that was there at a time; those that all heads behind it carry.

    Args:
        heads: By generation.
        modified: When each was written, by the store's clock.
        before: The time.
    """
    return Fences.of(heads.get(max((number for number in heads if modified[number] <= before), default=0)))


def _is_within(op: str, spans: Iterable[Span]) -> bool:
    return any(first <= op <= last for first, last in spans)


def _joined(spans: Iterable[Span], alive: list[str]) -> tuple[Span, ...]:
    """Spans, joined where no living upload lies between two of them."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and bisect_right(alive, joined[-1][1]) == bisect_right(alive, first):
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return tuple(joined)
