"""Which names uploads were begun under that had no head yet: without a record of that, nothing tells their files from others'.

For a folder F, with `<c>` the folded name, percent-encoded, as in the keys of heads::

    F/.em/uploads/<c>@<op>      {"v": 1, "name": ...}

It is written before the first file, and goes when the upload is published; the collector takes what killed ones left.
"""

from __future__ import annotations

import logging
import re
import threading

from attrs import frozen

from t9k.em.backend import ObjectStore
from t9k.em.errors import BackendError, NotFound
from t9k.em.names import OP, check_name, encode_component, fold
from t9k.em.records import Body, ObjectInfo
from t9k_em_backends.tree.heads import FORMAT, folder_prefix
from t9k_em_backends.tree.values import FLAWS, dump_json, parse_json

_KEY = re.compile(rf"(?P<folder>(?:.*/)?)\.em/uploads/(?P<c>[^/@]+)@(?P<op>{OP})")
MAX_BEGUN_BYTES = 4096

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class BegunRecord:
    """What says that an upload was begun.

    Attributes:
        info: Where it lies.
        folder: Path of the folder.
        c: The folded, encoded name.
        op: The upload.
    """

    info: ObjectInfo
    folder: str
    c: str
    op: str


class Begun:
    """The records of one upload, under whatever names it goes.

    Args:
        store: Where they go.
        folder: Path of the folder.
        op: The upload.
    """

    def __init__(self, store: ObjectStore, folder: str, op: str) -> None:
        self._store = store
        self._folder = folder
        self._op = op
        self._names: set[str] = set()
        self._writing = threading.Lock()

    def write(self, name: str) -> None:
        """Write the record for a name, unless that was done."""
        with self._writing:
            if name not in self._names:
                self._store.put(self._key(name), Body.of(dump_json({"v": FORMAT, "name": name})))
                self._names.add(name)

    def remove(self, name: str, *, resumed: bool) -> None:
        """Remove the record for a name that has a head now; where that fails, the collector does it.

        Args:
            name: The name.
            resumed: Whether an earlier process may have written it.
        """
        if name in self._names or resumed:
            try:
                self._store.delete([self._key(name)])
            except BackendError as error:
                _log.info("%s is left to the collector: %s", self._key(name), error)

    def _key(self, name: str) -> str:
        return f"{begun_prefix(self._folder)}{encode_component(fold(name))}@{self._op}"


def begun_prefix(folder: str) -> str:
    """Return the prefix of the records in a folder."""
    return f"{folder_prefix(folder)}.em/uploads/"


def split_begun(info: ObjectInfo) -> BegunRecord | None:
    """Return the record that an object is by its key; None for any other."""
    match = _KEY.fullmatch(info.key)
    if match is None:
        return None
    return BegunRecord(info=info, folder=f"/{match['folder'][:-1]}", c=match["c"], op=match["op"])


def read_name(store: ObjectStore, record: BegunRecord) -> str:
    """Return the name as it was written; '' where the record is damaged, or gone."""
    try:
        data = b"".join(store.get(record.info.key, 0, MAX_BEGUN_BYTES))
    except NotFound:
        return ""
    try:
        return check_name(parse_json(data)["name"])
    except FLAWS:
        return ""
