"""Links that somebody has put into the directory of a run or artifact are never followed, whether it is read, written or uploaded."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import warnings
from pathlib import Path

import pytest

from t9k import em
from t9k.em.errors import EMError, IncompleteWarning, LocalError, NodeSymlinkError, UploadFailed
from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.files import replacing
from t9k.em.run import Run

SECRET = b"# -----BEGIN OPENSSH PRIVATE KEY-----\n"
RECORDS = (
    "metadata.yaml",
    "hyperparameters.yaml",
    "index.yaml",
    "platform.yaml",
    "git.yaml",
    "packages.txt",
    "diff.patch",
    "error.yaml",
    "stdout.log",
    "metrics/train.yaml",
    "metrics",
    ".em/state.yaml",
    ".em/ancestors",
    ".em",
)
PARTS = ("metadata.yaml", "index.yaml", "objects/deep/f", "objects/deep", "objects", ".em/ancestors", ".em")


def make_run() -> Path:
    """A run with all kinds of records, which has ended and was uploaded once."""
    run = Run({"name": "r"}, {"lr": 1}, platform={"os": "x"}, git={"commit": "x"})
    run.log("train", {"loss": 0.5}, step=1)
    error = ValueError("diverged")
    run.__exit__(ValueError, error, None)
    directory = Path(run.local)
    (directory / "packages.txt").write_text("a==1\n")
    (directory / "diff.patch").write_text("# x\n")
    run.upload("memory://first#x", make_folder=True)
    return directory


def make_artifact() -> Path:
    artifact = em.create_artifact("a")
    Path("f").write_text("mine")
    artifact.add_file("f", "deep/f")
    artifact.upload("memory://first#x", make_folder=True)
    return Path(artifact.local)


def plant(directory: Path, key: str, outside: Path) -> Path:
    """Puts a link in place of a file or directory, to one outside that would be understood as well, and returns that."""
    outside.mkdir()
    place, target = directory / key, outside / "target"
    place.rename(target)
    place.symlink_to(target)
    for path in [target, *target.rglob("*")]:
        if path.is_file():
            path.write_bytes(SECRET + path.read_bytes())
    return target


def content(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in [place, *place.rglob("*")] if path.is_file()}


def everything_in(uri: str) -> bytes:
    return b"".join(path.read_bytes() for path in Path(uri.removeprefix("file://")).rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path) -> str:
    return (tmp_path / "store").as_uri()


@pytest.mark.parametrize("key", RECORDS)
def test_a_run_with_a_link_is_not_uploaded_and_the_link_is_named(key, tmp_path, store):
    directory = make_run()
    plant(directory, key, tmp_path / "outside")
    with pytest.raises(NodeSymlinkError, match="is a symbolic link.* remove the link, or put a copy") as refused:
        em.upload(str(directory), f"{store}#x", make_folder=True)
    assert str(refused.value).startswith(f"{directory / key} ")
    assert SECRET not in everything_in(store)


@pytest.mark.parametrize("key", PARTS)
def test_an_artifact_with_a_link_is_not_uploaded_and_the_link_is_named(key, tmp_path, store):
    directory = make_artifact()
    plant(directory, key, tmp_path / "outside")
    with pytest.raises(NodeSymlinkError, match="is a symbolic link.* remove the link, or put a copy") as refused:
        em.upload(str(directory), f"{store}#x", make_folder=True)
    assert str(refused.value).startswith(f"{directory / key} ")
    assert SECRET not in everything_in(store)


def test_the_others_of_a_directory_are_uploaded(tmp_path, store):
    bad, good = make_run(), make_run()
    plant(bad, "git.yaml", tmp_path / "outside")
    with pytest.raises(UploadFailed, match=r"(?s)1 of 2 could not be uploaded:.*git\.yaml is a symbolic link"):
        em.upload(str(bad.parent), f"{store}#x", make_folder=True)
    assert em.load_run(f"{store}#x/r").id == em.load_run(str(good)).id


@pytest.mark.parametrize("key", RECORDS)
def test_nothing_that_a_run_records_is_written_through_a_link(key, tmp_path):
    directory = make_run()
    target = plant(directory, key, tmp_path / "outside")
    before = content(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        try:
            run = em.load_run(str(directory))
        except LocalError:
            pass
        else:
            for step in range(3):
                run.log("train", {"loss": 1.0}, step=step)
                run.log("new", {"loss": 1.0}, step=step)
            sys.stdout.write("printed\n")
            run.hparams["lr"] = 2
            run.mark_output(em.create_artifact("b"))
            run.labels.append("x")
            with contextlib.suppress(NodeSymlinkError):
                run.save()
                run.parse_from_dict({"metadata": {"name": "other"}, "metrics": {}, "git": {"commit": "y"}})
            run.finish(status="Failed")
    assert content(target) == before


@pytest.mark.parametrize("key", PARTS)
def test_nothing_that_is_added_to_an_artifact_is_written_through_a_link(key, tmp_path):
    directory = make_artifact()
    target = plant(directory, key, tmp_path / "outside")
    before = content(target)
    Path("new").write_text("new")
    Path("tree").mkdir()
    Path("tree/g").write_text("new")
    with contextlib.suppress(NodeSymlinkError):
        artifact = em.load_artifact(str(directory))
        artifact.add_file("new", "deep/f")
        artifact.add_file("new", "deep/new")
        artifact.add_dir("tree", "deep")
        artifact.labels.append("x")
        artifact.save()
        artifact.parse_from_dict({"metadata": {"name": "other"}})
    assert content(target) == before


@pytest.mark.parametrize("name", ["stdout.log", "metrics/train.yaml", "hyperparameters.yaml"])
def test_a_training_goes_on_where_a_link_is_in_the_way_of_its_records(name, tmp_path):
    run = Run({"name": "r"}, {"lr": 1})
    run.log("train", {"loss": 1.0}, step=0)
    run._metrics.close()
    path = Path(run.local, name)
    path.unlink(missing_ok=True)
    target = tmp_path / ".bashrc"
    target.write_text("mine\n")
    path.symlink_to(target)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run.log("train", {"loss": 0.5}, step=1)
        run.hparams["lr"] = 2
        run.__exit__(ValueError, ValueError("x"), None)
    assert any(f"{name} is a symbolic link" in str(warning.message) for warning in told)
    assert run.status == "Failed"
    assert target.read_text() == "mine\n"


def test_what_is_read_of_an_artifact_is_never_what_a_link_leads_to(tmp_path):
    for key in ("objects/deep/f", "objects/deep", "objects"):
        directory = make_artifact()
        plant(directory, key, tmp_path / key.replace("/", "-"))
        artifact = em.load_artifact(str(directory))
        with pytest.raises(NodeSymlinkError):
            artifact.get("deep/f")
        with pytest.raises(NodeSymlinkError):
            artifact.open("deep/f")
        with pytest.raises(NodeSymlinkError):
            artifact.fs.cat_file("deep/f")
        with pytest.raises(NodeSymlinkError):
            artifact.download()


@pytest.mark.parametrize("key", ["platform.yaml", "git.yaml", "error.yaml", "metrics/train.yaml", "metrics"])
def test_what_is_read_of_a_run_is_never_what_a_link_leads_to(key, tmp_path):
    directory = make_run()
    plant(directory, key, tmp_path / "outside")
    run = em.load_run(str(directory))
    with pytest.raises(NodeSymlinkError):
        _ = run.platform, run.git, run.error, run.metrics
    if key.startswith("metrics"):
        pytest.importorskip("pyarrow")
        with pytest.raises(NodeSymlinkError):
            run.metrics_table()


def test_directories_above_may_be_links_of_the_user(tmp_path, store):
    (tmp_path / "disk/em").mkdir(parents=True)
    Path(".em").symlink_to(tmp_path / "disk/em")
    directory = make_run()
    (tmp_path / "again").symlink_to(directory)
    em.upload(str(tmp_path / "again"), f"{store}#x", make_folder=True)
    assert em.load_run(f"{store}#x/r").hparams["lr"] == 1


def test_hard_links_are_files_like_others(tmp_path, store):
    directory = make_artifact()
    os.link(directory / "objects/deep/f", tmp_path / "beside")
    em.upload(str(directory), f"{store}#x", make_folder=True)
    assert Path(em.load_artifact(f"{store}#x/a").get("deep/f")).read_text() == "mine"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).mkdir()], ids=["pipe", "directory"])
@pytest.mark.parametrize("key", ["metadata.yaml", "git.yaml", "metrics/train.yaml", "stdout.log"])
def test_what_is_no_file_is_neither_waited_for_nor_uploaded(key, make, store):
    directory = make_run()
    (directory / key).unlink()
    make(directory / key)
    try:
        em.upload(str(directory), f"{store}#x", make_folder=True)
    except (EMError, OSError) as error:
        told = str(error)
        assert directory.name in told


class TestBelow:
    @pytest.fixture
    def root(self, tmp_path):
        (tmp_path / "root/d/e").mkdir(parents=True)
        (tmp_path / "root/d/e/f").write_bytes(b"mine")
        (tmp_path / "outside/e").mkdir(parents=True)
        (tmp_path / "outside/e/f").write_bytes(SECRET)
        return tmp_path / "root"

    def test_nobody_can_swap_a_directory_for_a_link_in_between(self, root, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path / "outside")
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                os.rename(root / "d", root / "x")
                os.rename(tmp_path / "link", root / "d")
                os.rename(root / "d", tmp_path / "link")
                os.rename(root / "x", root / "d")

        other = threading.Thread(target=swap)
        other.start()
        found = set()
        try:
            for _ in range(3000):
                try:
                    found.add(below.read(Below(root, "d/e/f")))
                    with below.stream(Below(root, "d/e/g"), os.O_RDWR | os.O_CREAT) as file:
                        file.write(b"new")
                except (NodeSymlinkError, OSError):
                    continue
        finally:
            stop.set()
            other.join()
        assert found <= {b"mine"}
        assert sorted(path.name for path in (tmp_path / "outside").rglob("*")) == ["e", "f"]

    def test_it_is_no_path_that_could_be_opened_otherwise(self, root):
        with pytest.raises(TypeError):
            open(Below(root, "d/e/f"))  # type: ignore[call-overload]  # noqa: SIM115 - that is the test

    def test_the_root_may_be_a_link(self, root, tmp_path):
        (tmp_path / "alias").symlink_to(root)
        assert below.read(Below(tmp_path / "alias", "d/e/f")) == b"mine"
        assert [each.key for each, _ in below.walk(tmp_path / "alias")] == ["d", "d/e", "d/e/f"]

    @pytest.mark.parametrize("key", ["d", "d/e", "d/e/f"])
    def test_each_component_is_refused_and_named(self, root, tmp_path, key):
        (root / key).rename(tmp_path / "moved")
        (root / key).symlink_to(tmp_path / "moved")
        for look in (below.read, below.status, below.is_file):
            with pytest.raises(NodeSymlinkError, match=rf"{re.escape(str(root / key))} is a symbolic link"):
                look(Below(root, "d/e/f"))

    def test_a_system_that_cannot_open_in_a_directory_looks_for_links_before(self, root, tmp_path, monkeypatch):
        monkeypatch.setattr(below, "CAN_OPEN_AT", False)
        assert below.read(Below(root, "d/e/f")) == b"mine"
        assert below.names(Below(root, "d/e")) == ["f"]
        assert [each.key for each, _ in below.walk(root)] == ["d", "d/e", "d/e/f"]
        with replacing(Below(root, "d/e/g")) as fd:
            os.write(fd, b"new")
        assert (root / "d/e/g").read_bytes() == b"new"
        for key in ("d/e/f", "d/e", "d"):
            (root / key).rename(tmp_path / "moved")
            (root / key).symlink_to(tmp_path / "moved")
            for look in (below.read, below.status, lambda path: below.names(path.parent)):
                if look is below.read or look is below.status or key != "d/e/f":
                    with pytest.raises(NodeSymlinkError, match="remove the link"):
                        look(Below(root, "d/e/f"))
            (root / key).unlink()
            (tmp_path / "moved").rename(root / key)

    def test_a_link_is_not_walked_into(self, root, tmp_path):
        (root / "d/link").symlink_to(tmp_path / "outside")
        assert [each.key for each, _ in below.walk(root)] == ["d", "d/e", "d/link", "d/e/f"]

    def test_what_is_missing_has_no_status(self, root):
        assert below.status(Below(root, "d/nothing")) is None
        assert below.status(Below(root, "nothing/at/all")) is None
        assert below.status(Below(root, "d/e/f/g")) is None
        assert not below.is_dir(Below(root, "d/e/f"))
        assert below.is_dir(Below(root, "d/e"))
