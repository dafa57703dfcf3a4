"""Files that somebody else sends to the store, or reads from it, by requests that the store signs.

Of what was sent so only the length was signed, and for a small file the SHA-256, which not every service compares. So the
bytes are read and compared before the file counts as sent, and `commit` looks whether they are still the same object.
"""

from __future__ import annotations

from t9k.em.backend import ObjectStore, SignsRequests
from t9k.em.chunks import sha256_of
from t9k.em.errors import NotAuthenticated, NotFound, SourceChanged
from t9k.em.records import FileSpec, ObjectInfo, SignedRequest, SignedUpload


def sign_put(store: ObjectStore, key: str, file: FileSpec, lifetime_s: float) -> SignedUpload | None:
    """Sign what brings a file; None when the store signs nothing."""
    if not isinstance(store, SignsRequests):
        return None
    try:
        return store.sign_put(key, file.size, file.sha256, lifetime_s=lifetime_s)
    except NotAuthenticated:
        return None


def sign_get(store: ObjectStore, key: str, lifetime_s: float) -> SignedRequest | None:
    """Sign the reading of an object; None when the store signs nothing."""
    if not isinstance(store, SignsRequests):
        return None
    try:
        return store.sign_get(key, lifetime_s=lifetime_s)
    except NotAuthenticated:
        return None


def complete(store: ObjectStore, key: str, file: FileSpec, token: str) -> ObjectInfo:
    """Make an object of what was sent, if that is what was announced.

    Raises:
        NotFound: Some bytes were not sent, or the store signs nothing.
        SourceChanged: Other bytes were sent; the object was deleted.
    """
    if not isinstance(store, SignsRequests):
        raise NotFound(f"{file.key!r} was not sent: this store signs no requests; put it instead")
    info = store.complete_signed(key, file.size, token)
    if sha256_of(store.get(key)) != file.sha256:
        store.delete([key])
        raise SourceChanged(
            f"what was sent straight to the store for {file.key!r} is not what was announced, and was deleted; send it again"
        )
    return info
