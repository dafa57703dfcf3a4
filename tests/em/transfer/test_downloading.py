"""Downloads: into temporary files, checked, then renamed; what is there already is not fetched."""

from __future__ import annotations

import os
import stat

import attrs
import pytest
from tests.em.local.faultydisk import mounted

from t9k.em.errors import CorruptData, LocalError, NotFound, SymlinkError
from t9k.em.names import alternative_name
from t9k.em.records import ARTIFACT, Body, Draft, FileSpec
from t9k.em.transfer.downloading import download_files, select, select_exact
from t9k.em.transfer.sources import fetch
from t9k.em.transfer.uploading import upload_node

FILES = {"a": b"", "d/b": b"data", "d/e/c": b"x" * (3 << 20)}


def publish(backend, files=FILES, strategy="replace"):
    draft = Draft(kind=ARTIFACT, name="x", alternative_name=alternative_name("x"), id="1")
    bodies = {key: Body.of(data) for key, data in files.items()}
    return upload_node(backend, "/alice/default", draft, bodies, strategy=strategy)[1]


@pytest.fixture
def node(backend):
    return publish(backend)


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def content(target) -> dict[str, bytes]:
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def test_brings_all_or_some(backend, node, target):
    assert download_files(backend, node, target, keys=["d/b"]) is node
    assert content(target) == {"d/b": b"data"}
    download_files(backend, node, target)
    assert content(target) == FILES
    assert stat.S_IMODE((target / "d" / "b").stat().st_mode) == 0o600
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o700


def test_fetches_nothing_twice(backend, node, target, monkeypatch):
    (target / "d").mkdir()
    (target / "d" / "b").write_bytes(b"data")
    (target / "a").write_bytes(b"longer")
    read, asked = backend.read, []
    monkeypatch.setattr(backend, "read", lambda node, file, *args: asked.append(file.key) or read(node, file, *args))
    download_files(backend, node, target)
    assert sorted(asked) == ["a", "d/e/c"]
    download_files(backend, node, target)
    assert len(asked) == 2
    (target / "d" / "b").write_bytes(b"DATA")
    download_files(backend, node, target)
    assert asked[2:] == ["d/b"]
    assert content(target) == FILES


def test_a_key_that_is_not_there_is_named(backend, node, target):
    with pytest.raises(NotFound, match="/alice/default/x has no file 'nope'"):
        download_files(backend, node, target, keys=["a", "nope"])
    assert content(target) == {}


def test_bytes_that_are_wrong_are_not_written(backend, node, target, monkeypatch):
    for wrong in (b"", b"dat", b"DATA", b"data and more"):
        monkeypatch.setattr(backend, "read", lambda *_, wrong=wrong: iter([wrong]))
        with pytest.raises(CorruptData, match="'d/b' of /alice/default/x in .* is not what was uploaded"):
            download_files(backend, node, target, keys=["d/b"])
    assert content(target) == {}
    assert list((target / "d").iterdir()) == []


def test_the_newest_generation_steps_in_unless_told_otherwise(backend, node, target, monkeypatch):
    newest = publish(backend, {**FILES, "d/b": b"new"})
    read = backend.read

    def collected(at, file, *args):
        if at.generation == node.generation:
            raise NotFound("collected")
        return read(at, file, *args)

    monkeypatch.setattr(backend, "read", collected)
    with pytest.raises(NotFound, match="collected"):
        download_files(backend, node, target, or_newest=False)
    expected = [FileSpec(key=key, size=len(data), sha256=Body.of(data).sha256) for key, data in FILES.items()]
    with pytest.raises(CorruptData, match="'d/b' of /alice/default/x is not what its index says"):
        download_files(backend, node, target, expected=expected)
    assert content(target) == {}
    download_files(backend, node, target, expected=[expected[0]])
    assert download_files(backend, node, target).generation == newest.generation
    assert content(target) == {**FILES, "d/b": b"new"}


def test_files_are_chosen_by_key_and_by_what_they_hold(backend, node):
    files = backend.files(node)
    assert select(files, None, "x") is files
    assert [file.key for file in select(files, ["d/b", "a"], "x")] == ["d/b", "a"]
    spec = files[1].spec
    assert select_exact(files, [spec], "x") == [files[1]]
    for other in (attrs.evolve(spec, size=spec.size + 1), attrs.evolve(spec, sha256="0" * 64)):
        with pytest.raises(CorruptData, match="load x again"):
            select_exact(files, [other], "x")
    with pytest.raises(NotFound):
        select_exact(files, [attrs.evolve(spec, key="other")], "x")


def test_the_last_bytes_come_after_the_check(backend, node, monkeypatch):
    file = next(file for file in backend.files(node) if file.key == "d/e/c")
    assert b"".join(fetch(backend, node, file)) == FILES["d/e/c"]
    monkeypatch.setattr(backend, "read", lambda *_: iter([b"x" * (1 << 20)] * 2 + [b"y" * (1 << 20)]))
    got: list[bytes] = []
    with pytest.raises(CorruptData):
        got.extend(fetch(backend, node, file))
    assert len(got) == 2


@pytest.mark.parametrize("place", ["d", "d/e"])
def test_links_on_the_way_are_refused(backend, node, target, tmp_path, place):
    (tmp_path / "outside").mkdir()
    (target / place).parent.mkdir(exist_ok=True)
    (target / place).symlink_to(tmp_path / "outside")
    with pytest.raises(SymlinkError):
        download_files(backend, node, target, keys=["d/e/c"])
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("leads", ["there", "missing"])
def test_a_link_in_place_of_the_file_is_refused(backend, node, target, tmp_path, leads):
    (tmp_path / "there").write_bytes(b"keep")
    (target / "a").symlink_to(tmp_path / leads)
    with pytest.raises(SymlinkError, match="remove the link"):
        download_files(backend, node, target, keys=["a"])
    assert (tmp_path / "there").read_bytes() == b"keep"
    assert not (tmp_path / "missing").exists()


def test_what_else_is_in_the_way_is_told(backend, node, target):
    (target / "d").write_bytes(b"")
    with pytest.raises(LocalError, match="d is in the way of a download of .*; move it away"):
        download_files(backend, node, target, keys=["d/b"])
    (target / "a").mkdir()
    with pytest.raises(LocalError, match="a is in the way of a download of .*; move it away"):
        download_files(backend, node, target, keys=["a"])
    (target / "d").unlink()
    os.mkfifo(target / "p")
    publish(backend, {"p": b""})
    download_files(backend, backend.stat("/alice/default/x"), target, keys=["p"])
    assert (target / "p").read_bytes() == b""


def test_a_full_disk_is_told_and_leaves_nothing(backend, tmp_path):
    node = publish(backend, {"big": b"x" * (4 << 20)})
    with mounted(tmp_path / "small", "size=1m") as small:
        with pytest.raises(LocalError, match="free some space"):
            download_files(backend, node, small)
        assert content(small) == {}
