"""Texts that look like a URI and are none: refused wherever a place can be given, with what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from t9k import CONFIG, em
from t9k.em import session
from t9k.em.errors import InvalidConfig, InvalidStrategy, InvalidURI, LocalError, UnknownScheme
from t9k.em.names import check_strategy
from t9k.em.nodes.run_config import read_run_config
from t9k.em.registry import open_backend
from t9k.em.typos import did_you_mean, nearest
from t9k.em.uris import check_path_text, parse

MEANT = {
    "s3:/bucket": "s3://bucket",
    "s3:bucket": "s3://bucket",
    "S3:/bucket": "s3://bucket",
    "s3//bucket/root": "s3://bucket/root",
    "s3_://b": "s3://b",
    "1s://b": "s3://b",
    "gs//": "gs://name/root",
    "gs:/b": "gs://b",
    "http//host": "http://host",
    "https:/host/a": "https://host/a",
    "htps:/host": "https://host",
    "file:/x": "file:///x",
    "file:x": "file:///x",
    "arrow_hdfs://h": "hdfs://h",
    "simplecache::s3://b/r": "s3://b/r",
    "arn:aws:s3:::bucket/root": "s3://bucket/root",
    "localhost:8000": "http://localhost:8000",
    " s3://b": "s3://b",
}
ONLY_OF_STORES = {
    "//host/share": "https://host/share",
    "host:8000/t9k": "http://host:8000/t9k",
    "team.example.com/t9k": "https://team.example.com/t9k",
    "/data/em ": "/data/em",
}


@pytest.mark.parametrize("text", MEANT)
@pytest.mark.parametrize("check", [parse, check_path_text])
def test_what_looks_like_a_uri_is_answered_with_the_one_that_was_meant(check, text):
    with pytest.raises(InvalidURI) as caught:
        check(text)
    assert f"did you mean '{MEANT[text]}'?" in str(caught.value)
    parse(MEANT[text])


@pytest.mark.parametrize("text", ONLY_OF_STORES)
def test_a_store_without_its_scheme_is_no_local_directory(text):
    with pytest.raises(InvalidURI) as caught:
        parse(text)
    assert f"did you mean '{ONLY_OF_STORES[text]}'?" in str(caught.value)


@pytest.mark.parametrize("text", ["://x", "exp::1", "host:/data"])
def test_what_cannot_be_guessed_is_answered_with_forms(text):
    with pytest.raises(InvalidURI, match="use a URI like 'file:///data/em'"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [("./a://b", "a:/b"), ("./s3:/b", "s3:/b"), ("C:\\x", "C:\\x"), ("C:/x", "C:/x"), ("v1.data/em", "v1.data/em")],
)
def test_a_plain_path_stays_one(text, path):
    assert parse(text).path == str(Path.cwd() / path)


@pytest.mark.parametrize("path", ["lr:0.1/cnn", "/alice/s3:/x", "mnist/cnn", "a.com/x", "exp:b"])
def test_names_with_colons_stay_paths_in_a_backend(path):
    assert check_path_text(path) == path


@pytest.mark.parametrize("text", ["me:seCret@host:/x", "https//u:seCret@h", "s3:/b?token=seCret"])
@pytest.mark.parametrize("check", [parse, check_path_text])
def test_a_secret_is_not_repeated(check, text):
    try:
        check(text)
    except InvalidURI as error:
        assert "seCret" not in str(error)  # noqa: PT017 - a path in a backend may be one of them


@pytest.mark.parametrize("uri", ["s3://bucket/root ", "file:///data/em ", "s3:// "])
def test_a_uri_does_not_end_with_a_space(uri):
    with pytest.raises(InvalidURI, match="ends with a space"):
        parse(uri)


def test_two_slashes_before_a_local_path_are_one():
    assert parse("file:////data/em").text == "file:///data/em"


@pytest.mark.parametrize(("uri", "scheme"), [("s4://b", "s3"), ("flie:///x", "file"), ("htps://h", "https")])
def test_an_unknown_scheme_is_answered_with_the_nearest(uri, scheme):
    with pytest.raises(UnknownScheme, match=f"did you mean {scheme}://?"):
        open_backend(uri)


class TestEverywhere:
    @pytest.fixture(autouse=True)
    def _empty(self):
        yield
        assert not [path for path in Path.cwd().rglob("*") if ":" in path.name], "a typo became a directory"

    def test_login(self):
        with pytest.raises(InvalidURI, match="did you mean 's3://bucket'"):
            em.login("s3:/bucket")

    def test_login_from_the_config(self):
        CONFIG["aistore_host"] = "localhost:8000"
        try:
            with pytest.raises(InvalidURI, match="did you mean 'http://localhost:8000'"):
                em.login()
        finally:
            CONFIG.reload()

    @pytest.mark.parametrize("logged_in", [False, True])
    def test_folders_and_paths(self, tmp_path, logged_in):
        if logged_in:
            em.login(str(tmp_path / "store"))
        run = em.create_run(name="x")
        run.finish()
        for call in (
            lambda: run.upload("s3:/bucket", make_folder=True),
            lambda: em.upload(run.local, folder="s3:/bucket", make_folder=True),
            lambda: em.create_run(auto_upload=True, folder="s3:/bucket", make_folder=True),
            lambda: em.load_run("s3:/bucket"),
            lambda: em.load_artifact("s3:/bucket"),
            lambda: em.mirror("s3:/bucket", "memory://typos"),
            lambda: em.mirror("memory://typos", "s3:/bucket"),
        ):
            with pytest.raises(InvalidURI, match="did you mean 's3://bucket'"):
                call()
        session.logout()

    @pytest.mark.parametrize("named", ["s3://bucket/runs", "s3:/bucket", "file:///data/runs"])
    def test_where_local_directories_are_made(self, monkeypatch, named):
        monkeypatch.setenv("EM_RUN_PARENT_DIR", named)
        with pytest.raises(LocalError, match="EM_RUN_PARENT_DIR must be a directory of this machine"):
            em.create_run()


def test_a_known_word_is_found_whatever_its_case_and_small_slips():
    assert nearest("LOSS", ["loss", "accuracy"]) == "loss"
    assert nearest("acuracy", ["loss", "accuracy"]) == "accuracy"
    assert nearest("acc", ["loss", "accuracy"]) == "accuracy"
    assert nearest("zzz", ["loss"]) is None
    assert did_you_mean("los", ["loss"]) == "; did you mean 'loss'?"
    assert did_you_mean(3, ["loss"]) == ""


def test_options_settings_and_strategies_are_answered_with_the_nearest(tmp_path):
    with pytest.raises(InvalidStrategy, match="did you mean 'replace'"):
        check_strategy("Replace")
    with pytest.raises(KeyError, match="did you mean 'api_key'"):
        CONFIG["apikey"]
    with pytest.raises(InvalidURI, match="did you mean 'region'"):
        open_backend("s3://bucket?regoin=eu")
    (tmp_path / "run.yaml").write_text("hparam: {}")
    with pytest.raises(InvalidConfig, match="did you mean 'hparams'"):
        read_run_config(tmp_path / "run.yaml")
