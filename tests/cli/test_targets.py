from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_artifact, make_run
from tests.services.places import S3Place

from t9k import CONFIG
from t9k import em as em_
from t9k.em import session
from t9k.em.cli.targets import local_node, local_nodes, refuse_nested
from t9k.em.errors import NotFound
from t9k.em.uris import parse, uri_of_node


@pytest.mark.parametrize(
    "path", ["/alice/mnist", "/alice/a b", "/alice/100%", "/alice/a#b", "/alice/a?b", "/alice/模型"]
)
def test_the_uri_of_a_node_leads_back_to_it(path: str) -> None:
    uri = uri_of_node("file:///data/em", path, 3)
    assert parse(uri).folder == f"{path}@3"
    assert uri_of_node("file:///data/em", path) == uri.removesuffix("@3")
    assert session.resolve(uri)[1] == f"{path}@3"


def test_the_home_directory_has_its_short_name() -> None:
    run = make_run()
    assert local_node(f"~/../{os.path.relpath(run.local)}") is not None
    assert len(local_nodes("~/..")) == 1


def test_a_uri_is_never_local(store: str) -> None:
    assert local_node(store) is None
    assert local_nodes(store) == []


@pytest.mark.parametrize("command", ["show", "plot"])
def test_a_directory_with_several_says_how_many(em: Em, command: str) -> None:
    make_run(), make_run()
    each = ", or .em/runs/*" if command == "plot" else ""
    assert em(command, ".em/runs").err == f"em: .em/runs holds 2 runs; name one of them{each}\n"
    make_artifact()
    Path(make_run("bad").local, "metadata.yaml").write_bytes(b"{")
    assert em(command, ".").err == "em: . holds 1 damaged one and 2 runs and 1 artifact; name one of them\n"


def test_an_existing_directory_without_any_is_no_path_in_a_backend(em: Em, tmp_path: Path, store: str) -> None:
    Path("empty").mkdir()
    for place in (f"{tmp_path}/empty", "empty"):
        for options in ([], ["--backend", store]):
            ran = em(*options, "ls", place)
            assert ran.code == 1
            assert ran.err.endswith("and a store is listed by its URI, file:///...\n")
    make_run().upload(f"{store}#empty", make_folder=True)
    assert em("ls", "empty", "--backend", store).out == "cnn\n"
    assert em("ls", "/", "--backend", store).out == "alice/\n"


def test_the_full_name_is_enough_to_show_what_is_here(em: Em) -> None:
    run, artifact = make_run(), make_artifact()
    assert os.path.abspath(em("show", Path(run.local).name, "--json").json["place"]) == os.path.abspath(run.local)
    assert os.path.abspath(em("show", Path(artifact.local).name, "--json").json["place"]) == os.path.abspath(
        artifact.local
    )
    assert em("plot", Path(run.local).name).code == 0


class TestAStoreInsideAStore:
    @pytest.fixture
    def nested(self, store: str) -> str:
        make_run().upload(f"{store}#mnist", make_folder=True)
        return f"{store}/alice/mnist"

    def test_is_refused_by_all_that_writes(self, em: Em, store: str, nested: str) -> None:
        run = make_run()
        for arguments in (
            ("upload", run.local, "--folder", nested),
            ("upload", run.local, "--backend", nested),
            ("cp", f"{store}#mnist/cnn", nested),
            ("rm", "-y", f"{nested}#cnn"),
            ("gc", "--apply", nested),
            ("login", nested),
            ("login", nested.removeprefix("file://")),
        ):
            ran = em(*arguments)
            assert (ran.code, ran.out) == (1, "")
            assert ran.err == f"em: {nested} is inside the store {store}; did you mean {store}#/alice/mnist?\n"
        assert not (Path("store") / "alice/mnist/.em/h/alice").exists()

    def test_is_found_from_far_below(self, em: Em, store: str, nested: str) -> None:
        ran = em("upload", make_run().local, "--folder", f"{nested}/a b/c", "--make-folder")
        assert f"did you mean {store}#/alice/mnist/a%20b/c?" in ran.err

    def test_only_local_ones_can_be(self) -> None:
        refuse_nested("memory://x/y")


@pytest.mark.parametrize("command", ["show", "plot", "download"])
def test_a_bucket_that_is_not_there_is_no_folder(em: Em, s3: S3Place, command: str) -> None:
    ran = em(command, "s3://nobody-made-this")
    assert ran.code == 1
    assert ran.err.startswith("em: s3://nobody-made-this: there is no such bucket")
    assert "there is no store at s3://" in em(command, s3.new_root()).err


class TestATypoOfAUri:
    @pytest.fixture(autouse=True)
    def _nothing_is_made(self) -> Iterator[None]:
        yield
        assert not [path for path in Path.cwd().iterdir() if ":" in path.name or path.name == "http"]

    @pytest.mark.parametrize(
        ("typo", "meant"),
        [("s3:/bucket", "s3://bucket"), ("http//host", "http://host"), ("simplecache::s3://b/r", "s3://b/r")],
    )
    def test_is_refused_by_all_commands_with_what_was_meant(self, em: Em, typo: str, meant: str) -> None:
        run = make_run()
        for arguments in (
            ("login", typo),
            ("ls", typo),
            ("show", typo),
            ("gc", typo),
            ("rm", "-y", typo),
            ("download", typo),
            ("mirror", typo, "memory://x"),
            ("mirror", "memory://x", typo),
            ("cp", "memory://x#/alice/a", typo),
            ("upload", run.local, "--folder", typo, "--make-folder"),
            ("upload", run.local, "--backend", typo),
            ("--backend", typo, "ls", "/"),
        ):
            ran = em(*arguments)
            assert (ran.code, ran.out) == (1, ""), arguments
            assert f"did you mean {meant!r}?" in ran.err, arguments
        assert em("config", "--json").json["aistore_host"] is None

    def test_is_told_where_it_was_read(self, em: Em, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EM_BACKEND", "s3:/bucket")
        assert em("ls", "/").err.startswith("em: the environment variable EM_BACKEND: 's3:/bucket' looks like a URI")
        monkeypatch.delenv("EM_BACKEND")
        Path("config.yaml").write_text("current-context: a\ncontexts: [{name: a, server: 'localhost:8000'}]\n")
        monkeypatch.setenv("T9K_CONFIG", "config.yaml")
        CONFIG.reload()
        assert em("ls", "/").err.startswith("em: the aistore_host of config.yaml: 'localhost:8000' looks like a URI")

    def test_is_no_directory_to_download_into(self, em: Em, logged_in: str) -> None:
        make_run().upload(f"{logged_in}#default")
        ran = em("download", "default/cnn", "s3://bucket/cnn")
        assert ran.code == 1
        assert "must be a directory of this machine, not a URI" in ran.err


class TestAStoreThatIsNotThere:
    @pytest.mark.parametrize("place", ["", "#/", "#/alice", "#/alice/default"])
    @pytest.mark.parametrize(
        "command", [["ls"], ["ls", "-l"], ["ls", "--json"], ["gc"], ["show"], ["download"], ["mirror"]]
    )
    def test_is_said_and_no_success(self, em: Em, store: str, command: list[str], place: str) -> None:
        ran = em(*command, f"{store}{place}", *(["memory://not-there#/x"] if command == ["mirror"] else []))
        assert (ran.code, ran.out) == (1, "")
        assert f"there is no store at {store}: " in ran.err
        assert not Path("store").exists()

    def test_is_said_where_a_node_is_asked_for(self, em: Em, store: str) -> None:
        assert "no store is there at all: check its URI" in em("show", f"{store}#/alice/default/cnn").err

    def test_is_said_of_a_directory_without_one(self, em: Em, store: str, tmp_path: Path) -> None:
        ran = em("ls", f"file://{tmp_path}")
        assert (ran.code, ran.out) == (1, "")
        assert f"there is no store at file://{tmp_path}: nothing was ever uploaded there" in ran.err

    def test_is_said_of_the_saved_one_that_went(self, em: Em, logged_in: str) -> None:
        assert em("ls", "/").code == 0
        shutil.rmtree("store")
        ran = em("ls", "/")
        assert (ran.code, ran.out) == (1, "")
        assert "is not there: its mark .em/store.json is missing" in ran.err


def test_a_uri_without_its_fragment_is_answered_with_the_right_form(em: Em, store: str) -> None:
    make_run().upload(f"{store}#mnist", make_folder=True)
    for command in ("show", "plot", "ls", "download", "export"):
        ran = em(command, f"{store}/alice/mnist/cnn")
        assert (ran.code, ran.out) == (1, "")
        assert f"is inside the store {store}; did you mean {store}#/alice/mnist/cnn?" in ran.err
    with pytest.raises(NotFound, match="did you mean file:.*#/alice/mnist/cnn"):
        em_.load_run(f"{store}/alice/mnist/cnn")


def test_versions_begin_with_one(em: Em, store: str) -> None:
    make_run().upload(f"{store}#default")
    ran = em("show", f"{store}#/alice/default/cnn@0")
    assert ran.code == 1
    assert ran.err.endswith("means no version: they begin with @1; '/alice/default/cnn' is the newest one\n")
