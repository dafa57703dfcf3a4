"""Requests to S3 that somebody else sends: signed here, where nobody sees the bytes.

A small object is one PUT with its length and its SHA-256 signed, so that a service which compares them takes no other
bytes. A large one goes in parts, of which only the length can be signed. What was sent of it counts for whoever signs the
same object again: a record in the store says which upload was begun for which content. Uploads that `Multipart` began are
left alone, for S3 wants a checksum with each of their parts, which nobody knows here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import asdict, field, frozen
from attrs.validators import instance_of, matches_re

from t9k.em.backend import ObjectStore
from t9k.em.errors import NotFound
from t9k.em.records import Body, ObjectInfo, SignedRequest, SignedUpload
from t9k_em_backends.s3.botocore_client import S3Client
from t9k_em_backends.s3.multipart import list_parts, plain_etag
from t9k_em_backends.shared.part_size import MULTIPART_FROM_BYTES, part_size_bytes

RECORDS = ".em/signed/"
"""Where it is written down for which content an upload was begun: `<RECORDS><SHA-256 of the key>`."""


MAX_RECORD_BYTES = 16 << 10


class SignsS3(ObjectStore):
    """A store of S3 that signs; see `t9k.em.backend.SignsRequests`."""

    def sign_get(self, key: str, *, lifetime_s: float) -> SignedRequest:
        """See `t9k.em.backend.SignsRequests`."""
        return self._signer().get(key, lifetime_s)

    def sign_put(self, key: str, size: int, sha256: str, *, lifetime_s: float) -> SignedUpload:
        """See `t9k.em.backend.SignsRequests`."""
        return self._signer().put(key, size, sha256, lifetime_s)

    def complete_signed(self, key: str, size: int, token: str) -> ObjectInfo:
        """See `t9k.em.backend.SignsRequests`."""
        return self._signer().complete(key, size, token)

    @abstractmethod
    def _signer(self) -> Signer:
        """Make what signs, which costs nothing."""

    def _sweep_records(self, before: float) -> Iterator[ObjectInfo]:
        """Return the records of uploads that nobody completed before a time by the store's clock."""
        return (info for info in self.list(RECORDS) if info.modified <= before)


@frozen(kw_only=True)
class Signer:
    """Sign for one store.

    Attributes:
        store: The store, which keeps the records.
        path: Gives the key in the bucket for a key of the store.
        client: Signs, and makes the calls about parts.
    """

    store: ObjectStore
    path: Callable[[str], str]
    client: S3Client

    def get(self, key: str, lifetime_s: float) -> SignedRequest:
        """Sign the reading of an object.

        Raises:
            NotAuthenticated: The store is anonymous.
        """
        url = self.client.sign("get_object", lifetime_s=lifetime_s, Key=self.path(key))
        return SignedRequest(method="GET", url=url)

    def put(self, key: str, size: int, sha256: str, lifetime_s: float) -> SignedUpload:
        """Sign what brings an object: one request with the SHA-256 for a token, or those for the parts that are missing.

        Raises:
            NotAuthenticated: The store is anonymous.
        """
        if size >= MULTIPART_FROM_BYTES:
            return self._put_parts(key, size, sha256, lifetime_s)
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        url = self.client.sign(
            "put_object", lifetime_s=lifetime_s, Key=self.path(key), ContentLength=size, ChecksumSHA256=checksum
        )
        headers = {"Content-Length": str(size), "x-amz-checksum-sha256": checksum}
        return SignedUpload(requests=(SignedRequest(method="PUT", url=url, headers=headers, size=size),), token=sha256)

    def complete(self, key: str, size: int, token: str) -> ObjectInfo:
        """Make an object of the parts that were sent, or look whether it was sent whole.

        Raises:
            NotFound: Some bytes were not sent, or have another length than announced.
        """
        if size < MULTIPART_FROM_BYTES:
            return self._look(key, size, token)
        with contextlib.suppress(_Completed):
            self._join(key, size, token)
        info = self._look(key, size)
        self.store.delete([_record(key)])
        return info

    # Objects in parts.

    def _put_parts(self, key: str, size: int, sha256: str, lifetime_s: float) -> SignedUpload:
        path = self.path(key)
        self.client.require_credentials()
        upload, there = self._resume(key, size, sha256) or (self._begin(key, size, sha256), {})
        requests = tuple(
            SignedRequest(
                method="PUT",
                url=self.client.sign(
                    "upload_part",
                    lifetime_s=lifetime_s,
                    Key=path,
                    UploadId=upload,
                    PartNumber=number,
                    ContentLength=length,
                ),
                headers={"Content-Length": str(length)},
                start=start,
                size=length,
            )
            for number, start, length in _parts(size)
            if number not in there or there[number]["Size"] != length
        )
        return SignedUpload(requests=requests, token=upload)

    def _begin(self, key: str, size: int, sha256: str) -> str:
        upload = str(self.client.call("create_multipart_upload", Key=self.path(key))["UploadId"])
        begun = json.dumps(asdict(_Begun(upload=upload, size=size, sha256=sha256))).encode()
        if len(begun) <= MAX_RECORD_BYTES:  # as readers do; without it, who signs again begins again
            self.store.put(_record(key), Body.of(begun))
        return upload

    def _resume(self, key: str, size: int, sha256: str) -> tuple[str, Mapping[int, Mapping[str, Any]]] | None:
        """Return the upload that was begun for the same bytes, and its parts; one for other bytes is ended."""
        begun = self._begun(key)
        try:
            if begun == _Begun(upload=begun.upload, size=size, sha256=sha256):
                return begun.upload, list_parts(self.client.call, self.path(key), begun.upload)
            if begun.upload:
                self.client.call("abort_multipart_upload", Key=self.path(key), UploadId=begun.upload)
        except NotFound:  # it has ended
            return None
        return None

    def _begun(self, key: str) -> _Begun:
        try:
            return _Begun(**json.loads(b"".join(self.store.get(_record(key), 0, MAX_RECORD_BYTES))))
        except (NotFound, ValueError, TypeError, RecursionError):  # none was begun, or the record is damaged
            return _Begun(upload="", size=-1, sha256="")

    def _join(self, key: str, size: int, upload: str) -> None:
        """Make an object of its parts.

        Raises:
            NotFound: Some parts are missing.
            _Completed: There is no such upload.
        """
        path = self.path(key)
        begun = self._begun(key)
        if not upload or (begun.upload, begun.size) != (upload, size):
            raise _Completed(key)
        try:
            there = list_parts(self.client.call, path, upload)
        except NotFound:
            raise _Completed(key) from None
        missing = [number for number, _, length in _parts(size) if there.get(number, {}).get("Size") != length]
        if missing:
            raise NotFound(
                f"{key}: {len(missing)} of its {len(_parts(size))} parts were not sent whole; sign it again and send them"
            )
        parts = [{"PartNumber": number, "ETag": there[number]["ETag"]} for number, _, _ in _parts(size)]
        try:
            self.client.call("complete_multipart_upload", Key=path, UploadId=upload, MultipartUpload={"Parts": parts})
        except NotFound:
            raise _Completed(key) from None

    def _look(self, key: str, size: int, sha256: str = "") -> ObjectInfo:
        """Return the object under a key.

        Raises:
            NotFound: The object is missing, or certainly another one.
        """
        path = self.path(key)
        try:
            found = self.client.call("head_object", Key=path, ChecksumMode="ENABLED")
        except NotFound:
            raise NotFound(f"{key} was not sent; sign it again and send it") from None
        told = base64.b64decode(found.get("ChecksumSHA256", "")).hex() if sha256 else ""
        if found["ContentLength"] != size or told not in ("", sha256):
            raise NotFound(f"{key}: something else lies there; sign it again and send it")
        return ObjectInfo(
            key=key,
            size=size,
            modified=found["LastModified"].timestamp(),
            etag=plain_etag(found["ETag"]),
            sha256=told,
        )


@frozen(kw_only=True)
class _Begun:
    """What a record says: which upload was begun for which content."""

    upload: str = field(validator=matches_re(r"[\x21-\x7e]*"))
    size: int = field(validator=instance_of(int))
    sha256: str = field(validator=instance_of(str))


class _Completed(NotFound):
    """There is no such upload any more; the object is there if it was completed."""


def _record(key: str) -> str:
    return RECORDS + hashlib.sha256(key.encode()).hexdigest()


def _parts(size: int) -> list[tuple[int, int, int]]:
    """Yield number, start and length of each part, cut as `Multipart` cuts."""
    part_bytes = part_size_bytes(size)
    return [
        (number, start, min(part_bytes, size - start)) for number, start in enumerate(range(0, size, part_bytes), 1)
    ]
