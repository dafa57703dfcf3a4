"""Any scheme that fsspec knows and that no other backend serves."""

from t9k_em_backends.fsspec.backend import FsspecBackend, FsspecStore

__all__ = ["FsspecBackend", "FsspecStore"]
