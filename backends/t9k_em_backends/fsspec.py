"""`FsspecStore`: any place that fsspec reaches; S3 by s3fs, Google Cloud Storage by gcsfs, others by what fsspec finds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from attrs import evolve
from fsspec.registry import known_implementations, registry

from t9k.em.backend import ObjectStore
from t9k.em.registry import unknown_scheme
from t9k_em_backends.tree import TreeBackend

if TYPE_CHECKING:
    from t9k.em.uris import URI

_OWN = {
    "s3": ("t9k_em_backends.fsspec_drivers.s3", "S3Store"),
    "s3a": ("t9k_em_backends.fsspec_drivers.s3", "S3Store"),
    "gs": ("t9k_em_backends.fsspec_drivers.gs", "GSStore"),
    "gcs": ("t9k_em_backends.fsspec_drivers.gs", "GSStore"),
    "webdav": ("t9k_em_backends.fsspec_drivers.webdav", "WebDAVStore"),
    "dav": ("t9k_em_backends.fsspec_drivers.webdav", "WebDAVStore"),
}
"""Where the store of a scheme is that has one of its own."""

_PLAIN = ("t9k_em_backends.fsspec_drivers.plain", "PlainStore")
_TIMED = frozenset({"s3", "s3a", "gs", "gcs"})

# Places that cannot be written to, lie on this machine, or are other places seen through something.
_REFUSED = frozenset(
    {
        *("http", "https", "data", "github", "git", "hf-mirror", "jupyter", "jlab", "libarchive", "zip", "tar"),
        *("file", "local", "memory", "asynclocal", "blockcache", "cached", "filecache", "simplecache", "dir"),
        *("asyncwrapper", "generic", "reference", "root"),
    }
)


class FsspecStore(ObjectStore):
    """Makes the store for a scheme; each is a class of its own, for what it can do beyond the port differs."""

    @classmethod
    def from_uri(cls, uri: URI) -> ObjectStore:  # type: ignore[override]  # a store of another class
        """The store that a URI names.

        Raises:
            UnknownScheme: fsspec does not know it, or it is no place to keep anything.
            MissingExtra: What serves it is not installed.
            InvalidURI: See the port.
        """
        if uri.scheme in _REFUSED or uri.scheme not in known_implementations.keys() | registry.keys():
            served = (known_implementations.keys() | registry.keys()) - _REFUSED
            raise unknown_scheme(uri.scheme, (name for name in served if "_" not in name))
        module, name = _OWN.get(uri.scheme, _PLAIN)
        store: type[ObjectStore] = getattr(import_module(module), name)
        return store.from_uri(uri)


class FsspecBackend(TreeBackend):
    """A tree in any place that fsspec reaches."""

    store_class = FsspecStore

    @classmethod
    def make_store(cls, uri: URI, timeout_s: float | None) -> ObjectStore:
        """See `TreeBackend.make_store`."""
        if timeout_s is not None and uri.scheme in _TIMED:
            uri = evolve(uri, options={"timeout": str(timeout_s), **uri.options})
        return FsspecStore.from_uri(uri)
