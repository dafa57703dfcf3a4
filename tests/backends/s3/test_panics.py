"""What a driver raises never comes out of a store as it is: a panic of Rust, or whatever else nobody thought of."""

from __future__ import annotations

import obstore
import pytest
from attrs import evolve

from t9k.em.errors import BackendError, EMError
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k_em_backends.s3 import clients as drivers_module
from t9k_em_backends.s3.access import find_access

CALLS = {
    "open": lambda store: store.open(),
    "get": lambda store: list(store.get("key")),
    "list": lambda store: list(store.list("")),
    "put": lambda store: store.put("key", Body.of(b"data")),
    "create": lambda store: store.put("key", Body.of(b"data"), if_absent=True),
    "put_many": lambda store: store.put_many([(f"key-{number}", Body.of(b"data")) for number in range(3)]),
    "delete": lambda store: store.delete(["key"]),
    "copy": lambda store: store.copy("key", "other"),
    "read_into": lambda store: store.read_into("key", 0, memoryview(bytearray(10))),
    "sweep": lambda store: list(store.sweep(0)),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_panic_of_rust_is_an_error_of_this_library(moto, monkeypatch, call):
    """obstore really breaks down where it is given an endpoint that is none."""

    def broken(place):
        access = find_access(place)
        return evolve(access, service="http://a b", path_style=True, endpoint="")

    monkeypatch.setattr(drivers_module, "find_access", broken)
    store = open_backend(f"{moto.new_root()}?driver=obstore").store
    with pytest.raises(BackendError, match=r"obstore broke down \(PanicException: .* open it with '\?driver=fsspec'"):
        CALLS[call](store)
    store.close()


class Foreign(BaseException):
    """Likewise, by name."""


Foreign.__name__ = "PanicException"


@pytest.mark.parametrize("kind", [Foreign, RuntimeError, TypeError, KeyError, AttributeError, AssertionError])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_else_obstore_raises_is_one_too(moto, monkeypatch, call, kind):
    def fail(*_args, **_options):
        raise kind("hidden")

    for name in ("get", "list", "put", "head", "delete", "copy"):
        monkeypatch.setattr(obstore, name, fail)
    store = open_backend(f"{moto.new_root()}?driver=obstore").store
    monkeypatch.setattr(type(store._open().plain_http.sockets), "put_many", lambda _, writes, *__: [None] * len(writes))
    monkeypatch.setattr(type(store._open().plain_http.sockets), "read_into", lambda *_: fail_over())
    with pytest.raises(EMError):
        CALLS[call](store)
    store.close()


def fail_over():
    raise OSError("as obstore is to be asked")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_is_passed_on(moto, monkeypatch, kind):
    def end(*_args, **_options):
        raise kind

    monkeypatch.setattr(obstore, "put", end)
    store = open_backend(f"{moto.new_root()}?driver=obstore").store
    with pytest.raises(kind):
        store.put("key", Body.of(b"data"))
    store.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", [RuntimeError, TypeError, KeyError, ValueError, AttributeError])
def test_whatever_botocore_raises_is_one_too(moto, monkeypatch, kind):
    import botocore.client

    def fail(*_args, **_options):
        raise kind("hidden")

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", fail)
    store = open_backend(f"{moto.new_root()}?driver=obstore").store
    with pytest.raises(EMError) as caught:
        store.put("key", Body.of(bytes(16 << 20)))
    assert "hidden" not in str(caught.value)
    store.close()
