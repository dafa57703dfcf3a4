"""An AIStore server over a socket is a backend like any other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.backends.aistore.clients import Clients
from tests.services.aistore import AIStorePlace, Someone

from t9k.em.testing import BackendSuite, DescentSuite, GrowsSuite, SendsDirectSuite, TakesPartsSuite, backend_machine
from t9k_em_backends.aistore import AIStoreBackend

QUICK = settings(max_examples=3, stateful_step_count=25, deadline=None)


class OnServer(BackendSuite, DescentSuite, TakesPartsSuite, GrowsSuite):
    @pytest.fixture
    def someone(self) -> Someone:
        raise NotImplementedError

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
    def someone(self, over_files: AIStorePlace) -> Someone:
        return over_files.someone()


class TestOverS3(OnServer, SendsDirectSuite):
    @pytest.fixture
    def someone(self, over_s3: AIStorePlace) -> Someone:
        return over_s3.someone()
