"""Files of a run that go on growing: what is appended lies beside the files of the publication that it belongs to.

The bytes [start, end) of the file `key` are the object::

    F/<name>/<op>/.em/grown/<c>/<start:016d>-<end:016d>

with `<c>` the key percent-encoded as one component. Of a long key that is cut, and the object `key` beside the segments
holds it. `<op>` is the upload that published the generation: a generation that a collector repeats is the same
publication, and what was appended stays with it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from t9k.em.errors import Conflict, InvalidInput, InvalidKey, NotFound
from t9k.em.names import MAX_KEY_BYTES, check_key, encode_component, parent_and_name
from t9k.em.records import RUN, Body, Node, ObjectInfo, Segment
from t9k_em_backends.tree.heads import Head, upload_prefix
from t9k_em_backends.tree.publications import publication

if TYPE_CHECKING:
    from t9k_em_backends.tree.tree import Tree

_NAME = re.compile(r"(\d{16})-(\d{16})")
_KEY = "key"
_LAST = 10**16

_log = logging.getLogger(__name__)


class Growing:
    """What grows below one publication of a run.

    Args:
        tree: Where it lies.
        node: A generation.
        head: Its head.

    Raises:
        InvalidInput: The node is no run.
        Conflict: No upload is known that published it.
    """

    def __init__(self, tree: Tree, node: Node, head: Head) -> None:
        if head.kind != RUN:
            raise InvalidInput(f"{node.path} is a {head.kind}; only runs grow, upload it again instead")
        self._node = node
        self._tree = tree
        self._store = tree.store
        self._generations = tree.generations(*parent_and_name(node.path))
        op = publication(node.generation, head, self._generations.readable)
        if op is None:
            raise Conflict(f"no upload is known that published {node.path}; upload it again, then go on")
        self._op = op
        self._prefix = grown_prefix(*parent_and_name(node.path), op)

    def append(self, key: str, start: int, data: bytes) -> int:
        """See `t9k.em.backend.Grows`."""
        directory = self._directory(key)
        if not 0 <= start <= start + len(data) < _LAST:
            raise InvalidInput(f"{key!r} cannot have {len(data)} bytes from {start} on")
        self._check_newest()
        if data:
            if _is_cut(key):
                self._store.put(directory + _KEY, Body.of(key.encode()))
            self._store.put(f"{directory}{start:016d}-{start + len(data):016d}", Body.of(data))
        reached = 0
        for segment, _ in self._listed(directory):
            if segment.start > reached:
                break
            reached = max(reached, segment.start + segment.size)
        return reached

    def segments(self) -> list[Segment]:
        """See `t9k.em.backend.Grows`."""
        return sorted(
            (segment for segment, _ in self._listed(self._prefix)), key=lambda segment: (segment.key, segment.start)
        )

    def read(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        """See `t9k.em.backend.Grows`; nothing is read that is not needed."""
        listed = self._listed(self._directory(key))
        if not listed:
            raise NotFound(f"nothing was appended to {key!r} of {self._node.path}")
        pieces = []
        for segment, there in listed:
            stop = segment.start + segment.size
            if segment.start <= start < stop and (end is None or start < end):
                pieces.append((there, start - segment.start, min(stop, stop if end is None else end) - segment.start))
                start = stop
        return (chunk for piece in pieces for chunk in self._store.get(*piece))

    def _check_newest(self) -> None:
        newest = self._generations.newest_listed()
        self._tree.check_store(now=newest < self._node.generation)  # a listing lags behind, or all is gone
        if newest > self._node.generation:
            head = self._generations.read(newest)
            if head is None or not head.ready or publication(newest, head, self._generations.readable) != self._op:
                raise NotFound(
                    f"{self._node.path}@{self._node.generation} is not the newest generation any more; look it up again"
                )

    def _directory(self, key: str) -> str:
        return f"{self._prefix}{encode_component(check_key(key))}/"

    def _listed(self, prefix: str) -> list[tuple[Segment, str]]:
        """Return the segments below a prefix by `start`, the longest first, each with the key of its object."""
        infos = [*self._store.list(prefix)]
        cut = {info.key for info in infos if info.key.endswith(f"/{_KEY}")}
        keys: dict[str, str | None] = {}
        found = []
        for info in infos:
            directory, _, name = info.key.rpartition("/")
            span = _NAME.fullmatch(name)
            if span is None or int(span[1]) + info.size != int(span[2]):
                continue
            if directory not in keys:
                keys[directory] = self._key(directory, known=f"{directory}/{_KEY}" in cut)
            file = keys[directory]
            if file is not None:
                found.append((_segment(file, int(span[1]), info), info.key))
        return sorted(found, key=lambda item: (item[0].start, -item[0].size))

    def _key(self, directory: str, *, known: bool) -> str | None:
        """Return the key of the file whose segments lie there; None where no file has them, as who is hostile may leave some."""
        name = directory.rpartition("/")[2]
        try:
            if known:
                data = b"".join(self._store.get(f"{directory}/{_KEY}", 0, MAX_KEY_BYTES + 1))
                key = check_key(data.decode())
            else:
                key = check_key(unquote(name, errors="strict"))
        except (InvalidKey, UnicodeDecodeError) as error:
            _log.warning("segments of no file are left aside: %s (%s)", directory, error)
            return None
        return key if encode_component(key) == name else None


def grown_prefix(folder: str, name: str, op: str) -> str:
    """Below which lies what was appended to the files of a publication."""
    return f"{upload_prefix(folder, name, op)}.em/grown/"


def _segment(key: str, start: int, info: ObjectInfo) -> Segment:
    return Segment(key=key, start=start, size=info.size, modified=info.modified)


def _is_cut(key: str) -> bool:
    return encode_component(key) != quote(key, safe="")
