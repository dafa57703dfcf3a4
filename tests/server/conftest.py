"""One server for all tests of this directory in a process of the test run; users are each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.services.aistore import AIStorePlace, Someone, aistore


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AIStorePlace]:
    with aistore(tmp_path_factory.mktemp("aistore")) as place:
        yield place


@pytest.fixture
def alice(server: AIStorePlace) -> Someone:
    return server.someone(prefix="alice")


@pytest.fixture
def bob(server: AIStorePlace) -> Someone:
    return server.someone(prefix="bob")


@pytest.fixture
def admin(server: AIStorePlace) -> Someone:
    return server.someone(is_admin=True, prefix="admin")
