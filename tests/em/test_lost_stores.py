"""What the login and the history of a run remember of a store, so that a fresh process knows when it is gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from t9k import em
from t9k.config_file import remove_login, save_login, saved_store
from t9k.em import session
from t9k.em.errors import StoreGone
from t9k.em.registry import open_backend


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def uri(root: Path) -> str:
    return root.as_uri()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_by_uri", {})


def new_process() -> None:
    """Forgets what a process remembers."""
    session.logout()
    session._by_uri.clear()


@contextlib.contextmanager
def moved(root: Path, *, empty: bool = True) -> Iterator[None]:
    elsewhere = root.with_name("elsewhere")
    root.rename(elsewhere)
    if empty:
        root.mkdir()
    try:
        yield
    finally:
        if root.exists():
            root.rename(root.with_name("instead"))
        elsewhere.rename(root)


def finished(name: str = "cnn") -> em.run.Run:
    with em.create_run(name=name) as run:
        run.log("train", {"loss": 0.5}, step=1)
    return run


def store_id(uri: str) -> str:
    with open_backend(uri) as backend:
        return backend.init_store()


def test_a_run_remembers_the_store_that_it_was_uploaded_to(root: Path, uri: str) -> None:
    run = finished()
    run.upload(f"{uri}#default")
    state = yaml.safe_load((Path(run.local) / ".em/state.yaml").read_text())
    assert state["stores"] == {uri: store_id(uri)}
    assert set(run.remote[0]) == {"action", "uri", "path", "generation", "timestamp"}
    new_process()
    for empty in (True, False):
        with moved(root, empty=empty):
            run.description = f"changed {empty}"
            with pytest.raises(StoreGone, match=r"em login file://"):
                run.upload(f"{uri}#default")
            assert root.exists() == empty
            assert not empty or not list(root.iterdir())
            new_process()
    run.upload(f"{uri}#default")
    assert em.load_run(f"{uri}#/alice/default/cnn").description == "changed False"


def test_another_store_is_refused_and_taken_once_it_was_logged_in_to(root: Path, uri: str) -> None:
    run = finished()
    run.upload(f"{uri}#default")
    new_process()
    with moved(root, empty=False):
        other = finished("other")
        other.upload(f"{uri}#default")
        with pytest.raises(StoreGone, match=f"{store_id(uri)}, and not"):
            run.upload(f"{uri}#default")
        new_process()
        save_login(uri, store=store_id(uri))
        em.login()
        run.upload("default")
        remove_login()
        new_process()
        run.description = "once more"
        run.upload(f"{uri}#default")


def test_a_run_that_was_fetched_remembers_the_store_too(root: Path, uri: str) -> None:
    finished().upload(f"{uri}#default")
    new_process()
    run = em.load_run(f"{uri}#/alice/default/cnn")
    run.download("fetched")
    new_process()
    with moved(root):
        again = em.load_run("fetched")
        again.description = "changed"
        with pytest.raises(StoreGone):
            again.upload(f"{uri}#default")


def test_an_automatic_upload_goes_on_when_the_store_is_back(root: Path, uri: str) -> None:
    run = em.create_run(name="live", auto_upload=True, folder=f"{uri}#default")
    run.log("train", {"loss": 1.0}, step=1)
    before = time.monotonic() + 60
    while not run.remote:
        assert time.monotonic() < before
        time.sleep(0.05)
    run.log("train", {"loss": 0.5}, step=2)
    with moved(root):
        with pytest.warns(UserWarning, match="its mark .em/store.json is missing"):
            run.finish(timeout=30)
        assert not list(root.iterdir())
    run.upload(f"{uri}#default")
    rows = em.load_run(f"{uri}#/alice/default/live").metrics["train"]
    assert len(rows) == 2


def test_the_login_remembers_the_store(root: Path, uri: str) -> None:
    save_login(uri, store=store_id(uri))
    assert saved_store(uri) == saved_store(str(root)) == store_id(uri)
    assert saved_store("file:///elsewhere") == ""
    run = finished()
    for login in (em.login, lambda: em.login(uri), lambda: em.login(str(root))):
        login()
        with moved(root):
            with pytest.raises(StoreGone):
                run.upload("default")
            assert not list(root.iterdir())
        new_process()
        with moved(root):
            login()
            with pytest.raises(StoreGone):
                run.upload("default")
            with pytest.raises(StoreGone):
                em.load_run("/alice/default/cnn")
            new_process()
    with moved(root), pytest.raises(StoreGone):
        run.upload(f"{uri}#default")
    new_process()
    em.login()
    run.upload("default")


def test_a_login_without_a_store_forgets_the_one_that_was_there(uri: str) -> None:
    save_login(uri, store="a" * 32)
    save_login(uri)
    assert saved_store(uri) == ""
    save_login(uri, store="a" * 32)
    remove_login()
    assert saved_store(uri) == ""


def test_a_config_file_that_cannot_be_used_remembers_nothing(tmp_path: Path, uri: str) -> None:
    for text in ("{", "contexts: 1", f"current-context: a\ncontexts:\n- {{name: a, server: '{uri}', store: 3}}\n"):
        (tmp_path / ".home/t9k-config.yaml").write_text(text)
        assert saved_store(uri) == ""


def test_a_program_that_logs_in_makes_no_directory_for_the_root_to_lie_in(tmp_path: Path) -> None:
    root = tmp_path / "mount/store"
    with pytest.raises(StoreGone, match=f"{root.parent} is not there.*mount it"):
        em.login(root.as_uri())
    with pytest.raises(StoreGone, match="mount it"):
        finished().upload(f"{root.as_uri()}#default")
    assert not root.parent.exists()
