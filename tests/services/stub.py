"""Scripted answers of an S3 service, for `Proxy.instead`: some requests get an error, the others reach the real server.

with Proxy("127.0.0.1:8333") as proxy:
    proxy.instead = script(SLOW_DOWN, times=2, of="PutObject")
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from attrs import field, frozen
from tests.services.proxy import Exchange

Instead = Callable[[Exchange], bytes | None]

_OPERATIONS = [  # the first that fits: method, a key or not, what has to be in the query, a header
    ("PUT", True, {"partNumber", "uploadId"}, "x-amz-copy-source", "UploadPartCopy"),
    ("PUT", True, {"partNumber", "uploadId"}, None, "UploadPart"),
    ("PUT", True, set(), "x-amz-copy-source", "CopyObject"),
    ("PUT", True, set(), None, "PutObject"),
    ("POST", True, {"uploads"}, None, "CreateMultipartUpload"),
    ("POST", True, {"uploadId"}, None, "CompleteMultipartUpload"),
    ("POST", False, {"delete"}, None, "DeleteObjects"),
    ("DELETE", True, {"uploadId"}, None, "AbortMultipartUpload"),
    ("DELETE", True, set(), None, "DeleteObject"),
    ("GET", True, {"uploadId"}, None, "ListParts"),
    ("GET", True, set(), None, "GetObject"),
    ("GET", False, {"uploads"}, None, "ListMultipartUploads"),
    ("GET", False, set(), None, "ListObjects"),
    ("HEAD", True, set(), None, "HeadObject"),
    ("HEAD", False, set(), None, "HeadBucket"),
]


def operation(exchange: Exchange) -> str:
    """What the S3 API calls a request with the bucket in its path; '' for one that is not listed here."""
    parts = urlsplit(exchange.target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    has_key = bool(parts.path.lstrip("/").partition("/")[2])
    for method, with_key, needed, header, name in _OPERATIONS:
        if (
            (method, with_key) == (exchange.method, has_key)
            and needed <= query.keys()
            and (header is None or header in exchange.headers)
        ):
            return name
    return ""


@frozen(kw_only=True)
class Answer:
    """An error as S3 tells it.

    Attributes:
        status: Of HTTP.
        code: Of the API.
        headers: More of them.
        leaks: Whether it repeats the token of the request, as S3 does with one that it does not like.
    """

    status: int
    code: str
    headers: dict[str, str] = field(factory=dict)
    leaks: bool = False

    def to(self, exchange: Exchange) -> bytes:
        """The reply to a request."""
        token = exchange.headers.get("x-amz-security-token", "none")
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>The stub says {self.code}</Message>"
            f"{f'<Token-0>{token}</Token-0>' if self.leaks else ''}"
            f"<Resource>{urlsplit(exchange.target).path}</Resource><RequestId>1</RequestId></Error>"
        ).encode()
        headers = {"content-type": "application/xml", "content-length": str(len(body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Said\r\n{head}\r\n".encode() + (b"" if exchange.method == "HEAD" else body)


CONFLICT = Answer(status=409, code="ConditionalRequestConflict")
PRECONDITION = Answer(status=412, code="PreconditionFailed")
TOO_MANY = Answer(status=429, code="TooManyRequests", headers={"retry-after": "1"})
SLOW_DOWN = Answer(status=503, code="SlowDown")
INTERNAL = Answer(status=500, code="InternalError")
OK_WITH_ERROR = Answer(status=200, code="InternalError")
"""CompleteMultipartUpload and CopyObject send their head before they know how it ends."""

EXPIRED = Answer(status=400, code="ExpiredToken", leaks=True)
EXPIRED_403 = Answer(status=403, code="ExpiredToken", leaks=True)
INVALID_TOKEN = Answer(status=400, code="InvalidToken", leaks=True)
SKEWED = Answer(status=403, code="RequestTimeTooSkewed")
WRONG_SECRET = Answer(status=403, code="SignatureDoesNotMatch")
WRONG_KEY = Answer(status=403, code="InvalidAccessKeyId")
DENIED = Answer(status=403, code="AccessDenied")
NO_BUCKET = Answer(status=404, code="NoSuchBucket")


def script(answer: Answer, *, of: str = "", key: str = "", times: int | None = None) -> Instead:
    """Gives an answer to some requests.

    Args:
        answer: What they get.
        of: A regular expression for the operation; '' for all.
        key: A regular expression that the target has to contain.
        times: How many get it; None for all.
    """
    given: list[int] = []

    def instead(exchange: Exchange) -> bytes | None:
        fits = re.fullmatch(of or ".*", operation(exchange)) and re.search(key, exchange.target)
        if not fits or (times is not None and len(given) >= times):
            return None
        given.append(exchange.number)
        return answer.to(exchange)

    return instead


def ignoring_conditions(*, of: str = ".*") -> Instead:
    """Takes the condition of writes away; the server behind must not check signatures, which cover it.

    Args:
        of: A regular expression for the operations whose condition is ignored.
    """

    def instead(exchange: Exchange) -> bytes | None:
        if re.fullmatch(of, operation(exchange)):
            exchange.headers.pop("if-none-match", None)
        return None

    return instead
