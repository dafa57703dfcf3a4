"""`https://host/prefix`: an AIStore server, by the contract in `docs/aistore-http.md`."""

from t9k_em_backends.aistore.backend import AIStoreBackend

__all__ = ["AIStoreBackend"]
