"""`WebDAVStore`: a directory on a WebDAV server, by webdav4."""

from __future__ import annotations

import io
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t9k.em.errors import MissingExtra
from t9k_em_backends.fsspec.plain import CopyingPlainStore
from t9k_em_backends.shared.uri_options import check_known, url

try:
    from webdav4.client import Client
    from webdav4.fsspec import WebdavFileSystem
except ImportError as error:
    raise MissingExtra("webdav4 is not installed; pip install 'webdav4[fsspec]'") from error

if TYPE_CHECKING:
    from t9k.em.uris import URI

_QUOTED = str.maketrans({"%": "%25", "#": "%23", "?": "%3F"})


class WebDAVStore(CopyingPlainStore):
    """Objects as files of a WebDAV server; `webdav://host/root` is `https://host/root`, unless the option `endpoint` says else."""

    @classmethod
    def from_uri(cls, uri: URI) -> WebDAVStore:
        """Return the store that a `webdav` URI names."""
        check_known(uri, ("endpoint",))
        options = {"base_url": url(uri, "endpoint") or f"https://{uri.netloc}"}
        return cls("webdav", options, uri.path.strip("/"), uri.text)

    def _make(self) -> tuple[Any, Callable[[], Coroutine[Any, Any, object]] | None]:
        client = _Client(self._options["base_url"], chunk_size=WebdavFileSystem.blocksize)

        async def end() -> None:
            client.http.close()

        return WebdavFileSystem(client.base_url, client=client, skip_instance_cache=True), end

    @property
    def _renames(self) -> bool:
        return True

    def _rename(self, driver: Any, source: str, target: str) -> None:
        driver.client.move(source, target, overwrite=True)

    def _copy_file(self, driver: Any, source: str, target: str) -> None:
        driver.client.copy(source, target, overwrite=True)

    def _send(self, driver: Any, path: str, source: bytes | str, **options: Any) -> None:
        del options
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as stream:
            driver.client.upload_fileobj(stream, path, overwrite=True)


class _Client(Client):  # type: ignore[misc]  # webdav4 has no types
    """A client that takes no character of a path for the end of it."""

    def join_url(self, path: str, add_trailing_slash: bool = False) -> Any:
        """Return the URL of a path."""
        return super().join_url(path.translate(_QUOTED), add_trailing_slash=add_trailing_slash)
