"""The store by gcsfs keeps the contract of the port, over a real server."""

from __future__ import annotations

import pytest

from t9k.em.registry import open_backend
from t9k.em.testing import CopiesObjectsSuite, MarkSuite, ObjectStoreSuite
from t9k.em.uris import parse
from t9k_em_backends.gs import GSStore


@pytest.fixture
def root(gcs):
    return f"{gcs.new_root()}?anonymous=true&project={gcs.project}"


class TestGSStore(ObjectStoreSuite, CopiesObjectsSuite):
    @pytest.fixture
    def store(self, root):
        with GSStore.from_uri(parse(root)) as store:
            yield store

    @pytest.fixture
    def new_store(self, root):
        return lambda: GSStore.from_uri(parse(root))


class TestGSMark(MarkSuite):
    @pytest.fixture
    def backend(self, root):
        with open_backend(root) as backend:
            yield backend

    @pytest.fixture
    def new_backend(self, root):
        return lambda: open_backend(root)
