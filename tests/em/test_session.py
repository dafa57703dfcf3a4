"""The session: the backend that paths mean, and URIs that mean another one for a single call."""

from __future__ import annotations

import pytest

from t9k.em import session
from t9k.em.errors import InvalidName, NotFound, NotLoggedIn, UnknownScheme


def test_paths_need_a_backend():
    for use in (session.current, lambda: session.resolve("default"), lambda: session.locate("default/x")):
        with pytest.raises(NotLoggedIn, match="em.login"):
            use()


def test_paths_mean_the_one_that_login_chose(store):
    backend = session.login(store)
    assert session.current() is backend
    assert session.resolve("cv/mnist") == (backend, "/alice/cv/mnist")
    assert session.resolve("/bob") == (backend, "/bob")
    assert session.locate("x@3") == (backend, "/alice/x@3")
    assert session.backend_at(backend.uri) is backend


def test_a_uri_means_its_own_backend_and_none_is_opened_twice(store):
    backend, path = session.resolve(f"{store}#/bob/x")
    assert (backend.uri, path) == (store, "/bob/x")
    assert session.resolve(store) == (backend, "/alice/default")
    assert session.locate(f"{store}#x@2") == (backend, "/alice/x@2")
    assert session.backend_at(store) is backend
    with pytest.raises(NotLoggedIn):
        session.current()


def test_backends_with_other_options_are_other_backends(tmp_path):
    uri = (tmp_path / "store").as_uri()
    safe, _ = session.resolve(uri)
    unsafe, _ = session.resolve(f"{uri}?unsafe_single_writer=true")
    assert safe is not unsafe


def test_a_uri_of_a_whole_store_is_no_node(store):
    with pytest.raises(NotFound, match="add '#' and its path"):
        session.locate(store)


def test_a_folder_that_cannot_be_is_refused(store):
    for place in (f"{store}#../x", f"{store}#a%2F%2Fb", f"{store}#a%00"):
        with pytest.raises(InvalidName):
            session.resolve(place)


def test_login_elsewhere_leaves_the_backend_before(store, tmp_path, monkeypatch):
    before = session.login(store)
    closed = []
    monkeypatch.setattr(before, "close", lambda: closed.append(before))
    after = session.login(str(tmp_path / "other"))
    assert session.current() is after
    assert closed == [before]
    with pytest.raises(UnknownScheme):
        session.login("nope://x")
    assert session.current() is after


def test_the_current_user_is_that_of_the_environment_or_the_system(store, monkeypatch):
    monkeypatch.setenv("EM_USER", "bob")
    assert session.resolve(f"{store}#x")[1] == "/bob/x"
    monkeypatch.delenv("EM_USER")
    monkeypatch.setenv("LOGNAME", "carol")
    assert session.resolve(f"{store}#x")[1] == "/carol/x"


def test_the_root_of_a_place_opens_the_same_backend_elsewhere(tmp_path):
    with pytest.raises(NotLoggedIn):
        session.root("a/b")
    session.login(str(tmp_path / "store"))
    assert session.root("a/b") == (tmp_path / "store").as_uri()
    assert session.root("memory://x?unsafe_single_writer=true#/a") == "memory://x?unsafe_single_writer=true"


def test_a_uri_of_the_store_that_login_chose_is_that_backend(store):
    backend = session.login(store)
    assert session.resolve(f"{store}#/bob/x") == (backend, "/bob/x")
    other, _ = session.resolve(f"{store}?unsafe_single_writer=true")
    assert other is not backend
    session.logout()
    assert session.resolve(store)[0] is not backend
