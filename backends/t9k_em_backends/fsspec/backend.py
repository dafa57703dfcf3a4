"""`FsspecBackend`: a tree in any place that fsspec reaches and no other backend serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsspec.registry import known_implementations, registry

from t9k.em.backend import ObjectStore
from t9k.em.registry import unknown_scheme
from t9k_em_backends.fsspec.plain import PlainStore
from t9k_em_backends.tree import TreeBackend

if TYPE_CHECKING:
    from t9k.em.uris import URI

_WEBDAV = frozenset({"webdav", "dav"})

# Places that cannot be written to, lie on this machine, or are other places seen through something.
_REFUSED = frozenset(
    {
        *("http", "https", "data", "github", "git", "hf-mirror", "jupyter", "jlab", "libarchive", "zip", "tar"),
        *("file", "local", "memory", "asynclocal", "blockcache", "cached", "filecache", "simplecache", "dir"),
        *("asyncwrapper", "generic", "reference", "root"),
    }
)


class FsspecStore(ObjectStore):
    """Make the store for a scheme; each is a class of its own, for what it can do beyond the port differs."""

    @classmethod
    def from_uri(cls, uri: URI) -> ObjectStore:  # type: ignore[override]  # a store of another class
        """Return the store that a URI names.

        Raises:
            UnknownScheme: fsspec does not know it, or it is no place to keep anything.
            MissingExtra: The driver of the scheme is not installed.
            InvalidURI: See the port.
        """
        if uri.scheme in _REFUSED or uri.scheme not in known_implementations.keys() | registry.keys():
            served = (known_implementations.keys() | registry.keys()) - _REFUSED
            raise unknown_scheme(uri.scheme, (name for name in served if "_" not in name))
        if uri.scheme not in _WEBDAV:
            return PlainStore.from_uri(uri)
        from t9k_em_backends.fsspec.webdav import WebDAVStore  # noqa: PLC0415 - needs webdav4

        return WebDAVStore.from_uri(uri)


class FsspecBackend(TreeBackend):
    """A tree in any place that fsspec reaches."""

    store_class = FsspecStore

    @classmethod
    def make_store(cls, uri: URI, timeout_s: float | None) -> ObjectStore:
        """See `TreeBackend.make_store`; drivers of fsspec have no common option for a time limit."""
        del timeout_s
        return FsspecStore.from_uri(uri)
