"""A secret that was given in the right or in a wrong place is found in no log, error, repr, pickle or file."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from tests.em.leaks import told
from tests.em.webserver import web_server

import t9k
from t9k import em
from t9k.em import session, uris
from t9k.em.artifact import Artifact
from t9k.em.errors import BackendPermissionError, BackendUnavailable, EMError, IncompleteWarning, SecretInURI

SECRET = "seCret5tring"
URIS = [
    f"s3://key:{SECRET}@bucket/x",
    f"https://{SECRET}@host/x",
    f"https://user:{SECRET}@host/x#/alice/y",
    f"file://user:{SECRET}@localhost/x",
    f"memory://x?token={SECRET}",
    f"s3://bucket/x?aws_secret_access_key={SECRET}#/alice",
    f"gs://bucket/x?X-Goog-Signature={SECRET}\n",
]


@pytest.fixture(autouse=True)
def _watch(caplog, capfd, tmp_path):
    """After each test, nothing that it left holds the secret."""
    caplog.set_level(logging.DEBUG)
    yield
    printed = capfd.readouterr()
    logged = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    texts = [text for record in logged for text in (record.getMessage(), record.exc_text or "", str(record.__dict__))]
    for text in (*texts, printed.out, printed.err):
        assert SECRET not in text
    for path in tmp_path.rglob("*"):
        assert SECRET not in str(path)
        if path.is_file() and ".home" not in path.parts and ".git" not in path.parts:
            assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("uri", URIS)
def test_in_a_uri_it_is_refused_everywhere_and_never_told(backend, uri):
    artifact = em.create_artifact("a")
    run = em.create_run(name="r")
    uses = [
        lambda: em.login(uri),
        lambda: em.load_run(uri),
        lambda: em.load_artifact(uri),
        lambda: em.upload(artifact.local, folder=uri),
        lambda: artifact.upload(uri),
        lambda: run.upload(uri, make_folder=True),
        lambda: artifact.add_reference(uri, "x"),
        lambda: Artifact({"name": "b"}, {"x": {"uri": uri}}),
        lambda: artifact.parse_from_dict({"metadata": {"name": "a"}, "objects": {"x": {"uri": uri}}}),
        lambda: uris.parse(uri),
    ]
    for use in uses:
        with pytest.raises(EMError) as caught:
            use()
        assert SECRET not in told(caught.value)
    run.finish()
    assert artifact.objects == []


@pytest.mark.parametrize("uri", URIS)
def test_in_the_uri_of_an_automatic_upload_it_is_not_repeated(uri):
    run = em.create_run(name="r", auto_upload=True, folder=uri)
    with pytest.warns(IncompleteWarning) as caught:
        run.finish()
    assert SECRET not in str([warning.message for warning in caught])
    assert SECRET not in repr(run)


@pytest.mark.parametrize(("host", "key"), [("memory://its-server", SECRET), ("memory://another", None)])
def test_the_api_key_of_the_t9k_config_goes_to_its_own_server_only(monkeypatch, host, key):
    t9k.CONFIG.update({"aistore_host": "memory://its-server", "api_key": SECRET})
    given = []
    monkeypatch.setattr(session, "login", lambda uri, **options: given.append((uri, options["api_key"])))
    em.login(host)
    assert given == [(host, key)]


def test_as_an_api_key_it_is_kept_nowhere(store):
    t9k.CONFIG["api_key"] = SECRET
    em.login(store, api_key=SECRET)
    backend = session.current()
    run, artifact = em.create_run(name="r"), em.create_artifact("a")
    run.mark_output(artifact)
    run.upload()
    em.load_run("default/r")
    for thing in (backend, run, artifact, session, backend.stat("/alice/default/r"), uris.parse(store)):
        assert SECRET not in repr(thing)
    for use in (
        lambda: em.load_run("default/none"),
        lambda: artifact.upload("none"),
        lambda: em.login("nope://x", SECRET),
    ):
        with pytest.raises(EMError) as caught:
            use()
        assert SECRET not in told(caught.value)
    run.finish()


def test_in_the_environment_it_is_not_recorded(monkeypatch, backend):
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "API_KEY", "PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    run = em.create_run(name="r")
    assert SECRET not in str(run.platform)
    run.finish()
    run.upload()


@pytest.mark.parametrize(
    "remote",
    [
        f"https://user:{SECRET}@host/r.git",
        f"https://{SECRET}@host/r.git",
        f"ssh://git:{SECRET}@host/r.git",
        f"http://u:a/{SECRET}@host/r",
    ],
)
def test_in_a_git_remote_it_is_taken_out(tmp_path, remote, backend, monkeypatch):
    for command in (["init", "-q"], ["remote", "add", "origin", remote]):
        subprocess.run(["git", *command], check=True, cwd=tmp_path)
    monkeypatch.setattr(sys, "argv", [""])
    run = em.create_run(name="r")
    assert "host/r" in run.git["remote"]
    assert SECRET not in str(run.git)
    run.finish()
    run.upload()
    assert SECRET not in str(backend.stat("/alice/default/r"))


def test_in_a_redirect_it_is_neither_told_nor_kept(monkeypatch, caplog):
    monkeypatch.setenv("EM_REFERENCE_HOSTS", "127.0.0.1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # What the library of the requests logs at DEBUG is its own; here it is about what we tell.
    monkeypatch.setattr(logging.getLogger("urllib3"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("urllib3.connectionpool"), "disabled", True)
    with web_server() as server:
        server.redirect("/x", f"http://127.0.0.1:1/signed?X-Amz-Signature={SECRET}")
        artifact = em.create_artifact("a")
        artifact.add_reference(server.uri("/x"))
        with pytest.raises(BackendUnavailable) as caught:
            artifact.get("x")
        assert SECRET not in told(caught.value)
        server.redirect("/x", server.serve(f"/signed?X-Amz-Signature={SECRET}", b"", code=403))
        with pytest.raises(BackendPermissionError) as refused:
            artifact.get("x")
        assert SECRET not in told(refused.value)
        server.redirect("/x", server.serve(f"/signed?X-Amz-Signature={SECRET}", b"data"))
        assert Path(artifact.get("x")).read_bytes() == b"data"


def test_the_error_says_where_it_belongs():
    with pytest.raises(SecretInURI, match="use the environment, a profile or the T9k config"):
        uris.parse(f"s3://key:{SECRET}@bucket")
