"""`file:///data/em` and plain paths: a tree of plain files in a directory, shared by every process that may write there."""

from t9k_em_backends.local.store import LocalBackend, LocalStore

__all__ = ["LocalBackend", "LocalStore"]
