"""An AIStore server over a socket is a backend like any other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.services.aistore import AIStorePlace, Someone

from t9k.em.testing import BackendSuite
from t9k_em_backends.aistore import AIStoreBackend

Client = Callable[..., AIStoreBackend]


class OnServer(BackendSuite):
    @pytest.fixture
    def someone(self) -> Someone:
        raise NotImplementedError

    @pytest.fixture
    def backend(self, someone: Someone, client: Client) -> AIStoreBackend:
        return client(someone)

    @pytest.fixture
    def new_backend(self, someone: Someone, client: Client) -> Callable[[], AIStoreBackend]:
        return lambda: client(someone)


class TestOverFiles(OnServer):
    @pytest.fixture
    def someone(self, over_files: AIStorePlace) -> Someone:
        return over_files.someone()


class TestOverS3(OnServer):
    @pytest.fixture
    def someone(self, over_s3: AIStorePlace) -> Someone:
        return over_s3.someone()
