"""An AIStore server over a socket is a backend like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.backends.aistore.clients import Clients
from tests.services.aistore import AIStorePlace, Someone

from t9k.em.backend import ObjectStore
from t9k.em.records import ObjectInfo
from t9k.em.registry import open_backend
from t9k.em.testing import (
    BackendSuite,
    DescentSuite,
    GrowsSuite,
    SendsDirectSuite,
    StoreWrapper,
    TakesPartsSuite,
    backend_machine,
)
from t9k_em_backends.aistore import AIStoreBackend

QUICK = settings(max_examples=3, stateful_step_count=25, deadline=None)


class HomeOf(StoreWrapper):
    """The store behind a server, of which listings show what is one user's."""

    def __init__(self, inner: ObjectStore, user: str) -> None:
        super().__init__(inner)
        self.user = user

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return super().list(prefix or f"{self.user}/")


class OnServer(BackendSuite, DescentSuite, TakesPartsSuite, GrowsSuite):
    @pytest.fixture
    def place(self) -> AIStorePlace:
        raise NotImplementedError

    @pytest.fixture
    def someone(self, place: AIStorePlace) -> Someone:
        return place.someone()

    @pytest.fixture
    def kept_in(self, place: AIStorePlace, someone: Someone, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
        for name, value in place.environment.items():
            monkeypatch.setenv(name, value)
        with open_backend(place.settings["root"]) as tree:
            yield HomeOf(tree.store, someone.name)

    @pytest.fixture
    def backend(self, someone: Someone, client: Clients) -> AIStoreBackend:
        return client(someone)

    @pytest.fixture
    def new_backend(self, someone: Someone, client: Clients) -> Callable[[], AIStoreBackend]:
        return lambda: client(someone)

    def test_any_history_of_two_clients_is_that_of_the_reference(self, someone: Someone, client: Clients) -> None:
        run_state_machine_as_test(backend_machine(lambda: [client(someone), client(someone)]), settings=QUICK)


class TestOverFiles(OnServer):
    @pytest.fixture
    def place(self, over_files: AIStorePlace) -> AIStorePlace:
        return over_files


@pytest.mark.long
class TestOverS3(OnServer, SendsDirectSuite):
    @pytest.fixture
    def place(self, over_s3: AIStorePlace) -> AIStorePlace:
        return over_s3
