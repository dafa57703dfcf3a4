"""A process that was forked after its parent used S3 works, or says why it cannot; it never waits for ever."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import pickle
import traceback
import weakref
from collections.abc import Callable

import pytest
from tests.services.places import S3Place

from t9k.em.backend import Backend
from t9k.em.errors import BackendError
from t9k.em.registry import open_backend
from t9k.em.testing.uploads import make_request, read_node, upload
from t9k_em_backends.s3 import S3Backend
from t9k_em_backends.s3.obstore_store import ObstoreStore

HOME = "/alice/default"


def in_a_fork(act: Callable[[], None]) -> BaseException | None:
    """What a fork of this process raises."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def run() -> None:
        faulthandler.dump_traceback_later(45, file=2)  # where it hangs, if it does
        try:
            act()
        except Exception as error:  # noqa: BLE001 - for the parent to see
            traceback.print_exc()
            there.send_bytes(pickle.dumps(error))
        else:
            there.send_bytes(pickle.dumps(None))

    child = context.Process(target=run)
    child.start()
    try:
        assert here.poll(60), "it hangs"
        raised: BaseException | None = pickle.loads(here.recv_bytes())
        child.join(30)
        assert child.exitcode == 0
        return raised
    finally:
        child.kill()
        child.join()
        for end in (here, there):
            end.close()


def use(backend: Backend, name: str) -> None:
    contents = {"x": name.encode(), "y": b"y" * 1000}
    node = upload(backend, make_request(HOME, name, contents), contents)
    assert read_node(backend, node) == contents
    assert name in [found.name for found in backend.list(HOME)]


@pytest.mark.long
@pytest.mark.parametrize("used_before", [True, False])
@pytest.mark.parametrize("query", ["driver=fsspec", ""])
def test_a_fork_works_with_what_its_parent_opened(query: str, used_before: bool, s3: S3Place) -> None:
    with open_backend(f"{s3.new_root()}?{query}") as backend:
        if used_before:
            use(backend, "before")
        assert in_a_fork(lambda: use(backend, "inside")) is None
        use(backend, "after")
        assert read_node(backend, backend.stat(f"{HOME}/inside"))["x"] == b"inside"


@pytest.mark.long
def test_a_fork_does_not_end_the_connections_of_its_parent(s3: S3Place) -> None:
    with open_backend(s3.new_root()) as backend:
        assert isinstance(backend, S3Backend)
        use(backend, "before")
        clients = weakref.ref(backend.tree.store._clients)

        def look() -> None:
            assert not isinstance(backend.tree.store, ObstoreStore)
            gc.collect()
            assert clients() is not None

        assert in_a_fork(look) is None
        use(backend, "after")


def test_one_that_must_use_obstore_is_told_what_else_to_do(s3: S3Place) -> None:
    with open_backend(f"{s3.new_root()}?driver=obstore") as backend:
        use(backend, "before")
        raised = in_a_fork(lambda: use(backend, "inside"))
        assert isinstance(raised, BackendError)
        assert "start processes with 'spawn'" in str(raised)
        use(backend, "after")
