from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from tests.em.local.faultydisk import fill, mounted, run_unprivileged

from t9k.em.errors import LocalError, SymlinkError
from t9k.em.local import disk, files


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".home")


class TestReplacing:
    def test_a_file_without_a_directory_lies_in_the_working_directory(self, tmp_path):
        with files.replacing("bare.txt", durable=False) as fd:
            assert len(listing(tmp_path)) == 1, "the temporary file is beside it"
            os.write(fd, b"x")
        assert listing(tmp_path) == ["bare.txt"]


class TestWriteAtomic:
    def test_writes_a_private_file_and_replaces_it(self, tmp_path):
        path = tmp_path / "a.yaml"
        files.write_atomic(path, b"one")
        files.write_atomic(path, b"two")
        assert path.read_bytes() == b"two"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert listing(tmp_path) == ["a.yaml"]

    def test_a_name_of_255_bytes_is_fine(self, tmp_path):
        path = tmp_path / ("n" * 255)
        files.write_atomic(path, b"")
        assert path.read_bytes() == b""

    def test_replaces_a_link_and_leaves_what_it_points_to(self, tmp_path):
        outside = tmp_path / "outside"
        outside.write_bytes(b"keep")
        (tmp_path / "link").symlink_to(outside)
        files.write_atomic(tmp_path / "link", b"new")
        assert outside.read_bytes() == b"keep"
        assert not (tmp_path / "link").is_symlink()

    def test_finishes_what_the_system_takes_piecemeal(self, tmp_path, monkeypatch):
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
        files.write_atomic(tmp_path / "a", b"0123456789")
        assert (tmp_path / "a").read_bytes() == b"0123456789"

    def test_full_disk_keeps_the_old_content_and_leaves_no_temporary_file(self, tmp_path):
        with mounted(tmp_path / "disk", "size=2m") as full:
            files.write_atomic(full / "a", b"old")
            fill(full)
            with pytest.raises(LocalError, match=r"cannot write .*a: No space left.*free some space") as caught:
                files.write_atomic(full / "a", b"x" * 100_000)
            assert isinstance(caught.value.__cause__, OSError)
            assert (full / "a").read_bytes() == b"old"
            assert listing(full) == ["a", "filler"]

    def test_read_only_file_system(self, tmp_path):
        with mounted(tmp_path / "disk", "ro") as disk_, pytest.raises(LocalError, match="read-only"):
            files.write_atomic(disk_ / "a", b"")

    def test_no_permission_says_what_to_do(self, tmp_path):
        tmp_path.chmod(0o500)
        code = (
            "try: files.write_atomic(Path(sys.argv[1]), b'')\n"
            "except errors.LocalError as error: print(error)\n"
            "try: files.make_private_dir(Path(sys.argv[1]) / 'b' / 'c', exist_ok=True)\n"
            "except errors.LocalError as error: print(error)\n"
        )
        first, second = run_unprivileged(code, tmp_path / "a").splitlines()
        assert first.startswith(f"cannot write {tmp_path}/a: Permission denied; check who owns it")
        assert second.startswith("cannot make")
        tmp_path.chmod(0o700)

    def test_other_errors_come_out_as_they_are(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            files.write_atomic(tmp_path / "missing" / "a", b"")
        (tmp_path / "dir").mkdir()
        with pytest.raises(OSError, match="directory"):
            files.write_atomic(tmp_path / "dir", b"")
        assert listing(tmp_path) == ["dir"]

    def test_readers_see_a_whole_file_while_threads_write_it(self, tmp_path):
        path = tmp_path / "a"
        contents = [bytes([65 + n]) * 10_000 for n in range(4)]
        files.write_atomic(path, contents[0])
        threads = [
            threading.Thread(target=lambda data=data: [files.write_atomic(path, data) for _ in range(20)])
            for data in contents
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert path.read_bytes() in contents
        assert listing(tmp_path) == ["a"]

    def test_a_file_system_that_cannot_sync_directories_is_good_enough(self, tmp_path, monkeypatch):
        def fsync(fd):
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "cannot")

        monkeypatch.setattr(os, "fsync", fsync)
        files.write_atomic(tmp_path / "a", b"x")
        assert (tmp_path / "a").read_bytes() == b"x"

    def test_a_disk_that_fails_to_sync_is_not_kept_quiet_about(self, tmp_path, monkeypatch):
        def fsync(_):
            raise OSError(errno.EIO, "broken")

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="broken"):
            files.sync_dir(tmp_path)


class TestMakePrivateDir:
    def test_makes_parents_and_all_are_private(self, tmp_path):
        files.make_private_dir(tmp_path / "a" / "b" / "c", exist_ok=False)
        for name in ("a", "a/b", "a/b/c"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700

    def test_an_existing_directory(self, tmp_path):
        files.make_private_dir(tmp_path, exist_ok=True)
        with pytest.raises(FileExistsError):
            files.make_private_dir(tmp_path, exist_ok=False)

    def test_a_relative_path(self, tmp_path):
        files.make_private_dir(Path("x/y"), exist_ok=True)
        assert (tmp_path / "x" / "y").is_dir()

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "a").write_bytes(b"")
        with pytest.raises(FileExistsError):
            files.make_private_dir(tmp_path / "a", exist_ok=True)
        with pytest.raises(OSError, match="a"):
            files.make_private_dir(tmp_path / "a" / "b", exist_ok=True)

    def test_parents_may_appear_meanwhile(self, tmp_path, monkeypatch):
        mkdir = os.mkdir

        def racing(path, mode):
            mkdir(path, mode)
            mkdir(path, mode)

        monkeypatch.setattr(os, "mkdir", racing)
        files.make_private_dir(tmp_path / "a" / "b", exist_ok=True)
        assert (tmp_path / "a" / "b").is_dir()


class TestMakeSafeParents:
    def test_makes_what_is_missing(self, tmp_path):
        files.make_safe_parents(tmp_path, tmp_path / "a" / "b" / "file")
        files.make_safe_parents(tmp_path, tmp_path / "a" / "b" / "file")
        assert listing(tmp_path / "a") == ["b"]
        assert listing(tmp_path / "a" / "b") == []

    @pytest.mark.parametrize("inside", [True, False])
    def test_refuses_a_linked_directory_wherever_it_points(self, tmp_path, inside):
        root = tmp_path / "root"
        (root / "real").mkdir(parents=True)
        (root / "link").symlink_to(root / "real" if inside else tmp_path)
        with pytest.raises(SymlinkError, match="remove the link"):
            files.make_safe_parents(root, root / "link" / "sub" / "file")
        assert listing(root / "real") == []

    def test_the_root_itself_may_be_reached_through_a_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "root").symlink_to(tmp_path / "real")
        files.make_safe_parents(tmp_path / "root", tmp_path / "root" / "a" / "file")
        assert listing(tmp_path / "real") == ["a"]

    @pytest.mark.parametrize("target", ["../file", "a/../../file", "."])
    def test_refuses_targets_outside(self, tmp_path, target):
        with pytest.raises(ValueError, match="inside"):
            files.make_safe_parents(tmp_path, tmp_path / target)
        with pytest.raises(ValueError, match="subpath"):
            files.make_safe_parents(tmp_path, tmp_path.parent / "elsewhere")


class TestIdentity:
    def test_tells_a_file_that_was_written_to_even_if_its_time_was_set_back(self, tmp_path):
        path = tmp_path / "a"
        path.write_bytes(b"one")
        before = files.identity(path)
        with path.open("rb") as file:
            assert files.identity(file.fileno()) == before
        path.write_bytes(b"two")
        os.utime(path, ns=(before.mtime_ns, before.mtime_ns))
        after = files.identity(path)
        assert (after.ino, after.size_bytes, after.mtime_ns) == (before.ino, before.size_bytes, before.mtime_ns)
        assert after != before


def test_a_quota_is_explained_like_a_full_disk():
    error = disk.explain(OSError(errno.EDQUOT, "Disk quota exceeded"), "write", Path("x"))
    assert isinstance(error, LocalError)
    assert "free some space" in str(error)
    other = OSError(errno.EIO, "broken")
    assert disk.explain(other, "write", Path("x")) is other
