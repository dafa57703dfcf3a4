"""The commit protocol: a safe tree of nodes for many writers over any `ObjectStore`, written once for all stores."""

from t9k_em_backends.tree.backend import TreeBackend

__all__ = ["TreeBackend"]
