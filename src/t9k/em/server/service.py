"""What all requests to one process share; nothing in it matters when the process ends."""

from __future__ import annotations

import bisect
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property

from anyio import CapacityLimiter
from attrs import define, field

from t9k.em.backend import Backend, Grows, MarksStore, NotesDamage, ServesUsers, SignsReads
from t9k.em.errors import BackendError, BackendPermissionError, InvalidInput, NotFound, StoreGone
from t9k.em.records import FileEntry, Node
from t9k.em.registry import open_backend
from t9k.em.server.access import owner_of
from t9k.em.server.accounts import Accounts
from t9k.em.server.http.large_bodies import LARGE_BYTES
from t9k.em.server.http.limits import Rates
from t9k.em.server.http.middleware import DOCUMENT_BYTES
from t9k.em.server.http.prometheus import Metrics
from t9k.em.server.http.room import Room
from t9k.em.server.open_uploads import OpenUploads
from t9k.em.server.settings import Settings
from t9k.em.server.usage import Growth
from t9k.em.uris import parse as parse_uri

ROOM_BYTES = 96 << 20
SMALL_ROOM_BYTES = 16 << 20
SENDING_BYTES = 64 << 20
CACHED_FILES = 200_000
CHECKED_FOR_S = 2.0
WATCHERS = 4
PROBE = "em-server"
"""A user in whose home nothing lies; looking there costs the store one listing."""


_log = logging.getLogger(__name__)


@define(kw_only=True, slots=False)
class Service:
    """The backend, the accounts, and what is kept at hand.

    Attributes:
        settings: How the server was started.
        backend: What keeps everything.
        accounts: Users, keys and shares.
        metrics: The metrics for Prometheus.
        rates: Requests a second for each user.
        room: Bytes of large bodies in memory.
        small_room: Bytes of small ones, which never wait behind large ones.
        sending: Bytes of files that were read from the store and not yet sent, as answers may hold them.
        parsing: Bytes that large documents take besides when they are parsed.
        watching: Threads for those who watch the server, when all others are busy.
        uploads: Those in progress that this process has seen.
        growth: What is appended to runs in progress.
        published: Generations that this process has read.
    """

    settings: Settings
    backend: Backend
    accounts: Accounts
    metrics: Metrics
    rates: Rates
    room: Room
    small_room: Room = field(factory=lambda: Room(SMALL_ROOM_BYTES, LARGE_BYTES))
    sending: Room = field(factory=lambda: Room(SENDING_BYTES))
    parsing: Room = field(factory=lambda: Room(ROOM_BYTES))
    watching: CapacityLimiter = field(factory=lambda: CapacityLimiter(WATCHERS))
    uploads: OpenUploads
    growth: Growth
    published: Published = field(factory=lambda: Published())  # noqa: PLW0108 - defined below
    _checked: float = field(default=-CHECKED_FOR_S, init=False)
    _looked_again: float = field(default=-CHECKED_FOR_S, init=False)

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> Service:
        """Make what the settings name, without any I/O.

        Args:
            settings: How the server was started.
            metrics: Where things are counted.

        Raises:
            InvalidInput: The backend cannot be served.
        """
        backend = open_backend(settings.root)
        if not isinstance(backend, ServesUsers):
            raise InvalidInput(
                f"{backend.uri} knows one user only and cannot be served; serve a directory or an object store"
            )
        accounts = Accounts(settings.database)
        return cls(
            settings=settings,
            backend=backend,
            accounts=accounts,
            metrics=metrics,
            rates=Rates(settings.rate),
            room=Room(ROOM_BYTES, max(settings.body_bytes, DOCUMENT_BYTES)),
            uploads=OpenUploads(backend, accounts, settings.upload_lifetime_s, settings.quotas),
            growth=Growth(accounts, backend.for_user, settings.quotas),
        )

    def tree(self, user: str) -> Backend:
        """Return the backend as one user writes to it."""
        assert isinstance(self.backend, ServesUsers)  # noqa: S101 - `of` looked
        return self.backend.for_user(user)

    def tree_at(self, path: str, user: str) -> Backend:
        """Return the backend as the owner of a path sees it, for whom home and default folder always exist.

        Args:
            path: Absolute.
            user: Who asks, for the root.
        """
        return self.tree(owner_of(path) or user)

    @property
    def signs(self) -> bool:
        """Whether clients may get signed URLs of the store."""
        return self.settings.direct and _signs(self.backend)

    @cached_property
    def secrets_to_hide(self) -> Sequence[str]:
        """Names of the store and the database in error messages, which clients must not see: URIs, and the path of a directory."""
        root = parse_uri(self.backend.uri)
        return [self.backend.uri, root.text, self.accounts.url, *([root.path] if root.scheme == "file" else [])]

    def abilities(self) -> list[str]:
        """Return the abilities of this deployment beyond those that every deployment has."""
        found = {
            "parts": True,
            "ancestors": True,
            "compare": True,
            "damage": isinstance(self.backend, NotesDamage),
            "direct": self.signs,
            "grows": isinstance(self.backend, Grows),
        }
        return [name for name, has in found.items() if has]

    def open(self) -> None:
        """Open backend and database, and forget uploads whose time is over.

        Raises:
            BackendError: Backend or database cannot be used.
        """
        self.accounts.check()
        known = self._expect_store()
        try:
            self.backend.open()
            if isinstance(self.backend, MarksStore):
                self._find_store(self.backend, known)
        except StoreGone as error:
            if not known:
                raise
            _log.error("%s", error)  # and it is served as soon as it is back
        self.accounts.expire_uploads()

    def _expect_store(self) -> str:
        """Let the backend refuse every other store than the one that the database names; '' where it names none."""
        known = self.accounts.store_at(self.backend.uri)
        if known and isinstance(self.backend, MarksStore):
            self.backend.expect_store(known, instead=accepting(self.backend.uri), is_accepted=True)
        return known

    def _find_store(self, backend: MarksStore, known: str) -> None:
        if known:
            backend.check_store(now=True)
            return
        try:
            found = backend.init_store()
        except BackendPermissionError as error:
            _log.warning("nothing can be written, so what is there is only read: %s", error)
        else:
            self.accounts.keep_store(self.backend.uri, found)
            self._expect_store()  # perhaps another process was faster, in another place of that name

    def check(self) -> None:
        """Ask backend and database whether they answer; once in some seconds, for anybody may ask.

        Raises:
            BackendError: Backend or database does not answer.
        """
        if time.monotonic() - self._checked < CHECKED_FOR_S:
            return
        self.accounts.check()
        if isinstance(self.backend, MarksStore):
            try:
                self.backend.check_store(now=True)
            except StoreGone:
                self._expect_store()  # somebody may have accepted it meanwhile
                self.backend.check_store(now=True)
        self.tree(PROBE).list(f"/{PROBE}")
        self._checked = time.monotonic()

    def look_again(self) -> None:
        """Find out, after a request was told that the store is gone, whether another one was accepted; once in some seconds."""
        if time.monotonic() - self._looked_again < CHECKED_FOR_S:
            return
        self._looked_again = time.monotonic()
        try:
            self._expect_store()
        except BackendError as error:
            _log.warning("which store is the right one cannot be looked up: %s", error)

    def close(self) -> None:
        """Give back what was opened."""
        self.backend.close()
        self.accounts.close()


def accepting(root: str) -> str:
    """Return the command that lets a server take what is at a root now for its store."""
    return f"em server --root {root} accept (with the --database of the server)"


def _signs(tree: Backend) -> bool:
    return isinstance(tree, SignsReads) and tree.signs_reads


class Published:
    """Generations with their files, which never change; the least used go when there are too many files."""

    def __init__(self, most_files: int = CACHED_FILES) -> None:
        self._most_files = most_files
        self._nodes: OrderedDict[tuple[str, int], tuple[Node, Sequence[FileEntry]]] = OrderedDict()
        self._files = 0
        self._lock = threading.Lock()

    def find(self, tree: Backend, path: str, generation: int) -> tuple[Node, Sequence[FileEntry]]:
        """Return a generation of a node and its files, in the order of their keys.

        Raises:
            NotFound: No such generation exists.
            CorruptManifest: The list of its files is damaged.
        """
        with self._lock:
            known = self._nodes.get((path, generation))
            if known is not None:
                self._nodes.move_to_end((path, generation))
                return known
        node = tree.stat(f"{path}@{generation}")
        found = node, sorted(tree.files(node), key=_key)
        with self._lock:
            if (path, generation) not in self._nodes:
                self._nodes[path, generation] = found
                self._files += len(found[1]) + 1
            while self._files > self._most_files and len(self._nodes) > 1:
                _, (_, dropped) = self._nodes.popitem(last=False)
                self._files -= len(dropped) + 1
        return found

    def file(self, tree: Backend, path: str, generation: int, key: str) -> tuple[Node, FileEntry]:
        """One file of a generation.

        Raises:
            NotFound: The file does not exist.
        """
        node, files = self.find(tree, path, generation)
        at = bisect.bisect_left(files, key, key=_key)
        if at == len(files) or files[at].key != key:
            raise NotFound(f"{path}@{generation} has no file {key!r}")
        return node, files[at]


def _key(file: FileEntry) -> str:
    return file.key
