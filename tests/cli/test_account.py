from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.cli.conftest import Em, make_run

from t9k.em.cli import account
from t9k.em.cli.account import masked

KEY = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"


@pytest.fixture
def config_file() -> Path:
    return Path(".home/t9k-config.yaml")


def test_login_keeps_the_backend_in_the_config_file(em: Em, store: str, config_file: Path) -> None:
    ran = em("login", store)
    assert (ran.code, ran.err) == (0, "")
    first = f"logged in to {store} as alice; saved in {config_file.absolute()}\n"
    assert ran.out == f"{first}nothing is there yet; the first upload makes the store\n"
    make_run().upload(f"{store}#default")
    assert em("login", store).out == first
    assert yaml.safe_load(config_file.read_text())["contexts"][0]["server"] == store
    assert em("ls", "/").code == 0


def test_a_local_path_is_a_backend(em: Em, tmp_path: Path) -> None:
    assert em("login", "data").out.startswith(f"logged in to file://{tmp_path}/data as alice")
    assert em("config", "--json").json["aistore_host"] == f"{tmp_path}/data"


def test_without_a_uri_the_saved_one_is_used(em: Em, store: str) -> None:
    ran = em("login")
    assert ran.code == 1
    assert ran.err == "em: no backend to log in to; say which: em login file:///data/em\n"
    em("login", store)
    assert em("login").out.startswith(f"logged in to {store}")


def test_a_key_comes_from_stdin_where_there_is_no_terminal(em: Em, store: str) -> None:
    ran = em("login", store, "--api-key", stdin=f"{KEY}\n")
    assert ran.code == 0
    assert KEY not in ran.out + ran.err
    assert em("config", "--json").json["api_key"] == "****90ab"
    em("login", store, "--api-key", stdin="\n")
    assert em("config", "--json").json["api_key"] is None


def test_on_a_terminal_the_key_is_asked_for(em: Em, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    asked = []

    def prompt(text: str, **options: object) -> str:
        asked.append((text, options["hide_input"]))
        return f" {KEY} "

    monkeypatch.setattr(account.sys, "stdin", Terminal)
    monkeypatch.setattr(account.click, "prompt", prompt)
    assert account._ask_for_key(store, asked=False) is None
    assert account._ask_for_key("https://host/aistore", asked=False) == KEY
    assert account._ask_for_key(store, asked=True) == KEY
    assert asked == [("API key", True)] * 2


def test_a_backend_that_does_not_work_is_not_saved(em: Em, config_file: Path) -> None:
    for wrong in ("s5://bucket", "file://host/path", "s5://user:secret@bucket", "file:///data#/alice"):
        ran = em("login", wrong)
        assert ran.code == 1
        assert ran.err.startswith("em: ")
        assert "secret@" not in ran.err
    assert not config_file.exists()


def test_a_wrong_key_is_not_saved(em: Em, store: str, config_file: Path) -> None:
    ran = em("login", store, "--api-key", stdin="not a key\n")
    assert ran.code == 1
    assert "not a key" not in ran.err
    assert not config_file.exists()


def test_logout_forgets_it(em: Em, store: str, config_file: Path) -> None:
    em("login", store)
    assert em("logout").out == f"logged out; changed {config_file.absolute()}\n"
    assert em("logout").out == "there was no login\n"
    assert em("ls", "/").code == 1


def test_config_shows_the_settings(em: Em, store: str, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EM_RUN_PARENT_DIR", "runs")
    before = em("config").out
    assert f"config_file         {config_file.absolute()} (not there)" in before
    assert "aistore_host        -" in before
    em("login", store, "--api-key", stdin=f"{KEY}\n")
    out = em("config").out
    assert "(not there)" not in out
    assert "api_key             ****90ab" in out
    assert "$EM_RUN_PARENT_DIR  runs" in out
    assert KEY not in out
    shown = em("config", "--json").json
    assert shown["aistore_host"] == shown["backend"] == store
    assert shown["run_directory"] == "runs"
    assert shown["environment"]["EM_USER"] == "alice"
    assert em("--backend", "memory://x", "config", "--json").json["backend"] == "memory://x"


def test_a_broken_config_file_is_a_clear_error(em: Em, config_file: Path) -> None:
    config_file.write_text(f"contexts: {KEY}")
    for command in (["config"], ["login", "data"], ["logout"], ["ls", "/"]):
        ran = em(*command)
        assert ran.code == 1
        assert "t9k-config.yaml" in ran.err
        assert KEY not in ran.err


def test_short_keys_are_masked_whole() -> None:
    assert (masked("secret"), masked(KEY)) == ("****", "****90ab")


def test_the_key_stays_with_the_host_that_it_was_saved_with(
    em: Em, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from t9k.em import session

    em("login", store, "--api-key", stdin=f"{KEY}\n")
    used = []
    login = session.login

    def spy(uri: str, *, api_key: str | None = None) -> object:
        used.append((uri, api_key))
        return login(uri, api_key=api_key)

    monkeypatch.setattr(session, "login", spy)
    em("ls", "/")
    em("ls", "/", "--backend", f"{store}-2")
    assert used == [(store, KEY), (f"{store}-2", None)]


class TestAPlaceThatCannotBeWritten:
    @pytest.fixture
    def read_only(self, tmp_path: Path, store: str) -> Iterator[None]:
        if os.geteuid() == 0:
            pytest.skip("nothing is read-only for root")
        make_run().upload(f"{store}#default")
        for path in (tmp_path / "store").rglob("*"):
            if path.is_dir():
                path.chmod(0o500)
        (tmp_path / "store").chmod(0o500)
        yield
        for path in (tmp_path / "store", *(tmp_path / "store").rglob("*")):
            if path.is_dir():
                path.chmod(0o700)

    def test_is_told_at_login_where_it_can_be_read(self, em: Em, store: str, read_only: None) -> None:
        ran = em("login", store)
        assert ran.code == 0
        assert ran.err.startswith("em: warning: what is there can be read, but nothing can be uploaded: ")
        assert "Permission denied; check who may write there" in ran.err

    @pytest.mark.parametrize("place", ["/proc/em", "/proc/self/em/store", "/dev/null", "/dev/null/em"])
    def test_is_no_login_where_nothing_is_there(self, em: Em, place: str) -> None:
        ran = em("login", place)
        assert (ran.code, ran.out) == (1, "")
        assert place.removesuffix("/store").removesuffix("/em") in ran.err
        assert em("config", "--json").json["aistore_host"] is None
