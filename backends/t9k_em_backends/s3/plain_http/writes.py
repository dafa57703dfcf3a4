"""What a pipeline writes: small objects, and copies that the service makes by itself."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from t9k_em_backends.s3.multipart import plain_etag
from t9k_em_backends.s3.plain_http.connection import DECLINING, Answer, Declined, Refused
from t9k_em_backends.s3.plain_http.signature import encoded_path

if TYPE_CHECKING:
    from t9k.em.records import Body

_OK = 200
_QUOTE = rb"(?:\"|&quot;|&#34;)?"
_COPIED = re.compile(rb"<CopyObjectResult[\s>].*<ETag>%b([^<&\"\s]+)%b</ETag>" % (_QUOTE, _QUOTE), re.DOTALL)


MakeRequest = Callable[[str, str, Mapping[str, str]], bytes]
"""Makes a signed request: the method, the key in the bucket, further headers by lower-case name."""


class Write(Protocol):
    """One object to be written by one request."""

    def request(self, make: MakeRequest) -> bytes:
        """Return the request, its body included.

        Raises:
            Refused: The request cannot be made.
            SourceChanged: The bytes are not what was announced.
            OSError: The bytes cannot be read.
        """

    def etag(self, answer: Answer, content: bytes) -> str:
        """Return the ETag of what was written.

        Args:
            answer: What the service said.
            content: The body of that.

        Raises:
            Declined: The service will not write it, or wrote something else.
            Refused: The answer does not say that the object was written.
        """


class Small(NamedTuple):
    """A small object.

    Attributes:
        path: Its key in the bucket.
        body: Its bytes, of known SHA-256, which the service compares.
    """

    path: str
    body: Body

    def request(self, make: MakeRequest) -> bytes:
        """See `Write`."""
        data = self.body.read()
        checksum = base64.b64encode(bytes.fromhex(self.body.sha256)).decode()
        return make("PUT", self.path, {"content-length": str(len(data)), "x-amz-checksum-sha256": checksum}) + data

    def etag(self, answer: Answer, content: bytes) -> str:
        """See `Write`."""
        if answer.status != _OK or content or "etag" not in answer.headers:
            raise Refused(f"status {answer.status}")
        return plain_etag(answer.headers["etag"])


class Copy(NamedTuple):
    """An object that is to be a copy of another one.

    Attributes:
        path: Its key in the bucket.
        source: Bucket and key of the other one.
        source_etag: The ETag of the other one, an MD5.
    """

    path: str
    source: str
    source_etag: str

    def request(self, make: MakeRequest) -> bytes:
        """See `Write`."""
        try:
            source = encoded_path(self.source)
        except UnicodeError as error:
            raise Refused("nothing that can be sent") from error
        copied = {"x-amz-copy-source": source, "x-amz-copy-source-if-match": f'"{self.source_etag}"'}
        return make("PUT", self.path, {"content-length": "0", **copied})

    def etag(self, answer: Answer, content: bytes) -> str:
        """See `Write`. A service may say that all is well before it finds that it is not, so the body counts."""
        if answer.status in DECLINING:
            raise Declined(f"status {answer.status}")
        found = _COPIED.search(content)
        if answer.status != _OK or found is None:
            raise Refused(f"status {answer.status}, and nothing that tells of a copy")
        etag = found[1].decode("latin-1")
        if etag != self.source_etag:
            raise Declined("other bytes, or an ETag of another kind")
        return etag
