"""`S3Backend`: a tree in a bucket, and which driver it is reached by."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from attrs import evolve

from t9k.em.backend import ObjectStore
from t9k.em.errors import InvalidURI, MissingExtra
from t9k_em_backends.tree import TreeBackend
from t9k_em_backends.tree.tree import Tree

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.uris import URI

_DRIVERS = ("obstore", "fsspec")
"""The first that is installed and can be used in this process is preferred."""


class S3Backend(TreeBackend):
    """A tree in a bucket.

    The option `driver` of the URI forces 'obstore' or 'fsspec'. In code, pass the store that it shall be.
    """

    _uri: URI | None = None
    _timeout_s: float | None = None
    _process = 0

    @classmethod
    def from_uri(cls, uri: URI, *, api_key: str | None = None, timeout_s: float | None = None) -> Self:
        """Open the bucket by the driver that the URI names, or the best that is installed."""
        backend = super().from_uri(uri, api_key=api_key, timeout_s=timeout_s)
        backend._uri, backend._timeout_s, backend._process = uri, timeout_s, os.getpid()  # noqa: SLF001 - of this class
        return backend

    @classmethod
    def make_store(cls, uri: URI, timeout_s: float | None) -> ObjectStore:
        """See `TreeBackend.make_store`."""
        options = dict(uri.options)
        driver = options.pop("driver", None)
        if timeout_s is not None:
            options.setdefault("timeout", str(timeout_s))
        return _make_store(evolve(uri, options=options), driver)

    @property
    def tree(self) -> Tree:
        """See `TreeBackend`; after a fork, with a new client of the same place, by a driver that can be used there."""
        if self._uri is not None and self._process != os.getpid():
            options = {name: value for name, value in self._uri.options.items() if name != "unsafe_single_writer"}
            self._tree.store = self.make_store(evolve(self._uri, options=options), self._timeout_s)
            self._process = os.getpid()  # last, for another thread may look meanwhile
        return self._tree


def _make_store(uri: URI, driver: str | None) -> ObjectStore:
    """Return the store of a driver, or of the best one that is installed and can be used in this process."""
    if driver is not None and driver not in _DRIVERS:
        raise InvalidURI(f"there is no driver {driver!r} for s3://; there are: {', '.join(_DRIVERS)}")
    if driver == "fsspec":
        return _by_s3fs(uri)
    by_obstore: type[ObjectStore] | None = None
    with contextlib.suppress(*(() if driver else (MissingExtra,))):
        from t9k_em_backends.s3.obstore_store import ObstoreStore, is_usable  # noqa: PLC0415 - needs obstore

        if driver or is_usable():
            return ObstoreStore.from_uri(uri)
        by_obstore = ObstoreStore
    with contextlib.suppress(MissingExtra):
        return _by_s3fs(uri)
    if by_obstore is not None:  # the first use of the store says why it cannot work
        return by_obstore.from_uri(uri)
    raise MissingExtra("s3:// needs a driver; pip install 't9k-em[obstore]', or 't9k-em[s3]' for s3fs")


def _by_s3fs(uri: URI) -> ObjectStore:
    from t9k_em_backends.s3.s3fs_store import S3fsStore  # noqa: PLC0415 - needs s3fs

    return S3fsStore.from_uri(uri)
