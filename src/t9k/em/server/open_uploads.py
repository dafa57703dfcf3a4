"""Uploads in progress.

What matters is in the database, where the request that began an upload is kept, and in the store, where its files are.
The objects here spare looking both up again: a process that has not seen an upload, or not its newest round, resumes it.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

from attrs import define, evolve, field

from t9k.em.backend import Backend, ServesUsers, Upload
from t9k.em.errors import Conflict, UploadForgotten
from t9k.em.records import FileSpec, Outcome, UploadRequest
from t9k.em.server.access import owner_of
from t9k.em.server.accounts import Accounts, Quotas, Storing
from t9k.em.server.http.json_bodies import parse_stored
from t9k.em.server.usage import count_before_refusing
from t9k.em.wire import request_json, request_of

MOST_FILES = 200_000
NO_QUOTAS = Quotas(keys=0, shares=0, uploads=0, bytes=0)
_AT_ONCE = 1000


@define(kw_only=True)
class OpenUpload:
    """One upload as this process sees it.

    Attributes:
        user: Whose it is.
        request: What began it.
        upload: The port's.
        round: How many commits could not publish.
        is_planned_anew: Whether it may bring other files than it did when it was begun.
        lock: Held for everything but puts.
        files: What was announced, by key.
    """

    user: str
    request: UploadRequest
    upload: Upload
    round: int = 0
    is_planned_anew: bool = False
    lock: threading.Lock = field(factory=threading.Lock)
    files: dict[str, FileSpec] = field(factory=dict)


class OpenUploads:
    """All of one process, the last used ones.

    Args:
        backend: Where they go.
        accounts: Where their requests are kept.
        lifetime_s: How long they can be gone on with.
        quotas: What users may have who have no limits of their own.
        most_files: How many files they may announce together before the least used are forgotten here.
    """

    def __init__(
        self,
        backend: Backend,
        accounts: Accounts,
        lifetime_s: float,
        quotas: Quotas = NO_QUOTAS,
        most_files: int = MOST_FILES,
    ) -> None:
        self._quotas = quotas
        self._backend = backend
        self._accounts = accounts
        self._lifetime_s = lifetime_s
        self._most_files = most_files
        self._resumed: dict[str, tuple[threading.Lock, int]] = {}  # op -> who resumes it, and how many want to
        self._open: OrderedDict[str, OpenUpload] = OrderedDict()
        self._files = 0
        self._lock = threading.Lock()

    def begin(self, user: str, request: UploadRequest) -> OpenUpload:
        """Begin or resume an upload; see `t9k.em.backend.Backend.begin`.

        Raises:
            Conflict: The op is another user's, or stands for something else.
        """
        before = self._accounts.upload(request.op, user)
        if before is not None and not _alike(_request(before), request):
            raise Conflict(f"upload {request.op} was begun with other files; begin another one with an op of its own")
        if before is None:
            self._accounts.check_uploads(user, self._quotas)
        begun = self._start(user, request)
        # What was found damaged by reading is noted in the store, so that nobody who resumes has to read it again.
        begun.request = compared = evolve(request, compare="listing")
        if begun.upload.outcome is not None:
            if before is not None:  # published, and nobody lived to note it
                begun.is_planned_anew = True
                self._settle(begun)
        else:
            document = _document(compared)
            storing = Storing(
                home=owner_of(request.folder) or user,
                size_bytes=sum(file.size for file in begun.upload.missing),
                quotas=self._quotas,
            )
            count_before_refusing(
                self._accounts,
                self._tree(storing.home),
                storing.home,
                lambda: self._accounts.save_upload(request.op, user, document, self._lifetime_s, storing),
            )
        self._remember(begun)
        return begun

    def find(self, user: str, op: str, round_: int, check: Callable[[UploadRequest], None]) -> OpenUpload:
        """Return an upload that was begun, through this process or another.

        Args:
            user: Who asks.
            op: Its op.
            round_: The newest round that the client has seen.
            check: Raises when the user may not do any more what the upload does.

        Raises:
            UploadForgotten: The upload is unknown, another user's, or expired.
        """
        with self._lock:
            known = self._open.get(op)
            if known is not None:
                self._open.move_to_end(op)
        if known is not None and known.user == user and known.round >= round_:
            check(known.request)
            return known
        document = self._accounts.upload(op, user)
        if document is None:
            raise UploadForgotten(f"no upload {op} is in progress; begin it again, it goes on where it was")
        request = _request(document)
        check(request)
        with self._resuming(op):
            with self._lock:
                known = self._open.get(op)
            if known is not None and known.user == user and known.round >= round_:
                return known  # another request was faster, and looking at what was sent is not cheap
            begun = self._start(user, request)
            begun.round = round_
            begun.is_planned_anew = True  # what another process has planned is not known here
            self._remember(begun)
            return begun

    def commit(self, open_: OpenUpload) -> None:
        """Publish, or ask for more files by a new round."""
        with open_.lock:
            open_.upload.commit()
            if open_.upload.outcome is None and open_.upload.missing:
                # What other processes took for this upload is in the store, and not known here.
                open_.upload, open_.is_planned_anew = self._begin(open_.user, open_.request), True
                if not open_.upload.missing:
                    open_.upload.commit()
            if open_.upload.outcome is None:
                open_.round += 1
                open_.is_planned_anew = True
        if open_.upload.outcome is not None:
            self._settle(open_)

    def _settle(self, open_: OpenUpload) -> None:
        """Forget an upload that has ended, and count what it brought."""
        upload, op = open_.upload, open_.request.op
        brought = None
        if upload.outcome is Outcome.PUBLISHED and upload.node is not None and open_.is_planned_anew:
            tree = self._tree(open_.user)
            brought = sum(file.size for file in tree.files(upload.node) if file.op == op)
        self._accounts.drop_upload(op, open_.user, brought)

    def drop(self, user: str, op: str) -> None:
        """Forget an upload; what was sent is collected later. One that is not known is forgotten already."""
        self._accounts.drop_upload(op, user)
        with self._lock:
            known = self._open.get(op)
            if known is not None and known.user == user:
                self._forget(op)

    @contextlib.contextmanager
    def _resuming(self, op: str) -> Iterator[None]:
        """Let one thread at a time resume an upload."""
        with self._lock:
            lock, waiting = self._resumed.get(op, (threading.Lock(), 0))
            self._resumed[op] = lock, waiting + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                waiting = self._resumed[op][1] - 1
                if waiting:
                    self._resumed[op] = lock, waiting
                else:
                    del self._resumed[op]

    def _start(self, user: str, request: UploadRequest) -> OpenUpload:
        return OpenUpload(
            user=user,
            request=request,
            upload=self._begin(user, request),
            files={file.key: file for file in request.files},
        )

    def _begin(self, user: str, request: UploadRequest) -> Upload:
        """Begin as if the op was used before, whatever the client says.

        One that was published brings no file any more, which would replace bytes that others have seen.
        """
        return self._tree(user).begin(evolve(request, resumed=True, since=0))

    def _tree(self, user: str) -> Backend:
        assert isinstance(self._backend, ServesUsers)  # noqa: S101 - else it is not served
        return self._backend.for_user(user)

    def _remember(self, open_: OpenUpload) -> None:
        with self._lock:
            if open_.request.op in self._open:
                self._forget(open_.request.op)
            self._open[open_.request.op] = open_
            self._files += len(open_.files) + 1
            while self._files > self._most_files and len(self._open) > 1:
                self._forget(next(iter(self._open)))

    def _forget(self, op: str) -> None:
        self._files -= len(self._open.pop(op).files) + 1


def _document(request: UploadRequest) -> bytes:
    """Yield the request of an upload as JSON, piece by piece: other requests are not to wait for a list of very many files."""
    record = request_json(request)
    files = record.pop("files")
    pieces = [_dumped(record)[:-1], ',"files":[']
    for at in range(0, len(files), _AT_ONCE):
        pieces += ["," if at else "", _dumped(files[at : at + _AT_ONCE])[1:-1]]
    return "".join([*pieces, "]}"]).encode()


def _request(document: bytes) -> UploadRequest:
    return request_of(parse_stored(document, "files"))


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _alike(one: UploadRequest, other: UploadRequest) -> bool:
    """Return whether two requests publish the same: an op stands for one content, and every process relies on that."""
    mine, others = one.draft, other.draft
    return (one.folder, mine.kind, mine.name, mine.id, one.files) == (
        other.folder,
        others.kind,
        others.name,
        others.id,
        other.files,
    )
