"""What the suites of a backend have in common."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from t9k.em.backend import Backend, ObjectStore
from t9k.em.records import Body


class BackendFixtures:
    """What the suites of a backend have in common."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Provide a backend over an empty tree; override this."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def new_backend(self, backend: Backend) -> Callable[[], Backend]:
        """Make another client of the tree that `backend` uses; override it where clients have a state of their own."""
        return lambda: backend

    @pytest.fixture
    def folder(self, backend: Backend) -> str:
        """Provide an absolute path that the user may make."""
        return f"/{backend.whoami()}/team/experiments"

    @pytest.fixture
    def take_away(self, backend: Backend) -> Callable[[], Callable[[], None]]:
        """Empty the place that `backend` uses, as a mount that fails does, and return what puts all back.

        Override it for a backend that is no tree over a store.
        """
        store = getattr(backend, "store", None)
        if not isinstance(store, ObjectStore):
            pytest.skip("how its place is emptied is not known; override the fixture `take_away`")

        def empty() -> Callable[[], None]:
            kept = {info.key: b"".join(store.get(info.key)) for info in store.list("")}
            store.delete(kept)

            def put_back() -> None:
                store.delete([info.key for info in store.list("")])
                for key, data in kept.items():
                    store.put(key, Body.of(data))

            return put_back

        return empty
