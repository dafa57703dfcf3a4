"""Copies: whole or not there, of one moment of a file that changes, and as sparse as it is."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
from pathlib import Path

import pytest
from tests.em.local.faultydisk import mounted, run_unprivileged

from t9k.em.errors import LocalError, SourceChanged, SymlinkError
from t9k.em.local import copies


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".home")


@pytest.fixture(params=["copy", "reflink"])
def way(request, monkeypatch):
    """Both ways to copy; sharing blocks is played by a real copy on file systems that cannot."""

    def reflink(source_fd, target_fd):
        os.sendfile(target_fd, source_fd, 0, os.fstat(source_fd).st_size)
        os.lseek(target_fd, 0, os.SEEK_SET)
        return True

    monkeypatch.setattr(copies, "reflink", reflink if request.param == "reflink" else lambda *_: False)
    return request.param


@pytest.fixture
def meddling(monkeypatch, way):
    """Lets a function be called after the source was read, each time, with how often it was."""
    real_read, real_reflink = os.pread, copies.reflink

    def install(meddle):
        counted = itertools.count(1)

        def read(fd, size, offset):
            data = real_read(fd, size, offset)
            if way == "copy" or os.readlink(f"/proc/self/fd/{fd}").partition(" ")[0].endswith("/source"):
                meddle(next(counted))
            return data

        def reflink(source_fd, target_fd):
            done = real_reflink(source_fd, target_fd)
            if done:
                meddle(next(counted))
            return done

        monkeypatch.setattr(copies, "reflink", reflink)
        monkeypatch.setattr(os, "pread", read)

    return install


@pytest.mark.usefixtures("way")
class TestCopyHashed:
    @pytest.mark.parametrize("size_bytes", [0, 1, 3_000_001])
    def test_copies_and_tells_size_and_checksum(self, tmp_path, size_bytes):
        data = os.urandom(size_bytes)
        (tmp_path / "source").write_bytes(data)
        (tmp_path / "target").write_bytes(b"old")
        answer = copies.copy_hashed(tmp_path / "source", tmp_path / "target")
        assert answer == (size_bytes, hashlib.sha256(data).hexdigest())
        assert (tmp_path / "target").read_bytes() == data
        assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o600
        assert listing(tmp_path) == ["source", "target"]

    @pytest.mark.parametrize("change", ["append", "replace", "remove", "touch"])
    def test_of_a_source_that_grows_or_goes_it_is_what_it_held_at_first(self, tmp_path, meddling, change):
        source = tmp_path / "source"
        source.write_bytes(b"a" * 10_000)

        def meddle(_):
            if change == "append":
                with source.open("ab") as file:
                    file.write(b"b" * 500)
            elif change == "replace":
                (tmp_path / "other").write_bytes(b"c")
                os.replace(tmp_path / "other", source)
            elif change == "touch":
                source.touch()
            else:
                source.unlink(missing_ok=True)

        meddling(meddle)
        answer = copies.copy_hashed(source, tmp_path / "target")
        assert answer == (10_000, hashlib.sha256(b"a" * 10_000).hexdigest())
        assert (tmp_path / "target").read_bytes() == b"a" * 10_000

    @pytest.mark.parametrize("change", ["truncate", "rewrite", "rewrite with its old time"])
    def test_a_source_that_is_rewritten_is_read_again(self, tmp_path, meddling, change):
        source = tmp_path / "source"
        source.write_bytes(b"a" * 10_000)
        times = (source.stat().st_atime_ns, source.stat().st_mtime_ns)

        def meddle(count):
            if count > 3:
                return
            if change == "truncate":
                os.truncate(source, 10_000 - count)
            else:
                with source.open("r+b") as file:
                    file.write(bytes([count]))
                if change == "rewrite with its old time":
                    os.utime(source, ns=times)

        meddling(meddle)
        size_bytes, sha256 = copies.copy_hashed(source, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == source.read_bytes()
        assert (size_bytes, sha256) == (source.stat().st_size, hashlib.sha256(source.read_bytes()).hexdigest())

    def test_a_source_that_is_rewritten_all_the_time_is_an_error_and_nothing_stays(self, tmp_path, meddling):
        source = tmp_path / "source"
        source.write_bytes(b"a" * 10_000)

        def meddle(count):
            with source.open("r+b") as file:
                file.write(bytes([count % 256]))

        meddling(meddle)
        with pytest.raises(SourceChanged, match="source was rewritten each of the 6 times"):
            copies.copy_hashed(source, tmp_path / "target")
        assert listing(tmp_path) == ["source"]

    def test_links_are_followed_only_on_request(self, tmp_path):
        (tmp_path / "real").write_bytes(b"data")
        (tmp_path / "link").symlink_to("real")
        with pytest.raises(SymlinkError, match="not followed"):
            copies.copy_hashed(tmp_path / "link", tmp_path / "target")
        size_bytes, _ = copies.copy_hashed(tmp_path / "link", tmp_path / "target", follow_symlinks=True)
        assert size_bytes == 4

    @pytest.mark.parametrize("points_to", ["nowhere", "link"])
    def test_links_that_dangle_or_loop(self, tmp_path, points_to):
        (tmp_path / "link").symlink_to(points_to)
        with pytest.raises(SymlinkError, match="dangles or loops"):
            copies.copy_hashed(tmp_path / "link", tmp_path / "target", follow_symlinks=True)
        assert listing(tmp_path) == ["link"]

    def test_only_regular_files(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for source in (tmp_path / "pipe", tmp_path):
            with pytest.raises(LocalError, match="not a regular file"):
                copies.copy_hashed(source, tmp_path / "target")

    def test_a_missing_source(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            copies.copy_hashed(tmp_path / "missing", tmp_path / "target")

    def test_replaces_a_link_at_the_target(self, tmp_path):
        (tmp_path / "source").write_bytes(b"new")
        (tmp_path / "outside").write_bytes(b"keep")
        (tmp_path / "target").symlink_to("outside")
        copies.copy_hashed(tmp_path / "source", tmp_path / "target")
        assert (tmp_path / "outside").read_bytes() == b"keep"
        assert (tmp_path / "target").read_bytes() == b"new"


def test_copy_of_a_large_file_to_a_full_disk_leaves_nothing(tmp_path):
    (tmp_path / "source").write_bytes(os.urandom(3 << 20))
    with mounted(tmp_path / "disk", "size=2m") as full:
        with pytest.raises(LocalError, match="free some space"):
            copies.copy_hashed(tmp_path / "source", full / "target")
        assert listing(full) == []


def test_copy_of_an_unreadable_file_says_what_to_do(tmp_path):
    (tmp_path / "source").write_bytes(b"")
    (tmp_path / "source").chmod(0)
    code = (
        "try: copies.copy_hashed(Path(sys.argv[1]), Path(sys.argv[1] + '2'))\n"
        "except errors.LocalError as error: print(error)\n"
    )
    assert run_unprivileged(code, tmp_path / "source").startswith(f"cannot read {tmp_path}/source: Permission denied")


@pytest.fixture
def sparse(tmp_path):
    """A file of 64 MiB, nearly all of it holes; skipped where the file system has none."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for start in (0, 10 << 20, 40 << 20):
            file.seek(start)
            file.write(b"data" * 3000)
        file.truncate(64 << 20)
    if path.stat().st_blocks * 512 >= 64 << 20:
        pytest.skip("no sparse files here")
    return path


def test_a_sparse_file_stays_sparse(sparse, tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "reflink", lambda *_: False)
    size_bytes, sha256 = copies.copy_hashed(sparse, tmp_path / "copy")
    data = (tmp_path / "copy").read_bytes()
    assert data == sparse.read_bytes()
    assert (size_bytes, sha256) == (64 << 20, hashlib.sha256(data).hexdigest())
    assert (tmp_path / "copy").stat().st_blocks * 512 < 1 << 20


def test_a_file_of_nothing_but_a_hole_stays_one(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "reflink", lambda *_: False)
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 3_000_001)
    assert copies.copy_hashed(tmp_path / "hole", tmp_path / "copy") == (
        3_000_001,
        hashlib.sha256(bytes(3_000_001)).hexdigest(),
    )
    assert (tmp_path / "copy").stat().st_size == 3_000_001


def test_where_holes_cannot_be_told_they_are_copied(sparse, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, "not here")

    monkeypatch.setattr(copies, "reflink", lambda *_: False)
    monkeypatch.setattr(os, "lseek", refuse)
    assert copies.copy_hashed(sparse, tmp_path / "copy")[1] == hashlib.sha256(sparse.read_bytes()).hexdigest()
