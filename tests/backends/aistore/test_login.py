"""Logging in to a server: from Python, on the command line, and with what is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
import yaml
from tests.backends.aistore.scripted import Reply, Scripted
from tests.services.aistore import AIStorePlace, Someone
from tests.services.processes import free_port

import t9k
from t9k import em
from t9k.em import session
from t9k.em.errors import BackendUnavailable, InvalidURI, NotAuthenticated

pytest.importorskip("click")

from click.testing import CliRunner

from t9k.em.cli.app import app
from t9k_em_backends.aistore import AIStoreBackend

WRONG = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"


@pytest.fixture
def config_file() -> Path:
    return Path(".home/t9k-config.yaml")


def run(*args: str, stdin: str | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, args, input=stdin, catch_exceptions=False, prog_name="em")
    return done.exit_code, done.stdout, done.stderr


def test_host_and_key_come_from_the_configuration(alice: Someone) -> None:
    t9k.CONFIG.update({"aistore_host": f"{alice.url}/", "api_key": alice.key})
    em.login()
    assert session.current().whoami() == alice.name
    em.logout()
    em.login(alice.url)
    assert session.current().whoami() == alice.name


def test_a_saved_key_is_not_sent_to_another_host(alice: Someone) -> None:
    with Scripted() as other:
        t9k.CONFIG.update({"aistore_host": alice.url, "api_key": alice.key})
        with pytest.raises(NotAuthenticated, match="needs an API key"):
            em.login(other.url)
        assert all("authorization" not in request.headers for request in other.requests)


def test_a_key_that_was_given_is_used_for_uris_of_that_server_as_well(alice: Someone) -> None:
    em.login(alice.url, alice.key)
    run_ = em.create_run(name="cnn")
    run_.finish()
    run_.upload(f"{alice.url}#runs", make_folder=True)
    assert em.load_run("runs/cnn").name == "cnn"
    em.logout()
    with pytest.raises(NotAuthenticated):
        run_.upload(f"{alice.url}#runs")


def test_what_is_wrong_with_a_login_is_an_http_error(alice: Someone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t9k_em_backends.aistore.server.FIRST_S", 0.1)
    for host, key, kind in (
        (alice.url, WRONG, NotAuthenticated),
        (alice.url, "nonsense", NotAuthenticated),
        (alice.url, None, NotAuthenticated),
        (f"{alice.url}/wrong/prefix", alice.key, RuntimeError),
        (f"http://127.0.0.1:{free_port()}", alice.key, BackendUnavailable),
    ):
        with pytest.raises(requests.HTTPError) as caught:
            em.login(host, key)
        assert isinstance(caught.value, kind)
        with pytest.raises(em.errors.NotLoggedIn):
            session.current()
    with pytest.raises(InvalidURI, match="insecure"):
        em.login("http://host.invalid", alice.key)


def test_keys_that_ended_say_why(over_files: AIStorePlace) -> None:
    someone = over_files.someone()
    info, text = over_files.accounts.add_key(someone.name)
    over_files.accounts.revoke_key(someone.name, info.id)
    with pytest.raises(NotAuthenticated, match="revoked") as caught:
        em.login(someone.url, text)
    assert caught.value.reason == "key_revoked"
    over_files.accounts.set_disabled(someone.name, disabled=True)
    with pytest.raises(NotAuthenticated, match="disabled"):
        em.login(someone.url, someone.key)


def test_the_timeout_of_a_login_is_that_of_its_requests() -> None:
    with Scripted() as server:
        backend = session.login(server.url, api_key=WRONG, timeout_s=0.7)
        assert isinstance(backend, AIStoreBackend)
        assert backend._server.connection.timeout_s == 0.7


# The command.


def test_em_login_takes_the_key_from_stdin_and_says_who_one_is(alice: Someone, config_file: Path) -> None:
    config_file.write_text(
        "current-context: c\nmine: {kept: [1]}\ncontexts:\n- {name: c, colour: red, auth: {token: t}}\n"
    )
    config_file.chmod(0o644)
    code, out, err = run("login", alice.url, "--api-key", stdin=f"{alice.key}\n")
    assert (code, err) == (0, "")
    assert out == f"logged in to {alice.url} as {alice.name}; saved in {config_file.absolute()}\n"
    assert config_file.stat().st_mode & 0o777 == 0o600
    saved = yaml.safe_load(config_file.read_text())
    assert saved["mine"] == {"kept": [1]}
    (context,) = saved["contexts"]
    assert (context["colour"], context["server"]) == ("red", alice.url)
    assert context["auth"] == {"token": "t", "apikey": alice.key}
    assert run("ls", "/")[0] == 0
    assert run("ls", f"{alice.url}#/")[0] == 0


def test_em_login_without_a_key_uses_the_saved_one_and_keeps_it(alice: Someone, config_file: Path) -> None:
    code, _, err = run("login", alice.url)
    assert code == 1
    assert "--api-key" in err
    assert not config_file.exists()
    run("login", alice.url, "--api-key", stdin=f"{alice.key}\n")
    for arguments in (["login"], ["login", f"{alice.url}/"]):
        assert run(*arguments)[0] == 0
        assert yaml.safe_load(config_file.read_text())["contexts"][0]["auth"]["apikey"] == alice.key


@pytest.mark.parametrize("key", [WRONG, "nonsense"])
def test_em_login_saves_no_key_that_does_not_work(alice: Someone, config_file: Path, key: str) -> None:
    code, out, err = run("login", alice.url, "--api-key", stdin=f"{key}\n")
    assert (code, out) == (1, "")
    assert err.startswith("em: ")
    assert key not in err
    assert not config_file.exists()


def test_a_server_in_a_trusted_network_is_saved_with_its_option(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scripted() as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        url = "http://aistore.invalid/t9k?insecure=true"
        code, _, err = run("login", url, "--api-key", stdin=f"{WRONG}\n")
        assert (code, err) == (0, "")
        t9k.CONFIG.reload()
        assert t9k.CONFIG["aistore_host"] == url
        assert run("login")[0] == 0


def test_after_a_logout_the_server_is_known_and_the_key_is_not(alice: Someone, config_file: Path) -> None:
    run("login", alice.url, "--api-key", stdin=f"{alice.key}\n")
    assert run("logout")[0] == 0
    assert alice.key not in config_file.read_text()
    code, _, err = run("ls", "/")
    assert code == 1
    assert f"em login {alice.url}" in err


def test_em_gc_says_who_collects(alice: Someone) -> None:
    run("login", alice.url, "--api-key", stdin=f"{alice.key}\n")
    code, _, err = run("gc")
    assert code == 1
    assert "whose store only its operator can collect: run em gc" in err


def test_em_shows_an_error_of_a_stranger_as_one_line() -> None:
    with Scripted(version=Reply(status=404, body=b"not found")) as server:
        code, out, err = run("login", server.url, "--api-key", stdin=f"{WRONG}\n")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "is there an AIStore at this address?" in err
