"""`GSStore`: a bucket of Google Cloud Storage, by gcsfs.

gcsfs finds the credentials and signs; the requests are those of the JSON API (https://cloud.google.com/storage/docs/json_api),
made here because gcsfs's own multipart body breaks on bytes that look like its boundary.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import evolve, frozen

from t9k.em.errors import (
    BackendError,
    BackendPermissionError,
    BackendUnavailable,
    EMError,
    InvalidURI,
    MissingExtra,
    NotFound,
)
from t9k.em.records import Body, ObjectInfo
from t9k_em_backends.shared.async_store import CloudStore, PastTheEnd, Piece, changed, in_turn, taken
from t9k_em_backends.shared.error_codes import failure, unreachable
from t9k_em_backends.shared.fsspec_loop import run
from t9k_em_backends.shared.part_size import MIB
from t9k_em_backends.shared.proxies import proxy_for
from t9k_em_backends.shared.redirects import is_same_host, no_redirects
from t9k_em_backends.shared.timeouts import CONNECT_TIMEOUT_S
from t9k_em_backends.shared.uri_options import check_known, flag, seconds, service_url, url
from t9k_em_backends.tree import TreeBackend

try:
    import aiohttp

    # `gcsfs.GCSFileSystem` speaks gRPC as well, which asks more of every bucket.
    from gcsfs.core import GCSFileSystem, UnclosableBytesIO
    from gcsfs.retry import HttpError, is_retriable
except ImportError as error:
    raise MissingExtra("gcsfs is not installed; pip install 't9k-em[gs]'") from error

if TYPE_CHECKING:
    from t9k.em.backend import ObjectStore
    from t9k.em.uris import URI

OPTIONS = ("anonymous", "endpoint", "project", "timeout")
TIMEOUT_S = 120.0
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
PAGE = 1000
DELETES_AT_ONCE = 32
CHUNK_BYTES = 16 * MIB  # a multiple of 256 KiB, as resumable uploads want it
GOOGLE = "https://storage.googleapis.com"
OBJECT = "b/{}/o/{}"
TOLD = "name,size,updated,md5Hash"
"""What the service is to tell of an object."""


@frozen(kw_only=True)
class GSLocation:
    """A root in a bucket.

    Attributes:
        bucket: Name of the bucket.
        root: Prefix of all keys; '' or ends with a slash.
        endpoint: URL of the service; '' for STORAGE_EMULATOR_HOST, else Google's.
        project: Whom requests are billed to where the credentials do not say; '' for what the environment says.
        anonymous: Whether requests carry no credentials.
        timeout_s: How long one request may take, in seconds.
    """

    bucket: str
    root: str = ""
    endpoint: str = ""
    project: str = ""
    anonymous: bool = False
    timeout_s: float = TIMEOUT_S

    @classmethod
    def from_uri(cls, uri: URI) -> GSLocation:
        """Take a URI apart.

        Raises:
            InvalidURI: The URI names no bucket, or an option is unknown or its value invalid.
        """
        if not uri.netloc:
            raise InvalidURI(f"{uri.text} names no bucket; write it like 'gs://bucket/root'")
        check_known(uri, OPTIONS)
        root = uri.path.strip("/")
        return cls(
            bucket=uri.netloc,
            root=f"{root}/" if root else "",
            endpoint=url(uri, "endpoint"),
            project=uri.options.get("project", ""),
            anonymous=flag(uri, "anonymous") or False,
            timeout_s=seconds(uri, "timeout") or TIMEOUT_S,
        )

    @property
    def text(self) -> str:
        """Name of the root in error messages."""
        return f"gs://{self.bucket}/{self.root}".rstrip("/")


class GSStore(CloudStore):
    """Objects in a bucket.

    Args:
        place: The bucket and where it is.
    """

    def __init__(self, place: GSLocation) -> None:
        super().__init__(place.text, place.root)
        self._place = place

    @classmethod
    def from_uri(cls, uri: URI) -> GSStore:
        """Return the store that a `gs` URI names; see `GSLocation` for its options."""
        return cls(GSLocation.from_uri(uri))

    def __reduce__(self) -> tuple[type[GSStore], tuple[GSLocation]]:
        """Another process finds its own credentials."""
        return type(self), (self._place,)

    @property
    def place(self) -> GSLocation:
        """The bucket and where it is."""
        return self._place

    def copies_from(self, source: object) -> bool:
        """See `CloudStore.copies_from`."""
        if not isinstance(source, GSStore):
            return False
        ours, theirs = self._place, source.place
        return (ours.endpoint, ours.anonymous) == (theirs.endpoint, theirs.anonymous)

    def recognizes(self, info: ObjectInfo, body: Body) -> bool:
        """See `t9k.em.backend.RecognizesContent`."""
        md5 = hashlib.md5(usedforsecurity=False)
        for chunk in body.chunks():
            md5.update(chunk)
        return info.size == body.size and info.etag == md5.hexdigest()

    # See `CloudStore`.

    def _make(self) -> tuple[Any, Callable[[], Coroutine[Any, Any, object]]]:
        place = self._place
        service = self._service()
        proxy = proxy_for(service)
        driver = GCSFileSystem(
            token="anon" if place.anonymous else None,
            endpoint_url=service if service != GOOGLE else None,
            # aiohttp does not look for a proxy by itself.
            session_kwargs={"trace_configs": [no_redirects()], **({"proxy": proxy} if proxy else {})},
            requests_timeout=aiohttp.ClientTimeout(
                total=place.timeout_s, connect=min(CONNECT_TIMEOUT_S, place.timeout_s)
            ),
            asynchronous=True,  # or it would end its connections by itself, perhaps those of a forked process' parent
            skip_instance_cache=True,
            use_listings_cache=False,
            **({"project": place.project} if place.project else {}),
        )

        async def end() -> None:
            if driver._session is not None:  # noqa: SLF001 - gcsfs has no other way
                await driver._session.close()  # noqa: SLF001 - likewise

        return driver, end

    def _service(self) -> str:
        """Return the URL of the service."""
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        if self._place.endpoint or emulator in {"", "default"}:
            return self._place.endpoint or GOOGLE
        address = emulator if "://" in emulator else f"http://{emulator}"
        return service_url(address, "STORAGE_EMULATOR_HOST in the environment")

    async def _request(self, method: str, path: str, *names: str, **parameters: Any) -> tuple[Mapping[str, str], bytes]:
        """One request, repeated where that helps; gcsfs itself repeats for a minute and writes tracebacks to the log."""
        driver = self._driver.get()
        once = type(driver)._request.__wrapped__  # noqa: SLF001 - gcsfs without its repetitions
        for pause_s in (*PAUSES_S, None):
            try:
                _, headers, _, contents = await once(driver, method, path, *names, **parameters)
            except Exception as error:
                if pause_s is None or not (is_retriable(error) or isinstance(error, TimeoutError)):
                    raise
                await asyncio.sleep(pause_s)
            else:
                return headers, contents
        raise AssertionError  # the last try returned or raised

    async def _json(self, method: str, path: str, *names: str, **parameters: Any) -> Any:
        _, contents = await self._request(method, path, *names, **parameters)
        return json.loads(contents)

    async def _head(self, path: str) -> ObjectInfo:
        return self._told(await self._json("GET", OBJECT, self._place.bucket, path, fields=TOLD))

    async def _read(self, path: str, start: int, stop: int, version: str) -> Piece:
        condition = {"generation": version} if version else {}
        wanted = {"Range": f"bytes={start}-{stop - 1}"}
        try:
            headers, data = await self._request(
                "GET", OBJECT, self._place.bucket, path, alt="media", headers=wanted, **condition
            )
        except FileNotFoundError:
            if not version:
                raise
            raise changed(f"gs://{self._place.bucket}/{path}") from None
        whole = headers.get("Content-Range", "").rpartition("/")[2]
        return Piece(
            data=data,
            size=int(whole) if whole.isdigit() else len(data),
            version=headers.get("X-Goog-Generation", ""),
        )

    async def _list(self, prefix: str, token: str, after: str) -> tuple[Sequence[ObjectInfo], str | None]:
        try:
            page = await self._json(
                "GET",
                "b/{}/o",
                self._place.bucket,
                prefix=prefix,
                maxResults=PAGE,
                pageToken=token or None,
                startOffset=after or None,
                fields=f"items({TOLD}),nextPageToken",
            )
        except FileNotFoundError:
            raise failure("NoSuchBucket", self._text) from None
        infos = [self._told(found) for found in page.get("items", ()) if found["name"] != after]  # which it includes
        return infos, page.get("nextPageToken")

    async def _write(self, path: str, data: bytes, sha256: str, if_absent: bool) -> ObjectInfo:
        del sha256  # which the service does not know
        boundary = secrets.token_hex(16)
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        about = json.dumps({"name": path, "md5Hash": md5})
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{about}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        told = await self._json(
            "POST",
            self._upload_url(),
            uploadType="multipart",
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            data=UnclosableBytesIO(b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))),
            ifGenerationMatch="0" if if_absent else None,
            fields=TOLD,
        )
        return self._told(told)

    async def _delete(self, paths: Sequence[str]) -> None:
        async def one(path: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                await self._request("DELETE", OBJECT, self._place.bucket, path)

        await in_turn(one, paths, DELETES_AT_ONCE)

    def _copy(self, source: Any, key: str, target: str, size: int, etag: str) -> ObjectInfo:
        del size, etag  # the service tells both of the copy
        names = (source.place.bucket, source._key(key), self._place.bucket, self._key(target))  # noqa: SLF001 - of this class

        async def rewrite() -> ObjectInfo:
            token = None
            while True:  # a large object takes several requests
                done = await self._json(
                    "POST", "b/{}/o/{}/rewriteTo/b/{}/o/{}", *names, rewriteToken=token, headers={"Content-Length": "0"}
                )
                if done["done"]:
                    return self._told(done["resource"])
                token = done["rewriteToken"]

        copied: ObjectInfo = run(self._asked(key, rewrite()))
        return copied

    def _put_large(self, key: str, body: Body) -> ObjectInfo:
        """By a resumable upload: the object appears with the last chunk, which is sent when all bytes were compared."""
        path = self._key(key)
        with self._budget.holding(2 * CHUNK_BYTES):
            session = run(self._asked(key, self._begin(path)))
            md5 = hashlib.md5(usedforsecurity=False)
            try:
                sent, last = 0, b""
                for chunk in body.chunks(CHUNK_BYTES):
                    md5.update(chunk)
                    if last:
                        run(self._asked(key, self._send_chunk(session, last, sent, body.size)))
                        sent += len(last)
                    last = chunk
                told = run(self._asked(key, self._send_chunk(session, last, sent, body.size)))
            except BaseException:
                with contextlib.suppress(EMError):  # the service forgets it after a week
                    run(self._asked(key, self._request("DELETE", session)))
                raise
        info = self._told(json.loads(told))
        if info.etag not in {"", md5.hexdigest()}:
            self.delete([key])
            raise BackendUnavailable(f"{self._text}/{key} arrived damaged and was deleted; run the same command again")
        return info

    async def _begin(self, path: str) -> str:
        headers, _ = await self._request("POST", self._upload_url(), uploadType="resumable", json={"name": path})
        session = headers["Location"]
        if not self._place.anonymous and not is_same_host(session, self._service()):
            raise BackendError(
                f"{self._text}: the store wants a large file sent to another host, where the credentials do not go; correct "
                "the endpoint"
            )
        return session

    async def _send_chunk(self, session: str, data: bytes, start: int, size: int) -> bytes:
        stop = start + len(data)
        pauses_s = iter(PAUSES_S)
        while True:
            headers, contents = await self._request(
                "PUT",
                session,
                headers={"Content-Range": f"bytes {start}-{stop - 1}/{size}"},
                data=UnclosableBytesIO(data),
            )
            kept = headers.get("Range", "").rpartition("-")[2]
            if stop == size and contents:
                return contents
            there = int(kept) + 1 if kept.isdigit() else 0
            if there >= stop and stop < size:
                return b""
            pause_s = next(pauses_s, None)
            if not start <= there < stop or pause_s is None:
                raise BackendUnavailable(
                    f"{self._text}: the store does not keep what it is sent; run the same command again"
                )
            if there > start:  # it may keep less than it was sent
                data, start, pauses_s = data[there - start :], there, iter(PAUSES_S)
            else:
                await asyncio.sleep(pause_s)

    def _upload_url(self) -> str:
        driver = self._driver.get()
        return f"{driver._location}/upload/storage/v1/b/{quote(self._place.bucket, safe='')}/o"  # noqa: SLF001 - the endpoint

    def _told(self, found: Mapping[str, Any]) -> ObjectInfo:
        etag = base64.b64decode(found.get("md5Hash", "")).hex()
        return self._info(found["name"], int(found.get("size", 0)), _time(found["updated"]), etag)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Provide the one place where gcsfs's errors become this library's; theirs may hold the URL of an upload."""
        place = f"{self._text}/{key}".rstrip("/")
        try:
            yield
        except EMError:
            raise
        except FileNotFoundError:
            raise NotFound(f"{place}: there is no such object") from None
        except FileExistsError:
            raise taken(place) from None
        except Exception as error:  # noqa: BLE001 - gcsfs passes on whatever aiohttp, google-auth and asyncio raise
            raise self._translate(error, place) from None

    def _translate(self, error: Exception, place: str) -> EMError:
        if isinstance(error, HttpError) and str(error.code) == "416":
            return PastTheEnd(place)
        denied = isinstance(error, OSError) and str(error).startswith("Forbidden")  # as gcsfs tells 403
        if denied or (isinstance(error, HttpError) and str(error.code) in {"401", "403"}):
            return BackendPermissionError(
                f"{place}: the credentials do not allow this; run 'gcloud auth application-default login', set "
                "GOOGLE_APPLICATION_CREDENTIALS, or ask for permission to list, read, write and delete there"
            )
        if isinstance(error, HttpError):
            return failure(str(error.code or ""), place)
        return unreachable(place, self._place.endpoint)


def _time(text: str) -> float:
    """POSIX seconds from a time as RFC 3339 has it, in UTC."""
    seconds_text, _, fraction = text.rstrip("Z").partition(".")
    whole = datetime.fromisoformat(seconds_text[:19]).replace(tzinfo=timezone.utc).timestamp()
    return whole + (float(f"0.{fraction[:9]}") if fraction[:9].isdigit() else 0.0)


class GSBackend(TreeBackend):
    """A tree in a bucket of Google Cloud Storage."""

    store_class = GSStore

    @classmethod
    def make_store(cls, uri: URI, timeout_s: float | None) -> ObjectStore:
        """See `TreeBackend.make_store`."""
        if timeout_s is not None:
            uri = evolve(uri, options={"timeout": str(timeout_s), **uri.options})
        return GSStore.from_uri(uri)
