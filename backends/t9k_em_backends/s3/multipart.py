"""Large objects in parts, each sent once whatever happens: an upload that was killed goes on with the parts that are there.

The store itself remembers the parts. Since a key of the tree stands for one content, whoever finds an upload in progress for
a key may go on with it; a part that is there counts when its ETag is the MD5 of the bytes that would be sent.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any

from attrs import frozen

from t9k.em.errors import BackendError, BackendUnavailable, NotFound, SourceChanged
from t9k.em.records import Body, ObjectInfo
from t9k_em_backends.shared.pacing import Budget
from t9k_em_backends.shared.part_size import part_size_bytes

Call = Callable[..., Mapping[str, Any]]

AHEAD = 8  # parts in progress at once, of one file
TRIES = 3
COPY_LIMIT_BYTES = 4 << 30  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html: 5 GB
COPY_BYTES = 512 << 20  # what the service copies at once, of what is larger


@frozen(kw_only=True)
class Multipart:
    """Multipart uploads to one bucket.

    Attributes:
        call: Makes one call of the S3 API, for example `call("upload_part", Key=..., ...)`; raises errors of this library.
        budget: Room for the parts in memory.
        pool: Where parts are sent from.
    """

    call: Call
    budget: Budget
    pool: Executor

    def put(self, key: str, body: Body) -> str:
        """Write an object, or what is missing of it.

        Returns:
            Its ETag, without quotes.

        Raises:
            SourceChanged: The bytes are not those that were announced; nothing was written, no part is kept.
        """
        resumed = self._resume(key)
        for _ in range(TRIES):
            try:
                return self._put(key, body, resumed)
            except _UploadGone:
                # Somebody who sends the same was faster and completed it, or a collector took it away.
                etag = self._finished(key, body)
                if etag:
                    return etag
                resumed = self._resume(key)
            except BackendError as error:
                # Parts with and without checksums do not go together, and those of signed requests have none.
                if resumed is None or type(error) is not BackendError:
                    raise
                resumed = None
        raise BackendUnavailable(f"{key}: others end its upload again and again; run the same command again")

    def _put(self, key: str, body: Body, resumed: tuple[str, Mapping[int, Mapping[str, Any]]] | None) -> str:
        upload_id, there = resumed or (self._create(key), {})
        part_bytes = part_size_bytes(body.size)
        parts: dict[int, Mapping[str, Any]] = {}
        running: deque[tuple[int, Future[Mapping[str, Any]]]] = deque()
        chunks = body.chunks(part_bytes)
        held = 0  # room that was taken and that no part in progress gives back
        try:
            for number, start in enumerate(range(0, body.size, part_bytes), 1):
                size = min(part_bytes, body.size - start)
                self.budget.take(size)
                held = size
                data = next(chunks, b"")
                kept = _kept(there.get(number), number, data)
                if kept is None:
                    running.append((number, self.pool.submit(self._send, key, upload_id, number, data, size)))
                else:
                    parts[number] = kept
                    self.budget.give(size)
                held = 0
                while len(running) >= AHEAD or (running and running[0][1].done()):
                    parts.__setitem__(*_finished(running))
            next(chunks, None)  # what compares the whole
            while running:
                parts.__setitem__(*_finished(running))
        except BaseException as error:
            self.budget.give(held)
            _wait(running)
            if isinstance(error, SourceChanged) and resumed is None:  # else it may be somebody else's
                self.abort(key, upload_id)
            raise
        return self._complete(key, upload_id, [parts[number] for number in sorted(parts)])

    def copy(self, source: str, key: str, size_bytes: int) -> str:
        """Let the service copy an object that is too large for one request.

        Args:
            source: Bucket and key, joined by a slash.
            key: Where to.
            size_bytes: Of the object.

        Returns:
            The ETag of the copy.
        """
        upload_id = self._create(key)

        def copy_part(number: int) -> Mapping[str, Any]:
            start = (number - 1) * COPY_BYTES
            copied = self.call(
                "upload_part_copy",
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                CopySource=dict(zip(("Bucket", "Key"), source.split("/", 1), strict=True)),
                CopySourceRange=f"bytes={start}-{min(start + COPY_BYTES, size_bytes) - 1}",
            )["CopyPartResult"]
            sums = {"ChecksumCRC32": copied["ChecksumCRC32"]} if "ChecksumCRC32" in copied else {}
            return {"PartNumber": number, "ETag": copied["ETag"], **sums}

        try:
            parts = list(self.pool.map(copy_part, range(1, -(-size_bytes // COPY_BYTES) + 1)))
        except BaseException:
            self.abort(key, upload_id)
            raise
        return self._complete(key, upload_id, parts)

    def pending(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the uploads in progress below a prefix; the ETag of each is its id."""
        marker: dict[str, Any] = {}
        while True:
            page = self.call("list_multipart_uploads", Prefix=prefix, **marker)
            for upload in page.get("Uploads", ()):
                yield ObjectInfo(
                    key=upload["Key"], size=0, modified=upload["Initiated"].timestamp(), etag=upload["UploadId"]
                )
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort(self, key: str, upload_id: str) -> None:
        """Throws the parts of an upload away; one that is not there is no error."""
        try:
            self.call("abort_multipart_upload", Key=key, UploadId=upload_id)
        except NotFound:
            return

    def _create(self, key: str) -> str:
        return str(self.call("create_multipart_upload", Key=key, ChecksumAlgorithm="CRC32")["UploadId"])

    def _resume(self, key: str) -> tuple[str, dict[int, Mapping[str, Any]]] | None:
        """Return the upload in progress for a key that has most parts, and these by number; None if the service shows no such upload."""
        try:
            found = [upload.etag for upload in self.pending(key) if upload.key == key]
            uploads = [(upload_id, self._parts(key, upload_id)) for upload_id in found]
        except BackendUnavailable:
            raise
        except BackendError:  # the store does not list them, or not for this user
            return None
        return max((upload for upload in uploads if upload[1]), key=lambda upload: len(upload[1]), default=None)

    def _parts(self, key: str, upload_id: str) -> dict[int, Mapping[str, Any]]:
        try:
            return list_parts(self._ask, key, upload_id)
        except _UploadGone:  # completed or aborted a moment ago
            return {}

    def _send(self, key: str, upload_id: str, number: int, data: bytes, room: int) -> Mapping[str, Any]:
        try:
            checksum = _crc32(data)
            sent = self._ask(
                "upload_part", Key=key, UploadId=upload_id, PartNumber=number, Body=data, ChecksumCRC32=checksum
            )
        finally:
            self.budget.give(room)
        return {"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": checksum}

    def _complete(self, key: str, upload_id: str, parts: list[Mapping[str, Any]]) -> str:
        done = self._ask("complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts})
        return plain_etag(done["ETag"])

    def _finished(self, key: str, body: Body) -> str:
        """Return the ETag of the whole object, when it is certainly there: also after a completion whose reply was lost."""
        try:
            there = self.call("head_object", Key=key)
        except NotFound:
            return ""
        etag = plain_etag(there["ETag"])
        return etag if there["ContentLength"] == body.size and is_md5_of(etag, body) else ""

    def _ask(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        """Make a call about an upload.

        Raises:
            _UploadGone: There is no such upload any more.
        """
        try:
            return self.call(operation, **parameters)
        except NotFound as error:
            raise _UploadGone(f"{parameters['Key']}: its upload was ended by somebody else") from error


class _UploadGone(BackendUnavailable):
    """There is no upload of that id any more."""


def list_parts(call: Call, key: str, upload_id: str) -> dict[int, Mapping[str, Any]]:
    """Return the parts of an upload that are there, by number.

    Raises:
        NotFound: No such upload exists.
    """
    parts: dict[int, Mapping[str, Any]] = {}
    marker: dict[str, Any] = {}
    while True:
        page = call("list_parts", Key=key, UploadId=upload_id, **marker)
        parts |= {part["PartNumber"]: part for part in page.get("Parts", ())}
        if not page.get("IsTruncated"):
            return parts
        marker = {"PartNumberMarker": page["NextPartNumberMarker"]}


def plain_etag(etag: str | None) -> str:
    """Return an ETag without quotes, and without the mark of a weak one."""
    return (etag or "").removeprefix("W/").strip('"')


def is_md5_of(etag: str, body: Body) -> bool:
    """Return whether an ETag is that of a body which was written whole, or in parts as this module cuts them.

    Most services take the MD5 of an object for its ETag, and of an object in parts the MD5 of the MD5s and their number;
    with other ETags (such as those of SSE-KMS) the answer is no.
    """
    digest, dash, count = etag.partition("-")
    if not dash:
        md5 = hashlib.md5(usedforsecurity=False)
        for chunk in body.chunks():
            md5.update(chunk)
        return md5.hexdigest() == digest
    parts = [hashlib.md5(chunk, usedforsecurity=False).digest() for chunk in body.chunks(part_size_bytes(body.size))]
    return str(len(parts)) == count and hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest() == digest


def _kept(part: Mapping[str, Any] | None, number: int, data: bytes) -> Mapping[str, Any] | None:
    """Return a part that is there already, as `complete` wants it, if it has these bytes."""
    if part is None or part["Size"] != len(data):
        return None
    if plain_etag(part["ETag"]) != hashlib.md5(data, usedforsecurity=False).hexdigest():
        return None
    return {"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": _crc32(data)}


def _crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def _finished(running: deque[tuple[int, Future[Mapping[str, Any]]]]) -> tuple[int, Mapping[str, Any]]:
    number, sending = running.popleft()
    return number, sending.result()


def _wait(running: deque[tuple[int, Future[Mapping[str, Any]]]]) -> None:
    """Let parts in progress end, so that they are there for whoever goes on, and none arrives after an abort."""
    for _, sending in running:
        sending.exception()
