"""`S3fsStore`: a bucket of S3 or of a service like it, by s3fs.

s3fs finds the credentials and makes the requests. Bucket and key are passed to its client as they are: s3fs itself would
cut a key at '?versionId='.
"""

from __future__ import annotations

import base64
import contextlib
import functools
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from t9k.em.errors import EMError, MissingExtra
from t9k.em.records import Body, ObjectInfo
from t9k_em_backends.s3.access import explained, find_access, tell_region
from t9k_em_backends.s3.botocore_client import S3Client, proxies
from t9k_em_backends.s3.location import S3Location
from t9k_em_backends.s3.logs import keep_secrets_out
from t9k_em_backends.s3.multipart import AHEAD, COPY_LIMIT_BYTES, Multipart, is_md5_of
from t9k_em_backends.s3.presigning import RECORDS, Signer, SignsS3
from t9k_em_backends.s3.retries import TRIES, fix_retries, is_about_certificates
from t9k_em_backends.shared.async_store import CloudStore, PastTheEnd, Piece, changed, now
from t9k_em_backends.shared.clock import store_time
from t9k_em_backends.shared.error_codes import failure, forget, unreachable, untrusted
from t9k_em_backends.shared.fsspec_loop import PerProcess, run
from t9k_em_backends.shared.pacing import MOST
from t9k_em_backends.shared.redirects import Straight
from t9k_em_backends.shared.timeouts import CONNECT_TIMEOUT_S

try:
    import aiohttp
    import s3fs
    from aiobotocore.httpsession import AIOHTTPSession
    from aiobotocore.session import AioSession
    from botocore import exceptions
except ImportError as error:
    raise MissingExtra("s3fs is not installed; pip install 't9k-em[s3]'") from error

if TYPE_CHECKING:
    from t9k.em.uris import URI

PAGE = 1000  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html, likewise of a listing
TIMEOUT_S = 120.0
_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
_ACCESS = ("endpoint", "region", "profile", "anonymous")  # what tells who asks whom


class S3fsStore(CloudStore, SignsS3):
    """Objects in a bucket.

    Args:
        place: The bucket and where it is.
    """

    def __init__(self, place: S3Location) -> None:
        super().__init__(place.text, place.root)
        self._place = place
        self._client = PerProcess(lambda: (S3Client(place, find_access(place)), None))

    @classmethod
    def from_uri(cls, uri: URI) -> S3fsStore:
        """Return the store that an `s3` URI names; see `S3Location` for its options."""
        return cls(S3Location.from_uri(uri))

    def __reduce__(self) -> tuple[type[S3fsStore], tuple[S3Location]]:
        """Another process finds its own credentials."""
        return type(self), (self._place,)

    @property
    def place(self) -> S3Location:
        """The bucket and where it is."""
        return self._place

    def copies_from(self, source: object) -> bool:
        """See `CloudStore.copies_from`."""
        if not isinstance(source, S3fsStore):
            return False
        ours, theirs = self._place, source.place
        return all(getattr(ours, name) == getattr(theirs, name) for name in _ACCESS)

    def recognizes(self, info: ObjectInfo, body: Body) -> bool:
        """See `t9k.em.backend.RecognizesContent`."""
        return info.size == body.size and is_md5_of(info.etag, body)

    def sweep(self, older_than_s: float) -> Iterator[ObjectInfo]:
        """See `t9k.em.backend.SweepsTemporary`: multipart uploads that nobody completed, and what says so."""
        before = store_time(self) - older_than_s
        with self._multipart() as multipart:
            for upload in multipart.pending(self._root):
                if upload.modified <= before:
                    yield self._info(upload.key, 0, upload.modified, upload.etag)
        yield from self._sweep_records(before)

    def remove_swept(self, found: Iterable[ObjectInfo]) -> None:
        """See `t9k.em.backend.SweepsTemporary`."""
        with self._multipart() as multipart:
            for left in found:
                if left.key.startswith(RECORDS):
                    self.delete([left.key])
                else:
                    multipart.abort(self._key(left.key), left.etag)

    def close(self) -> None:
        """See the port."""
        super().close()
        self._client.close()

    # See `CloudStore`, and `SignsS3`.

    def _signer(self) -> Signer:
        return Signer(store=self, path=self._key, client=self._client.get())

    def _make(self) -> tuple[Any, Callable[[], Coroutine[Any, Any, object]]]:
        place, access = self._place, find_access(self._place)
        keep_secrets_out()
        session = AioSession(profile=place.profile)
        session.register_component("data_loader", _models())
        tell_region(session, access.region)
        fix_retries(session, TRIES)
        driver = s3fs.S3FileSystem(
            anon=place.anonymous,
            endpoint_url=access.endpoint or None,
            asynchronous=True,  # or it would end its connections by itself, perhaps those of a forked process' parent
            client_kwargs={"region_name": access.region, "verify": access.ca_bundle or True},
            config_kwargs={
                "max_pool_connections": MOST,
                "connect_timeout": min(CONNECT_TIMEOUT_S, place.timeout_s or TIMEOUT_S),
                "read_timeout": place.timeout_s or TIMEOUT_S,
                "retries": {"mode": "standard", "max_attempts": TRIES},
                # What is written carries a checksum already, so its bytes need not be signed as well.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                "s3": {
                    "addressing_style": "path" if access.path_style else "virtual",
                    "payload_signing_enabled": False,
                    "use_accelerate_endpoint": False,
                },
                "proxies": proxies(access),
                "http_session_cls": _Session,  # which follows no redirect
            },
            skip_instance_cache=True,
            use_listings_cache=False,
            session=session,
        )
        driver.retries = 1  # botocore tries again by itself

        async def end() -> None:
            if driver._s3 is not None:  # noqa: SLF001 - s3fs has no other way
                await driver._s3creator.__aexit__(None, None, None)  # noqa: SLF001 - likewise

        return driver, end

    async def _call(self, operation: str, **parameters: Any) -> Any:
        driver = self._driver.get()
        return await driver._call_s3(operation, Bucket=self._place.bucket, **parameters)  # noqa: SLF001 - with its arguments as they are

    async def _head(self, path: str) -> ObjectInfo:
        found = await self._call("head_object", Key=path)
        return self._info(path, found["ContentLength"], found["LastModified"].timestamp(), found["ETag"])

    async def _read(self, path: str, start: int, stop: int, version: str) -> Piece:
        condition = {"IfMatch": version} if version else {}
        for left in reversed(range(TRIES)):
            try:
                got = await self._call("get_object", Key=path, Range=f"bytes={start}-{stop - 1}", **condition)
                async with got["Body"] as stream:
                    data = await stream.read()
            except (aiohttp.ClientPayloadError, exceptions.ResponseStreamingError):
                if not left:
                    raise
            except OSError as error:
                if version and _told(error)[0] in {"412", "PreconditionFailed"}:
                    raise changed(f"s3://{self._place.bucket}/{path}") from None
                raise
            else:
                whole = got.get("ContentRange", "").rpartition("/")[2]
                return Piece(data=data, size=int(whole) if whole.isdigit() else len(data), version=got["ETag"])
        raise AssertionError  # the last try returned or raised

    async def _list(self, prefix: str, token: str, after: str) -> tuple[Sequence[ObjectInfo], str | None]:
        more = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
        page = await self._call("list_objects_v2", Prefix=prefix, MaxKeys=PAGE, **more)
        infos = [
            self._info(found["Key"], found["Size"], found["LastModified"].timestamp(), found.get("ETag", ""))
            for found in page.get("Contents", ())
        ]
        return infos, page.get("NextContinuationToken") if page.get("IsTruncated") else None

    async def _write(self, path: str, data: bytes, sha256: str, if_absent: bool) -> ObjectInfo:
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        put = await self._call("put_object", Key=path, Body=data, ChecksumSHA256=checksum, **condition)
        return self._info(path, len(data), _time(put), put["ETag"])

    async def _delete(self, paths: Sequence[str]) -> None:
        for at in range(0, len(paths), PAGE):
            objects = [{"Key": path} for path in paths[at : at + PAGE]]
            done = await self._call("delete_objects", Delete={"Objects": objects, "Quiet": True})
            for error in done.get("Errors", ()):
                if error.get("Code") != "NoSuchKey":
                    raise failure(error.get("Code", ""), f"s3://{self._place.bucket}/{error.get('Key', '')}")

    def _copy(self, source: Any, key: str, target: str, size: int, etag: str) -> ObjectInfo:
        where = {"Bucket": source.place.bucket, "Key": source._key(key)}  # noqa: SLF001 - of this class
        path = self._key(target)
        if size > COPY_LIMIT_BYTES:
            with self._multipart() as multipart:
                multipart.copy(f"{where['Bucket']}/{where['Key']}", path, size)
            return self._found(target)
        condition = {"CopySourceIfMatch": etag} if etag else {}
        answer = run(self._asked(key, self._call("copy_object", Key=path, CopySource=where, **condition)))
        return self._info(path, size, _time(answer), answer["CopyObjectResult"]["ETag"])

    def _put_large(self, key: str, body: Body) -> ObjectInfo:
        path = self._key(key)
        with self._multipart() as multipart:
            etag = multipart.put(path, body)
        return self._info(path, body.size, self._found(key).modified, etag)

    @contextlib.contextmanager
    def _multipart(self) -> Iterator[Multipart]:
        with ThreadPoolExecutor(AHEAD, thread_name_prefix="em-s3fs") as pool:
            yield Multipart(call=self._called, budget=self._budget, pool=pool)

    def _called(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        key = parameters.get("Key", "")[len(self._root) :]
        answer: Mapping[str, Any] = run(self._asked(key, self._call(operation, **parameters)))
        return answer

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Provide the one place where s3fs's errors become this library's; theirs hold the headers of the request."""
        try:
            yield
        except EMError:
            raise
        except Exception as error:  # noqa: BLE001 - s3fs passes on whatever aiohttp, botocore and asyncio raise
            ours = self._translate(error, f"{self._text}/{key}".rstrip("/"))
            forget(error)
            raise ours from None

    def _translate(self, error: Exception, place: str) -> EMError:
        code, status = _told(error)
        if code in {"416", "InvalidRange"}:
            return PastTheEnd(place)
        if code or status:
            return failure("NoSuchKey" if code == "NoSuchUpload" else code, place, status)
        if isinstance(error, RecursionError):  # a redirect that leads to itself
            return failure("PermanentRedirect", place)
        if isinstance(error, RuntimeError) and "credentials" in str(error):  # past their end when they are new
            return failure("ExpiredToken", place)
        if isinstance(error, _NO_CREDENTIALS):
            try:
                with explained(self._place):
                    raise error
            except EMError as told:
                return told
        if is_about_certificates(error):
            return untrusted(place, self._place.endpoint or "")
        return unreachable(place, self._place.endpoint or "")


def _told(error: BaseException) -> tuple[str, str]:
    """Return the code and the HTTP status of the answer behind an error of s3fs; empty where there was none."""
    answer = error if isinstance(error, exceptions.ClientError) else error.__cause__
    if not isinstance(answer, exceptions.ClientError):
        return "", ""
    status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    return answer.response.get("Error", {}).get("Code", ""), str(status)


class _Session(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore has no types
    async def _get_session(self, proxy_url: str | None) -> Any:
        return Straight(await super()._get_session(proxy_url))


@functools.cache
def _models() -> Any:
    """Return the models of the API that botocore has, which take longer to read than everything else until the first request."""
    return AioSession().get_component("data_loader")


def _time(answer: Mapping[str, Any]) -> float:
    """Return the service's clock, from the date of its answer."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date).timestamp() if date else now()
