"""`ObstoreStore`: a bucket of S3 or of a service like it, by obstore, the fastest driver there is for Python.

obstore does whatever nothing else is better at. Large objects go in parts by botocore, for obstore neither resumes an
upload nor lets one look at the bytes before it is completed; where there is no TLS, many small writes, many copies and
large reads go by `plain_http` where there is no TLS.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import datetime
from typing import TYPE_CHECKING, Any

from t9k.em.errors import (
    AlreadyExists,
    BackendError,
    BackendPermissionError,
    BackendUnavailable,
    MissingExtra,
    NotFound,
    SourceChanged,
)
from t9k.em.names import check_stored
from t9k.em.records import Body, ObjectInfo, Origin
from t9k_em_backends.s3.clients import S3Clients
from t9k_em_backends.s3.location import S3Location
from t9k_em_backends.s3.multipart import COPY_LIMIT_BYTES, is_md5_of, plain_etag
from t9k_em_backends.s3.obstore_errors import PastTheEnd, Unnameable
from t9k_em_backends.s3.presigning import RECORDS, Signer, SignsS3
from t9k_em_backends.shared.clock import store_time
from t9k_em_backends.shared.pacing import Budget, Pace
from t9k_em_backends.shared.part_size import MIB, MULTIPART_FROM_BYTES
from t9k_em_backends.shared.pieces_ahead import PIECE_BYTES, pieces_ahead

try:
    import obstore
except ImportError as error:
    raise MissingExtra("obstore is not installed; pip install 't9k-em[obstore]'") from error

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

    from t9k.em.uris import URI

SMALL_BYTES = MIB // 16
"""What goes along with many others; one thread sends it without waiting."""

SMALL_COPY_BYTES = 8 * MIB
"""What the service copies along with many others."""

BATCH_FILES = 256
BATCHES = 8
CHUNK_BYTES = MIB // 4
LIST_CHUNK = 1000

_MD5 = re.compile(r"[0-9a-f]{32}")

_used_in: int | None = None
"""The process in which obstore's threads were started; a fork of it does not have them and would wait for ever."""


def is_usable() -> bool:
    """Return whether this process may use obstore: not if it was forked after obstore was used."""
    return _used_in in (None, os.getpid())


class ObstoreStore(SignsS3):
    """Objects in a bucket.

    Args:
        place: The bucket and where it is.
        budget: Room for what is read and written.
    """

    def __init__(self, place: S3Location, budget: Budget | None = None) -> None:
        self._place = place
        self._budget = budget or Budget()
        self._pace = Pace()
        self._opening = threading.RLock()
        self._clients: S3Clients | None = None

    @classmethod
    def from_uri(cls, uri: URI) -> ObstoreStore:
        """Return the store that an `s3` URI names; see `S3Location` for its options."""
        return cls(S3Location.from_uri(uri))

    def __repr__(self) -> str:
        """Name the place."""
        return f"ObstoreStore({self._place.text!r})"

    def __reduce__(self) -> tuple[type[ObstoreStore], tuple[S3Location]]:
        """Another process finds its own credentials."""
        return type(self), (self._place,)

    @property
    def parallelism(self) -> int:  # type: ignore[override]  # it follows from how far away the store is
        """See the port."""
        return self._pace.parallelism

    @property
    def batch_files(self) -> int:  # type: ignore[override]  # likewise
        """See the port."""
        return 1 if self._open().plain_http is None else BATCH_FILES

    @property
    def batches(self) -> int | None:  # type: ignore[override]  # likewise
        """See the port."""
        return None if self._open().plain_http is None else BATCHES

    @property
    def place(self) -> S3Location:
        """The bucket and where it is."""
        return self._place

    def open(self) -> None:
        """Find the credentials and the endpoint, and ask the service for next to nothing, to see that they are right.

        Raises:
            BackendPermissionError: Credentials are missing or wrong.
            InvalidURI: No such bucket exists.
            BackendUnavailable: The service does not answer.
        """
        next(self.list(".em/probe/"), None)

    def close(self) -> None:
        """See the port."""
        with self._opening:
            clients, self._clients = self._clients, None
        if clients is not None and clients.process == os.getpid():
            clients.pool.shutdown()
            clients.writers.shutdown()
            if clients.plain_http is not None:
                clients.plain_http.close()

    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port; the pieces of a large object are fetched several at a time."""
        chunks = self._pieces(key, start, end)
        first = next(chunks, b"")
        return _chained(first, chunks)

    @property
    def fills_buffers(self) -> bool:
        """See `t9k.em.backend.FillsBuffers`."""
        return self._open().plain_http is not None

    def read_into(self, key: str, start: int, buffer: memoryview) -> int:
        """See `t9k.em.backend.FillsBuffers`; by obstore where the short way leads nowhere."""
        clients = self._open()
        if clients.plain_http is not None:
            size = clients.plain_http.read_into(self._key(key), start, buffer)
            if size is not None:
                return size
        with self._budget.holding(len(buffer)):
            chunks, size, _ = self._first_piece(clients, key, start, start + len(buffer))
            at = 0
            for chunk in chunks:
                buffer[at : at + len(chunk)] = chunk
                at += len(chunk)
        return size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        return self.list_after(prefix, "")

    def list_after(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """See `t9k.em.backend.ListsInOrder`."""
        clients = self._open()
        last = self._place.root + after if after else ""
        place = self._place.root + prefix or None
        try:
            with self._translated(""):
                for chunk in obstore.list(clients.obstore, place, offset=last or None, chunk_size=LIST_CHUNK):
                    for found in chunk:
                        last = found["path"]
                        yield self._info(last, found)
        except Unnameable:  # botocore can; what such a key is to anybody, others decide
            yield from self._listed(clients, prefix, last)

    def _listed(self, clients: S3Clients, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Yield the objects behind a key of the bucket in a listing, by botocore."""
        more: dict[str, Any] = {"StartAfter": after} if after else {}
        while True:
            page = clients.client.call("list_objects_v2", Prefix=self._place.root + prefix, MaxKeys=LIST_CHUNK, **more)
            for found in page.get("Contents", ()):
                meta = {"size": found["Size"], "last_modified": found["LastModified"], "e_tag": found.get("ETag")}
                yield self._info(found["Key"], meta)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        """See the port. A conditional write is always one request, for only that is safe with every service."""
        return self._put(key, body, if_absent=if_absent)

    def put_many(self, items: Sequence[tuple[str, Body]]) -> Sequence[ObjectInfo]:
        """See the port; what is small by one thread, as long as all goes well, and the rest by a thread for each."""
        if len({key for key, _ in items}) < len(items):
            return super().put_many(items)
        infos = self._put_small(items) | self._copy_small(items)
        infos |= self._put_each([item for item in items if item[0] not in infos])
        return [infos[key] for key, _ in items]

    def _put(self, key: str, body: Body, *, if_absent: bool = False, look: bool = False) -> ObjectInfo:
        """See `put`; `look` says that a copy is looked at although this service has made good ones."""
        clients = self._open()
        origin = body.origin
        if origin is not None and not if_absent and self.copies_from(origin.store):
            with contextlib.suppress(
                BackendPermissionError
            ):  # who may read the one and write the other sends the bytes
                return self._copy_from_origin(key, body, origin.store, origin, look=look)
        if body.size >= MULTIPART_FROM_BYTES and not if_absent:
            etag: str | None = clients.multipart.put(self._key(key), body)
        else:
            with self._budget.holding(body.size):
                data = body.read()
                with self._translated(key), self._pace.timed():
                    put = obstore.put(
                        clients.obstore,
                        self._key(key),
                        data,
                        mode="create" if if_absent else "overwrite",
                        use_multipart=False,
                    )
                etag = put["e_tag"]
        return self._written(key, body, etag)

    def _put_each(self, items: Sequence[tuple[str, Body]]) -> dict[str, ObjectInfo]:
        """Write objects, those but the last in threads of their own as far as there are any."""
        clients = self._open()

        def put_one(key: str, body: Body) -> ObjectInfo:
            # What does not go over plain HTTP may just have gone wrong there.
            return self._put(key, body, look=clients.plain_http is not None and self._is_small_copy(body))

        putting: dict[str, Future[ObjectInfo]] = {}
        try:
            with contextlib.suppress(RuntimeError):  # the system allows no more threads
                for key, body in items[:-1]:
                    putting[key] = clients.writers.submit(put_one, key, body)
            here = {key: put_one(key, body) for key, body in items if key not in putting}
            return here | {key: put.result() for key, put in putting.items()}
        finally:
            for put in putting.values():
                put.cancel()
            wait(putting.values())

    def _put_small(self, items: Sequence[tuple[str, Body]]) -> dict[str, ObjectInfo]:
        """Write the small files among some bodies, as far as that goes without any trouble."""
        small = [(key, body) for key, body in items if body.size <= SMALL_BYTES and _is_local(body)]
        if len(small) < 2:  # noqa: PLR2004 - nothing to do at once
            return {}
        plain_http = self._open().plain_http
        if plain_http is None:
            return {}
        paths = [(self._key(key), body) for key, body in small]
        return self._those_written(small, plain_http.put_small(paths, self._pace.parallelism, self._pace.note))

    def _is_small_copy(self, body: Body) -> bool:
        """Return whether one request has the service copy a body, and tells whether the copy is right."""
        origin = body.origin
        if origin is None or body.size > SMALL_COPY_BYTES or _MD5.fullmatch(origin.etag) is None:
            return False
        return self.copies_from(origin.store)

    def _copy_small(self, items: Sequence[tuple[str, Body]]) -> dict[str, ObjectInfo]:
        """Have the service copy what it has already of some bodies, as far as that goes without any trouble."""
        clients = self._open()
        copies = [item for item in items if self._is_small_copy(item[1])]
        if len(copies) < 2:  # noqa: PLR2004 - nothing to do at once
            return {}
        infos = {} if clients.copies_over_http else self._try_copy(clients, *copies[0])
        if clients.copies_over_http:
            left = [item for item in copies if item[0] not in infos]
            infos |= self._copy_at_once(left)
        return infos

    def _try_copy(self, clients: S3Clients, key: str, body: Body) -> dict[str, ObjectInfo]:
        """Have one object copied, to see whether the service does that and tell the ETag that a listing will have."""
        with clients.trying_copies:  # others wait, for most will want to go the same way
            if clients.copies_over_http or not clients.may_try_copies():
                return {}
            clients.copy_tries -= 1
            try:
                infos = self._copy_at_once([(key, body)])
                for info in infos.values():
                    clients.copies_over_http = info.etag == self._look(key).etag
                    if not clients.copies_over_http:
                        clients.copy_tries = 0
            except BackendError:  # whoever writes it in the other way knows what to do
                return {}
            return infos if clients.copies_over_http else {}

    def _copy_at_once(self, items: Sequence[tuple[str, Body]]) -> dict[str, ObjectInfo]:
        """Have the service copy each item, in this thread; return what is known to be copied."""
        plain_http = self._open().plain_http
        if plain_http is None:
            return {}
        copies = []
        for key, body in items:
            origin: Any = body.origin
            source = f"{origin.store.place.bucket}/{origin.store._key(origin.key)}"  # noqa: SLF001 - of this class
            copies.append((self._key(key), source, origin.etag))
        return self._those_written(items, plain_http.copy_small(copies, self._pace.parallelism))

    def _those_written(self, items: Sequence[tuple[str, Body]], etags: Sequence[str | None]) -> dict[str, ObjectInfo]:
        put = [(key, body, etag) for (key, body), etag in zip(items, etags, strict=True) if etag]
        if put:
            self._now(put[-1][0])  # of those that were written last, if the store's clock is not known yet
        return {key: self._written(key, body, etag) for key, body, etag in put}

    def _written(self, key: str, body: Body, etag: str | None) -> ObjectInfo:
        return ObjectInfo(key=key, size=body.size, modified=self._now(key), etag=plain_etag(etag))

    def delete(self, keys: Iterable[str]) -> None:
        """See the port; a thousand at a time."""
        driver = self._open().obstore
        paths = [self._key(key) for key in keys]
        with self._translated(""):
            for at in range(0, len(paths), LIST_CHUNK):
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(driver, paths[at : at + LIST_CHUNK])

    def copy(self, source: str, target: str) -> ObjectInfo:
        """See `t9k.em.backend.CopiesObjects`."""
        self._order_copy(self, source, target, self._look(source).size)
        return self._look(target)

    def copies_from(self, source: object) -> bool:
        """Return whether the service copies by itself what lies in another store."""
        if not isinstance(source, ObstoreStore):
            return False
        ours, theirs = self._open().access, source._open().access  # noqa: SLF001 - of this class
        same_service = (ours.endpoint, ours.region) == (theirs.endpoint, theirs.region)
        same_user = (self._place.profile, self._place.anonymous) == (source.place.profile, source.place.anonymous)
        return same_service and same_user

    def recognizes(self, info: ObjectInfo, body: Body) -> bool:
        """See `t9k.em.backend.RecognizesContent`."""
        return info.size == body.size and is_md5_of(info.etag, body)

    def sweep(self, older_than_s: float) -> Iterator[ObjectInfo]:
        """See `t9k.em.backend.SweepsTemporary`: multipart uploads that nobody completed, and what says so."""
        clients = self._open()
        before = store_time(self) - older_than_s
        for upload in clients.multipart.pending(self._place.root):
            if upload.modified <= before:
                yield ObjectInfo(
                    key=upload.key[len(self._place.root) :], size=0, modified=upload.modified, etag=upload.etag
                )
        yield from self._sweep_records(before)

    def remove_swept(self, found: Iterable[ObjectInfo]) -> None:
        """See `t9k.em.backend.SweepsTemporary`."""
        multipart = self._open().multipart
        for left in found:
            if left.key.startswith(RECORDS):
                self.delete([left.key])
            else:
                multipart.abort(self._key(left.key), left.etag)

    # Inside.

    def _signer(self) -> Signer:
        return Signer(store=self, path=self._key, client=self._open().client)

    def _open(self) -> S3Clients:
        global _used_in  # noqa: PLW0603 - obstore's threads are one set per process
        clients = self._clients
        if clients is not None and clients.process == os.getpid():
            return clients
        if not is_usable():
            raise BackendError(
                f"{self._place.text}: obstore cannot be used in a process that was forked after it was used; start "
                "processes with 'spawn', or pip install 't9k-em[s3]' and open the store by its URI"
            )
        with self._opening:
            if self._clients is None or self._clients.process != os.getpid():
                self._clients = S3Clients(self._place, self._budget)
                _used_in = os.getpid()
            return self._clients

    def _key(self, key: str) -> str:
        return self._place.root + check_stored(key)

    def _info(self, path: str, meta: Mapping[str, Any]) -> ObjectInfo:
        modified: datetime = meta["last_modified"]
        return ObjectInfo(
            key=path[len(self._place.root) :],
            size=meta["size"],
            modified=modified.timestamp(),
            etag=plain_etag(meta["e_tag"]),
        )

    def _now(self, key: str) -> float:
        """Return the store's own clock: read once, from an object that was just written, and from then on it goes with ours."""
        clients = self._open()
        if clients.ahead_s is None:
            try:
                with self._translated(key):
                    modified: datetime = obstore.head(clients.obstore, self._key(key))["last_modified"]
            except NotFound:  # somebody deleted it at once
                return time.time()
            clients.ahead_s = modified.timestamp() - time.monotonic()
        return time.monotonic() + clients.ahead_s

    def _pieces(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        clients = self._open()
        if end is not None and end <= start:
            self._look(key)
            return
        stop = start + PIECE_BYTES if end is None else min(end, start + PIECE_BYTES)
        with self._budget.holding(0 if end is None else stop - start):
            chunks, size, etag = self._first_piece(clients, key, start, stop)
        yield from chunks
        del chunks
        end = size if end is None else min(end, size)
        if stop < end:
            yield from self._following(clients, key, stop, end, etag)

    def _first_piece(self, clients: S3Clients, key: str, start: int, stop: int) -> tuple[Sequence[bytes], int, str]:
        """Return the first bytes, the size of the whole and its ETag."""
        try:
            with self._translated(key), self._pace.timed():
                got = obstore.get(clients.obstore, self._key(key), options={"range": (start, stop)})
                return _chunks(got), got.meta["size"], got.meta["e_tag"] or ""
        except PastTheEnd:
            return (), 0, ""

    def _following(self, clients: S3Clients, key: str, start: int, end: int, etag: str) -> Iterator[bytes]:
        """Yield the bytes after the first piece, some pieces ahead of the reader, all of the same object."""

        def fetch(start: int, stop: int) -> Future[Sequence[bytes]]:
            return clients.pool.submit(self._piece, clients, key, start, stop, etag)

        for chunks in pieces_ahead(fetch, start, end, self._budget):
            yield from chunks
            del chunks  # see `pieces_ahead`

    def _piece(self, clients: S3Clients, key: str, start: int, stop: int, etag: str) -> Sequence[bytes]:
        options: GetOptions = {"range": (start, stop)}
        if etag:
            options["if_match"] = etag
        try:
            with self._translated(key):
                return _chunks(obstore.get(clients.obstore, self._key(key), options=options))
        except (
            AlreadyExists,
            PastTheEnd,
        ):  # the ETag that was asked for is that of another object, or it is shorter now
            raise BackendUnavailable(
                f"{self._place.text}/{key} was replaced while it was read; read it again"
            ) from None

    def _copy_from_origin(
        self, key: str, body: Body, source: ObstoreStore, origin: Origin, *, look: bool
    ) -> ObjectInfo:
        """Let the service copy what a body consists of.

        Raises:
            SourceChanged: The service copied another version of the object.
        """
        clients = self._open()
        self._order_copy(source, origin.key, key, body.size)
        if clients.copies_keep_etags and not look and origin.etag and "-" not in origin.etag:
            # Whoever lists the copy sees whether it is right.
            return ObjectInfo(key=key, size=body.size, modified=self._now(key), etag=origin.etag)
        info = self._look(key)
        keeps = info.etag == origin.etag
        if info.size != body.size or (not keeps and origin.etag and source._look(origin.key).etag != origin.etag):
            self.delete([key])
            raise SourceChanged(f"{body.what} is not what was uploaded: the store has other bytes there")
        clients.copies_keep_etags = clients.copies_keep_etags or (keeps and "-" not in info.etag)
        return info

    def _order_copy(self, source: ObstoreStore, key: str, target: str, size: int) -> None:
        clients = self._open()
        path = source._key(key)
        with self._translated(target):
            if size > COPY_LIMIT_BYTES:
                clients.multipart.copy(f"{source.place.bucket}/{path}", self._key(target), size)
            else:
                obstore.copy(clients.from_bucket(source.place.bucket), path, self._key(target))

    def _look(self, key: str) -> ObjectInfo:
        with self._translated(key):
            return self._info(self._key(key), obstore.head(self._open().obstore, self._key(key)))

    def _translated(self, key: str) -> contextlib.AbstractContextManager[None]:
        """See `translated`; everything that asks obstore is within one."""
        clients = self._open()
        return clients.translated(f"{self._place.text}/{key}".rstrip("/"))


def _is_local(body: Body) -> bool:
    """Return whether a body is a file of this machine, which is read without waiting."""
    return body.path is not None and bool(body.sha256) and body.origin is None


def _chunks(got: GetResult) -> Sequence[bytes]:
    """Return the bytes of one request. Larger answers stay in the chunks in which they come: joining them costs more than all else."""
    start, stop = got.range
    if stop - start <= CHUNK_BYTES:
        data = bytes(got.bytes())
        return (data,) if data else ()
    return [memoryview(chunk) for chunk in got.stream(min_chunk_size=CHUNK_BYTES)]  # type: ignore[misc]  # as good as bytes


def _chained(first: bytes, following: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
        yield from following
