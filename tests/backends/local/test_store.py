from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import evolve

from t9k.em.errors import (
    AlreadyExists,
    BackendFull,
    BackendPermissionError,
    BackendUnavailable,
    InvalidKey,
    InvalidURI,
    NotFound,
    SourceChanged,
    UnsafeStore,
)
from t9k.em.records import Body, Outcome
from t9k.em.registry import open_backend
from t9k.em.testing import (
    AssemblesPartsSuite,
    BackendSuite,
    CollectsSuite,
    CopiesObjectsSuite,
    DescentSuite,
    GrowsSuite,
    ObjectStoreSuite,
    ServesUsersSuite,
    SweepsTemporarySuite,
    TakesPartsSuite,
    backend_machine,
    finish,
    make_request,
    object_store_machine,
    read_node,
    upload,
)
from t9k_em_backends.local import LocalBackend, LocalStore
from t9k_em_backends.local import store as store_module

HOME = "/alice/default"
NOBODY = 65534


class TestLocalStore(ObjectStoreSuite, CopiesObjectsSuite, SweepsTemporarySuite, AssemblesPartsSuite):
    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path / "store")

    @pytest.fixture
    def new_store(self, tmp_path):
        return lambda: LocalStore(tmp_path / "store")

    def leave_something(self, store):
        (store._root / ".em/tmp").mkdir(parents=True, exist_ok=True)
        (store._root / ".em/tmp/abcdefghij0123456789").write_bytes(b"half")


class TestLocalBackend(BackendSuite, DescentSuite, CollectsSuite, ServesUsersSuite, TakesPartsSuite, GrowsSuite):
    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path / "store")

    @pytest.fixture
    def backend(self, store):
        return LocalBackend(store, "file:///store")

    @pytest.fixture
    def new_backend(self, tmp_path):
        return lambda: LocalBackend(LocalStore(tmp_path / "store"), "file:///store")


def _new_root():
    return Path(tempfile.mkdtemp(dir=Path.cwd()))  # the working directory of a test is its own


def _clients():
    root = _new_root()
    return [LocalBackend(LocalStore(root), "file:///store") for _ in range(2)]


TestLocalStoreHistory = object_store_machine(lambda: LocalStore(_new_root())).TestCase
TestLocalBackendHistory = backend_machine(_clients).TestCase


def get(store, key):
    return b"".join(store.get(key))


def keys(store):
    return sorted(info.key for info in store.list(""))


class TestRoot:
    def test_a_root_that_is_a_file_is_no_store(self, tmp_path):
        root = tmp_path / "file"
        root.write_bytes(b"")
        with pytest.raises(InvalidURI, match="directory"), open_backend(str(root)):
            pass

    def test_a_dangling_link_is_no_store(self, tmp_path):
        root = tmp_path / "link"
        root.symlink_to(tmp_path / "nowhere")
        with pytest.raises(InvalidURI, match="directory"), open_backend(str(root)):
            pass

    def test_a_link_to_a_directory_is_a_store(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        with open_backend(str(tmp_path / "link")) as backend:
            upload(backend, make_request(HOME, "m", {"a": b"a"}), {"a": b"a"})
        with open_backend(str(tmp_path / "real")) as backend:
            assert read_node(backend, backend.stat(f"{HOME}/m")) == {"a": b"a"}

    def test_nothing_is_made_before_something_is_written(self, tmp_path):
        with open_backend(str(tmp_path / "store")) as backend:
            assert list(backend.list(HOME)) == []
        assert not (tmp_path / "store").exists()

    def test_threads_that_are_the_first_to_write_all_do(self, tmp_path):
        for number in range(50):
            store = LocalStore(tmp_path / str(number))
            barrier = threading.Barrier(8)

            def write(key: int, store: LocalStore = store, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                store.put(f"a/{key}", Body.of(b"x"))

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(write, range(8)))
            assert len(list(store.list("a/"))) == 8

    def test_an_unknown_option_is_refused(self):
        with pytest.raises(InvalidURI, match="speed"):
            open_backend("file:///store?speed=fast")


class TestFiles:
    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path / "store")

    def test_directories_that_became_empty_go(self, store):
        store.put("a/b/c/d", Body.of(b""))
        store.put("a/x", Body.of(b""))
        store.delete(["a/b/c/d"])
        assert sorted(os.listdir(store._root / "a")) == ["x"]
        store.delete(["a/x"])
        assert os.listdir(store._root) == [".em"]

    @pytest.mark.parametrize("name", ["link", "replace"])
    def test_a_directory_that_goes_while_a_file_gets_its_name_is_made_again(self, store, monkeypatch, name):
        real = getattr(os, name)
        seen: list[str] = []

        def late(source, target, **options):
            if not seen:
                seen.append(target)
                shutil.rmtree(store._root / "a")
            return real(source, target, **options)

        store.put("a/b/old", Body.of(b""))
        monkeypatch.setattr(os, name, late)
        store.put("a/b/new", Body.of(b"new"), if_absent=name == "link")
        assert seen
        assert keys(store) == ["a/b/new"]

    def test_a_directory_that_always_goes_is_reported(self, store, monkeypatch):
        def gone(source, target, **options):
            raise FileNotFoundError(errno.ENOENT, "gone", target)

        monkeypatch.setattr(os, "link", gone)
        with pytest.raises(BackendUnavailable, match="disappears"):
            store.put("a/b", Body.of(b""), if_absent=True)
        assert os.listdir(store._root / ".em/tmp") == []

    def test_a_disk_that_fails_while_it_is_read_is_unavailable(self, store, monkeypatch):
        store.put("a", Body.of(b"x" * (3 << 20)))
        chunks = store.get("a")

        def fails(*_):
            raise OSError(errno.EIO, "broken")

        next(chunks)
        monkeypatch.setattr(os, "pread", fails)
        with pytest.raises(BackendUnavailable, match="a:"):
            next(chunks)

    def test_more_files_are_put_than_may_be_open(self, store):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        in_use = max(map(int, os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 100, hard))
        try:
            store.put_many([(f"many/{number}", Body.of(b"")) for number in range(300)])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(keys(store)) == 300

    def test_a_failed_write_leaves_no_temporary_file(self, store):
        wrong = evolve(Body.of(b"bytes"), sha256="0" * 64)
        with pytest.raises(SourceChanged):
            store.put("a", wrong)
        with pytest.raises(SourceChanged):
            store.put_many([("b", Body.of(b"b")), ("a", wrong)])
        assert list(store.sweep(-60)) == []


class TestLinks:
    """Somebody else who may write below the root puts a symbolic link where an object belongs."""

    @pytest.fixture
    def outside(self, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        return outside

    @pytest.fixture
    def store(self, tmp_path, outside):
        store = LocalStore(tmp_path / "store")
        store.put("plain", Body.of(b"plain"))
        (store._root / "link").symlink_to(outside / "secret")
        (store._root / "directory").symlink_to(outside)
        return store

    def test_it_is_neither_listed_nor_read(self, store):
        assert keys(store) == ["plain"]
        with pytest.raises(BackendPermissionError):
            store.get("link")
        with pytest.raises(BackendPermissionError):
            store.copy("link", "copy")
        assert keys(store) == ["plain"]

    def test_writing_and_deleting_does_not_follow_it(self, store, outside):
        with pytest.raises(AlreadyExists):
            store.put("link", Body.of(b"new"), if_absent=True)
        store.put("link", Body.of(b"new"))
        assert get(store, "link") == b"new"
        store.delete(["directory"])
        assert (outside / "secret").read_bytes() == b"secret"


class TestNoHardLinks:
    @pytest.fixture
    def root(self, tmp_path, monkeypatch):
        def link(*_, **__):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        return tmp_path / "store"

    def test_such_a_file_system_is_refused(self, root):
        with open_backend(str(root)) as backend:
            with pytest.raises(UnsafeStore, match="hard links.*unsafe_single_writer"):
                backend.begin(make_request(HOME, "m", {}))
            assert list(backend.list(HOME)) == []
        assert keys(LocalStore(root)) == []

    def test_a_single_writer_may_use_it(self, root):
        with open_backend(f"{root.as_uri()}?unsafe_single_writer=true") as backend:
            contents = {"a": b"a"}
            node = upload(backend, make_request(HOME, "m", contents), contents)
            assert read_node(backend, node) == contents
            again = upload(backend, make_request(HOME, "m", {}, strategy="replace"), {})
            assert again.generation == 2


@contextlib.contextmanager
def _mounted(directory, *arguments):
    """Something mounted on a directory, or a skipped test."""
    directory.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    done = subprocess.run(["mount", *arguments, directory], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def _put_one_by_one(begun, contents):
    for file in begun.missing:
        begun.put([(file, Body.of(contents[file.key]))])


class TestFullDisk:
    @pytest.fixture
    def disk(self, tmp_path):
        with _mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as directory:
            yield directory

    def test_a_full_disk_shows_nothing_and_the_same_upload_goes_on_when_there_is_room(self, disk):
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * (1 << 20))
        contents = {f"{number}": bytes([number]) * (300 << 10) for number in range(5)}
        request = make_request(HOME, "m", contents)
        with open_backend(str(disk / "store")) as backend:
            begun = backend.begin(request)
            with pytest.raises(BackendFull, match="make room"):
                _put_one_by_one(begun, contents)
            with pytest.raises(NotFound):
                backend.stat(f"{HOME}/m")
        assert os.listdir(disk / "store/.em/tmp") == []
        ballast.unlink()
        with open_backend(str(disk / "store")) as backend:
            resumed = backend.begin(evolve(request, resumed=True))
            assert len(resumed.missing) < len(contents)
            assert finish(resumed, contents).outcome is Outcome.PUBLISHED
            assert read_node(backend, backend.stat(f"{HOME}/m")) == contents

    def test_a_disk_that_is_full_at_the_end_publishes_nothing(self, disk):
        contents = {"a": b"a" * 5000}
        request = make_request(HOME, "m", contents)
        ballast = disk / "ballast"
        with open_backend(str(disk / "store")) as backend:
            begun = backend.begin(request)
            begun.put([(begun.missing[0], Body.of(contents["a"]))])
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            with pytest.raises(BackendFull):
                begun.commit()
            with pytest.raises(NotFound):
                backend.stat(f"{HOME}/m")
            ballast.unlink()
            assert finish(begun, contents).outcome is Outcome.PUBLISHED
            assert read_node(backend, backend.stat(f"{HOME}/m")) == contents


@contextlib.contextmanager
def _unprivileged():
    """No root while this lasts, so that permissions mean something."""
    if os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


class TestPermissions:
    @pytest.fixture
    def root(self):
        """A store with one node, where everybody may go."""
        place = Path(tempfile.mkdtemp())
        place.chmod(0o755)
        with open_backend(str(place / "store")) as backend:
            upload(backend, make_request(HOME, "m", {"a": b"a"}), {"a": b"a"})
        yield place / "store"
        for directory, _, _ in os.walk(place):
            os.chmod(directory, 0o700)
        shutil.rmtree(place)

    @pytest.fixture
    def directories(self, root):
        return [Path(directory) for directory, _, _ in os.walk(root)]

    def test_what_is_read_only_can_be_read(self, root, directories):
        for directory in directories:
            directory.chmod(0o555)
        with _unprivileged(), open_backend(str(root)) as backend:
            (node,) = backend.list(HOME)
            assert read_node(backend, node) == {"a": b"a"}
            with pytest.raises(BackendPermissionError, match="who may write"):
                backend.begin(make_request(HOME, "m", {}))
            with pytest.raises(BackendPermissionError):
                backend.delete(f"{HOME}/m")
            with pytest.raises(BackendPermissionError):
                backend.collect(apply=True)
            assert backend.collect().objects == ()
            assert [node.path for node in backend.list(HOME)] == [f"{HOME}/m"]

    def test_a_directory_that_may_not_be_read_is_refused(self, root, directories):
        directories[-1].chmod(0o000)
        with _unprivileged(), pytest.raises(BackendPermissionError):
            list(LocalStore(root).list(""))

    def test_an_object_that_may_not_be_read_is_refused(self, root):
        for path in root.rglob("a"):
            path.chmod(0o000)
        with _unprivileged(), open_backend(str(root)) as backend:
            node = backend.stat(f"{HOME}/m")
            with pytest.raises(BackendPermissionError):
                backend.read(node, backend.files(node)[0])

    def test_a_directory_that_may_only_be_written_is_refused(self, root, directories):
        for directory in directories:
            directory.chmod(0o333)
        with _unprivileged(), pytest.raises(BackendPermissionError):
            LocalStore(root).put("new", Body.of(b""))


OLD, NEW = "old" * 6 + "00", "new" * 6 + "00"
"""What the store could have called a file that it writes."""


class TestInterruptedWrites:
    def test_what_they_left_is_collected_after_the_grace(self, tmp_path):
        with open_backend(str(tmp_path / "store")) as backend:
            upload(backend, make_request(HOME, "m", {}), {})
            temporary = tmp_path / "store/.em/tmp"
            for name in (OLD, NEW):
                (temporary / name).write_bytes(b"half")
            week = 7 * 24 * 3600
            status = (temporary / OLD).stat()
            os.utime(temporary / OLD, (status.st_atime - week, status.st_mtime - week))
            assert [info.size for info in backend.collect().objects] == [4]
            assert sorted(os.listdir(temporary)) == [NEW, OLD]
            backend.collect(apply=True)
            assert os.listdir(temporary) == [NEW]


class TestReflink:
    @pytest.fixture
    def disk(self, tmp_path):
        if shutil.which("mkfs.btrfs") is None:
            pytest.skip("no mkfs.btrfs here")
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(128 << 20)
        subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
        with _mounted(tmp_path / "disk", "-o", "loop", image) as directory:
            yield directory

    def test_a_file_is_cloned_and_not_copied(self, disk, monkeypatch):
        def write(*_):
            raise AssertionError("the bytes were copied")

        data = os.urandom(3 << 20)
        source = disk / "source"
        source.write_bytes(data)
        body = evolve(Body.of(data), open=lambda: source.open("rb"), path=source)
        monkeypatch.setattr(store_module, "write_all", write)
        store = LocalStore(disk / "store")
        store.put("a", body)
        store.put_many([("b", body)])
        store.copy("a", "c")
        source.write_bytes(b"")
        assert get(store, "a") == get(store, "b") == get(store, "c") == data

    @pytest.mark.parametrize("changed", [b"", b"y" * 5000, b"x" * 4999])
    def test_a_source_that_changed_is_noticed(self, disk, changed):
        data = b"x" * 5000
        source = disk / "source"
        source.write_bytes(changed)
        store = LocalStore(disk / "store")
        with pytest.raises(SourceChanged):
            store.put("a", evolve(Body.of(data), open=lambda: source.open("rb"), path=source))
        assert keys(store) == []

    def test_a_source_that_grew_is_cut(self, disk):
        data = b"x" * 5000
        source = disk / "source"
        source.write_bytes(data + b"more")
        store = LocalStore(disk / "store")
        info = store.put("a", evolve(Body.of(data), open=lambda: source.open("rb"), path=source))
        assert info.size == len(data)
        assert get(store, "a") == data


def test_a_path_that_is_too_long_for_the_system_is_refused_and_not_tried_again(tmp_path):
    backend = LocalBackend(LocalStore(tmp_path / "store"), "file://x")
    folder = "/alice/" + "/".join(["x" * 200] * 25)
    with pytest.raises(InvalidKey, match="File name too long; use shorter names, fewer folders, or a shorter root"):
        backend.begin(make_request(folder, "m", {}))


def test_the_directory_of_begun_uploads_stays_as_long_as_its_folder_is_used(tmp_path) -> None:
    store = LocalStore(tmp_path / "store")
    store.put("a/.em/h/x/00000001.json", Body.of(b"x"))
    store.put("a/.em/uploads/x@1", Body.of(b"x"))
    store.delete(["a/.em/uploads/x@1"])
    assert [*(tmp_path / "store/a/.em/uploads").iterdir()] == []
    store.delete(["a/.em/h/x/00000001.json"])
    assert not (tmp_path / "store/a").exists()
