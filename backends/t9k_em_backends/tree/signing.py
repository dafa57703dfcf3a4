"""Files that somebody else sends to the store, or reads from it, by requests that the store signs.

The SHA-256 of a file that was sent so is what its sender says, unless the service compares it; readers compare it, as
they always do. Until the signature of a request ends its holder may write the same object again, which the service
refuses for other bytes where it compares, and which `commit` and readers see as damage.
"""

from __future__ import annotations

from t9k.em.backend import ObjectStore, SignsRequests
from t9k.em.errors import NotAuthenticated, NotFound
from t9k.em.records import FileSpec, ObjectInfo, SignedRequest, SignedUpload


def sign_put(store: ObjectStore, key: str, file: FileSpec, lifetime_s: float) -> SignedUpload | None:
    """Signs what brings a file; None when the store signs nothing."""
    if not isinstance(store, SignsRequests):
        return None
    try:
        return store.sign_put(key, file.size, file.sha256, lifetime_s=lifetime_s)
    except NotAuthenticated:
        return None


def sign_get(store: ObjectStore, key: str, lifetime_s: float) -> SignedRequest | None:
    """Signs the reading of an object; None when the store signs nothing."""
    if not isinstance(store, SignsRequests):
        return None
    try:
        return store.sign_get(key, lifetime_s=lifetime_s)
    except NotAuthenticated:
        return None


def complete(store: ObjectStore, key: str, file: FileSpec, token: str) -> ObjectInfo:
    """Makes an object of what was sent.

    Raises:
        NotFound: Something was not sent, or the store signs nothing.
    """
    if not isinstance(store, SignsRequests):
        raise NotFound(f"{file.key!r} was not sent: this store signs no requests; put it instead")
    return store.complete_signed(key, file.size, token)
