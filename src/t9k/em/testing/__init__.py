"""Tests for whoever writes a backend: suites of tests, state machines, and wrappers that let things go wrong.

The extra `testing` brings what they need, pytest and Hypothesis. A suite says what a port promises. A test module
subclasses it and overrides one fixture; a machine compares any history with a simple model:

```python
import pytest

from t9k.em.testing import (
    BackendSuite,
    CollectsSuite,
    DescentSuite,
    ObjectStoreSuite,
    backend_machine,
    object_store_machine,
)


class TestMyStore(ObjectStoreSuite):
    @pytest.fixture
    def store(self, tmp_path):
        return MyStore(tmp_path / "new")


class TestMyBackend(BackendSuite, DescentSuite, CollectsSuite):
    @pytest.fixture
    def backend(self, tmp_path):
        return MyBackend(MyStore(tmp_path / "new"), "my://new")


def make_store():
    return MyStore(Path(tempfile.mkdtemp()))


TestMyStoreHistory = object_store_machine(make_store).TestCase
TestMyBackendHistory = backend_machine(lambda: [MyBackend(make_store(), "my://new")]).TestCase
```

What only some stores and backends can do has a suite of its own, which a test class inherits beside the first: for stores
`CopiesObjectsSuite`, `FillsBuffersSuite`, `SweepsTemporarySuite`, `AssemblesPartsSuite` and `SignsRequestsSuite`, for backends
`DescentSuite`, `CollectsSuite`, `ServesUsersSuite`, `TakesPartsSuite`, `GrowsSuite`, `SendsDirectSuite` and `SignsReadsSuite`. Where several clients of one place do not share their state, override
`new_store` or `new_backend` as well, and return several backends to `backend_machine`: conflicts then happen between
clients and not only between threads.
"""

# ruff: noqa: E402 - the asserts of the suites explain themselves only when pytest is told before they are imported

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{suite}"
        for suite in (
            "store_suite",
            "backend_suite",
            "damage_suite",
            "mark_suite",
            "growing_suite",
            "parts_suite",
            "signing_suite",
            "users_suite",
            "machines",
        )
    )
)

from t9k.em.testing.backend_suite import BackendSuite, CollectsSuite
from t9k.em.testing.descent_suite import DescentSuite
from t9k.em.testing.faults import Fault, Faults, FaultyBackend, FaultyStore, SimulatedCrash
from t9k.em.testing.growing_suite import GrowsSuite
from t9k.em.testing.machines import backend_machine, object_store_machine
from t9k.em.testing.mark_suite import MarkSuite
from t9k.em.testing.parts_suite import AssemblesPartsSuite, TakesPartsSuite
from t9k.em.testing.reference import ReferenceBackend
from t9k.em.testing.signing_suite import SendsDirectSuite, SignsReadsSuite, SignsRequestsSuite
from t9k.em.testing.store_suite import CopiesObjectsSuite, FillsBuffersSuite, ObjectStoreSuite, SweepsTemporarySuite
from t9k.em.testing.uploads import finish, make_request, read_node, upload
from t9k.em.testing.users_suite import ServesUsersSuite
from t9k.em.testing.wrappers import BackendWrapper, ReadOnlyStore, SlowStore, StaleStore, StoreWrapper

__all__ = [
    "AssemblesPartsSuite",
    "BackendSuite",
    "BackendWrapper",
    "CollectsSuite",
    "CopiesObjectsSuite",
    "DescentSuite",
    "Fault",
    "Faults",
    "FaultyBackend",
    "FaultyStore",
    "FillsBuffersSuite",
    "GrowsSuite",
    "MarkSuite",
    "ObjectStoreSuite",
    "ReadOnlyStore",
    "ReferenceBackend",
    "SendsDirectSuite",
    "ServesUsersSuite",
    "SignsReadsSuite",
    "SignsRequestsSuite",
    "SimulatedCrash",
    "SlowStore",
    "StaleStore",
    "StoreWrapper",
    "SweepsTemporarySuite",
    "TakesPartsSuite",
    "backend_machine",
    "finish",
    "make_request",
    "object_store_machine",
    "read_node",
    "upload",
]
